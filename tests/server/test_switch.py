"""No request fails while releases change, sites come and go, or the processor is starved.

SWITCHES is how many (12 unless set, each kind once; a release is tried with 100):
`SWITCHES=100 pytest tests/server/test_switch.py -s` prints the figures too.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.server.changes import Changes, assert_nothing_failed, stored, take_load
from tests.server.load import MIX, Load
from tests.server.machines import Server
from tests.server.project import Project

DOMAIN, SECOND, FURTHER = "mysite.test", "second.test", "further.test"
SWITCHES = int(os.environ.get("SWITCHES", "12"))
STARVED = max(3, SWITCHES // 5)
RATE = 100  # requests a second, at the least


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("switch", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN)
    take_load(project)
    project.deploy()
    return project


def test_no_request_fails_while_releases_change(project, server) -> None:
    changes = Changes(project, server)
    with Load(server.address, DOMAIN) as load:
        changes.run(SWITCHES)
    assert_nothing_failed(load, server, changes)
    assert load.report["requests"] / load.report["seconds"] >= RATE
    # the first and the last may serve before and after the load looks
    assert len(load.report["releases"]) >= SWITCHES
    assert set(load.report["kinds"]) == set(MIX)


def test_no_request_fails_while_sites_and_domains_come_and_go(
    project, server, new_project
) -> None:
    second = new_project(project_slug="second")
    second.target(server, domain=SECOND)
    with Load(server.address, DOMAIN) as load:
        second.deploy()
        project.target(server, domain=DOMAIN, domains=[DOMAIN, FURTHER])
        project.deploy("--yes")
        with Load(server.address, FURTHER, rates={"new": 5}) as further:
            second.deploy()
            done = second.inv("remove", "--name", "second_prod")
            assert done.status == 0, str(done)
        project.target(server, domain=DOMAIN)
        project.deploy("--yes")
    assert_nothing_failed(load, server)
    assert not further.report["failed"]


def test_renewing_the_proxy_is_no_outage(project, server) -> None:
    """As by the first deploy of a project whose template brings a newer proxy.

    A connection that is being made when the old one leaves may be lost, and nothing else.
    """
    renewals = max(2, SWITCHES // 10)
    with Load(server.address, DOMAIN) as load:
        for _ in range(renewals):
            before = proxies(server)
            server.run("echo 0 >/srv/stagetools/proxy/version")
            done = project.deploy("--yes")
            assert "Proxy: Caddy runs" in done.text
            assert len(proxies(server)) == 1
            assert proxies(server) != before
    report = load.report
    assert report["failed"] <= 2 * renewals, report["errors"]
    assert report["outage"] < 0.5
    assert not set(report["written"]) - stored(server)


def proxies(server: Server) -> list[str]:
    label = "label=com.docker.compose.project=stagetools-proxy"
    return server.run(f"docker ps --all --quiet --filter {label}").split()


@contextmanager
def starvation() -> Iterator[None]:
    """Two busy programs for each core, beside everything else."""
    cores = os.cpu_count() or 1
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * cores)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_no_request_fails_while_the_processor_is_starved(project, server) -> None:
    project.deploy("--yes")  # a migration that another test has left to be made
    changes = Changes(project, server)
    with Load(server.address, DOMAIN) as load, starvation():
        changes.run(STARVED, may_refuse=True)
    assert changes.refused <= STARVED // 2
    assert_nothing_failed(load, server, changes)
