"""Writers of one SQLite database take turns, in threads and in processes, whoever is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stagetools.settings import turns
from tests.library.sites import Site

REPOSITORY = Path(__file__).parents[2]
FIRST_IN_LINE = """
import sys, time
from stagetools.settings import turns
from tests.library.sites import Site
line = turns.Line(sys.argv[1])
since = time.monotonic() - 1
line.lead(since)
print("leads", flush=True)
while True:
    line.lead(since)
    time.sleep(0.005)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "shop.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, who TEXT)")
    return file


def connect(path: Path | str, timeout: float = 5) -> turns.Connection:
    database = sqlite3.connect(
        path,
        timeout=timeout,
        isolation_level=None,
        factory=turns.Connection,
        check_same_thread=False,
    )
    assert isinstance(database, turns.Connection)
    return database


@pytest.fixture
def holder(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who knows no turns and is writing: `sqlite3`, another program."""
    with closing(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ) as database:
        database.execute("BEGIN IMMEDIATE")
        yield database


class Writer(threading.Thread):
    """Writes its name once."""

    def __init__(self, path: Path, name: str, timeout: float = 5) -> None:
        super().__init__(name=name, daemon=True)
        self.database = connect(path, timeout)
        self.failure: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with closing(self.database):
                write(self.database, self.name)
        except sqlite3.Error as error:
            self.failure = error


def write(database: sqlite3.Connection, who: str) -> Any:
    return database.execute(
        "INSERT INTO line (who) VALUES (?) RETURNING id", (who,)
    ).fetchone()


def written(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [who for (who,) in database.execute("SELECT who FROM line ORDER BY id")]


@pytest.fixture
def first_in_line(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process, which has waited longer than anybody here."""
    words = [sys.executable, "-c", FIRST_IN_LINE, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_whoever_has_waited_longest_goes_first(
    path: Path, holder: sqlite3.Connection
) -> None:
    longest = Writer(path, "a")
    time.sleep(10 * turns.POLITE)
    others = [Writer(path, name) for name in "bcdefgh"]
    time.sleep(10 * turns.POLITE)
    holder.execute("COMMIT")
    for writer in (longest, *others):
        writer.join(5)
    assert written(path)[0] == "a"
    assert sorted(written(path)) == list("abcdefgh")


def test_somebody_who_comes_later_goes_behind_another_process(
    path: Path, first_in_line: "subprocess.Popen[bytes]"
) -> None:
    writer = Writer(path, "later")
    time.sleep(0.3)
    assert written(path) == []
    first_in_line.kill()
    writer.join(5)
    assert written(path) == ["later"]


@pytest.mark.parametrize("fate", [signal.SIGKILL, signal.SIGSTOP])
def test_nobody_waits_for_a_dead_or_frozen_one(
    path: Path, first_in_line: "subprocess.Popen[bytes]", fate: signal.Signals
) -> None:
    os.kill(first_in_line.pid, fate)
    begun = time.monotonic()
    with closing(connect(path)) as database:
        write(database, "alive")
    assert time.monotonic() - begun < 2  # and not the timeout of 5 s


def test_a_line_that_never_moves_delays_and_refuses_nobody(
    path: Path, first_in_line: "subprocess.Popen[bytes]"
) -> None:
    with closing(connect(path, timeout=0.3)) as database:
        write(database, "late")
    assert written(path) == ["late"]


def test_a_writer_gives_up_after_its_timeout_with_sqlites_own_words(
    path: Path, holder: sqlite3.Connection
) -> None:
    begun = time.monotonic()
    with closing(connect(path, timeout=0.5)) as database:
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            database.execute("BEGIN IMMEDIATE")
        assert 0.5 <= time.monotonic() - begun < 3
        holder.execute("COMMIT")
        write(database, "again")
    assert written(path) == ["again"]


def test_who_gave_up_is_in_nobodys_way(path: Path, holder: sqlite3.Connection) -> None:
    writer = Writer(path, "gave up", timeout=0.2)
    writer.join(5)
    assert "locked" in str(writer.failure)
    assert turns.Line(str(path)).read() == (0, 0)


def test_writers_in_one_transaction_after_another_lose_nothing(path: Path) -> None:
    def work(name: str) -> None:
        with closing(connect(path)) as database:
            for _ in range(25):
                database.execute("BEGIN IMMEDIATE")
                (before,) = database.execute("SELECT count(*) FROM line").fetchone()
                database.execute("SAVEPOINT inner")
                write(database, f"{before}")
                database.execute("RELEASE inner")
                database.commit()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert written(path) == [str(number) for number in range(200)]


def test_a_row_that_a_write_returns_keeps_nobody_waiting(path: Path) -> None:
    """SQLite would hold its lock until the row has been fetched."""
    with closing(connect(path)) as one, closing(connect(path, timeout=0)) as other:
        answer = one.execute("INSERT INTO line (who) VALUES ('a'), ('b') RETURNING who")
        write(other, "c")
        assert answer.fetchone() == ("a",)
        assert answer.fetchmany(5) == [("b",)]
        assert answer.fetchone() is None
        assert list(one.execute("SELECT who FROM line")) == [("a",), ("b",), ("c",)]


def test_a_reader_and_a_write_of_many_rows_wait_as_ever(
    path: Path, holder: sqlite3.Connection
) -> None:
    with closing(connect(path)) as database:
        assert database.execute("SELECT count(*) FROM line").fetchall() == [(0,)]
        threading.Timer(0.3, holder.execute, ("COMMIT",)).start()
        database.executemany("INSERT INTO line (who) VALUES (?)", ((c,) for c in "ab"))
    assert written(path) == ["a", "b"]


def test_an_error_that_is_no_lock_is_raised_at_once(path: Path) -> None:
    with closing(connect(path)) as database:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            database.execute("INSERT INTO nobody VALUES (1)")
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
            database.execute("BEGIN IMMEDIATE")


def test_a_snapshot_that_is_too_old_is_not_tried_again(path: Path) -> None:
    with closing(connect(path)) as old, closing(connect(path)) as new:
        old.execute("BEGIN")
        old.execute("SELECT * FROM line").fetchall()
        write(new, "newer")
        begun = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write(old, "older")
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory&cache=shared"])
def test_a_database_in_memory_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    database = sqlite3.connect(name, uri=True, factory=turns.Connection)
    with closing(database):
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (1)")
    assert not list(tmp_path.iterdir())


def test_where_the_file_cannot_be_made_writers_wait_all_the_same(
    path: Path, holder: sqlite3.Connection
) -> None:
    path.with_name(f"{path.name}-turns").mkdir()  # as good as a directory of another's
    writer = Writer(path, "a")
    time.sleep(0.1)
    holder.execute("COMMIT")
    writer.join(5)
    assert written(path) == ["a"]
    assert turns.Line(str(path)).file == -1


IN_DJANGO = """
import threading
import aaa_env_setup
import django
django.setup()
from django.db import connection, transaction
from shop.models import Item

def work():
    for _ in range(25):
        with transaction.atomic():
            item = Item.objects.get(pk=first.pk)
            with transaction.atomic():
                item.name = str(int(item.name) + 1)
                item.save()
        Item.objects.create(name="written at once")
    connection.close()

first = Item.objects.create(name="0")
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
first.refresh_from_db()
print(first.name, Item.objects.count(), type(connection.connection).__module__)
"""


def test_djangos_writers_take_turns_and_nested_transactions_are_one(
    ready: Site,
) -> None:
    done = ready.run("-c", IN_DJANGO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["200", "201", "stagetools.settings.turns"]


def test_a_transaction_that_would_wait_for_ever_fails_at_once(
    path: Path, holder: sqlite3.Connection
) -> None:
    """SQLite does not let one wait that has read: its snapshot would be too old."""
    with closing(connect(path)) as database:
        database.execute("BEGIN")
        database.execute("SELECT * FROM line").fetchall()
        begun = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write(database, "late")
        assert time.monotonic() - begun < 2


def test_a_transaction_that_begins_without_a_lock_waits_as_ever(
    path: Path, holder: sqlite3.Connection
) -> None:
    with closing(connect(path)) as database:
        database.execute("BEGIN")
        threading.Timer(0.3, holder.execute, ("COMMIT",)).start()
        write(database, "a")
        database.commit()
    assert written(path) == ["a"]
