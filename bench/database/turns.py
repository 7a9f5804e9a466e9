"""Writers of one SQLite database take turns: whoever has waited longest goes next.

SQLite lets a refused writer sleep longer each time, up to 0.1 s, and whoever comes meanwhile
goes first: among many writers a few wait a second. `Connection` is what `sqlite3.connect`
makes when it stands in DATABASES as OPTIONS["factory"].

The order is no lock, only a place to look: SQLite's lock alone decides who writes. Nothing
is held that somebody killed could leave behind, and where the file cannot be written the
turns are those of one process.
"""

import os
import re
import sqlite3
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from time import monotonic, sleep
from typing import Any

POLITE = 0.02
"""Seconds in which SQLite's own way may do: it is the fastest where few write."""
OFTEN, NOW_AND_THEN = 0.0003, 0.002
"""Seconds between two tries of the first in the line, and of others."""
BEHIND = (0.001, 0.01)
"""Seconds at least and at most until one behind another looks again."""
SIGN_OF_LIFE = 0.05
"""Seconds after which the first in the line is thought dead."""

_WRITES = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|REPLACE|BEGIN\s+(?:IMMEDIATE|EXCLUSIVE))\b", re.I
)
_PLACE = struct.Struct("dd")


class Line:
    """Who is first: since when it waits, and when it last said so (the machine's uptime).

    Sixteen bytes in a file beside the database, which all processes read and write.
    """

    def __init__(self, database: str) -> None:
        self.file = -1
        self.memory = _PLACE.pack(0, 0)
        if database and not database.startswith((":memory:", "file:")):
            with suppress(OSError):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self.file = os.open(f"{database}-turns", flags, 0o660)

    def ahead(self, since: float) -> float:
        """By how many seconds somebody alive has waited longer, or 0."""
        first, seen = self.read()
        is_alive = 0 <= monotonic() - seen < SIGN_OF_LIFE
        return since - first if 0 < first < since and is_alive else 0.0

    def lead(self, since: float) -> None:
        self.write(since, monotonic())

    def leave(self, since: float) -> None:
        if self.read()[0] == since:
            self.write(0, 0)

    def read(self) -> tuple[float, float]:
        place = os.pread(self.file, _PLACE.size, 0) if self.file >= 0 else self.memory
        first, seen = _PLACE.unpack(place) if len(place) == _PLACE.size else (0, 0)
        return first, seen

    def write(self, first: float, seen: float) -> None:
        self.memory = _PLACE.pack(first, seen)
        if self.file >= 0:
            with suppress(OSError):  # a full disk: those behind wait as they can
                os.pwrite(self.file, self.memory, 0)


line_of = cache(Line)


class Connection(sqlite3.Connection):
    """One that waits `timeout` seconds, as ever, and takes its turn when it writes."""

    def __init__(self, database: Any, timeout: float = 5.0, **more: Any) -> None:
        super().__init__(database, timeout=min(timeout, POLITE), **more)
        self.timeout = timeout
        self.line = line_of(os.fsdecode(database))

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        return super().cursor(_taking_turns(factory))

    def execute(self, *words: Any) -> Any:
        """By a cursor of ours, which sqlite3's own shortcut would not take."""
        return self.cursor().execute(*words)

    def executemany(self, *words: Any) -> Any:
        return self.cursor().executemany(*words)

    def commit(self) -> None:
        self.patiently(super().commit)

    def executescript(self, script: str) -> sqlite3.Cursor:
        with self.waiting(self.timeout):
            return super().executescript(script)

    def patiently(self, run: Callable[[], object]) -> None:
        """Refused, it has changed nothing: SQLite itself waits then, where that can help."""
        if not _done(run, may_fail=self.timeout > POLITE):
            with self.waiting(self.timeout):
                run()

    def in_turn(self, run: Callable[[], object]) -> None:
        """For a statement that begins to write."""
        since = monotonic()
        if not self.line.ahead(since) and _done(run, may_fail=self.timeout > POLITE):
            return
        try:
            with self.waiting(0):
                self.in_line(run, since)
        finally:
            self.line.leave(since)

    def in_line(self, run: Callable[[], object], since: float) -> None:
        """Until it has been done: nobody who came later goes first."""
        deadline = since + self.timeout
        while True:
            # at the end SQLite has the last word, and the error is its own
            late = monotonic() > deadline
            ahead = self.line.ahead(since)
            if ahead and not late:
                sleep(min(max(ahead / 2, BEHIND[0]), BEHIND[1]))
                continue
            is_first = monotonic() > since + POLITE
            if is_first:
                self.line.lead(since)
            if _done(run, may_fail=not late):
                return
            sleep(OFTEN if is_first else NOW_AND_THEN)

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """SQLite's own waiting, set for a while."""
        self.set_waiting(seconds)
        try:
            yield
        finally:
            self.set_waiting(min(self.timeout, POLITE))

    def set_waiting(self, seconds: float) -> None:
        sqlite3.Cursor(self).execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


class _Turns:
    """What a cursor does differently; its class is made with the one that Django wants."""

    connection: Connection
    description: Any
    arraysize: int
    _rows: deque[Any] | None = None

    def execute(self, query: str, *parameters: Any) -> Any:
        self._rows = None
        execute = super().execute  # type: ignore[misc]
        connection = self.connection
        if connection.in_transaction or not _WRITES.match(query):
            connection.patiently(lambda: execute(query, *parameters))
        else:
            connection.in_turn(lambda: self._write(execute, query, *parameters))
        return self

    def _write(self, execute: Any, *words: Any) -> None:
        """A statement that returns rows ends with the last of them, and the next waits for it."""
        execute(*words)
        if self.description and not self.connection.in_transaction:
            self._rows = deque(super().fetchall())  # type: ignore[misc]

    def executemany(self, query: str, rows: Any) -> Any:
        """Not tried again: outside of a transaction the first rows would stay written."""
        with self.connection.waiting(self.connection.timeout):
            return super().executemany(query, rows)  # type: ignore[misc]

    def __next__(self) -> Any:
        if self._rows is None:
            return super().__next__()  # type: ignore[misc]
        if not self._rows:
            raise StopIteration
        return self._rows.popleft()

    def fetchone(self) -> Any:
        if self._rows is None:
            return super().fetchone()  # type: ignore[misc]
        return next(self, None)

    def fetchmany(self, size: int | None = None) -> Any:
        size = self.arraysize if size is None else size
        if self._rows is None:
            return super().fetchmany(size)  # type: ignore[misc]
        return [self._rows.popleft() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> Any:
        if self._rows is None:
            return super().fetchall()  # type: ignore[misc]
        return self.fetchmany(len(self._rows))


@cache
def _taking_turns(factory: type[sqlite3.Cursor]) -> type[sqlite3.Cursor]:
    return type(factory.__name__, (_Turns, factory), {})


def _done(run: Callable[[], object], *, may_fail: bool) -> bool:
    """Whether it was; False when another one writes."""
    try:
        run()
    except sqlite3.OperationalError as error:
        if may_fail and _is_busy(error):
            return False
        raise
    return True


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Locked by somebody else for now; a snapshot that is too old will not do later either."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT
