"""One interpreter for the build's checks: `python -m stagetools.image.source DIRECTORY`.

In /app: the linked SQLite, the project's own steps, bytecode, translations, Django's own checks,
and the static files collected into DIRECTORY as they are (hashing them is another stage's, which
is cached by their content).
"""

import compileall
import py_compile
import sqlite3
import subprocess
import sys
from pathlib import Path

from stagetools.image import translations
from stagetools.image.collecting import collect, name_places, set_up
from stagetools.image.sqlite import has_wal_reset_bug

__all__ = ["main"]

HOOK = Path("stagetools_project/build")


def main(directory: str) -> None:
    """Exit with a message at the first thing that must not reach a server."""
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        sys.exit(
            f"SQLite {sqlite3.sqlite_version} can corrupt a WAL database"
            " (sqlite.org/wal.html#walresetbug): the image needs 3.51.3 or later."
        )
    name_places(directory)
    _run_hook()
    _compile()
    set_up()
    _check()
    collect(directory)


def _run_hook() -> None:
    """The project's own steps, which no update of the template touches."""
    if not HOOK.is_file():
        return
    words = [f"./{HOOK}"] if HOOK.stat().st_mode & 0o100 else ["sh", "-eu", str(HOOK)]
    try:
        status = subprocess.run(words, check=False).returncode
    except OSError as error:
        sys.exit(
            f"{HOOK} cannot be run ({error.strerror}): its first line must name a program that"
            " the image has, as #!/bin/sh does, and its lines must end as on Linux (LF)."
        )
    if status:
        sys.exit(f"{HOOK} ended with exit status {status}; its own words are above.")


def _compile() -> None:
    # Unchecked: nothing in an image changes, and the files' times mean nothing.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(".", quiet=1, invalidation_mode=mode):
        sys.exit("A file does not compile.")
    if broken := translations.compile_all(Path()):
        sys.stdout.write(f"! Translations that cannot be read: {', '.join(broken)}\n")


def _check() -> None:
    from django.core.management import call_command

    call_command("check", fail_level="ERROR", verbosity=0)


if __name__ == "__main__":
    main(sys.argv[1])
