"""What backups ask of a SQLite database: `python -I - WORD FILE …`, this text on its input.

It runs in a container of the site's own image, whose SQLite the site writes with, and which
sees nothing but the directories of the files: they are the site's, and may be anything.
One line of JSON is printed; where something is wrong it is {"wrong": …}, and the status 1.

    copy LIVE TO             copy LIVE while it is written
    judge FILE               is it sound, what does it hold?
    count FILE               what does it hold?
    settle FILE              the same, once its log is part of it; it can be served then
    compare FILE MANIFEST    is it what was written down when it was copied?
    receive FILE             `settle` what is another stage's, without what its cache holds
"""

import json
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

_CACHE = {"cache_key", "value", "expires"}
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


def receive(path: Path) -> dict[str, Any]:
    """Django's database cache holds pickles, which are code to whoever reads them.

    Its table has any name, and these columns; what writes into it is no part of Django's.
    """
    settle(path)
    with closing(opened(path, to_write=True)) as database:
        database.execute("PRAGMA secure_delete=ON")  # else a free page has the rows
        for name, kind in caches(database):
            if kind != "table":
                raise Wrong(f"{name} is a {kind} with the columns of a cache")
            refuse_triggers(database, name)
            quoted = name.replace('"', '""')
            database.execute(f'DELETE FROM "{quoted}"')  # noqa: S608
            if counted(database, name):
                raise Wrong(f"{name}, a cache, cannot be emptied")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return judge(path, to_write=True)


def caches(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables and views from which django.core.cache.backends.db could read, each with its kind."""
    names = database.execute(
        "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')"
    ).fetchall()
    return [(name, kind) for name, kind in names if columns(database, name) >= _CACHE]


def columns(database: sqlite3.Connection, name: str) -> set[str]:
    try:
        found = database.execute("SELECT name FROM pragma_table_xinfo(?)", (name,))
        return {column.lower() for (column,) in found}
    except (
        sqlite3.OperationalError
    ):  # a view of what is not there, an extension's table
        return set()


def refuse_triggers(database: sqlite3.Connection, name: str) -> None:
    """One could fill it again later; whatever it does, it names the table."""
    found = database.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
    )
    for trigger, sql in found:
        if plain(name) in plain(sql):
            raise Wrong(f"its trigger {trigger} names {name}, which is a cache")


def plain(text: str) -> str:
    """Without the quotes of a name, which may be written in several ways."""
    return re.sub(r"[\"'`\[\]]", "", text).lower()


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
    "receive": receive,
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
