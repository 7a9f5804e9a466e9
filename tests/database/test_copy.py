"""Copies of a real SQLite file while somebody writes to it, and Django on one of them."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stagetools.database import run
from stagetools.database.copy import SUFFIXES, copy, integrity, remove, settle
from stagetools.errors import StageError


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A database in WAL mode, whose two tables always say the same."""
    path = tmp_path / "live" / "shop.sqlite3"
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE a (n INTEGER)")
    database.execute("CREATE TABLE b (n INTEGER)")
    database.executemany("INSERT INTO a VALUES (?)", [(n,) for n in range(2000)])
    database.executemany("INSERT INTO b VALUES (?)", [(n,) for n in range(2000)])
    database.commit()
    database.close()
    return path


@contextmanager
def written(path: Path) -> Iterator[Callable[[], int]]:
    """Somebody writes to both tables, a transaction after the other."""
    over, count = threading.Event(), [0]

    def write() -> None:
        database = sqlite3.connect(path, timeout=10, isolation_level=None)
        while not over.is_set():
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO a VALUES (?)", (count[0],))
            database.execute("INSERT INTO b VALUES (?)", (count[0],))
            database.execute("COMMIT")
            count[0] += 1
        database.close()

    writer = threading.Thread(target=write)
    writer.start()
    while not count[0]:
        pass
    yield lambda: count[0]
    over.set()
    writer.join()


def rows(path: Path, table: str = "a") -> int:
    database = sqlite3.connect(path)
    (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    database.close()
    return int(count)


def beside(path: Path) -> set[str]:
    return {other.name for other in path.parent.iterdir()}


def test_a_copy_is_of_one_moment_while_somebody_writes(live, tmp_path) -> None:
    with written(live) as count:
        for number in range(3):
            to = tmp_path / f"copy-{number}.sqlite3"
            before = count()
            copy(live, to)
            assert rows(to, "a") == rows(to, "b") >= 2000 + before
            assert integrity(to) == "ok"


def test_what_was_written_before_is_in_it_also_from_the_log(live, tmp_path) -> None:
    writer = sqlite3.connect(live)
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO a VALUES (1)")
    writer.commit()
    copy(live, tmp_path / "copy.sqlite3")
    writer.close()
    assert rows(tmp_path / "copy.sqlite3") == 2001


def test_what_is_not_committed_is_not_in_it_and_not_waited_for(live, tmp_path) -> None:
    writer = sqlite3.connect(live, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO a VALUES (1)")
    copy(live, tmp_path / "copy.sqlite3")
    writer.execute("ROLLBACK")
    writer.close()
    assert rows(tmp_path / "copy.sqlite3") == 2000


def test_a_copy_replaces_the_one_before_and_leaves_nothing_beside(
    live, tmp_path
) -> None:
    to = tmp_path / "copies" / "copy.sqlite3"
    to.parent.mkdir()
    to.write_text("older")
    to.with_name("copy.sqlite3.part").write_text("half, of an interrupted one")
    copy(live, to)
    assert rows(to) == 2000
    assert beside(to) == {"copy.sqlite3"}


def test_a_copy_that_fails_leaves_the_one_before(live, tmp_path) -> None:
    to = tmp_path / "copy.sqlite3"
    to.write_text("older")
    live.write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        copy(live, to)
    assert to.read_text() == "older"


def test_a_database_that_is_not_there_is_not_made(tmp_path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        copy(tmp_path / "none.sqlite3", tmp_path / "copy.sqlite3")
    assert not (tmp_path / "none.sqlite3").exists()
    assert not (tmp_path / "copy.sqlite3").exists()


@pytest.mark.parametrize("name", ["a b", "what?mode=rw", "50%20", "#1", "größe"])
def test_a_path_is_a_path_whatever_it_holds(live, tmp_path, name: str) -> None:
    odd = tmp_path / f"{name}.sqlite3"
    live.rename(odd)
    copy(odd, tmp_path / "copy.sqlite3")
    assert rows(tmp_path / "copy.sqlite3") == 2000


def test_a_sound_file_is_ok(live) -> None:
    assert integrity(live) == "ok"


def test_a_broken_page_is_told(live) -> None:
    content = bytearray(live.read_bytes())
    content[4096:4196] = b"\xff" * 100
    live.write_bytes(bytes(content))
    try:
        said = integrity(live)
    except sqlite3.DatabaseError as error:
        said = str(error)
    assert said != "ok"


def test_a_row_that_refers_to_nothing_is_told(tmp_path) -> None:
    path = tmp_path / "x.sqlite3"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE item (id INTEGER PRIMARY KEY)")
    database.execute("CREATE TABLE sale (item INTEGER REFERENCES item (id))")
    database.execute("INSERT INTO sale VALUES (7)")
    database.commit()
    database.close()
    assert integrity(path) == "a row of sale refers to nothing"


def test_removing_takes_what_sqlite_keeps_beside(tmp_path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"x.sqlite3{suffix}").write_text("")
    (tmp_path / "x.sqlite3-other").write_text("")
    remove(tmp_path / "x.sqlite3")
    remove(tmp_path / "x.sqlite3")
    assert [path.name for path in tmp_path.iterdir()] == ["x.sqlite3-other"]


# --- Django on a copy ---------------------------------------------------------------------

COLUMN = "ALTER TABLE a ADD COLUMN more INTEGER"


@pytest.fixture
def on_live(database: Path, live: Path) -> Path:
    """Django's database is the live one."""
    from django.db import connection

    connection.settings_dict["NAME"] = str(live)
    return live


def execute(statement: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_on_a_copy_django_writes_there_and_the_live_one_stays(on_live) -> None:
    with run.on_a_copy("rehearsal.sqlite3") as seconds:
        assert seconds > 0
        assert run.live_path().name == "rehearsal.sqlite3"
        execute(COLUMN)
        execute("DELETE FROM b")
    assert run.live_path() == on_live
    assert rows(on_live, "b") == 2000
    assert not [name for name in beside(on_live) if "rehearsal" in name]


def test_on_a_copy_writers_of_the_live_one_are_not_kept_waiting(on_live) -> None:
    with written(on_live) as count, run.on_a_copy("rehearsal.sqlite3"):
        execute("BEGIN IMMEDIATE")
        before = count()
        while count() < before + 3:
            pass
        execute("ROLLBACK")


def test_a_copy_goes_also_when_the_migrations_fail(on_live) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        run.on_a_copy("rehearsal.sqlite3"),
    ):
        raise ZeroDivisionError
    assert run.live_path() == on_live
    assert not [name for name in beside(on_live) if "rehearsal" in name]


def test_a_copy_that_is_not_sound_afterwards_is_refused(on_live) -> None:
    def leave_an_orphan() -> None:
        with run.on_a_copy("rehearsal.sqlite3"):
            execute("PRAGMA foreign_keys=OFF")
            execute("CREATE TABLE sale (item INTEGER REFERENCES a (n))")
            execute("CREATE UNIQUE INDEX one ON a (n)")
            execute("INSERT INTO sale VALUES (999999)")

    with pytest.raises(
        RuntimeError, match="not sound: a row of sale refers to nothing"
    ):
        leave_an_orphan()


def test_what_an_interrupted_rehearsal_left_is_in_nobodys_way(on_live) -> None:
    for suffix in SUFFIXES:
        on_live.with_name(f"rehearsal.sqlite3{suffix}").write_text("half")
    with run.on_a_copy("rehearsal.sqlite3"):
        execute(COLUMN)
    assert not [name for name in beside(on_live) if "rehearsal" in name]


# --- a file that was put in its place -----------------------------------------------------


def mode(path: Path) -> str:
    database = sqlite3.connect(path)
    (found,) = database.execute("PRAGMA journal_mode").fetchone()
    database.close()
    return str(found)


def test_a_copy_is_settled_in_the_mode_in_which_it_is_served(live, tmp_path) -> None:
    copy(live, tmp_path / "copy.sqlite3")
    database = sqlite3.connect(tmp_path / "copy.sqlite3")
    assert database.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    database.close()
    settle(tmp_path / "copy.sqlite3")
    settle(tmp_path / "copy.sqlite3")
    assert mode(tmp_path / "copy.sqlite3") == "wal"
    assert rows(tmp_path / "copy.sqlite3") == 2000


def test_what_is_not_there_or_not_sound_is_not_settled(live, tmp_path) -> None:
    with pytest.raises(StageError, match="There is no database"):
        settle(tmp_path / "none.sqlite3")
    assert not (tmp_path / "none.sqlite3").exists()
    live.write_bytes(b"no database at all" * 100)
    with pytest.raises(StageError, match="cannot be served: file is not a database"):
        settle(live)
