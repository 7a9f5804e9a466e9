"""`inv restore` on a server in memory: what is refused, in which order, and what then serves."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagetools.deploy.facts import Record
from stagetools.deploy.replicas import Replica
from stagetools.deploy.steps import backup
from stagetools.deploy.tasks.backups import restoring
from stagetools.deploy.tasks.change import Change
from stagetools.errors import StageError, UsageError
from tests.steps.conftest import OLD
from tests.steps.scripted import failure
from tests.steps.world import Scene

KNOWN = ["auth.0001", "shop.0001", "shop.0002"]
NEW = "20260131-080000-0000000"
LISTED = (
    'snapshots=[{"time": "2026-01-31T02:17:03.5Z", "id": "5c1438aa00", "tags":'
    ' ["kind=nightly", "database=4096", "rows=2", "media=5"]}]\n'
    "file=100 1769700000.5 before-R2.sqlite3\n"
)


def contents(migrations: list[str] = KNOWN, **tables: int) -> str:
    return json.dumps(
        {
            "bytes": 4096,
            "rows": 1,
            "made": 5,
            "migrations": migrations,
            "tables": tables,
        }
    )


def taken(migrations: list[str] = KNOWN, **tables: int) -> str:
    """What the server prints of a database beside a live one with 120 rows."""
    return (
        f"found={contents(migrations, **tables)}\nlive={contents(entry=120, gone=3)}\n"
    )


@pytest.fixture
def desk(layout, config, deployed, monkeypatch) -> Callable[..., Scene]:
    """A stage on which `OLD` serves."""

    def desk(*, yes: bool = True, said: Any = None, engine: str = "") -> Scene:
        answers = {
            "backup.repository.listed": LISTED,
            "backup.repository.take": taken(entry=100),
            "backup.repository.uploads": "uploads=2\n",
            "database.known": json.dumps({"known": KNOWN}),
        } | (said or {})
        monkeypatch.setattr(
            Change, "new_name", lambda change, of: f"20260131-080000-{of}"
        )
        facts = replace(deployed, record=Record(release=OLD, database=engine))
        facts = facts if engine else deployed
        return Scene(layout, config, facts, yes=yes, answers=answers)

    return desk


def refused(scene: Scene, what: str = "latest") -> StageError:
    with pytest.raises(StageError) as caught:
        restoring.restore(scene.session, what)
    assert caught.value.remedy
    assert scene.world.visitors == OLD
    assert scene.world.copies == set()
    return caught.value


STAYS = f"{OLD} goes on serving. Its database was not touched."


def test_the_latest_serves_after_it_was_said_what_is_lost(desk) -> None:
    scene = desk()
    restoring.restore(scene.session, "latest")
    assert scene.steps == [
        *("Prepare", "Restore", "Migrate", "Uploads", "Start", "Switch", "Drain"),
        *("Clean up", "Prune"),
    ]
    said = scene.output.getvalue()
    assert "entry: 120 rows now, 100 rows then\ngone: 3 rows now, no table then" in said
    assert "written since 2026-01-31 02:17:03 UTC" in said
    world, own = scene.world, scene.layout.data_copy(world_name(scene))
    assert world.of("backup.repository.take")["source"] == "5c1438aa"
    assert f"STAGETOOLS_DATA={own}\n" in world.sent["files.write_text"].decode()
    assert "--exact" in world.of("compose.probe")["words"]
    assert world.of("data.retire")["live"] == own
    assert not world.ever_held
    assert "database.migrate" not in world.names  # it has them all
    assert (scene.written.why, scene.written.origin) == ("restore", OLD)


def world_name(scene: Scene) -> str:
    return scene.written.release


def test_a_database_of_the_projects_own_is_not_touched_and_uploads_come_back(
    desk,
) -> None:
    scene = desk(engine="postgresql")
    restoring.restore(scene.session, "latest")
    assert scene.steps == ["Uploads"]
    assert "The database is PostgreSQL, the project's own" in scene.output.getvalue()
    error = refused(desk(engine="postgresql"), "before-R2")
    assert "inv restore cannot put another in its place" in error.what


def test_a_kept_copy_has_no_uploads(desk) -> None:
    scene = desk()
    restoring.restore(scene.session, "before-R2")
    assert "Uploads" not in scene.steps
    assert scene.world.of("backup.repository.take")["source"] == "before-R2"


def test_as_many_rows_as_then_are_not_passed_over_in_silence(desk) -> None:
    scene = desk(said={"backup.repository.take": taken(entry=120, gone=3)})
    restoring.restore(scene.session, "latest")
    assert "every table has as many rows now as then" in scene.output.getvalue()


def test_an_older_schema_is_brought_up_on_the_copy(desk) -> None:
    scene = desk(said={"backup.repository.take": taken(KNOWN[:2], entry=100)})
    restoring.restore(scene.session, "latest")
    names = scene.world.names
    assert names.index("database.migrate") < names.index("compose.start_beside")
    assert scene.world.of("database.migrate")["release"] == scene.written.release


@pytest.mark.parametrize(
    ("migrations", "said"),
    [
        ([*KNOWN, "shop.0003"], "5c1438aa has migrations that the release does not know: shop.0003."),
        (["auth.0001", "blog.0001"], "it has blog, and lacks shop"),
        ([], "it has no migrations of Django's"),
    ],
)  # fmt: skip
def test_another_database_is_refused_before_anybody_is_asked(
    desk, migrations: list[str], said: str
) -> None:
    scene = desk(said={"backup.repository.take": taken(migrations, entry=1)})
    error = refused(scene)
    assert said in error.what
    assert error.untouched == STAYS
    assert "Continue?" not in scene.output.getvalue()
    assert "compose.start_beside" not in scene.world.names


@pytest.mark.parametrize(
    "migrations",
    [
        ["gone.0001", *KNOWN],  # an app that was removed since
        ["auth.0001", "shop.0000_squashed_since", "shop.0001", "shop.0002"],
    ],
)
def test_what_was_removed_since_is_no_other_project_s(
    desk, migrations: list[str]
) -> None:
    scene = desk(said={"backup.repository.take": taken(migrations, entry=1)})
    restoring.restore(scene.session, "latest")
    assert scene.world.visitors == scene.written.release


@pytest.mark.parametrize("what", ["latest", "before-R2"])
def test_a_disk_that_is_too_small_is_told_beforehand(desk, what: str) -> None:
    much = LISTED.replace("=4096", f"={6 * 2**30}").replace("=100 ", f"={6 * 2**30} ")
    scene = desk(said={"backup.repository.listed": much})
    error = refused(scene, what)
    assert "has 10.7 GB free; the restore may need 13.1 GB." in error.what
    assert error.untouched == "Nothing was changed."
    assert "backup.repository.take" not in scene.world.names


def test_a_file_and_a_moment_that_the_disk_has_no_room_for_are_told_too(
    desk, copied, file
) -> None:
    for scene, what, at in (
        (desk(), str(file), ""),
        (copied(), "", "2026-01-20 14:05"),  # nobody knows its size but the live one's
    ):
        scene.world.facts = replace(scene.facts, disk_free=10**5, database=10**5)
        with pytest.raises(StageError, match="the restore may need"):
            restoring.restore(scene.session, what, at=at)
        assert scene.world.visitors == OLD


def test_uploads_that_are_in_a_backup_need_no_room(desk) -> None:
    """Most are there already: a site with many could never be restored."""
    much = LISTED.replace("media=5", f"media={10**12}")
    scene = desk(said={"backup.repository.listed": much})
    restoring.restore(scene.session, "latest")
    assert scene.world.visitors == scene.written.release


def test_what_the_server_cannot_use_is_told_in_its_words(desk) -> None:
    said = "It cannot be restored: it is damaged: row 5 missing\n"
    scene = desk(said={"backup.repository.take": failure(said)})
    error = refused(scene)
    assert error.what == "Restore: It cannot be restored: it is damaged: row 5 missing"
    assert error.untouched == STAYS


def test_nothing_is_lost_unless_the_answer_is_yes(desk) -> None:
    error = refused(desk(yes=False))
    assert "will be lost from the live database (a copy is kept)" in error.what
    assert error.untouched == STAYS


@pytest.mark.parametrize(
    "fails", ["database.migrate", "backup.repository.uploads", "traffic.switch"]
)
def test_a_failure_at_any_step_leaves_the_live_one(desk, fails: str) -> None:
    said = {"backup.repository.take": taken(KNOWN[:1], entry=1), fails: failure("no")}
    assert refused(desk(said=said)).untouched == STAYS


def test_one_that_is_not_well_on_it_never_serves(desk) -> None:
    sick = failure('{"well": false, "said": "503 no"}\n')
    assert "503 no" in refused(desk(said={"compose.probe": sick})).what


def test_what_is_not_listed_is_told_before_anything_is_done(desk) -> None:
    scene = desk()
    with pytest.raises(UsageError, match="There is no backup 'other'"):
        restoring.restore(scene.session, "other")
    assert scene.world.names == ["server.look", "backup.repository.listed"]
    with pytest.raises(UsageError, match="There is no backup yet"):
        restoring.restore(
            desk(said={"backup.repository.listed": "snapshots=[]\n"}).session, "latest"
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"what": ""}, "Nothing was named"),
        (
            {"what": "", "at": "2026-11-20 14:05"},
            "--at needs a database that is copied",
        ),
        ({"what": "latest", "at": "2026-11-20 14:05"}, "--at and latest name two"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(desk, words: dict, said: str) -> None:
    scene = desk()
    with pytest.raises(UsageError, match=said):
        restoring.restore(scene.session, **words)
    assert scene.world.names == []


# --- a moment ---------------------------------------------------------------------------------


@pytest.fixture
def copied(desk) -> Callable[..., Scene]:
    """The same with a replica, whose last moment before the one asked for was 14:04:58."""

    def copied(**options: Any) -> Scene:
        said = {
            "backup.repository.take": f"copied=2026-01-20T14:04:58Z\n{taken(entry=100)}"
        }
        scene = desk(said=said, **options)
        replica = Replica(url="s3://bucket/shop")
        scene.session = replace(
            scene.session, config=replace(scene.session.config, replica=replica)
        )
        return scene

    return copied


def test_a_moment_is_served_and_what_was_written_since_is_told(copied) -> None:
    scene = copied()
    restoring.restore(scene.session, "", at="2026-01-20 14:05")
    given = scene.world.of("backup.repository.take")
    assert given["source"] == "at=2026-01-20T14:05:00Z"
    said = " ".join(scene.output.getvalue().split())
    assert "entry: 120 rows now, 100 rows then" in said
    assert "written since 2026-01-20 14:04:58 UTC" in said
    assert "serves the database of 2026-01-20 14:05:00 UTC, as" in said
    assert "backup.repository.uploads" not in scene.world.names


@pytest.mark.parametrize(
    ("moment", "said"),
    [("yesterday", "is not a moment"), ("2026-01-20", "is not a moment"), ("2999-01-01 00:00", "is still to come")],
)  # fmt: skip
def test_a_moment_that_cannot_be_meant_is_refused(
    copied, moment: str, said: str
) -> None:
    scene = copied()
    with pytest.raises(UsageError, match=said):
        restoring.restore(scene.session, "", at=moment)
    assert scene.world.names == []


def test_a_moment_that_the_replica_has_not_leaves_all_as_it_was(copied) -> None:
    scene = copied()
    said = "the replica begins at 2026-01-21 09:00:00 UTC."
    scene.world.script["backup.repository.take"] = failure(said)
    with pytest.raises(StageError, match="Restore: the replica begins at") as caught:
        restoring.restore(scene.session, "", at="2026-01-20 14:05")
    assert "Its database was not touched." in caught.value.untouched
    assert scene.world.visitors == OLD


# --- a file from here ---------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "mine.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE entry (text)")
        made.executemany("INSERT INTO entry VALUES (?)", [("x" * 500,)] * 300)
        made.commit()
    return path


def test_a_file_is_sent_with_what_a_log_beside_it_holds(desk, file, tmp_path) -> None:
    scene = desk()
    with closing(sqlite3.connect(file)) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("INSERT INTO entry VALUES ('in the log')")
        live.commit()
        restoring.restore(scene.session, str(file))
    sent = tmp_path / "sent.sqlite3"
    sent.write_bytes(scene.world.sent["backup.repository.take"])
    with closing(sqlite3.connect(sent)) as one:
        assert one.execute("SELECT count(*) FROM entry").fetchone() == (301,)
    assert scene.world.of("backup.repository.take")["source"] == "-"
    assert "since mine.sqlite3 was copied" in scene.output.getvalue()
    assert "Uploads" not in scene.steps


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "there is no such file"),
        ("empty", "it is empty"),
        ("text", "it is not a SQLite database"),
        ("truncated", "malformed"),
        ("page", "damaged|malformed"),
    ],
)
def test_what_is_no_database_is_not_sent(desk, file, how: str, said: str) -> None:
    data = bytearray(file.read_bytes())
    match how:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("these are no rows " * 100)
        case "truncated":
            file.write_bytes(data[: len(data) // 2])
        case "page":
            data[4096 * 2 : 4096 * 4] = b"\xa5" * 8192
            file.write_bytes(data)
    scene = desk()
    with pytest.raises(UsageError, match=said):
        restoring.restore(scene.session, str(file))
    assert scene.world.names == []


def test_contents_are_read_as_the_script_writes_them() -> None:
    seen = backup.Contents.parse(contents(entry=5))
    assert (seen.tables, seen.migrations) == ({"entry": 5}, tuple(KNOWN))


def test_what_a_database_calls_itself_fills_no_screen() -> None:
    many = [f"shop.{number:04}{'x' * 9000}" for number in range(1, 500)]
    with pytest.raises(StageError) as caught:
        restoring.refuse_others("it", many, ["shop.0001"])
    assert len(caught.value.what) < 2000
    assert caught.value.what.endswith(", 489 more.")
    contents_ = backup.Contents(bytes=1, tables={"x" * 9000: 5}, migrations=())
    [line] = restoring.differences(contents_, replace(contents_, tables={}))
    assert len(line) < 200
