"""`inv rollback` and `inv restart` on a server in memory: which release, in which order."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stagetools.database.protocol import Finding, Unknown
from stagetools.deploy.facts import Record
from stagetools.deploy.tasks import on_copy, relaunch, rollback
from stagetools.deploy.tasks.change import Change
from stagetools.errors import StageError, UsageError
from tests.steps.conftest import OLD
from tests.steps.scripted import failure, lines
from tests.steps.world import Scene

FIRST = "20260131-060000-1111111"
RECORDS = [
    Record(
        release=OLD, fingerprint="f2", who="ann", commit="c2", at="t",
        migrations=("shop.0002",),
    ),
    Record(release=FIRST, fingerprint="f1", tree="t1", who="ann", commit="c1", at="t"),
]  # fmt: skip
SICK = failure('{"well": false, "said": "503 no"}\n')
UNKNOWN = lines(Unknown(unknown=("shop.0002",)))
NONE = lines(Unknown(unknown=()))


@pytest.fixture
def desk(layout, config, deployed, monkeypatch) -> Callable[..., Scene]:
    """A stage on which `OLD` serves, and `FIRST` is kept."""

    def desk(
        *, records: list[Record] = RECORDS, yes: bool = True, said: Any = None, **more
    ) -> Scene:
        known = "".join(f"1000\t{record.to_json()}\n" for record in records)
        answers = {"releases.records": known, "database.unknown": NONE} | (said or {})
        facts = replace(deployed, **more.pop("facts", {}))
        made = Scene(layout, config, facts, yes=yes, answers=answers)
        for name, value in more.items():
            setattr(made.world, name, value)
        monkeypatch.setattr(on_copy.time, "monotonic", lambda: made.world.now)
        monkeypatch.setattr(
            Change, "new_name", lambda change, of: f"20260131-080000-{of}"
        )
        return made

    return desk


def refused(action: Callable[..., None], scene: Scene, **options: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        action(scene.session, **options)
    assert caught.value.remedy
    return caught.value


LIVE = [
    *("traffic.claim_domains", "proxy.except_site", "traffic.switch", "traffic.drain"),
    *("compose.last_lines", "compose.stop", "releases.prune"),
]
ASKED = ["compose.start_beside", "compose.probe"]
LOOKED = ["server.look", "releases.records"]
PREPARED = ["releases.duplicate", "files.write_text"]
BEFORE = [*LOOKED, *PREPARED, "database.known", "database.unknown"]
TAKEN_AWAY = ["true", "compose.sweep", "data.discard", "releases.prune"]
REHEARSED = [
    *(
        "database.snapshot",
        "compose.managing",
        "data.seed",
        "files.write_text",
        "rehearsal.reverse",
    ),
    *("database.unknown", "compose.create_beside", "compose.start", "compose.probe"),
    "compose.halt",
]
HELD = [
    *(
        "traffic.hold",
        "traffic.drain",
        "compose.freeze",
        "compose.managing",
        "data.copy",
        "database.reverse",
    ),
    *("compose.start", "compose.probe", "compose.managing", *LIVE[:3]),
    *("traffic.resume", "data.retire", "releases.prune"),
]
NEW = "20260131-080000-1111111"


# --- a rollback ------------------------------------------------------------------------------


def test_a_rollback_serves_the_release_before(desk) -> None:
    scene = desk()
    rollback.roll_back(scene.session)
    assert scene.world.names == [*BEFORE, *ASKED, *LIVE]
    record = scene.written
    assert (record.origin, record.why, record.tree) == (FIRST, "rollback", "t1")
    assert scene.world.visitors == NEW


def test_its_database_is_the_one_that_it_had_and_not_the_newer_one_s(desk) -> None:
    newer = replace(RECORDS[0], database="postgresql")
    scene = desk(facts={"record": newer})  # the older one's probe does not tell
    rollback.roll_back(scene.session)
    assert scene.written.database == ""
    scene = desk(facts={"record": newer}, yes=False)
    error = refused(rollback.roll_back, scene)
    assert "was PostgreSQL and is SQLite now" in error.what
    assert scene.world.names == [*BEFORE, *TAKEN_AWAY]
    scene = desk(facts={"record": newer, "database": 0})  # one that could not tell
    rollback.roll_back(scene.session)
    assert scene.written.database == "postgresql"


@pytest.mark.parametrize("again", [rollback.roll_back, relaunch.restart])
def test_a_domain_of_another_site_is_refused_before_anything_is_begun(
    desk, again
) -> None:
    scene = desk(facts={"claimed": (("shop.test", "blog_prod"),)})
    error = refused(again, scene)
    assert error.what == "shop.test belongs to blog_prod on this server."
    assert not set(PREPARED) & set(scene.world.names)
    assert scene.world.visitors == OLD


def test_migrations_that_it_does_not_know_are_undone_on_a_copy(desk) -> None:
    scene = desk(said={"database.unknown": [UNKNOWN, NONE]})
    rollback.roll_back(scene.session)
    world, own = scene.world, scene.layout.data_copy(NEW)
    assert world.names == [*BEFORE, *REHEARSED, *HELD]
    assert scene.steps == [
        *("Prepare", "Snapshot", "Rehearse", "Hold", "Undo", "Start", "Switch"),
        *("Clean up", "Prune"),
    ]
    assert "This undoes shop.0002" in scene.output.getvalue()
    undone = world.of("database.reverse")  # with the code of the newer one
    assert (undone["release"], undone["data"]) == (OLD, own)
    assert world.of("traffic.hold")["release"] == OLD
    assert world.of("traffic.switch")["held"] == "old-id"
    assert f"STAGETOOLS_DATA={own}\n" in world.sent["files.write_text"].decode()
    assert (world.visitors, world.containers, world.copies) == (NEW, {NEW}, {NEW})


def test_what_would_stay_applied_is_refused_before_anybody_waits(desk) -> None:
    scene = desk(said={"database.unknown": UNKNOWN})
    error = refused(rollback.roll_back, scene)
    assert error.what == "Undo: shop.0002 would stay applied."
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."
    assert "traffic.hold" not in scene.world.names
    assert scene.world.names[-4:] == TAKEN_AWAY


def test_what_cannot_be_undone_is_refused_before_anything_is_done(desk) -> None:
    undo = Unknown(unknown=("s.0002",), irreversible=(Finding("s.0002", "RunPython"),))
    scene = desk(said={"database.unknown": lines(undo)})
    error = refused(rollback.roll_back, scene)
    assert "s.0002 RunPython" in error.what
    assert "--restore-database" in error.remedy
    assert scene.world.names == [*BEFORE, *TAKEN_AWAY]


def test_in_a_database_that_cannot_be_copied_nothing_is_undone(desk) -> None:
    undo = Unknown(unknown=("shop.0002",), sqlite=False)
    forever = replace(undo, irreversible=(Finding("shop.0002", "RunPython"),))
    scene = desk(said={"database.unknown": lines(forever)})
    assert refused(rollback.roll_back, scene).remedy == "Deploy a fixed release."
    scene = desk(said={"database.unknown": lines(undo)})
    error = refused(rollback.roll_back, scene)
    assert "does not know shop.0002, and the database is not SQLite" in error.what
    assert "inv manage migrate APP MIGRATION" in error.remedy
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."
    assert scene.world.visitors == OLD


def test_of_such_a_database_there_is_no_snapshot_to_restore(desk) -> None:
    own = replace(RECORDS[0], database="postgresql")
    scene = desk(facts={"record": own})
    error = refused(rollback.roll_back, scene, restore_database=True)
    assert "The database is PostgreSQL" in error.what
    assert scene.world.names == LOOKED


def test_nothing_is_undone_unless_the_answer_is_yes(desk) -> None:
    scene = desk(yes=False, said={"database.unknown": UNKNOWN})
    assert "This undoes shop.0002" in refused(rollback.roll_back, scene).what
    assert scene.world.names == [*BEFORE, *TAKEN_AWAY]


def test_an_undoing_that_fails_in_the_rehearsal_lets_nobody_wait(desk) -> None:
    said = {
        "database.unknown": [UNKNOWN, NONE],
        "rehearsal.reverse": failure("no column"),
    }
    scene = desk(said=said)
    error = refused(rollback.roll_back, scene)
    assert "cannot be undone on a copy" in error.what
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."
    assert "traffic.hold" not in scene.world.names


def test_an_older_release_that_is_not_well_on_the_copy_lets_nobody_wait(desk) -> None:
    scene = desk(said={"database.unknown": [UNKNOWN, NONE], "compose.probe": SICK})
    assert "503 no" in refused(rollback.roll_back, scene).what
    assert "traffic.hold" not in scene.world.names
    assert (scene.world.visitors, scene.world.containers) == (OLD, {OLD})


def test_a_long_wait_is_asked_for_with_what_visitors_get(desk) -> None:
    said = {"database.unknown": [UNKNOWN, NONE]}
    scene = desk(said=said, takes={"rehearsal.reverse": 40, "database.reverse": 40})
    rollback.roll_back(scene.session)
    words = "Visitors will wait for about 40 s, and get an error after 30 s"
    assert words in scene.output.getvalue()
    assert scene.world.visitors == NEW  # late, as was agreed
    scene = desk(yes=False, said={"database.unknown": [NONE]})
    rollback.roll_back(scene.session)  # nothing to ask


def test_one_that_is_later_than_rehearsed_goes_back(desk) -> None:
    scene = desk(
        said={"database.unknown": [UNKNOWN, NONE]}, takes={"database.reverse": 26}
    )
    assert "Visitors have waited for 26 s" in refused(rollback.roll_back, scene).what
    assert scene.world.names[-5:] == ["true", "traffic.resume", *TAKEN_AWAY[1:]]
    assert scene.world.visitors == OLD


def test_an_older_release_that_is_not_healthy_never_serves(desk) -> None:
    scene = desk(said={"compose.probe": SICK})
    error = refused(rollback.roll_back, scene)
    assert "503 no" in error.what
    refusal = ["compose.last_lines", "compose.discard"]
    assert scene.world.names == [*BEFORE, *ASKED, *refusal, *TAKEN_AWAY]
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."


# --- a restore --------------------------------------------------------------------------------

RESTORED = [
    *LOOKED, "data.snapshot_age", *PREPARED, "compose.managing", "data.seed", "files.write_text",
    *ASKED, *LIVE[:4], "compose.stop", "data.retire", "releases.prune",
]  # fmt: skip


def test_a_restore_serves_the_older_release_with_its_snapshot(desk) -> None:
    scene = desk()
    rollback.roll_back(scene.session, restore_database=True)
    world = scene.world
    assert world.names == RESTORED
    assert scene.steps == [
        *("Prepare", "Restore", "Start", "Switch", "Drain", "Clean up", "Prune"),
    ]
    assert world.of("data.seed")["snapshot"] == f"before-{OLD}"
    assert "written in the last 3 h will be lost" in scene.output.getvalue()
    own = scene.layout.data_copy(NEW)
    assert f"STAGETOOLS_DATA={own}\n" in world.sent["files.write_text"].decode()
    assert world.of("data.retire")["live"] == own
    assert (world.visitors, world.containers) == (NEW, {NEW})


def test_the_snapshot_is_that_of_the_first_migration_since(desk) -> None:
    later = replace(RECORDS[0], release="20260131-073000-2222222")
    scene = desk(records=[later, *RECORDS])
    rollback.roll_back(scene.session, to=FIRST, restore_database=True)
    assert scene.world.of("data.seed")["snapshot"] == f"before-{OLD}"


def test_what_was_written_when_it_served_again_is_not_lost(desk) -> None:
    """Rolled back and deployed again since: the snapshot is that of the later deploy."""
    again = replace(RECORDS[1], release="20260131-071500-1111111", origin=FIRST)
    later = replace(RECORDS[0], release="20260131-073000-2222222")
    scene = desk(records=[later, again, *RECORDS])
    rollback.roll_back(scene.session, to=FIRST, restore_database=True)
    assert scene.world.of("data.seed")["snapshot"] == f"before-{later.release}"


def test_a_release_that_serves_again_must_know_all_that_the_database_has(desk) -> None:
    for restore in (False, True):
        scene = desk()
        rollback.roll_back(scene.session, restore_database=restore)
        assert "--exact" in scene.world.of("compose.probe")["words"]
    scene = desk()
    relaunch.restart(scene.session)
    assert "--exact" not in scene.world.of("compose.probe")["words"]


def test_where_nothing_was_migrated_since_nothing_is_restored(desk) -> None:
    scene = desk(records=[replace(r, migrations=()) for r in RECORDS])
    with pytest.raises(UsageError, match="has migrated the database"):
        rollback.roll_back(scene.session, restore_database=True)
    assert scene.world.names == [*LOOKED, "true"]


def test_a_snapshot_that_is_gone_is_told_before_anything_is_done(desk) -> None:
    scene = desk(said={"data.snapshot_age": failure()})
    error = refused(rollback.roll_back, scene, restore_database=True)
    assert f"before-{OLD} is no longer kept" in error.what
    assert scene.world.names == [*LOOKED, "data.snapshot_age", "true"]


def test_nothing_is_lost_unless_the_answer_is_yes(desk) -> None:
    scene = desk(yes=False)
    error = refused(rollback.roll_back, scene, restore_database=True)
    assert "will be lost from the live database" in error.what
    assert scene.world.names == [*LOOKED, "data.snapshot_age", "true"]
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."


def test_a_restored_release_that_is_not_well_leaves_the_newer_one_serving(desk) -> None:
    scene = desk(said={"compose.probe": SICK})
    error = refused(rollback.roll_back, scene, restore_database=True)
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."
    world = scene.world
    assert (world.visitors, world.containers, world.copies) == (OLD, {OLD}, set())


# --- which release ----------------------------------------------------------------------------


@pytest.mark.parametrize("to", [FIRST, "c1", FIRST[:15], "1111111", "1111"])
def test_a_release_is_named_as_it_is_listed(desk, to: str) -> None:
    scene = desk()
    rollback.roll_back(scene.session, to=to)
    assert scene.written.origin == FIRST


@pytest.mark.parametrize("to", ["never", "2027"])
def test_a_release_that_is_not_there_is_told(desk, to: str) -> None:
    with pytest.raises(UsageError, match=f"no release '{to}'"):
        rollback.roll_back(desk().session, to=to)


def test_a_beginning_that_fits_several_releases_is_told(desk) -> None:
    with pytest.raises(UsageError, match=f"several releases: {OLD}, {FIRST}"):
        rollback.roll_back(desk().session, to="2026")


def test_without_an_earlier_release_there_is_no_way_back(desk) -> None:
    with pytest.raises(UsageError, match="no earlier release"):
        rollback.roll_back(desk(records=RECORDS[:1]).session)


def test_a_release_whose_image_is_gone_is_passed_over(desk) -> None:
    scene = desk(said={"releases.records": f"\t{RECORDS[1].to_json()}\n"})
    with pytest.raises(UsageError, match="no earlier release"):
        rollback.roll_back(scene.session)


# --- a restart --------------------------------------------------------------------------------


def test_a_restart_is_the_same_release_in_a_new_container(desk) -> None:
    scene = desk()
    relaunch.restart(scene.session)
    assert scene.world.names == ["server.look", *PREPARED, *ASKED, *LIVE]
    assert (scene.written.why, scene.written.origin) == ("restart", OLD)


def test_migrations_that_it_does_not_know_are_no_reason_and_are_told(desk) -> None:
    remark = "the database has 1 migration that this release does not know: shop.0003"
    said = json.dumps({"well": True, "said": f"200 ok, but {remark}"})
    scene = desk(said={"compose.probe": said})
    relaunch.restart(scene.session)
    assert f"✓ Start: /healthz and / answered; {remark}" in scene.output.getvalue()
    assert scene.world.visitors != OLD


def test_it_goes_on_with_the_database_that_is_live(desk, layout) -> None:
    live = layout.data_copy(OLD)
    scene = desk(facts={"data_dir": live})
    relaunch.restart(scene.session)
    written = scene.world.sent["files.write_text"].decode()
    assert f"STAGETOOLS_DATA={live}\n" in written


def test_an_account_of_an_older_version_is_brought_up_to_date_first(desk) -> None:
    for old in ({"overlays": ""}, {"home_is_roots": False}):
        scene = desk(facts=old)
        relaunch.restart(scene.session)
        assert scene.steps[0] == "Account"
        assert scene.world.names[1:4] == [
            *("compose.write_overlays", "server.ensure_account", "server.look")
        ]


def test_a_restarted_release_that_crashes_at_once_gives_way(desk) -> None:
    crashed = "Traceback\ncontainer exited, exit code 1, restarts 0\n"
    scene = desk(said={"compose.last_lines": crashed})
    error = refused(relaunch.restart, scene)
    assert error.untouched == f"{OLD} goes on serving. Its database was not touched."
    assert scene.world.visitors == OLD


def test_what_does_not_run_cannot_be_restarted_or_rolled_back(desk) -> None:
    for action in (relaunch.restart, rollback.roll_back):
        scene = desk(facts={"release": "", "record": None, "containers": ()})
        with pytest.raises(StageError, match="does not run") as caught:
            action(scene.session)
        assert "inv deploy --stage prod" in caught.value.remedy
