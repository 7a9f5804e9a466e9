"""A release: built, started, asked, switched to, drained; and every way in which it is not."""

import json

import pytest

from stagetools.deploy.commands import compose, releases, site
from stagetools.deploy.facts import Container
from stagetools.deploy.limits import HEALTH, KEEP
from stagetools.deploy.steps import release
from stagetools.errors import CommandFailed
from tests.steps.conftest import OLD
from tests.steps.scripted import ScriptedHost, failure

NEW = "20260131-080000-abcdef0"
OLD_ONE = Container("old-id", "shop_prod", OLD, "running", "Up 3 minutes")
WELL = "line\ncontainer running, exit code 0, restarts 0\n"


def probe(layout) -> str:
    words = [str(layout.socket(NEW)), "--limit", str(HEALTH.start)]
    return compose.probe("c1", *words, "--refusals", str(HEALTH.refusals)).text


def logs(container: str = "c1") -> str:
    return compose.last_lines(container, 15).text


def test_a_built_image_is_named(layout) -> None:
    host = ScriptedHost({compose.build(layout, NEW).text: "#1 DONE\n"})
    lines: list[str] = []
    outcome = release.build(host, layout, NEW, lines.append)
    assert outcome.text == f"image shop_prod:{NEW}"
    assert lines == ["#1 DONE"]


def test_an_image_that_cannot_be_built_leaves_what_serves(layout, refused) -> None:
    host = ScriptedHost(
        {compose.build(layout, NEW).text: failure("ERROR: no such file")}
    )
    error = refused(release.build, host, layout, NEW, print)
    assert "What served shop_prod before goes on serving" in error.untouched
    assert error.__cause__.output == "ERROR: no such file"  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", [failure("no memory"), "", "\n"])
def test_a_container_that_does_not_start_leaves_what_serves(
    layout, refused, answer
) -> None:
    start = compose.start_beside(layout, NEW, serving=OLD).text
    error = refused(
        release.start_beside, ScriptedHost({start: answer}), layout, NEW, OLD
    )
    assert error.what == "Start: the release's container does not start."


def test_a_healthy_release_is_not_sick(layout) -> None:
    host = ScriptedHost({probe(layout): '{"well": true, "said": "200"}\n'})
    assert release.probe(host, layout, NEW, "c1") is None


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ('{"well": false, "said": "503 no such table"}\n', "503 no such table"),
        ("Error response from daemon: container is not running", "it ended while it started"),
        ("", "it ended while it started"),
        ('["said"]', "it ended while it started"),
    ],
)  # fmt: skip
def test_a_sick_release_says_why(layout, output: str, said: str) -> None:
    host = ScriptedHost({probe(layout): failure(output), logs(): "Traceback\n"})
    assert release.probe(host, layout, NEW, "c1") == release.Sick(said, "Traceback")


def test_a_refused_release_is_removed_and_its_last_lines_are_shown(
    layout, refused
) -> None:
    host = ScriptedHost({compose.discard("c1").text: "c1"})

    def refuse() -> None:
        raise release.refuse(host, layout, "c1", release.Sick("503 no", "Traceback"))

    error = refused(refuse)
    assert host.ran == [compose.discard("c1").text]
    assert "not healthy: 503 no." in error.what
    assert isinstance(error.__cause__, CommandFailed)
    assert error.__cause__.output == "Traceback"


def test_the_switch_writes_the_record_with_it(layout, deployed) -> None:
    switch = site.switch(layout, deployed.record.release).text
    host = ScriptedHost({switch: ""})
    assert release.switch(host, layout, deployed.record).text == f"{OLD} serves"
    assert json.loads(host.sent[switch])["release"] == OLD


def test_where_none_served_before_nothing_is_drained(layout) -> None:
    outcome = release.drain_and_stop(ScriptedHost({}), layout, None, NEW, "c1")
    assert not outcome.changed


def test_the_old_release_is_drained_and_then_stopped(layout) -> None:
    drain, stop = site.drain(layout, OLD).text, compose.stop("old-id").text
    host = ScriptedHost({drain: "", logs(): WELL, stop: ""})
    assert (
        release.drain_and_stop(host, layout, OLD_ONE, NEW, "c1").text
        == f"{OLD} stopped"
    )
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
    layout, refused, state: str
) -> None:
    drain, back = (
        site.drain(layout, OLD).text,
        site.switch_back(layout, OLD, forget=NEW).text,
    )
    discard = compose.discard("c1").text
    script = {drain: "", logs(): f"Traceback\n{state}\n", back: "", discard: ""}
    host = ScriptedHost(script)
    error = refused(release.drain_and_stop, host, layout, OLD_ONE, NEW, "c1")
    assert host.ran == [drain, logs(), back, discard]
    assert "it ended after the switch" in error.what


def test_a_pause_waits_until_the_old_release_is_idle(layout) -> None:
    commands = [
        site.pause(layout).text,
        site.drain(layout, OLD).text,
        compose.halt("old-id").text,
    ]
    host = ScriptedHost(dict.fromkeys(commands, ""))
    release.pause(host, layout, OLD_ONE)
    assert host.ran == commands


def test_a_resumed_release_runs_before_it_is_found(layout) -> None:
    commands = [compose.go_on("old-id").text, site.resume(layout).text]
    host = ScriptedHost(dict.fromkeys(commands, ""))
    release.resume(host, layout, OLD_ONE)
    assert host.ran == commands


def test_pruning_keeps_what_the_limits_say(layout) -> None:
    command = releases.prune(
        layout,
        serving=NEW,
        keep=KEEP.releases,
        snapshots=KEEP.snapshots,
        cache=KEEP.build_cache,
    )
    host = ScriptedHost({command.text: ""})
    assert "5 releases and 5 snapshots" in release.prune(host, layout, NEW).text


@pytest.mark.parametrize(
    ("cores", "workers", "wanted"), [(1, 0, 2), (4, 0, 4), (32, 0, 8), (4, 3, 3)]
)
def test_workers_are_chosen_from_the_cores_unless_said(
    layout, deployed, config, cores: int, workers: int, wanted: int
) -> None:
    from dataclasses import replace

    text = release.configuration(
        layout, replace(deployed, cores=cores), replace(config, workers=workers), NEW
    )
    assert f"WEB_CONCURRENCY={wanted}\n" in text


def test_a_release_is_configured_by_the_name_and_the_server(
    layout, deployed, config
) -> None:
    lines = release.configuration(layout, deployed, config, NEW).splitlines()
    assert dict(line.split("=", 1) for line in lines) == {
        "STAGETOOLS_SYSTEM": "shop_prod",
        "STAGETOOLS_RELEASE": NEW,
        "STAGETOOLS_USER": "998:997",
        "STAGETOOLS_HOME": "/home/shop_prod",
        "STAGETOOLS_RUN_DIR": "/srv/stagetools/web/sites/shop_prod/run",
        "STAGETOOLS_TLS": "on",
        "ALLOWED_HOSTS": "shop.test",
        "WEB_CONCURRENCY": "2",
        "STAGETOOLS_PROCESSES": "512",
        "STAGETOOLS_MEMORY": str(2**31 * 3 // 4),
    }


def test_a_stage_may_say_how_much_memory_its_containers_have(
    layout, deployed, config
) -> None:
    from dataclasses import replace

    small = replace(config, memory="512 MB")
    text = release.configuration(layout, deployed, small, NEW)
    assert f"STAGETOOLS_MEMORY={small.memory_bytes}\n" in text


def test_compose_yaml_gets_each_variable_that_it_names(
    layout, deployed, config
) -> None:
    import re
    from pathlib import Path

    compose_yaml = Path(__file__).parents[2] / "template/compose.yaml"
    asked = set(re.findall(r"\$\{(\w+)", compose_yaml.read_text()))
    asked.remove("STAGETOOLS_LOG")  # which `inv manage` alone sets
    text = release.configuration(layout, deployed, config, NEW)
    assert asked == {line.partition("=")[0] for line in text.splitlines()}
