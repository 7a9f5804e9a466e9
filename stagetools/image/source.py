"""One interpreter for the build's checks: `python -m stagetools.image.source DIRECTORY`.

In /app: the linked SQLite, bytecode, Django's own checks, and the static files collected into
DIRECTORY as they are (hashing them is another stage's, which is cached by their content).
"""

import compileall
import os
import py_compile
import secrets
import sqlite3
import sys

from stagetools.image.sqlite import has_wal_reset_bug
from stagetools.naming.system import BUILD

__all__ = ["main"]


def main(directory: str) -> None:
    """Exit with a message at the first thing that must not reach a server."""
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        sys.exit(
            f"SQLite {sqlite3.sqlite_version} can corrupt a WAL database"
            " (sqlite.org/wal.html#walresetbug): the image needs 3.51.3 or later."
        )
    _compile()
    _set_up_django()
    _check_and_collect(directory)


def _compile() -> None:
    # Unchecked: nothing in an image changes, and the files' times mean nothing.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(".", quiet=1, invalidation_mode=mode):
        sys.exit("A file does not compile.")


def _set_up_django() -> None:
    """As a production stage, with a key that lives no longer than this process."""
    os.environ["STAGETOOLS_SYSTEM"] = BUILD
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(50)
    os.environ["ALLOWED_HOSTS"] = "localhost"
    sys.path.insert(0, ".")
    import aaa_env_setup  # noqa: F401 - names the settings module
    import django

    django.setup()


def _check_and_collect(directory: str) -> None:
    from django.conf import settings
    from django.core.management import call_command

    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    settings.STATIC_ROOT = directory
    call_command("check", fail_level="ERROR", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


if __name__ == "__main__":
    main(sys.argv[1])
