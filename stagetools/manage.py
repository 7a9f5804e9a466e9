"""manage.py, and the project's command once it is installed: `shop migrate`."""

import sys

from stagetools.errors import StageError

__all__ = ["main"]


def main() -> None:
    """Run the command in sys.argv. A refusal is its message and its exit status alone."""
    try:
        _run(sys.argv)
    except StageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _run(argv: list[str]) -> None:
    import aaa_env_setup  # noqa: F401 - says which settings
    from django.core.management import execute_from_command_line

    execute_from_command_line(argv)


if __name__ == "__main__":
    main()
