"""A dry run tells every command, and leaves the server as it was."""

import re

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project

DOMAIN = "dry.test"
SECRET = "a value that nobody may see"
AS_IT_IS = r"""
find /etc /home /srv /root /opt /usr/local /run/stagetools /run/lock -printf '%p %y %m %u:%g %s %T@ %l\n' 2>/dev/null | grep -v sqlite3-shm | sort
sha256sum /home/*/env /home/*/data/*.sqlite3 2>/dev/null || true
cat /etc/passwd /etc/group; dpkg-query -W
command -v docker >/dev/null || exit 0
docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'
docker image ls --all --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}'
docker network ls; docker volume ls
"""


@pytest.fixture(scope="module")
def bare(new_server) -> Server:
    return new_server("bare")


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("dry", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    """Deployed twice, so that there is a way back; then changed."""
    project = new_project()
    project.target(server, domain=DOMAIN)
    project.deploy()
    project.write("mysite/static/mysite/more.css", "a { color: red }")
    project.deploy()
    assert project.inv("env.set", f"MY_SECRET={SECRET}").status == 0
    project.write("mysite/static/mysite/more.css", "a { color: blue }")
    return project


def as_it_is(server: Server) -> str:
    return server.run(AS_IT_IS)


def titles(text: str) -> list[str]:
    """The steps that were printed."""
    return re.findall(r"^([A-Z][a-z]+(?: [a-z]+)?)$", text, re.MULTILINE)


def test_on_a_bare_server_every_step_of_a_first_deploy_is_told(
    new_project, bare
) -> None:
    project = new_project()
    project.target(bare, domain=DOMAIN)
    before, toml = as_it_is(bare), project.read("deploy.toml")
    done = project.inv("deploy", "--dry-run", "--verbose")
    assert done.status == 0, str(done)
    assert as_it_is(bare) == before
    assert project.read("deploy.toml") == toml
    assert titles(done.text) == [
        *(
            "Connect",
            "Docker",
            "Account",
            "Proxy",
            "Upload",
            "Build",
            "Migrate",
            "Start",
        ),
        *("Switch", "Drain", "Prune", "Backups", "Visit"),
    ]
    for word in ("docker.io", "useradd", "caddy validate", " up --detach", "next.sock"):
        assert word in done.text
    assert re.search(r"with [\d,]+ bytes on its standard input", done.text)
    assert "A dry run: nothing was changed." in done.text.splitlines()[-1]
    plan = project.inv("deploy", "--dry-run").text
    assert re.findall(r"^([A-Z][a-z]+) +[a-z]+", plan, re.M) == titles(done.text)
    assert "$ " not in plan
    assert len(plan.splitlines()) < 24
    assert as_it_is(bare) == before


RUNS = [
    ("deploy",),
    ("rollback",),
    ("restart",),
    ("env.set", "OTHER=x"),
    ("env.unset", "MY_SECRET"),
    ("remove",),
]


@pytest.mark.parametrize("words", RUNS, ids=lambda words: words[0])
def test_on_a_deployed_server_nothing_is_changed(words, project, server) -> None:
    before = as_it_is(server)
    done = project.inv(words[0], "--dry-run", "--verbose", *words[1:])
    assert done.status == 0, str(done)
    assert as_it_is(server) == before
    assert "$ " in done.text
    assert SECRET not in done.text
    assert "A dry run: nothing was changed." in done.text.splitlines()[-1]
    assert Browser(server.address, DOMAIN).get("/healthz").status == 200


def test_both_ways_of_a_deploy_are_told(project, server) -> None:
    """Whether there are migrations, only the new release can say, and it is not built."""
    project.write("mysite/something_new.txt", "whatever was deployed before\n")
    done = project.inv("deploy", "--dry-run", "--verbose")
    assert titles(done.text) == [
        *(
            "Connect",
            "Upload",
            "Build",
            "Start",
            "Rehearse",
            "Snapshot",
            "Migrate",
            "Start",
        ),
        *("Switch", "Drain", "Prune"),
    ]


def test_a_rollback_tells_how_migrations_would_be_undone(project, server) -> None:
    done = project.inv("rollback", "--dry-run", "--verbose")
    assert titles(done.text) == [
        *("Prepare", "Snapshot", "Rehearse"),
        *("Hold", "Undo", "Start", "Switch", "Clean up", "Prune"),
    ]
    assert "would ask: This undoes <migration>" in done.text


def test_where_nothing_has_changed_it_says_so(new_project, project, server) -> None:
    project.deploy()
    done = project.inv("deploy", "--dry-run", "--verbose")
    assert "There is nothing to do." in done.text


def test_what_stands_in_the_way_is_told_by_a_dry_run_too(project) -> None:
    done = project.inv("rollback", "--dry-run", "--to", "never")
    assert done.status == 2
    assert "no release 'never'" in done.text
