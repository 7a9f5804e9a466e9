"""The server is destroyed in the midst of writes: the site comes back on a new one, from elsewhere."""

import re
import time

import pytest

from tests.server.browser import Browser
from tests.server.changes import serving, stored, take_load
from tests.server.load import Load
from tests.server.machines import Server, docker
from tests.server.project import Project

DOMAIN = "mysite.test"
HOME = "/home/mysite_prod"
RATES = {"kept": 5.0, "write": 15.0}
LOGIN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
user = get_user_model().objects.create_superuser('ann', 'ann@mysite.test', 'secret')
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = 'django.contrib.auth.backends.ModelBackend'
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
print('session=' + session.session_key)
"""


@pytest.fixture(scope="module")
def keeper(new_server) -> Server:
    """Another machine, which keeps what is sent to it."""
    server: Server = new_server("keeper")
    server.run(
        "useradd --create-home keeper; install -d -m 0700 -o keeper -g keeper /home/keeper/.ssh"
    )
    return server


def aim(project: Project, server: Server, keeper: Server) -> None:
    """What the owner writes into deploy.toml."""
    project.target(server, domain=DOMAIN)
    place = f"sftp:keeper@{keeper.address}:/home/keeper/there"
    text = project.read("deploy.toml")
    project.write("deploy.toml", f'{text}\n[stages.prod.backup]\nto = "{place}"\n')


def let_in(keeper: Server, text: str) -> None:
    """What the owner does with the line that was printed."""
    line = re.search(r"ssh-ed25519 \S+ backups of mysite_prod", text)
    assert line, text
    keeper.run(f"echo '{line[0]}' >/home/keeper/.ssh/authorized_keys")


def log_in(server: Server) -> str:
    """A session of somebody who has logged in, as the site itself makes it."""
    container = server.run("docker ps -q --filter label=stagetools.system=mysite_prod")
    shell = f'docker exec -i {container} python -m stagetools.manage shell -v 0 -c "{LOGIN}"'
    return server.run(shell).rpartition("session=")[2].strip()


def is_logged_in(server: Server, session: str) -> bool:
    browser = Browser(server.address, DOMAIN)
    return browser.get("/admin/", Cookie=f"sessionid={session}").status == 200


def destroy(server: Server) -> None:
    """It never answers again, and nobody was told."""
    docker("kill", server.container)


def test_a_destroyed_server_s_site_is_back_from_a_repository_elsewhere(
    new_server, new_project, keeper
) -> None:
    server, project = new_server("lost", with_docker=True), new_project()
    aim(project, server, keeper)
    take_load(project)
    project.deploy()
    let_in(keeper, project.inv("backup").text)
    key = project.inv("backup", "--key").text.strip()
    session = log_in(server)
    assert is_logged_in(server, session)
    assert not is_logged_in(server, "other")
    server.run(
        f"head -c 3000000 /dev/urandom >{HOME}/media/large; chown mysite_prod: {HOME}/media/large"
    )
    upload = server.run(f"sha256sum <{HOME}/media/large")
    with Load(server.address, DOMAIN, rates=RATES) as load:
        time.sleep(2)
        began = time.monotonic()
        made = project.inv("backup")
        took = time.monotonic() - began
        assert made.status == 0, str(made)
        time.sleep(2)
        destroyed = time.monotonic()
        destroy(server)
    written = {row[0]: row[2] for row in load.report["acknowledged"]}
    assert max(written.values()) > began + took  # it was in the midst of them

    fresh = new_server("fresh", with_docker=True)
    aim(project, fresh, keeper)
    refused = project.inv("deploy", "--restore", stdin=f"{key}\n")
    assert refused.status == 1, str(refused)
    let_in(keeper, refused.text)
    wrong = project.inv("deploy", "--restore", stdin="another one\n")
    assert (wrong.status, "The key does not open" in wrong.text) == (1, True), str(
        wrong
    )
    back = project.inv("deploy", "--restore", stdin=f"{key}\n")
    assert back.status == 0, str(back)
    assert key not in back.text
    assert "what was written after that is lost" in " ".join(back.text.split())

    there = stored(fresh)
    lost = {name: at for name, at in written.items() if name not in there}
    assert not [at for at in lost.values() if at < began], "from before the backup"
    print(f"destroyed {destroyed - began:.1f} s after the last backup began, which took"  # noqa: T201
          f" {took:.1f} s: {len(lost)} of {len(written)} acknowledged writes lost")  # fmt: skip
    assert is_logged_in(fresh, session)
    assert fresh.run(f"sha256sum <{HOME}/media/large") == upload
    assert serving(fresh, "mysite_prod") in project.inv("status").text

    again = project.inv("backup")  # with the same key, into the same place
    assert again.status == 0, str(again)
    new = re.search(r"; (\d+[.]?\d*) (kB|MB) of it new", " ".join(again.text.split()))
    assert new, str(again)
    assert new[2] == "kB", "the upload was stored again"
    assert project.inv("status").status == 0
    assert project.inv("deploy", "--restore", stdin=f"{key}\n").status == 2
