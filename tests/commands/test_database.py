"""A snapshot in the database's place, and back, on real SQLite files."""

import os
import pwd
import sqlite3
import stat

import pytest

from stagetools.deploy.commands import database
from stagetools.deploy.steps import database as steps
from stagetools.errors import StageError


@pytest.fixture
def live(machine, layout):
    """The live database, with a log of writes beside it as a killed process leaves it."""
    own = pwd.getpwuid(os.getuid()).pw_name
    # as root would, with the account of the one who runs the test
    machine.program("install", f'shift 4; exec {_install()} -o {own} "$@"')
    path = machine.at(layout.system.database_sqlite_path)
    path.write_text("live")
    path.with_name(f"{path.name}-wal").write_text("live-wal")
    (machine.at(layout.backups_dir) / "before-R2.sqlite3").write_text("snapshot")
    return path


def _install() -> str:
    return next(p for p in ("/usr/bin/install", "/bin/install") if os.path.exists(p))  # noqa: PTH110


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_snapshot_takes_the_databases_place_which_is_kept(
    machine, layout, live
) -> None:
    machine.run(database.restore(layout, "before-R2", "R3"))
    assert live.read_text() == "snapshot"
    assert names(live.parent) == {"shop.sqlite3"}  # no log of the other database
    assert stat.S_IMODE(live.stat().st_mode) == 0o640
    backups = machine.at(layout.backups_dir)
    assert (backups / "replaced-R3.sqlite3").read_text() == "live"
    assert (backups / "replaced-R3.sqlite3-wal").read_text() == "live-wal"
    assert (backups / "before-R2.sqlite3").read_text() == "snapshot"


def test_it_is_undone_without_a_trace(machine, layout, live) -> None:
    machine.run(database.restore(layout, "before-R2", "R3"))
    live.with_name(f"{live.name}-wal").write_text("written by the release that failed")
    machine.run(database.put_back(layout, "R3"))
    assert live.read_text() == "live"
    assert live.with_name(f"{live.name}-wal").read_text() == "live-wal"
    assert names(machine.at(layout.backups_dir)) == {"before-R2.sqlite3"}


@pytest.mark.parametrize("content", [None, ""])
def test_a_snapshot_that_is_missing_or_empty_leaves_the_database(
    machine, layout, live, content: str | None
) -> None:
    path = machine.at(layout.backups_dir) / "before-R2.sqlite3"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert machine.attempt(database.restore(layout, "before-R2", "R3")).returncode != 0
    assert live.read_text() == "live"


def test_a_full_disk_leaves_the_database(machine, layout, live) -> None:
    machine.program("install", "exit 1")
    assert machine.attempt(database.restore(layout, "before-R2", "R3")).returncode != 0
    assert live.read_text() == "live"
    assert names(live.parent) == {"shop.sqlite3", "shop.sqlite3-wal"}


def test_the_restored_database_is_whole_for_sqlite(machine, layout, live) -> None:
    snapshot = machine.at(layout.backups_dir) / "before-R2.sqlite3"
    snapshot.unlink()
    for path, word in ((snapshot, "then"), (machine.root / "now", "now")):
        made = sqlite3.connect(path)
        made.execute("CREATE TABLE t (word TEXT)")
        made.execute("INSERT INTO t VALUES (?)", (word,))
        made.commit()
        made.close()
    (machine.root / "now").replace(live)
    live.with_name(f"{live.name}-wal").unlink()
    machine.run(database.restore(layout, "before-R2", "R3"))
    read = sqlite3.connect(live)
    assert read.execute("SELECT word FROM t").fetchall() == [("then",)]
    read.close()


def test_a_snapshots_age_is_told_in_the_largest_unit(machine, layout, live) -> None:
    path = machine.at(layout.backups_dir) / "before-R2.sqlite3"
    then = path.stat().st_mtime - 3 * 3600 - 5
    os.utime(path, (then, then))
    assert steps.snapshot_age(machine, layout, "before-R2") == "3 h"


def test_a_snapshot_that_was_pruned_is_told(machine, layout, live) -> None:
    with pytest.raises(StageError, match="before-R1 is no longer kept") as caught:
        steps.snapshot_age(machine, layout, "before-R1")
    assert caught.value.untouched
    assert caught.value.remedy


def test_what_an_interrupted_task_left_running_is_ended_first(machine, layout) -> None:
    machine.program("docker", "true")
    machine.run(database.run(layout, "R1", "plan"))
    first, second = machine.said
    assert first == "docker rm --force shop-prod-database"
    assert "--name shop-prod-database web python -m stagetools.database plan" in second
    assert "--rm --no-deps" in second
