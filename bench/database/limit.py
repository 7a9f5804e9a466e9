"""What SQLite itself does: the same statements by one connection of one process, without Django."""

import itertools
import sqlite3
import time
from pathlib import Path
from random import randrange

ROWS = 10_000
_TABLE = (
    "CREATE TABLE entry (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, message TEXT,"
    " picture TEXT, created TEXT)"
)
_INSERT = "INSERT INTO entry (name, message, picture, created) VALUES ('n', ?, '', ?)"
_SELECT = "SELECT id, name, message, picture, created FROM entry WHERE id = ?"
_UPDATE = "UPDATE entry SET message = ? WHERE id = ?"


def limit(folder: Path, seconds: float) -> dict[str, float]:
    """How many of each operation in a second; a mixed one is an insert after four reads."""
    database = sqlite3.connect(folder / "limit.sqlite3", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(_TABLE)
    database.execute("BEGIN")
    database.executemany(_INSERT, itertools.repeat(("m" * 99, "2026"), ROWS))
    database.execute("COMMIT")
    turn = itertools.cycle((read, read, read, read, insert))
    rates = {
        "read one": rate(lambda: read(database), seconds),
        "insert one": rate(lambda: insert(database), seconds),
        "80/20": rate(lambda: next(turn)(database), seconds),
        "read, then write": rate(lambda: change(database), seconds),
    }
    database.close()
    return rates


def rate(operation, seconds: float) -> float:  # type: ignore[no-untyped-def]
    started, count = time.monotonic(), 0
    while (now := time.monotonic()) < started + seconds:
        operation()
        count += 1
    return count / (now - started)


def read(database: sqlite3.Connection) -> None:
    database.execute(_SELECT, (randrange(1, ROWS),)).fetchone()  # noqa: S311


def insert(database: sqlite3.Connection) -> None:
    database.execute(_INSERT, ("m" * 99, "2026-11-26"))


def change(database: sqlite3.Connection) -> None:
    key = randrange(1, ROWS)  # noqa: S311
    database.execute("BEGIN IMMEDIATE")
    database.execute(_SELECT, (key,)).fetchone()
    database.execute(_UPDATE, ("n" * 99, key))
    database.execute("COMMIT")
