"""A laptop that slept: its deploy wakes up when somebody else has the lock, and changes nothing."""

import signal
import time

import pytest

from stagetools.deploy.limits import LOCK
from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.server.typed import Typed
from tests.server.watch import give_version, watching

DOMAIN = "fence.test"
STATE = """
readlink /srv/stagetools/web/sites/mysite_prod/current.sock
ls /srv/stagetools/web/sites/mysite_prod/run /home/mysite_prod/releases
docker ps --all --format '{{.ID}} {{.State}}' --filter label=stagetools.system
docker image ls --format '{{.Tag}}' mysite_prod
"""


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("fence", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN)
    give_version(project, "v0")
    project.deploy()
    return project


def wait_until_given_up(project: Project) -> None:
    time.sleep(LOCK.silence + 1)


def unlock(project: Project) -> None:
    assert "The lock was held by: " in project.inv("unlock").text


def asleep(project: Project, version: str, at: str) -> Typed:
    """A deploy of this version that stopped just after a line."""
    give_version(project, version)
    stop = lambda typed: typed.send(signal.SIGSTOP)  # noqa: E731
    typed = Typed(project, "deploy", at=at, then=stop)
    typed.wait_for(at)
    assert typed.reached, typed.done()
    return typed


def serves(server: Server) -> str:
    return Browser(server.address, DOMAIN).get("/version").text


@pytest.mark.parametrize(
    ("at", "lose"),
    [("✓ Start", wait_until_given_up), ("✓ Start", unlock), ("✓ Build", unlock), ("✓ Switch", unlock)],
)  # fmt: skip
def test_who_lost_the_lock_changes_nothing_more(server, project, at, lose) -> None:
    name = f"{at[2:].lower()}-{lose.__name__}"
    sleeper = asleep(project, f"sleeper-{name}", at)
    try:
        with watching(server, DOMAIN) as watch:
            lose(project)
            give_version(project, f"second-{name}")
            project.deploy()
            before = server.run(STATE)
            sleeper.send(signal.SIGCONT)
            done = sleeper.done()
            assert serves(server) == f"second-{name}", str(done)
    finally:
        sleeper.send(signal.SIGCONT)
        sleeper.done()
    assert server.run(STATE) == before
    assert not watch.failures
    assert done.status == 1
    assert "The lock on the server was lost" in done.text
    assert "Traceback" not in done.text


def test_the_next_deploy_succeeds(server, project) -> None:
    give_version(project, "afterwards")
    project.deploy()
    assert serves(server) == "afterwards"
