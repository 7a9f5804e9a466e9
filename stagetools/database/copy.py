"""Consistent copies of a SQLite database while it is written."""

import os
import sqlite3
from pathlib import Path

from stagetools.errors import StageError

__all__ = ["SUFFIXES", "copy", "integrity", "remove", "settle"]

SUFFIXES = ("", "-wal", "-shm", "-journal")
_WAIT = 60  # seconds for a lock that the live database's writers hold


def copy(live: Path, to: Path) -> None:
    """Copy in one step, whatever is written meanwhile; the copy appears whole or not at all.

    `Connection.backup` in several steps begins again at every write, and may never end.
    """
    part = to.with_name(f"{to.name}.part")
    remove(part)
    source = sqlite3.connect(
        f"{live.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT
    )
    target = sqlite3.connect(part)
    try:
        target.execute("PRAGMA journal_mode=OFF")
        target.execute("PRAGMA synchronous=OFF")
        source.backup(target, pages=-1)
    finally:
        target.close()
        source.close()
    _sync(part)
    part.replace(to)


def integrity(path: Path) -> str:
    """`ok`, or the first thing that is wrong with the file."""
    database = sqlite3.connect(path)
    try:
        said = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        broken = database.execute("PRAGMA foreign_key_check").fetchone()
    finally:
        database.close()
    return (
        f"a row of {broken[0]} refers to nothing" if said == "ok" and broken else said
    )


def settle(path: Path) -> None:
    """Bring a file that was put in its place into the mode in which it is served.

    StageError when it is not there or not sound. Changing the mode ignores the busy timeout,
    so it is done once, before anybody has the file open.
    """
    if not path.is_file():
        raise StageError(f"There is no database {path}.")
    database = sqlite3.connect(path, timeout=_WAIT)
    try:
        said = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        if said == "ok":
            mode = str(database.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            said = "ok" if mode == "wal" else f"its journal mode stays {mode}"
    except sqlite3.DatabaseError as error:
        said = str(error)
    finally:
        database.close()
    if said != "ok":
        raise StageError(f"The database {path} cannot be served: {said}.")


def remove(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it."""
    for suffix in SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
