"""A release: built, started, asked, switched to, drained; and every way in which it is not."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from stagetools.deploy.commands import compose, releases, traffic
from stagetools.deploy.facts import Container
from stagetools.deploy.limits import HEALTH, KEEP
from stagetools.deploy.steps import release
from stagetools.errors import CommandFailed
from tests.steps.conftest import OLD
from tests.steps.scripted import ScriptedHost, failure

ROOT = Path(__file__).parents[2]
COMPOSE_YAML = ROOT / "template/compose.yaml"
OVERLAYS = ROOT / "stagetools/deploy/overlays"
NEW = "20260131-080000-abcdef0"
OLD_ONE = Container("old-id", "shop_prod", OLD, "running", "Up 3 minutes")
WELL = "line\ncontainer running, exit code 0, restarts 0\n"


def words(layout, *more: str) -> list[str]:
    """What a new release is asked, before the pages."""
    asked = [str(layout.socket(NEW)), "--limit", str(HEALTH.start)]
    return [*asked, "--refusals", str(HEALTH.refusals), *more]


PAGES = ("--page", "/", "--host", "shop.test", "--secure")


def logs(container: str = "c1") -> str:
    return compose.last_lines(container, 15).text


def test_a_built_image_is_named(at, layout) -> None:
    host = ScriptedHost({compose.build(layout, NEW).text: "#1 DONE\n"})
    lines: list[str] = []
    outcome = release.build(at(host), NEW, lines.append)
    assert outcome.text == f"image shop_prod:{NEW}"
    assert lines == ["#1 DONE"]


def test_an_image_that_cannot_be_built_leaves_what_serves(at, layout, refused) -> None:
    host = ScriptedHost(
        {compose.build(layout, NEW).text: failure("ERROR: no such file")}
    )
    error = refused(release.build, at(host), NEW, print)
    assert error.what == "Build: the image could not be built."
    assert error.__cause__.output == "ERROR: no such file"  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", [failure("no memory"), "", "\n"])
def test_a_container_that_does_not_start_leaves_what_serves(
    at, layout, refused, answer
) -> None:
    start = compose.start_beside(layout, NEW, serving=OLD).text
    error = refused(release.start_beside, at(ScriptedHost({start: answer})), NEW, OLD)
    assert error.what == "Start: the release's container does not start."


def test_a_container_is_made_beside_what_serves(at, layout) -> None:
    create = compose.create_beside(layout, NEW, serving=OLD).text
    host = ScriptedHost({create: "c1\n"})
    assert release.create_beside(at(host), NEW, OLD) == "c1"


def test_a_healthy_release_is_not_sick(at, layout) -> None:
    host = ScriptedHost({"compose.probe": '{"well": true, "said": "200"}\n'})
    assert release.probe(at(host), NEW, "c1") is None
    asked = compose.probe("c1", *words(layout, *PAGES)).text
    assert host.ran == [asked]


def test_the_pages_of_deploy_toml_are_asked_for_as_a_visitor_would(config) -> None:
    plain = replace(config, probe=("/", "/shop/"), tls="off")
    asked = ["--page", "/", "--page", "/shop/", "--host", "shop.test"]
    assert release.pages(plain) == asked
    assert release.pages(replace(config, probe=())) == []


def test_a_release_of_an_older_version_is_asked_for_no_page(at, layout) -> None:
    """Its probe knows no such words: argparse ends with 2."""
    well = '{"well": true, "said": "200"}\n'
    host = ScriptedHost({"compose.probe": [failure("usage:", status=2), well]})
    assert release.probe(at(host), NEW, "c1") is None
    assert host.ran[1] == compose.probe("c1", *words(layout)).text


@pytest.mark.parametrize("status", [1, 137])
def test_a_page_that_fails_is_not_asked_around(at, status: int) -> None:
    said = failure('{"well": false, "said": "500 at /"}', status=status)
    host = ScriptedHost({"compose.probe": said, logs(): "Traceback\n"})
    sick = release.probe(at(host), NEW, "c1")
    assert sick == release.Unhealthy("500 at /", "Traceback")
    assert len(host.ran) == 2


SERVING = Container("c1", "shop_prod", NEW, "running", "Up")


def test_what_serves_is_asked_for_its_database_as_well(at, layout) -> None:
    host = ScriptedHost({"compose.probe": '{"well": true}'})
    assert release.trouble(at(host), SERVING) == ""
    socket, limit = str(layout.socket(NEW)), str(HEALTH.status)
    once = [socket, "--limit", limit, "--refusals", "1"]
    assert host.ran == [compose.probe("c1", *once, "--exact", *PAGES).text]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (failure('{"well": false, "said": "503 unknown shop.0003"}'), "503 unknown shop.0003"),
        (failure(""), "no answer"),
        ([failure(status=2), '{"well": true}'], ""),
        ([failure(status=2), failure('{"well": false, "said": "503"}')], "503"),
    ],
)  # fmt: skip
def test_its_trouble_is_told_in_its_own_words(at, answer, words: str) -> None:
    host = ScriptedHost({"compose.probe": answer})
    assert release.trouble(at(host), SERVING) == words


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ('{"well": false, "said": "503 no such table"}\n', "503 no such table"),
        ("Error response from daemon: container is not running", "it ended while it started"),
        ("", "it ended while it started"),
        ('["said"]', "it ended while it started"),
    ],
)  # fmt: skip
def test_a_sick_release_says_why(at, output: str, said: str) -> None:
    host = ScriptedHost({"compose.probe": failure(output), logs(): "Traceback\n"})
    sick = release.probe(at(host), NEW, "c1")
    assert sick == release.Unhealthy(said, "Traceback")


def test_a_refused_release_is_removed_and_its_last_lines_are_shown(at, refused) -> None:
    host = ScriptedHost({compose.discard("c1").text: "c1"})

    def refuse() -> None:
        raise release.refuse(at(host), "c1", release.Unhealthy("503 no", "Traceback"))

    error = refused(refuse)
    assert host.ran == [compose.discard("c1").text]
    assert "not healthy: 503 no." in error.what
    assert isinstance(error.__cause__, CommandFailed)
    assert error.__cause__.output == "Traceback"


def test_the_switch_writes_the_record_with_it(at, layout, deployed) -> None:
    switch = traffic.switch(layout, deployed.record.release).text
    host = ScriptedHost({switch: ""})
    assert release.switch(at(host), deployed.record).text == f"{OLD} serves"
    assert json.loads(host.sent[switch])["release"] == OLD


def test_where_none_served_before_nothing_is_drained(at) -> None:
    host = ScriptedHost({})
    outcome = release.drain_and_stop(at(host), None, NEW, "c1", limit=300)
    assert not outcome.changed


def test_the_old_release_is_drained_and_then_stopped(at, layout) -> None:
    drain, stop = traffic.drain(layout, OLD, 300).text, compose.stop("old-id").text
    host = ScriptedHost({drain: "", logs(): WELL, stop: ""})
    outcome = release.drain_and_stop(at(host), OLD_ONE, NEW, "c1", limit=300)
    assert outcome.text == f"{OLD} stopped"
    assert host.ran == [drain, logs(), stop]


@pytest.mark.parametrize(
    "state",
    [
        "container restarting, exit code 1, restarts 2",
        "container running, exit code 0, restarts 1",
        "container exited, exit code 137, restarts 0",
    ],
)
def test_a_release_that_crashes_after_the_switch_gives_way_to_the_old_one(
    at, layout, refused, state: str
) -> None:
    drain, back = (
        traffic.drain(layout, OLD, 300).text,
        traffic.switch_back(layout, OLD, forget=NEW).text,
    )
    discard = compose.discard("c1").text
    script = {drain: "", logs(): f"Traceback\n{state}\n", back: "", discard: ""}
    host = ScriptedHost(script)
    error = refused(release.drain_and_stop, at(host), OLD_ONE, NEW, "c1", limit=300)
    assert isinstance(error, release.SwitchedBack)
    assert host.ran == [drain, logs(), back, discard]
    assert "it ended after the switch" in error.what


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("busy\n", "; some requests still under way after 7 s"),
        ("busy 1\n", "; 1 request still under way after 7 s"),
        ("busy 12\n", "; 12 requests still under way after 7 s"),
    ],
)
def test_what_a_drain_did_not_wait_for_is_told(at, said: str, words: str) -> None:
    script = {"traffic.drain": said, logs(): WELL, "compose.stop": ""}
    host = ScriptedHost(script)
    outcome = release.drain_and_stop(at(host), OLD_ONE, NEW, "c1", limit=7)
    graceful = ", and cut off if 25 s more were not enough" if said else ""
    assert outcome.text == f"{OLD} stopped{words}{graceful}"
    left = release.leave(at(host), OLD_ONE, limit=7)
    assert left.text == outcome.text
    assert host.names[-2:] == ["traffic.drain", "compose.stop"]
    assert host.of("traffic.drain")["limit"] == 7


def test_migrations_that_a_release_does_not_know_are_remarked(at) -> None:
    remark = "the database has 1 migration that this release does not know: shop.0003"
    said = json.dumps({"well": True, "said": f"200 ok, but {remark}"})
    remarks: list[str] = []
    for answer in (said, '{"well": true, "said": "200"}\n'):
        host = ScriptedHost({"compose.probe": answer})
        sick = release.probe(at(host), NEW, "c1", remark=remarks.append)
        assert sick is None
    assert remarks == [remark]


def test_a_held_release_is_frozen_once_it_is_idle(at) -> None:
    """Frozen first, the requests under way would never end."""
    commands = ["traffic.hold", "traffic.drain", "compose.freeze"]
    host = ScriptedHost(dict.fromkeys(commands, ""))
    assert release.hold(at(host), OLD_ONE, drain=8, at_most=25) == ""
    assert host.names == commands
    assert host.of("traffic.drain")["limit"] == 8
    assert host.of("traffic.hold")["limit"] == 25
    host.script["traffic.drain"] = "busy 2\n"
    assert "2 requests cut off" in release.hold(at(host), OLD_ONE, drain=8, at_most=25)


def test_pruning_keeps_what_the_limits_say(at, layout) -> None:
    command = releases.prune(
        layout,
        serving=NEW,
        keep=KEEP.releases,
        snapshots=KEEP.snapshots,
        cache=KEEP.build_cache,
    )
    host = ScriptedHost({command.text: ""})
    assert "5 releases and 5 snapshots" in release.prune(at(host), NEW).text


@pytest.mark.parametrize(
    ("cores", "workers", "wanted"), [(1, 0, 2), (4, 0, 4), (32, 0, 8), (4, 3, 3)]
)
def test_workers_are_chosen_from_the_cores_unless_said(
    at, deployed, cores: int, workers: int, wanted: int
) -> None:
    facts, stage = replace(deployed, cores=cores), at(ScriptedHost({}), workers=workers)
    text = release.configuration(stage, facts, NEW, facts.data_dir)
    assert f"WEB_CONCURRENCY={wanted}\n" in text


def test_a_release_is_configured_by_the_name_and_the_server(
    at, layout, deployed
) -> None:
    own = layout.data_copy(NEW)
    lines = release.configuration(at(ScriptedHost({})), deployed, NEW, own).splitlines()
    assert dict(line.split("=", 1) for line in lines) == {
        "STAGETOOLS_SYSTEM": "shop_prod",
        "STAGETOOLS_RELEASE": NEW,
        "STAGETOOLS_USER": "998:997",
        "STAGETOOLS_HOME": "/home/shop_prod",
        "STAGETOOLS_DATA": f"/home/shop_prod/data-{NEW}",
        "STAGETOOLS_REHEARSAL_NETWORK": "none",
        "STAGETOOLS_RUN_DIR": "/srv/stagetools/web/sites/shop_prod/run",
        "STAGETOOLS_TLS": "on",
        "ALLOWED_HOSTS": "shop.test",
        "WEB_CONCURRENCY": "2",
        "STAGETOOLS_PROCESSES": "512",
        "STAGETOOLS_MEMORY": str(2**31 * 3 // 4),
    }


def test_a_stage_may_say_how_much_memory_its_containers_have(at, deployed) -> None:
    small = at(ScriptedHost({}), memory="512 MB")
    text = release.configuration(small, deployed, NEW, deployed.data_dir)
    assert f"STAGETOOLS_MEMORY={small.config.memory_bytes}\n" in text


def test_a_rehearsal_has_a_network_only_where_that_is_said(at, deployed) -> None:
    wants = at(ScriptedHost({}), rehearsal_network=True)
    text = release.configuration(wants, deployed, NEW, deployed.data_dir)
    assert "STAGETOOLS_REHEARSAL_NETWORK=bridge\n" in text


def test_the_compose_files_get_each_variable_that_they_name(at, deployed) -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE_YAML.read_text()))
    asked.remove("STAGETOOLS_LOG")  # which `inv manage` alone sets
    for name in get_args(compose.Overlay):
        overlay = OVERLAYS / f"{name}.yaml"
        asked |= set(re.findall(r"\$\{(\w+)", overlay.read_text()))
    text = release.configuration(
        at(ScriptedHost({})), deployed, NEW, deployed.data_dir, deployed.data_dir
    )
    assert asked == {line.partition("=")[0] for line in text.splitlines()}
