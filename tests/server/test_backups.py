"""Backups on a real server: made under writes, by hand and by the timer; tried; never silent."""

import re

import pytest

from tests.server.changes import take_load
from tests.server.machines import Server
from tests.server.project import Project

DOMAIN = "mysite.test"
HOME = "/home/mysite_prod"
VAULT = f"{HOME}/vault"


@pytest.fixture(scope="module")
def server(new_server) -> Server:
    return new_server("backups", with_docker=True)


@pytest.fixture(scope="module")
def project(new_project, server) -> Project:
    project: Project = new_project()
    project.target(server, domain=DOMAIN)
    take_load(project)
    done = project.deploy()
    assert "Backups: they are made every day at 0" in done.text, str(done)
    assert "inv backup --key prints it." in done.text
    return project


def names(project: Project) -> list[list[str]]:
    """The rows of `inv backups`."""
    done = project.inv("backups")
    assert done.status == 0, str(done)
    return [re.split(r"  +", line) for line in done.text.splitlines()[1:]]


def test_no_container_sees_the_backups_and_the_key_is_in_no_environment(
    server, project
) -> None:
    key = project.inv("backup", "--key").text.strip()
    assert len(key) > 40
    container = server.run("docker ps -q --filter label=stagetools.system=mysite_prod")
    look = f"docker exec {container} sh -c"
    assert server.run(f"{look} 'ls {HOME}'").split() == [
        *("backups", "data", "media", "static-archive")
    ]
    assert key not in server.run(f"{look} env")
    refused = (
        f"setpriv --reuid mysite_prod --clear-groups ls {VAULT}/inside 2>&1 || true"
    )
    assert "Permission denied" in server.run(refused)


def test_the_server_makes_them_by_itself(server, project) -> None:
    listed = server.run("systemctl list-timers --all --no-legend 'stagetools-*'")
    assert "stagetools-backup-mysite_prod.timer" in listed
    assert "stagetools-drill-mysite_prod.timer" in listed
    status = project.inv("status")
    assert status.status == 0, str(status)
    assert re.search(r"backup +none yet; the next one 20\d\d-", status.text), status
    server.run("systemctl start stagetools-backup-mysite_prod.service")
    server.run("systemctl start stagetools-drill-mysite_prod.service")
    [row] = names(project)
    assert row[3:5] == ["by timer", "the server"]
    assert re.fullmatch(r"20\d\d-.*", row[5])  # a drill has read it
    assert re.search(r"drill +\d+ s ago; the next", project.inv("status").text)
