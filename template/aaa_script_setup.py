"""Makes a plain script a Django script: `import aaa_script_setup`, then import models."""

import django

import aaa_env_setup  # noqa: F401  # names the settings that the next line reads

django.setup()
