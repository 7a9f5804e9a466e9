"""What backups ask of a SQLite database: `python -I - WORD FILE …`, this text on its input.

It runs in a container of the site's own image, whose SQLite the site writes with, and which
sees nothing but the directories of the files: they are the site's, and may be anything.
One line of JSON is printed; where something is wrong it is {"wrong": …}, and the status 1.

    copy LIVE TO             copy LIVE while it is written
    judge FILE               is it sound, what does it hold?
    count FILE               what does it hold?
    settle FILE              the same, once its log is part of it; it can be served then
    compare FILE MANIFEST    is it what was written down when it was copied?
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

WAIT = 60  # seconds for a lock that the live database's writers hold


class Wrong(Exception):  # noqa: N818 - what a database is, not an error of ours
    """Why a file is no database that could be served."""


def opened(path: Path, *, to_write: bool = False) -> sqlite3.Connection:
    mode = "rw" if to_write else "ro"
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=WAIT)


def copy(live: Path, to: Path) -> dict[str, Any]:
    """In one step: one in several begins again at every write, and may never end."""
    if not live.is_file():
        raise Wrong("there is no such file")
    with closing(opened(live)) as source, closing(sqlite3.connect(to)) as target:
        target.execute("PRAGMA journal_mode=OFF")
        target.execute("PRAGMA synchronous=OFF")
        source.backup(target, pages=-1)
    return {"bytes": to.stat().st_size}


def judge(path: Path, *, to_write: bool = False) -> dict[str, Any]:
    """What the database holds; Wrong where it is not sound."""
    if not path.is_file():
        raise Wrong("there is no such file")
    if path.stat().st_size == 0:
        raise Wrong("it is empty")
    with closing(opened(path, to_write=to_write)) as database:
        said = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise Wrong(f"it is damaged: {' '.join(str(said).split())}")
    return count(path, to_write=to_write)


def count(path: Path, *, to_write: bool = False) -> dict[str, Any]:
    """What the database holds, in one moment."""
    with closing(opened(path, to_write=to_write)) as database:
        database.execute("BEGIN")
        tables = rows(database)
        if not tables:
            raise Wrong("it has no tables")
        return {
            "bytes": path.stat().st_size,
            "rows": sum(count or 0 for count in tables.values()),
            "made": int(time.time()),
            "migrations": migrations(database, tables),
            "tables": tables,
        }


def rows(database: sqlite3.Connection) -> dict[str, int | None]:
    """How many each table has; None where this SQLite cannot read the table."""
    names = database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table'"
        " AND name NOT LIKE 'sqlite^_%' ESCAPE '^'"
        " AND name NOT LIKE '^_litestream^_%' ESCAPE '^' ORDER BY name"
    ).fetchall()
    return {name: counted(database, name) for (name,) in names}


def counted(database: sqlite3.Connection, name: str) -> int | None:
    quoted = name.replace('"', '""')
    try:
        found = database.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()  # noqa: S608
    except sqlite3.OperationalError:  # an extension's virtual table
        return None
    return int(found[0])


def migrations(
    database: sqlite3.Connection, tables: dict[str, int | None]
) -> list[str]:
    """Those that were applied, oldest first: `shop.0002_price`."""
    if "django_migrations" not in tables:
        return []
    found = database.execute("SELECT app, name FROM django_migrations ORDER BY id")
    return [f"{app}.{name}" for app, name in found]


def settle(path: Path) -> dict[str, Any]:
    """Changing the mode takes in what a log beside it holds."""
    if path.is_file() and path.stat().st_size == 0:
        raise Wrong("it is empty")
    judge(path)  # before anything is written to it
    with closing(opened(path, to_write=True)) as database:
        mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if mode != "wal":
        raise Wrong(f"its journal mode stays {mode}")
    return judge(path, to_write=True)  # which leaves no empty log behind


def compare(path: Path, manifest: Path) -> dict[str, Any]:
    """Wrong where a table has other rows than were counted."""
    found, written = judge(path), json.loads(manifest.read_text())
    for table, many in written["tables"].items():
        there = found["tables"].get(table)
        if there != many:
            raise Wrong(
                f"{table} has {there} rows, and {many} were counted in the backup"
            )
    return found


WORDS: dict[str, Callable[..., dict[str, Any]]] = {
    "copy": copy,
    "judge": judge,
    "count": count,
    "settle": settle,
    "compare": compare,
}


def main(word: str, *paths: str) -> None:
    try:
        said = WORDS[word](*(Path(path) for path in paths))
    except Wrong as error:
        said = {"wrong": str(error)}
    except (sqlite3.Error, OSError, ValueError, KeyError) as error:
        said = {"wrong": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.exit("wrong" in said)


if __name__ == "__main__":
    main(*sys.argv[1:])
