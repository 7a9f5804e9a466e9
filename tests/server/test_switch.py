"""No request fails while releases change, sites come and go, or the processor is starved.

SWITCHES is how many (12 unless set, each kind once; a release is tried with 100, and with a
fifth of them on a starved processor):
`SWITCHES=100 pytest tests/server/test_switch.py -s` prints the figures too.
KILLS is how many kills under writes (4 unless set, one of each kind); a release is tried with
50, which writes `docs/kills.md`: `KILLS=50 pytest tests/server/test_switch.py -k kill -s`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.server import kills, kills_table
from tests.server.changes import Changes, assert_nothing_failed, stored, take_load
from tests.server.disk import give_disk, has_disk
from tests.server.load import MIX, Load
from tests.server.machines import Server
from tests.server.project import Project

DOMAIN, SECOND, FURTHER = "mysite.test", "second.test", "further.test"
SWITCHES = int(os.environ.get("SWITCHES", "12"))
STARVED = SWITCHES // 5 if SWITCHES >= 100 else 0
RATE = 100  # requests a second, at the least
KILLS = int(os.environ.get("KILLS", "4"))
FORGETFUL = KILLS // 10
"""Power cuts with the setting that may lose the last moments, each after LONG seconds of writes."""
LONG = 20.0
WRITEBACK = (
    35.0  # seconds after which Linux has written what is in its memory (30, and 5)
)


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    server: Server = new_server("switch", with_docker=True)
    with suppress(RuntimeError):  # whoever needs it looks
        give_disk(server)
    return server


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


@pytest.mark.skipif(not STARVED, reason="before a release: SWITCHES=100")
def test_no_request_fails_while_the_processor_is_starved(project, server) -> None:
    project.deploy("--yes")  # a migration that another test has left to be made
    changes = Changes(project, server)
    with Load(server.address, DOMAIN) as load, starvation():
        changes.run(STARVED, may_refuse=True)
    assert changes.refused <= STARVED // 2
    assert_nothing_failed(load, server, changes)


# A TLS socket whose peer goes away in the middle of wrap_socket() is closed by nobody else.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_acknowledged_write_is_lost_whatever_is_killed_and_the_site_is_back_soon(
    project, server
) -> None:
    assert has_disk(server), "a power cut would take nothing from the database"
    rows = kills.of_each_kind(project, server, KILLS)
    more = kills.forgetful(project, server, FORGETFUL, LONG) if FORGETFUL else []
    if KILLS >= 50:
        kills_table.write(rows + more)
    assert not [row for row in rows if row.lost], rows
    assert {row.integrity for row in rows} == {"ok"}, rows
    assert all(row.acknowledged > 20 for row in rows), rows
    assert max(row.back for row in rows) <= kills.BACK, rows
    # with SQLITE_SYNCHRONOUS=NORMAL the last moments may go, and no more
    assert {row.integrity for row in more} <= {"ok"}, more
    assert max((row.oldest for row in more), default=0) <= WRITEBACK, more
    assert max((row.back for row in more), default=0) <= kills.BACK, more
