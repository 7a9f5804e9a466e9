"""Says which installation this is: `board_prod`, or `board_dev` in a checkout."""

from stagetools.utils import get_actual_system_from_name

SYSTEM = get_actual_system_from_name(core_repo="board")
