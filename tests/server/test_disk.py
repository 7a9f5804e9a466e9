"""The disk stays bounded, and what is somebody else's stays.

DEPLOYS is how many deploys in a row, beside the first (as many as releases stay, unless set, so
that the first one goes): a release is tried with 30, in which the size of everything levels
off too.
"""

import os

import pytest

from stagetools.deploy.limits import KEEP
from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project
from tests.server.watch import give_version

DOMAIN = "mysite.test"
DEPLOYS = int(os.environ.get("DEPLOYS", KEEP.releases))
BIG = 60 * 10**6  # bytes that each deploy of a long row changes
LEVEL = 20  # deploys, after which nothing grows any more
FOREIGN = "docker ps -aq --no-trunc --filter name=foreign; docker image ls -q foreign"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("disk", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project = new_project()
    project.target(server, domain=DOMAIN)
    project.deploy()
    return project


def used(server: Server) -> int:
    """Bytes of all that a deploy may fill."""
    said = server.run("du -sxB1 /var/lib/docker /home /srv /var/log | cut -f1")
    return sum(int(line) for line in said.split())


def test_many_deploys_leave_what_a_few_do(project, server) -> None:
    server.run(
        "docker tag caddy:2 foreign:1; docker create --name foreign foreign:1 >/dev/null"
    )
    before = server.run(FOREIGN)
    sizes = []
    for number in range(DEPLOYS):
        give_version(project, f"deploy {number}")
        if DEPLOYS > LEVEL:
            (project.root / "mysite" / "big.bin").write_bytes(os.urandom(BIG))
        project.deploy()
        sizes.append(used(server))
    print("MB after each deploy:", *(size // 10**6 for size in sizes))  # noqa: T201 - with -s
    assert Browser(server.address, DOMAIN).get("/version").text == f"deploy {number}"
    assert server.run(FOREIGN) == before
    for listing in (
        "docker image ls -q mysite_prod",
        "find /home/mysite_prod/releases -mindepth 1 -maxdepth 1 -type d",
        "ls /home/mysite_prod/releases/*.json",
    ):
        assert len(server.run(listing).split()) == KEEP.releases
    sockets = server.run("ls /srv/stagetools/web/sites/mysite_prod/run").split()
    assert len(sockets) == 1  # the others went with their gunicorn
    if DEPLOYS > LEVEL:
        assert max(sizes[LEVEL:]) < 1.05 * sizes[LEVEL - 1]


def test_a_deploy_that_fails_leaves_nothing(project, server) -> None:
    kept = (
        "ls /home/mysite_prod/releases; docker image ls --format '{{.Tag}}' mysite_prod"
    )
    project.deploy()
    before = server.run(kept)
    for path, fault in (("Dockerfile", "RUN false\n"), ("mysite/urls.py", "1 / 0\n")):
        well = project.read(path)
        project.write(path, f"{well}\n{fault}")
        assert project.inv("deploy").status == 1
        project.write(path, well)
        assert server.run(kept) == before
