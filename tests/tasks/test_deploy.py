"""The whole of a deploy on a server in memory: which steps, in which order, and no other."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stagetools.database.protocol import (
    Copied,
    Failed,
    Finding,
    Migration,
    Plan,
    Rehearsed,
)
from stagetools.deploy.commands import server
from stagetools.deploy.facts import Facts
from stagetools.deploy.limits import HOLD
from stagetools.deploy.replicas import Replica
from stagetools.deploy.steps import lock
from stagetools.deploy.tasks import on_copy, relaunch
from stagetools.deploy.tasks.pipeline import Deploy
from stagetools.deploy.tree import Manifest, read_tree
from stagetools.errors import StageError
from tests.steps.conftest import OLD
from tests.steps.scripted import failure, lines
from tests.steps.world import RUNS, SECOND, WELL, Scene

SICK = failure('{"well": false, "said": "503 no such table"}\n')


class Desk(Scene):
    """A stage, and a working tree to be put before its users."""

    root: Any = None

    @property
    def host(self):
        return self.world

    def change(self, held: lock.Held) -> Deploy:
        return Deploy(self.session, held, self.facts, self.root, read_tree(self.root))

    def fingerprint(self) -> str:
        with lock.hold(self.session, "ann") as held:
            return self.change(held).fingerprint()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "manage.py").write_text("")
    return tmp_path


@pytest.fixture
def desk(layout, config, deployed, root, monkeypatch) -> Callable[..., Desk]:
    def desk(facts: Facts = deployed, *, yes: bool = True, **answers: Any) -> Desk:
        made = Desk(layout, config, facts, yes=yes, answers=answers.pop("said", {}))
        made.root = root
        for name, value in answers.items():
            setattr(made.world, name, value)
        monkeypatch.setattr(on_copy.time, "monotonic", lambda: made.world.now)
        return made

    return desk


def deploy(desk: Desk, error: str = "") -> list[str]:
    """Deploy; the commands that ran, by their names."""
    with lock.hold(desk.session, "ann") as held:
        desk.deployed = desk.change(held)
        if not error:
            desk.deployed.run()
        else:
            with pytest.raises(StageError, match=error) as caught:
                desk.deployed.run()
            desk.error = caught.value
    return desk.host.names


SENT = ["files.read_text", "files.receive_tree", "compose.build"]
ASKED = ["compose.start_beside", "compose.probe"]
LIVE = [
    *("traffic.claim_domains", "proxy.except_site", "traffic.switch", "traffic.drain"),
    *("compose.last_lines", "compose.stop", "releases.prune"),
]
TAKEN_AWAY = ["true", "compose.sweep", "data.discard", "releases.prune"]


# --- without migrations -------------------------------------------------------------------


def test_a_first_deploy_on_a_bare_server(desk, bare, ready) -> None:
    first = desk(bare, said={"server.ensure_account": "created user shop_prod\n"})
    first.world.facts = ready  # as it is once it was made so
    first.world.serves, first.world.containers = "", set()
    ran = deploy(first)
    assert first.steps == [
        *("Docker", "Account", "Upload", "Build", "Migrate", "Start"),
        *("Switch", "Drain", "Prune", "Backups", "Visit"),
    ]
    assert ran == [
        *("server.install", "server.daemon_json", "server.set_engine"),
        *("compose.write_overlays", "server.ensure_account"),
        *("server.look", "files.receive_tree", "compose.build", "database.migrate"),
        *(*ASKED, *LIVE[:3], "releases.prune", "backup.setup.install", "proxy.visit"),
    ]
    assert first.written.migrations == ("shop.0002",)
    assert first.world.visitors == first.deployed.name
    assert first.deployed.is_first


def test_backups_and_their_key_do_not_wait_for_a_certificate(desk, ready) -> None:
    said = {"proxy.visit": failure("tls\n"), "backup.setup.install": "key\n"}
    early = desk(ready, said=said)
    deploy(early, "does not answer over https")
    assert early.steps[-2:] == ["Backups", "✗ Visit"]
    assert "inv backup --key prints it." in early.output.getvalue()


@pytest.mark.parametrize("changed", [True, False])
def test_a_replica_does_not_wait_for_a_certificate_either(
    desk, deployed, changed: bool
) -> None:
    said = {"proxy.visit": failure("tls\n")}
    late = desk(replace(deployed, uncertified=("shop.test",)), said=said)
    config = replace(late.config, replica=Replica(url="file:///mnt/copy"))
    late.session = replace(late.session, config=replace(config, tls="internal"))
    if not changed:
        record = replace(deployed.record, fingerprint=late.fingerprint())
        late.facts = replace(late.facts, record=record)
    deploy(late, "^Visit: shop.test does not answer over https")
    assert late.steps[-2:] == ["✗ Visit", "Replica"]
    late.world.script["backup.replica.install"] = failure("no room\n")
    deploy(late, "^Replica: it could not be set up. Visit: shop.test does not answer")
    assert "Read the last lines below" in late.error.remedy


def test_a_proxy_that_is_missing_is_made(desk, ready) -> None:
    missing = desk(replace(ready, proxy_runs=False))
    ran = deploy(missing)
    assert missing.steps[:2] == ["Proxy", "Upload"]
    assert ran[:2] == ["proxy.ensure", "server.look"]


SENDS = json.dumps(
    {
        "well": True,
        "said": "200",
        "static": {
            "manifest": "a" * 64,
            "sent": {
                "png": [
                    (
                        200,
                        [
                            ("Content-Type", "image/png"),
                            ("Cache-Control", "max-age=315360000, public, immutable"),
                            ("Access-Control-Allow-Origin", "*"),
                            ("Cross-Origin-Opener-Policy", "same-origin"),
                            ("Referrer-Policy", "same-origin"),
                            ("X-Content-Type-Options", "nosniff"),
                        ],
                    )
                ]
            },
        },
    }
)


def test_the_proxy_gets_hashed_files_once_the_release_serves(desk) -> None:
    plain = desk(said={"compose.probe": SENDS})
    live = [*LIVE, "releases.keep_hashed"]
    assert deploy(plain) == [*SENT, *ASKED, *live]
    assert plain.world.of("releases.keep_hashed")["container"] == "new-id"


def test_a_release_serves_whose_files_the_proxy_cannot_get(desk) -> None:
    full = failure("warning\nthere are more than 20000 static files\n")
    plain = desk(said={"compose.probe": SENDS, "releases.keep_hashed": full})
    deploy(plain)
    assert plain.steps[-1] == "Prune"
    assert "itself: there are more than 20000 static files" in plain.output.getvalue()


def test_a_plain_change_is_started_at_once(desk) -> None:
    plain = desk()
    assert deploy(plain) == [*SENT, *ASKED, *LIVE]
    assert plain.steps == ["Upload", "Build", "Start", "Switch", "Drain", "Prune"]
    assert plain.world.of("traffic.drain")["release"] == OLD
    assert plain.world.of("compose.stop")["container"] == "old-id"
    assert not plain.deployed.is_first


def test_it_goes_on_with_the_database_of_the_release_before(desk, deployed) -> None:
    live = deployed.data_dir.with_name(f"data-{OLD}")
    plain = desk(replace(deployed, data_dir=live))
    deploy(plain)
    assert plain.deployed.data_dir == live
    assert f"STAGETOOLS_DATA={live}" in configuration(plain)


def configuration(desk: Desk) -> str:
    """What the release was configured with, as it was uploaded."""
    import gzip

    sent = desk.world.sent["files.receive_tree"]
    with_tar = gzip.decompress(sent) if sent[:2] == b"\x1f\x8b" else sent
    return with_tar.decode(errors="replace")


def test_what_has_not_changed_and_is_well_is_not_deployed(desk, deployed) -> None:
    print_of = desk().fingerprint()
    same = replace(deployed, record=replace(deployed.record, fingerprint=print_of))
    again = desk(same)
    assert deploy(again) == ["compose.probe"]
    assert "--exact" in again.world.of("compose.probe")["words"]
    assert again.steps == []
    assert not again.deployed.live_at


@pytest.mark.parametrize(
    "other",
    [
        *({"env": "other"}, {"proxy": "other"}, {"containers": ()}, {"record": None}),
        *({"overlays": "other"}, {"home_is_roots": False}),
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_differs_is_a_reason_to_deploy(desk, deployed, other) -> None:
    record = replace(deployed.record, fingerprint=desk().fingerprint())
    same = replace(deployed, record=record)
    for facts, nothing in ((same, True), (replace(same, **other), False)):
        looked = desk(facts)
        with lock.hold(looked.session, "ann") as held:
            assert looked.change(held).nothing_changed() is nothing


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize(
    ("uncertified", "tls", "visited"),
    [
        ("shop.test", "internal", True),
        ("shop.test", "off", False),
        ("", "internal", False),
    ],
)
def test_a_domain_that_never_answered_is_asked_until_it_does(
    desk, deployed, changed: bool, uncertified: str, tls: str, visited: bool
) -> None:
    """The deploy before has failed at just this, and there may be nothing to change."""
    stage = desk(replace(deployed, uncertified=tuple(uncertified.split())))
    stage.session = replace(stage.session, config=replace(stage.config, tls=tls))
    if not changed:
        record = replace(deployed.record, fingerprint=stage.fingerprint())
        stage.facts = replace(stage.facts, record=record)
    ran = deploy(stage)
    assert ("Upload" in stage.steps) is changed
    assert ("proxy.visit" in ran) is visited


def test_a_release_that_is_not_well_is_a_reason_to_deploy(desk, deployed) -> None:
    """Its database was changed behind it, for example."""
    record = replace(deployed.record, fingerprint=desk().fingerprint())
    sick = desk(replace(deployed, record=record), said={"compose.probe": [SICK, WELL]})
    deploy(sick)
    assert sick.steps[0] == "Upload"


@pytest.mark.parametrize("key", ["host", "user", "identity_file"])
def test_how_the_server_is_reached_is_no_reason(desk, config, key) -> None:
    moved = desk()
    moved.session = replace(moved.session, config=replace(config, **{key: "other"}))
    assert desk().fingerprint() == moved.fingerprint()


# --- with migrations that the serving release can live with ---------------------------------

MIGRATES = {
    "compose.probe": [SICK, WELL],
    "compose.last_lines": ["no such table\n", RUNS],
}
TO_MIGRATE = [*SENT, *ASKED, "compose.last_lines", "database.plan", "compose.discard"]


DROPS = (Finding("shop.0002", "drops item.cost"),)


def plan(**more: Any) -> str:
    return lines(Plan(**{"pending": ("shop.0002",)} | more))


def test_pending_migrations_are_rehearsed_and_kept_safe_first(desk) -> None:
    pending = desk(said=MIGRATES)
    assert deploy(pending) == [
        *(*TO_MIGRATE, "rehearsal.rehearse", "database.snapshot", "database.migrate"),
        *(*ASKED, *LIVE),
    ]
    assert pending.steps == [
        *("Upload", "Build", "Start", "Rehearse", "Snapshot", "Migrate", "Start"),
        *("Switch", "Drain", "Prune"),
    ]
    assert pending.written.migrations == ("shop.0002",)


def test_another_database_is_migrated_without_a_rehearsal_and_that_is_said(
    desk,
) -> None:
    said = MIGRATES | {"database.plan": plan(sqlite=False, breaking=DROPS)}
    other = desk(said=said)
    assert deploy(other) == [*TO_MIGRATE, "database.migrate", *ASKED, *LIVE]
    assert "no rehearsal, no snapshot" in other.output.getvalue()


def test_a_database_of_the_projects_own_is_remembered_and_has_no_replica(
    desk, deployed
) -> None:
    well = '{"well": true, "said": "200", "database": "postgresql"}\n'
    own = desk(said={"compose.probe": well})
    own.session = replace(
        own.session, config=replace(own.config, replica=Replica(url="file:///mnt/copy"))
    )
    ran = deploy(own)
    assert own.written.database == "postgresql"
    assert "replica.install" not in " ".join(ran)
    assert "there is no replica of PostgreSQL" in own.output.getvalue()
    facts = replace(deployed, record=replace(own.written, fingerprint="other"))
    assert facts.elsewhere == "PostgreSQL"
    old = desk(facts, said={"compose.probe": WELL})  # an image that cannot tell
    deploy(old)
    assert old.written.database == "postgresql"
    back = desk(facts, said={"compose.probe": well.replace("postgresql", "sqlite")})
    deploy(back)
    assert back.written.database == ""


@pytest.mark.parametrize("migrates", [False, True])
def test_another_engine_than_before_is_a_question_before_anything_live_changes(
    desk, migrates
) -> None:
    well = WELL.replace("}", ', "database": "postgresql"}')
    said = {"compose.probe": [SICK, well] if migrates else well}
    said["database.plan"] = plan(sqlite=False)
    other = desk(yes=False, said=said)
    ran = deploy(other, "The database was SQLite and is")
    assert not {"database.migrate", "traffic.switch"} & {*ran}
    agreed = desk(said=said)
    assert "traffic.switch" in deploy(agreed)
    assert agreed.output.getvalue().count("The database was SQLite") == 1


def test_a_restart_with_another_database_is_a_question(desk) -> None:
    well = WELL.replace("}", ', "database": "postgresql"}')
    other = desk(yes=False, said={"compose.probe": well})
    with pytest.raises(StageError, match="was SQLite and is PostgreSQL now"):
        relaunch.restart(other.session)
    assert "traffic.switch" not in other.host.names


def test_a_rehearsal_that_fails_touches_nothing(desk) -> None:
    said = MIGRATES | {"rehearsal.rehearse": failure("UNIQUE constraint failed")}
    fails = desk(said=said)
    ran = deploy(fails, "fail on a copy")
    assert ran == [*TO_MIGRATE, "rehearsal.rehearse", *TAKEN_AWAY]
    assert fails.steps[-1] == "✗ Rehearse"
    assert (
        fails.error.untouched == f"{OLD} goes on serving. Its database was not touched."
    )


def test_a_question_that_is_not_answered_with_yes_touches_nothing(desk) -> None:
    minute = Migration(migration="shop.0002", seconds=60)
    slow = lines(Copied(copied=0), minute, Rehearsed(rehearsed=60))
    said = MIGRATES | {"rehearsal.rehearse": slow}
    ran = deploy(desk(yes=False, said=said), "waiting for about 60.0 s")
    assert ran[-6:] == ["rehearsal.rehearse", "database.snapshot", *TAKEN_AWAY]


def test_a_snapshot_that_fails_stops_before_the_migration(desk) -> None:
    said = MIGRATES | {"database.snapshot": failure("disk full")}
    ran = deploy(desk(said=said), "Snapshot: ")
    assert ran[-5:] == ["database.snapshot", *TAKEN_AWAY]


def test_a_migration_that_fails_live_is_told_with_what_stands(desk) -> None:
    output = lines(SECOND, Failed(failed="shop.0003", atomic=False))
    fails = desk(said=MIGRATES | {"database.migrate": failure(output)})
    deploy(fails, "failed on the live database. It is shop.0003")
    assert fails.error.untouched == (
        f"{OLD} goes on serving. Applied to the live database: shop.0002. shop.0003 is not"
        " atomic, and may stand in the live database in part. The database as it was"
        " before is kept: /b/before.sqlite3."
    )


def test_a_start_that_fails_after_the_migration_says_that_it_stands(desk) -> None:
    fails = desk(said=MIGRATES | {"compose.probe": [SICK, SICK]})
    fails.world.script["compose.last_lines"] = "no such table\n"
    deploy(fails, "not healthy")
    assert "Applied to the live database: shop.0002." in fails.error.untouched


@pytest.mark.parametrize("said", [failure("ImportError"), plan(pending=())])
def test_an_unhealthy_release_never_serves(desk, said) -> None:
    answers = {"compose.probe": SICK, "compose.last_lines": "Traceback\n"}
    sick = desk(said=answers | {"database.plan": said})
    assert deploy(sick, "not healthy: 503 no such table") == [*TO_MIGRATE, *TAKEN_AWAY]
    assert sick.steps == ["Upload", "Build", "✗ Start"]
    assert f"{OLD} goes on serving" in sick.error.untouched


def test_an_image_that_cannot_be_built_is_not_started(desk) -> None:
    broken = desk(said={"compose.build": failure("ERROR")})
    assert deploy(broken, "could not be built") == [*SENT, *TAKEN_AWAY]
    assert broken.steps == ["Upload", "✗ Build"]


# --- with migrations that it could not live with: on a copy ----------------------------------

BREAKING = MIGRATES | {"database.plan": plan(breaking=DROPS)}
ON_COPY = [
    *(
        "compose.managing",
        "data.seed",
        "files.write_text",
        "rehearsal.migrate",
        "compose.create_beside",
    ),
    *("compose.start", "compose.probe", "compose.halt"),
]
HELD = [
    *(
        "traffic.hold",
        "traffic.drain",
        "compose.freeze",
        "compose.managing",
        "data.copy",
        "database.migrate",
    ),
    *("compose.start", "compose.probe", "compose.managing", *LIVE[:3]),
    *("traffic.resume", "data.retire", "releases.prune"),
]


@pytest.mark.parametrize("key", ["breaking", "unforeseeable"])
def test_migrations_that_the_serving_release_may_not_meet_are_made_on_a_copy(
    desk, key: str
) -> None:
    said = MIGRATES | {"database.plan": plan(**{key: DROPS})}
    breaking = desk(said=said)
    assert deploy(breaking) == [*TO_MIGRATE, "database.snapshot", *ON_COPY, *HELD]
    assert breaking.steps == [
        *("Upload", "Build", "Start", "Snapshot", "Rehearse", "Hold", "Migrate"),
        *("Start", "Switch", "Clean up", "Prune"),
    ]
    world, name = breaking.world, breaking.deployed.name
    own = breaking.layout.data_copy(name)
    assert breaking.written.migrations == ("shop.0002",)
    assert world.of("traffic.hold") | {"layout": 0} == {
        "layout": 0, "release": OLD, "container": "old-id", "limit": HOLD.at_most,
    }  # fmt: skip
    assert world.of("traffic.switch")["held"] == "old-id"  # it must still be frozen
    assert world.of("data.retire")["live"] == own
    assert f"STAGETOOLS_DATA={own}\n" in world.sent["files.write_text"].decode()
    assert (world.visitors, world.held, world.copies) == (name, False, {name})
    assert world.containers == {name}


@pytest.mark.parametrize(
    ("said", "step", "held"),
    [
        ("shell\n", "Rehearse", False),
        (["", "shell\n"], "Hold", True),
        (["", "", "shell\n"], "Start", True),
    ],
)
def test_what_inv_manage_still_writes_is_never_left_behind(
    desk, said: Any, step: str, held: bool
) -> None:
    """It works on the database that is about to be replaced: nothing is, and visitors go on."""
    importing = desk(said=BREAKING | {"compose.managing": said})
    ran = deploy(
        importing, "A command of inv manage still works on the database: shell"
    )
    assert ("traffic.hold" in ran) == held
    assert "traffic.switch" not in ran
    assert importing.steps[-1] == f"✗ {step}"
    assert (importing.world.visitors, importing.world.held) == (OLD, False)


def test_a_release_that_does_not_run_need_not_be_held(desk, deployed) -> None:
    dead = desk(replace(deployed, containers=()), said=BREAKING)
    ran = deploy(dead)
    assert not {"traffic.hold", "compose.freeze"} & set(ran)
    assert dead.world.of("traffic.switch")["held"] == ""


@pytest.mark.parametrize(
    "slow", ["data.seed", "rehearsal.migrate", "compose.start", "compose.probe"]
)
def test_what_visitors_would_wait_too_long_for_is_made_while_they_are_served(
    desk, slow: str
) -> None:
    """Whatever of it takes long: they wait for the copy and the start as well."""
    waits = desk(said=BREAKING, takes={slow: HOLD.change + 1})
    assert deploy(waits) == [
        *(*TO_MIGRATE, "database.snapshot", *ON_COPY),
        *("compose.discard", "data.discard", "files.write_text", "database.migrate"),
        *(*ASKED, *LIVE),
    ]
    text = waits.output.getvalue()
    assert "is not compatible with these migrations: shop.0002 drops item.cost" in text
    assert waits.deployed.data_dir == waits.facts.data_dir
    assert not waits.world.copies


def test_a_wait_over_the_limit_is_asked_for(desk) -> None:
    slow = '{"migration": "shop.0002", "seconds": 6}\n'
    said = BREAKING | {"rehearsal.migrate": slow}
    waits = desk(said=said, takes={"rehearsal.migrate": 6.5, "compose.start": 1.0})
    deploy(waits)
    assert "keep visitors waiting for about 7.5 s" in waits.output.getvalue()


def test_visitors_get_the_old_release_back_before_the_proxy_gives_up(desk) -> None:
    late = desk(said=BREAKING, takes={"database.migrate": HOLD.at_most + 1})
    ran = deploy(late, "Visitors have waited for 26 s")
    assert "traffic.switch" not in ran
    assert ran[-5:] == ["true", "traffic.resume", *TAKEN_AWAY[1:]]
    assert late.world.visitors == OLD


# --- after the switch ------------------------------------------------------------------------

CRASHED = "Traceback\ncontainer exited, exit code 1, restarts 0\n"


def test_a_release_that_crashes_after_the_switch_gives_way(desk) -> None:
    crash = desk(said={"compose.last_lines": CRASHED})
    ran = deploy(crash, "ended after the switch")
    assert ran[-7:] == [
        *("compose.last_lines", "traffic.switch_back", "compose.discard"),
        *TAKEN_AWAY,
    ]
    assert crash.steps[-2:] == ["Switch", "✗ Drain"]
    assert crash.world.visitors == OLD
    assert f"{OLD} goes on serving" in crash.error.untouched
    assert crash.world.of("releases.prune")["serving"] == OLD


def test_it_says_so_that_migrations_stay_when_it_gives_way(desk) -> None:
    said = MIGRATES | {"compose.last_lines": ["no such table\n", CRASHED]}
    crash = desk(said=said)
    deploy(crash, "ended after the switch")
    assert crash.error.untouched == (
        f"{OLD} goes on serving. Applied to the live database: shop.0002."
        " The database as it was before is kept: /b/before.sqlite3."
    )


# --- the rest --------------------------------------------------------------------------------


def test_a_connection_that_is_lost_stops_before_the_next_step(
    desk, monkeypatch
) -> None:
    def does(held: lock.Held, what: str) -> None:
        held._holder.over = what == "Build"  # type: ignore[attr-defined]

    monkeypatch.setattr(lock.Held, "does", does)
    lost = desk()
    assert deploy(lost, "lock on the server was lost") == SENT


def test_a_full_disk_is_refused_before_anything_is_sent(desk, deployed) -> None:
    full = desk(replace(deployed, disk_free=10**6))
    assert deploy(full, "disk has 1.0 MB free") == []


def test_the_lock_tells_each_step(desk) -> None:
    plain = desk()
    deploy(plain)
    heard = [text.strip() for text in plain.host.holder.heard]
    assert [word for word in heard if word] == [*plain.steps, "."]


def test_only_the_change_is_sent(desk, root) -> None:
    (root / "more.py").write_text("1")
    before = Manifest(tuple(e for e in read_tree(root).entries if e.path != "more.py"))
    plain = desk(said={"files.read_text": before.text})
    deploy(plain)
    assert "1 of 2 files" in plain.output.getvalue()


@pytest.mark.parametrize(
    ("newest", "name"),
    [
        ("", "20260131-080000"),
        ("20260131-075959-aaaaaaa", "20260131-080000"),
        ("20260131-080000-aaaaaaa", "20260131-080001"),
        ("20260201-000000-aaaaaaa", "20260201-000001"),  # the clock was put back
    ],
)
def test_a_new_name_sorts_after_every_name_before(
    desk, deployed, newest: str, name: str
) -> None:
    named = desk(replace(deployed, newest=newest))
    with lock.hold(named.session, "ann") as held:
        assert named.change(held).new_name("abcdef0123") == f"{name}-abcdef0"


def test_dockers_packages_are_those_of_the_distribution(desk, bare, ready) -> None:
    first = desk(bare)
    first.world.facts = ready
    first.world.serves = ""
    deploy(first)
    wanted = first.world.of("server.install")["packages"]
    assert server.install(wanted).text in first.host.ran
    assert wanted[0] == "docker.io"
