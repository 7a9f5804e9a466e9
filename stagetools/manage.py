"""manage.py, and the project's command once it is installed: `shop migrate`."""

import sys
from contextlib import suppress

from stagetools.commands import own_command
from stagetools.errors import StageError
from stagetools.places import checkout_dir
from stagetools.system import Source

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


if __name__ == "__main__":
    main()
