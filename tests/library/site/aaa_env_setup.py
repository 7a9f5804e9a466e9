"""Says which installation this is."""

import os

from stagetools.utils import get_actual_system_from_name

SYSTEM = get_actual_system_from_name(core_repo="shop")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", SYSTEM.django_settings)
