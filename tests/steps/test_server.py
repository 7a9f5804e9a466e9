"""Docker and the account: made only where they are missing."""

import json
from dataclasses import replace

import pytest

from stagetools.deploy.commands import server as commands
from stagetools.deploy.steps import server
from stagetools.errors import CommandFailed
from tests.steps.scripted import ScriptedHost, failure


def quiet(line: str) -> None: ...


def test_docker_that_is_there_is_not_installed_again(at, ready) -> None:
    outcome = server.bootstrap(at(ScriptedHost({})), ready, quiet)
    assert not outcome.changed
    assert outcome.text == "Docker 28.0 is there"


ENGINE = {
    commands.daemon_json().text: "",
    commands.set_engine(1, "live-restore").text: "live-restore\n",
}
DEBIAN_13 = ("docker.io", "docker-cli", "docker-compose", "docker-buildx")
UBUNTU = ("docker.io", "docker-compose-v2", "docker-buildx")
OWN = ("docker-ce", "docker-ce-cli", "containerd.io")


@pytest.mark.parametrize(
    ("os", "version", "first"),
    [
        ("debian", "13", DEBIAN_13),
        ("debian", "12", OWN),
        ("ubuntu", "24.04", UBUNTU),
        ("ubuntu", "22.04", OWN),
        ("ubuntu", "99.04", OWN),
    ],
)
def test_the_distributions_own_packages_where_they_bring_compose(
    bare, os: str, version: str, first: tuple[str, ...]
) -> None:
    chosen = server.packages(replace(bare, os=os, os_version=version))
    assert chosen[: len(first)] == first
    assert chosen[-3:] == ("iptables", "ca-certificates", "restic")


def test_dockers_own_repository_is_added_only_where_it_is_needed(at, bare) -> None:
    install = commands.install(server.packages(bare)).text
    host = ScriptedHost({install: "done\n", **ENGINE})
    lines: list[str] = []
    assert server.bootstrap(at(host), bare, lines.append).changed
    assert lines == ["done"]
    old = replace(bare, os_version="12", os_codename="bookworm")
    add = commands.docker_repository("debian", "bookworm").text
    install = commands.install(server.packages(old)).text
    host = ScriptedHost({add: "", install: "", **ENGINE})
    server.bootstrap(at(host), old, quiet)
    assert host.ran == [add, install, *ENGINE]


def test_another_system_is_refused_before_anything_is_installed(
    at, bare, refused
) -> None:
    fedora = replace(bare, os="fedora", os_version="42")
    error = refused(server.bootstrap, at(ScriptedHost({})), fedora, quiet)
    assert "fedora 42 is neither Debian nor Ubuntu" in error.what


def test_another_system_with_docker_is_taken_as_it_is(at, ready) -> None:
    fedora = replace(ready, os="fedora", os_version="42")
    assert not server.bootstrap(at(ScriptedHost({})), fedora, quiet).changed


def test_a_server_without_systemd_is_refused(at, bare, refused) -> None:
    facts = replace(bare, systemd=False)
    error = refused(server.bootstrap, at(ScriptedHost({})), facts, quiet)
    assert "does not run systemd" in error.what


def test_an_installation_that_fails_ends_the_deploy(at, bare) -> None:
    install = commands.install(server.packages(bare)).text
    with pytest.raises(CommandFailed):
        server.bootstrap(at(ScriptedHost({install: failure("no space")})), bare, quiet)


def test_an_account_that_is_there_is_unchanged(at) -> None:
    made = ["created user shop_prod\ncreated secrets\n", ""]
    host = ScriptedHost({"server.ensure_account": made, "compose.write_overlays": ""})
    first = server.ensure_account(at(host))
    assert first.changed
    assert first.text == "made user shop_prod, secrets in /home/shop_prod"
    assert not server.ensure_account(at(host)).changed


# --- what sites share of the engine -----------------------------------------------------------


@pytest.fixture
def older(ready):
    """A server that 0.1.0 has prepared."""
    return replace(ready, engine="")


def host_of(done: str, *, swarm: str = "inactive", file: str = "") -> ScriptedHost:
    return ScriptedHost(
        {
            commands.swarm().text: f"{swarm}\n",
            commands.daemon_json().text: file,
            commands.set_engine(1, done).text: f"{done}\n",
        }
    )


def sent(host: ScriptedHost) -> str:
    (text,) = [text for key, text in host.sent.items() if "daemon.json as it" in key]
    return text.decode()


def test_an_engine_goes_on_to_serve_while_it_restarts(at, older) -> None:
    host = host_of("live-restore")
    outcome = server.bootstrap(at(host), older, quiet)
    assert outcome.text == "Docker 28.0 is there, sites go on while it restarts"
    assert json.loads(sent(host)) == {"live-restore": True}


THEIRS = '{"log-driver": "journald",\n "bip": "192.168.231.1/24"}\n'


def test_the_engines_other_settings_stay_as_they_are_written(at, older) -> None:
    host = host_of("live-restore", file=THEIRS)
    server.bootstrap(at(host), older, quiet)
    assert json.loads(sent(host)) == {"live-restore": True, **json.loads(THEIRS)}
    assert THEIRS.removeprefix("{") in sent(host)


@pytest.mark.parametrize(
    ("done", "options"),
    [
        ("swarm", {"swarm": "active"}),
        ("theirs", {"file": '{"live-restore": false}'}),
        ("theirs", {"file": "no json"}),
        ("theirs", {"file": "[]"}),
    ],
)
def test_what_somebody_decided_for_the_engine_stays(at, older, done, options) -> None:  # fmt: skip
    host = host_of(done, **options)
    server.bootstrap(at(host), older, quiet)
    assert sent(host) == ""


def test_a_stage_may_do_without_live_restore(at, older, config) -> None:
    without = replace(config, live_restore=False)
    host = host_of("off")
    server.bootstrap(at(host, live_restore=False), older, quiet)
    assert sent(host) == ""
    done = replace(older, engine="1 off")
    assert server.is_ready(done, without)
    assert not server.is_ready(done, config)


@pytest.mark.parametrize("engine", ["1 live-restore", "1 theirs", "1 swarm", "2 new"])
def test_what_is_set_already_is_not_set_again(ready, config, engine: str) -> None:
    assert server.is_ready(replace(ready, engine=engine), config)


@pytest.mark.parametrize("engine", ["", "0 old", "nonsense"])
def test_what_an_older_version_left_is_set_anew(ready, config, engine: str) -> None:
    assert not server.is_ready(replace(ready, engine=engine), config)
