"""`inv rollback` and `inv restart` on a scripted server: which release, in which order."""

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from stagetools.deploy import relaunch
from stagetools.deploy.change import Change
from stagetools.deploy.commands import (
    compose,
    database,
    files,
    proxy,
    releases,
    server,
    site,
)
from stagetools.deploy.facts import Record
from stagetools.deploy.limits import HEALTH, KEEP
from stagetools.deploy.shell import Command
from stagetools.deploy.stage import Stage
from stagetools.deploy.steps import proxy as steps_proxy
from stagetools.deploy.terminal import Terminal
from stagetools.errors import StageError, UsageError
from tests.steps.conftest import OLD
from tests.steps.scripted import ScriptedHost, failure

FIRST = "20260131-060000-1111111"
RECORDS = [
    Record(release=OLD, fingerprint="f2", who="ann", commit="c2", at="t"),
    Record(release=FIRST, fingerprint="f1", tree="t1", who="ann", commit="c1", at="t"),
]
KNOWS = {"unknown": [], "breaking": [], "irreversible": []}
WELL = '{"well": true, "said": "200"}\n'
RUNS = "container running, exit code 0, restarts 0\n"


@pytest.fixture
def desk(layout, config, deployed, monkeypatch) -> Callable[..., tuple[Stage, dict]]:
    """A stage whose server answers by the commands' short names."""

    def desk(
        of: str, *, records: list[Record] = RECORDS, **answers
    ) -> tuple[Stage, dict]:
        new = f"20260131-080000-{of.rpartition('-')[2]}"
        monkeypatch.setattr(Change, "new_name", lambda change, made_of: new)
        monkeypatch.setattr(server_steps(), "look", lambda host, layout: deployed)

        def prune(serving: str) -> Command:
            bounds = {"snapshots": KEEP.snapshots, "cache": KEEP.build_cache}
            return releases.prune(layout, serving=serving, keep=KEEP.releases, **bounds)

        words = (str(layout.socket(new)), "--limit", str(HEALTH.start))
        named = {
            "records": releases.records(layout),
            "again": releases.again(layout, of, new),
            "configure": files.write_text(layout.compose_env(new)),
            "known": database.run(layout, new, "known"),
            "unknown": database.run(layout, OLD, "unknown"),
            "rehearse": database.run(layout, OLD, "rehearse-reverse"),
            "snapshot": database.run(layout, OLD, "snapshot", f"before-{new}"),
            "reverse": database.run(layout, OLD, "reverse"),
            "start": compose.start_beside(layout, new, serving=OLD),
            "probe": compose.probe(
                "new-id", *words, "--refusals", str(HEALTH.refusals)
            ),
            "last lines": compose.last_lines("new-id", 15),
            "discard": compose.discard("new-id"),
            "claim": steps_proxy.claim(layout, config),
            "exception": proxy.except_site(layout, ""),
            "switch": site.switch(layout, new),
            "drain": site.drain(layout, OLD),
            "stop": compose.stop("old-id"),
            "prune": prune(new),
            "take away": prune(OLD),
        }
        said = {
            "records": "".join(f"1000\t{record.to_json()}\n" for record in records),
            "known": '{"known": ["shop.0001"]}',
            "unknown": json.dumps(KNOWS),
            "snapshot": '{"snapshot": "/b/x"}',
            "rehearse": '{"reversed": 0}',
            "reverse": '{"reversed": 0}',
            "start": "new-id\n",
            "probe": WELL,
            "last lines": RUNS,
        } | {name.replace("_", " "): answer for name, answer in answers.items()}
        host = ScriptedHost({c.text: said.get(name, "") for name, c in named.items()})
        terminal = Terminal(Console(file=io.StringIO(), width=200), yes=True)
        return Stage(host, layout, config, terminal), {
            c.text: n for n, c in named.items()
        }

    return desk


def server_steps():
    from stagetools.deploy.steps import server as steps

    assert server.look  # the command; the step of that name is replaced
    return steps


def ran(stage: Stage, names: dict) -> list[str]:
    """The commands that ran after the lock's, by their short names."""
    return [names[text] for text in stage.host.ran[1:]]


LIVE = [
    "start",
    "probe",
    "claim",
    "exception",
    "switch",
    "drain",
    "last lines",
    "stop",
    "prune",
]
BEFORE = ["records", "again", "configure", "known", "unknown"]


def written(stage: Stage) -> dict:
    (text,) = [
        text
        for text in stage.host.sent
        if "current.sock" in text and "next.sock" in text
    ]
    return json.loads(stage.host.sent[text])


def test_a_rollback_serves_the_release_before(desk) -> None:
    stage, names = desk(FIRST)
    relaunch.rollback(stage)
    assert ran(stage, names) == [*BEFORE, *LIVE]
    record = written(stage)
    assert (record["origin"], record["why"], record["tree"]) == (
        FIRST,
        "rollback",
        "t1",
    )


def test_migrations_that_break_the_older_release_are_undone_first(desk) -> None:
    undo = {
        "unknown": ["shop.0002"],
        "breaking": [["shop.0002", "x"]],
        "irreversible": [],
    }
    stage, names = desk(FIRST, unknown=json.dumps(undo))
    relaunch.rollback(stage)
    assert ran(stage, names) == [*BEFORE, "rehearse", "snapshot", "reverse", *LIVE]


def test_migrations_that_it_can_live_with_are_undone_afterwards(desk) -> None:
    undo = KNOWS | {"unknown": ["shop.0002"]}
    stage, names = desk(FIRST, unknown=json.dumps(undo))
    relaunch.rollback(stage)
    assert ran(stage, names) == [*BEFORE, *LIVE, "snapshot", "reverse"]


def test_what_cannot_be_undone_is_refused_before_anything_is_done(
    desk, refused
) -> None:
    undo = {
        "unknown": ["s.0002"],
        "breaking": [],
        "irreversible": [["s.0002", "RunPython"]],
    }
    stage, names = desk(FIRST, unknown=json.dumps(undo))
    error = refused(relaunch.rollback, stage)
    assert "s.0002 RunPython" in error.what
    assert "--restore-database" in error.remedy
    assert ran(stage, names) == [*BEFORE, "take away"]


def test_an_older_release_that_is_not_healthy_never_serves(desk, refused) -> None:
    sick = failure('{"well": false, "said": "503 no"}\n')
    stage, names = desk(FIRST, probe=sick)
    error = refused(relaunch.rollback, stage)
    assert "503 no" in error.what
    assert ran(stage, names) == [
        *BEFORE,
        "start",
        "probe",
        "last lines",
        "discard",
        "take away",
    ]


@pytest.mark.parametrize("to", [FIRST, "c1", FIRST[:15], "1111111", "1111"])
def test_a_release_is_named_as_it_is_listed(desk, to: str) -> None:
    stage, _ = desk(FIRST)
    relaunch.rollback(stage, to=to)
    assert written(stage)["origin"] == FIRST


@pytest.mark.parametrize("to", ["never", "2027"])
def test_a_release_that_is_not_there_is_told(desk, to: str) -> None:
    stage, _ = desk(FIRST)
    with pytest.raises(UsageError, match=f"no release '{to}'"):
        relaunch.rollback(stage, to=to)


def test_a_beginning_that_fits_several_releases_is_told(desk) -> None:
    stage, _ = desk(FIRST)
    with pytest.raises(UsageError, match=f"several releases: {OLD}, {FIRST}"):
        relaunch.rollback(stage, to="2026")


def test_without_an_earlier_release_there_is_no_way_back(desk) -> None:
    stage, _ = desk(FIRST, records=RECORDS[:1])
    with pytest.raises(UsageError, match="no earlier release"):
        relaunch.rollback(stage)


def test_a_release_whose_image_is_gone_is_passed_over(desk) -> None:
    stage, names = desk(FIRST)
    (records,) = [text for text, name in names.items() if name == "records"]
    stage.host.script[records] = f"\t{RECORDS[1].to_json()}\n"
    with pytest.raises(UsageError, match="no earlier release"):
        relaunch.rollback(stage)


def test_a_restart_is_the_same_release_in_a_new_container(desk) -> None:
    stage, names = desk(OLD)
    relaunch.restart(stage)
    assert ran(stage, names) == ["again", "configure", *LIVE]
    assert written(stage)["why"] == "restart"
    assert written(stage)["origin"] == OLD


def test_what_does_not_run_cannot_be_restarted_or_rolled_back(
    desk, deployed, monkeypatch
) -> None:
    stage, _ = desk(OLD)
    nothing = replace(deployed, release="", record=None, containers=())
    monkeypatch.setattr(server_steps(), "look", lambda host, layout: nothing)
    for action in (relaunch.restart, relaunch.rollback):
        with pytest.raises(StageError, match="does not run") as caught:
            action(stage)
        assert "inv deploy --stage prod" in caught.value.remedy
