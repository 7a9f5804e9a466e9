"""No request fails while releases change, sites come and go, or the processor is starved.

SWITCHES is how many (20 unless set; a release is tried with 100): `SWITCHES=100 pytest
tests/server/test_switch.py -s` prints the figures too.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.server.load import MIX, Load
from tests.server.machines import Server
from tests.server.project import Done, Project

DOMAIN, SECOND, FURTHER = "mysite.test", "second.test", "further.test"
SWITCHES = int(os.environ.get("SWITCHES", "20"))
STARVED = max(3, SWITCHES // 5)
RATE = 100  # requests a second, at the least

VIEWS = '''"""What the load asks for: an answer that takes long, an upload, a row."""

import hashlib
import time

from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Entry


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("done")


@csrf_exempt
def upload(request):
    digest = hashlib.sha256()
    while piece := request.read(65536):
        digest.update(piece)
    return HttpResponse(digest.hexdigest())


@csrf_exempt
def write(request):
    Entry.objects.create(name=request.GET["key"], message="load")
    return HttpResponse(status=201)
'''

URLS = """from . import load

urlpatterns += [
    path("load/slow", load.slow),
    path("load/upload", load.upload),
    path("load/write", load.write),
]
"""


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("switch", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN)
    project.write("mysite/load.py", VIEWS)
    project.write("mysite/urls.py", project.read("mysite/urls.py") + URLS)
    project.deploy()
    return project


class Changes:
    """What puts another container before the users, each in its turn."""

    def __init__(self, project: Project) -> None:
        self.project, self.number = project, itertools.count(1)

    def __iter__(self) -> Iterator[Callable[[], Done]]:
        return itertools.cycle(
            [self.deploy, self.restart, self.deploy, self.rollback, self.environment]
        )

    def deploy(self) -> Done:
        """A changed page and a changed stylesheet, and so another hashed name."""
        mark = f"{next(self.number)}"
        for path, text in (
            ("mysite/templates/home.html", "<!-- change {} -->\n"),
            ("mysite/static/site/style.css", "/* change {} */\n"),
        ):
            before = self.project.read(path).partition(text.partition("{")[0])[0]
            self.project.write(path, before + text.format(mark))
        return self.project.inv("deploy")

    def restart(self) -> Done:
        return self.project.inv("restart")

    def rollback(self) -> Done:
        return self.project.inv("rollback", "--yes")

    def environment(self) -> Done:
        return self.project.inv("env.set", f"CHANGE={next(self.number)}")


def stored(server: Server) -> set[str]:
    """The keys of all rows, as the release that serves sees them."""
    query = "from mysite.models import Entry; print(*Entry.objects.values_list('name', flat=True))"
    container = server.run("docker ps --quiet --filter label=stagetools.release")
    script = (
        f'docker exec {container} python -m stagetools.manage shell -v 0 -c "{query}"'
    )
    return set(server.run(script).split())


def assert_nothing_failed(load: Load, server: Server) -> None:
    report = load.report
    figures = {k: v for k, v in report.items() if k not in ("written", "releases")}
    figures["switches"] = len(report["releases"]) - 1
    sys.stdout.write(json.dumps(figures, indent=1))
    assert not report["failed"], (report["errors"], report["failures"])
    lost = set(report["written"]) - stored(server)
    assert not lost


def test_no_request_fails_while_releases_change(project, server) -> None:
    with Load(server.address, DOMAIN) as load:
        for change in itertools.islice(Changes(project), SWITCHES):
            done = change()
            assert done.status == 0, done
    assert_nothing_failed(load, server)
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
        project.deploy()
        with Load(server.address, FURTHER, rates={"new": 5}) as further:
            second.deploy()
            done = second.inv("remove", "--name", "second_prod")
            assert done.status == 0, done
        project.target(server, domain=DOMAIN)
        project.deploy()
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
            done = project.deploy()
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
    with Load(server.address, DOMAIN) as load, starvation():
        for change in itertools.islice(Changes(project), STARVED):
            done = change()
            assert done.status == 0, done
    assert_nothing_failed(load, server)
