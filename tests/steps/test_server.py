"""Docker and the account: made only where they are missing."""

from dataclasses import replace

import pytest

from stagetools.deploy.commands import server as commands
from stagetools.deploy.steps import server
from stagetools.errors import CommandFailed
from tests.steps.scripted import ScriptedHost, failure


def quiet(line: str) -> None: ...


def test_docker_that_is_there_is_not_installed_again(ready) -> None:
    outcome = server.bootstrap(ScriptedHost({}), ready, quiet)
    assert not outcome.changed
    assert outcome.text == "Docker 28.0 is there"


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
    assert chosen[-2:] == ("iptables", "ca-certificates")


def test_dockers_own_repository_is_added_only_where_it_is_needed(bare) -> None:
    install = commands.install(server.packages(bare)).text
    host = ScriptedHost({install: "done\n"})
    lines: list[str] = []
    assert server.bootstrap(host, bare, lines.append).changed
    assert lines == ["done"]
    old = replace(bare, os_version="12", os_codename="bookworm")
    add = commands.docker_repository("debian", "bookworm").text
    install = commands.install(server.packages(old)).text
    host = ScriptedHost({add: "", install: ""})
    server.bootstrap(host, old, quiet)
    assert host.ran == [add, install]


def test_another_system_is_refused_before_anything_is_installed(bare, refused) -> None:
    fedora = replace(bare, os="fedora", os_version="42")
    error = refused(server.bootstrap, ScriptedHost({}), fedora, quiet)
    assert "fedora 42 is neither Debian nor Ubuntu" in error.what


def test_another_system_with_docker_is_taken_as_it_is(ready) -> None:
    fedora = replace(ready, os="fedora", os_version="42")
    assert not server.bootstrap(ScriptedHost({}), fedora, quiet).changed


def test_a_server_without_systemd_is_refused(bare, refused) -> None:
    facts = replace(bare, systemd=False)
    error = refused(server.bootstrap, ScriptedHost({}), facts, quiet)
    assert "does not run systemd" in error.what


def test_an_installation_that_fails_ends_the_deploy(bare) -> None:
    install = commands.install(server.packages(bare)).text
    with pytest.raises(CommandFailed):
        server.bootstrap(ScriptedHost({install: failure("no space")}), bare, quiet)


def test_an_account_that_is_there_is_unchanged(layout) -> None:
    command = commands.ensure_account(layout).text
    host = ScriptedHost({command: ["created user shop_prod\ncreated secrets\n", ""]})
    first = server.ensure_account(host, layout)
    assert first.changed
    assert first.text == "made user shop_prod, secrets in /home/shop_prod"
    assert not server.ensure_account(host, layout).changed
