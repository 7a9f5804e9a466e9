"""manage.py, and the project's command once it is installed: `shop migrate`."""

import os
import shutil
import sys
from contextlib import suppress
from importlib.util import find_spec

from stagetools.errors import StageError
from stagetools.installed.commands import own_command
from stagetools.naming.places import checkout_dir
from stagetools.naming.system import Source

__all__ = ["main"]


def main() -> None:
    """Run the command in sys.argv. A refusal is its message and its exit status alone."""
    try:
        _run(sys.argv)
    except StageError as error:
        _note(str(error))
        sys.exit(error.exit_code)


def _run(argv: list[str]) -> None:
    from aaa_env_setup import SYSTEM

    if SYSTEM.source is Source.FALLBACK and not checkout_dir():
        _note(f"No STAGETOOLS_SYSTEM: this is {SYSTEM.name} in {SYSTEM.base_dir}.")
    if own_command(SYSTEM, argv, _django):
        return
    if argv[1:2] == ["migrate"]:
        _make_data_dir()
    if argv[1:2] == ["dbshell"]:
        _python_as_sqlite3(argv[2:])
    _django(argv)


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _django(argv: list[str]) -> None:
    from django.core.management import execute_from_command_line

    execute_from_command_line(argv)


def _make_data_dir() -> None:
    """Whoever makes an SQLite database makes its directory; WAL writes beside the file."""
    from django.conf import settings

    path = getattr(settings, "DATABASE_PATH", None)
    if path and not path.parent.exists():
        with suppress(OSError):  # opening the database tells it better
            path.parent.mkdir(mode=0o750, parents=True)


def _python_as_sqlite3(words: list[str]) -> None:
    """Be Python's own shell for SQLite where its program is missing, as in an image.

    `dbshell -- "select 1"` answers and ends. Options before `--` are for Django's own.
    """
    if words and words[0] != "--":
        return
    from django.conf import settings

    database = settings.DATABASES["default"]
    is_sqlite = database["ENGINE"].endswith(".sqlite3")
    if not is_sqlite or shutil.which("sqlite3") or not find_spec("sqlite3.__main__"):
        return  # Django runs the program, or says what is missing
    program = [sys.executable, "-m", "sqlite3", str(database["NAME"])]
    os.execv(sys.executable, [*program, *words[1:]])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
