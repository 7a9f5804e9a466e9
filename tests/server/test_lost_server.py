"""The server is destroyed in the midst of writes: the site comes back on a new one, from elsewhere."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.server import faults_table
from tests.server.browser import Browser
from tests.server.changes import serving, stored, take_load
from tests.server.disk import cut_power, give_disk
from tests.server.faults_table import RETURN
from tests.server.inject import MARK
from tests.server.load import Load
from tests.server.machines import SUBNET, Server, docker
from tests.server.project import Done, Project
from tests.server.typed import Typed

DOMAIN = "mysite.test"
HOME = "/home/mysite_prod"
RATES = {"kept": 5.0, "write": 15.0}
UNSENT = 10.0
"""Seconds: what a replica may lose at the most. It sends each second; this machine may be busy."""
ASKED = os.environ.get("FAULTS", "")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s/3+x"}
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


def aim(project: Project, server: Server, place: str, replica: str = "") -> None:
    """What the owner writes into deploy.toml."""
    project.target(server, domain=DOMAIN)
    text = project.read("deploy.toml") + f'\n[stages.prod.backup]\nto = "{place}"\n'
    if replica:
        text += f'\n[stages.prod.replica]\nurl = "{replica}"\n'
    project.write("deploy.toml", text)


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


@dataclass
class Lost:
    """What there was on a server that is gone."""

    project: Project
    key: str
    session: str
    upload: str
    written: dict[str, float]  # when each acknowledged row was, by the monotonic clock
    began: float  # the last backup
    ended: float  # the server
    moment: str  # when that was, for --at

    def judge(self, fresh: Server, back: Done) -> None:
        """All of it is there again but for what came after that backup; and backups go on."""
        assert back.status == 0, str(back)
        assert self.key not in back.text
        assert "what was written after that is lost" in " ".join(back.text.split())
        there = stored(fresh)
        lost = [at for name, at in self.written.items() if name not in there]
        assert not [at for at in lost if at < self.began], "from before the backup"
        print(f"{len(lost)} of {len(self.written)} acknowledged writes lost")  # noqa: T201
        assert is_logged_in(fresh, self.session)
        assert fresh.run(f"sha256sum <{HOME}/media/large") == self.upload
        assert serving(fresh, "mysite_prod") in self.project.inv("status").text
        again = self.project.inv("backup")  # with the same key, into the same place
        assert again.status == 0, str(again)
        words = " ".join(again.text.split())
        assert re.search(r"; \d+[.]?\d* kB of it new", words), "all was stored again"
        assert self.project.inv("status").status == 0

    def judge_replica(self, fresh: Server) -> None:
        """What the backup had not is in the replica, which the new server has not overwritten."""
        back = self.project.inv("restore", "--at", self.moment, "--yes")
        assert back.status == 0, str(back)
        there = stored(fresh)
        gone = [at for name, at in self.written.items() if name not in there]
        first = max((self.ended - at for at in gone), default=0)
        print(f"{len(gone)} of {len(self.written)} lost, none {first:.1f} s before")  # noqa: T201
        assert first < UNSENT
        assert is_logged_in(fresh, self.session)
        assert fresh.run(f"sha256sum <{HOME}/media/large") == self.upload


def lose(project: Project, server: Server) -> Lost:
    """Let it be destroyed while visitors write, some seconds after a backup began."""
    key = project.inv("backup", "--key").text.strip()
    session = log_in(server)
    assert is_logged_in(server, session)
    assert not is_logged_in(server, "other")
    file = f"{HOME}/media/large"
    server.run(f"head -c 3000000 /dev/urandom >{file}; chown mysite_prod: {file}")
    upload = server.run(f"sha256sum <{file}")
    with Load(server.address, DOMAIN, rates=RATES) as load:
        time.sleep(2)
        began = time.monotonic()
        made = project.inv("backup")
        ended = time.monotonic()
        assert made.status == 0, str(made)
        time.sleep(2)
        destroy(server)
        lost, moment = time.monotonic(), time.gmtime()
    print(f"the last backup took {ended - began:.1f} s")  # noqa: T201
    written = {row[0]: row[2] for row in load.report["acknowledged"]}
    assert max(written.values()) > ended  # it was in the midst of them
    at = time.strftime("%Y-%m-%d %H:%M:%S", moment)
    return Lost(project, key, session, upload, written, began, lost, at)


def test_a_destroyed_server_s_site_is_back_from_a_repository_elsewhere(
    new_server, new_project, keeper
) -> None:
    server, project = new_server("lost", with_docker=True), new_project()
    place = f"sftp:keeper@{keeper.address}:/home/keeper/there"
    aim(project, server, place)
    take_load(project)
    project.deploy()
    let_in(keeper, project.inv("backup").text)
    lost = lose(project, server)

    fresh = new_server("fresh", with_docker=True)
    aim(project, fresh, place)
    refused = project.inv("deploy", "--restore", stdin=f"{lost.key}\n")
    assert refused.status == 1, str(refused)
    let_in(keeper, refused.text)
    wrong = project.inv("deploy", "--restore", stdin="another one\n")
    assert (wrong.status, "The key does not open" in wrong.text) == (1, True), str(
        wrong
    )
    lost.judge(fresh, project.inv("deploy", "--restore", stdin=f"{lost.key}\n"))
    assert project.inv("deploy", "--restore", stdin=f"{lost.key}\n").status == 2


@contextmanager
def s3() -> Iterator[str]:
    """Where a bucket is, at the servers' side of this machine."""
    server = ThreadedMotoServer(ip_address=f"{SUBNET}.1", port=0, verbose=False)
    server.start()
    try:
        at = "http://{}:{}".format(*server.get_host_and_port())
        words = {name.lower(): value for name, value in CREDENTIALS.items()}
        client = boto3.client("s3", endpoint_url=at, region_name="us-east-1", **words)
        client.create_bucket(Bucket="bucket")
        yield at
    finally:
        server.stop()


@pytest.mark.skipif(not os.environ.get("RELEASE"), reason="before a release: RELEASE=1")
def test_and_from_s3_where_its_replica_has_what_came_after_the_backup(
    new_server, new_project
) -> None:
    server, project = new_server("lost", with_docker=True), new_project()
    take_load(project)
    with s3() as at:
        replica = f"s3://bucket/replica?endpoint={at}&forcePathStyle=true"
        places = f"s3:{at}/bucket/mysite", replica
        aim(project, server, *places)
        refused = project.inv("deploy")
        assert "Give its credentials, then deploy again" in refused.text, str(refused)
        values = [f"{name}={value}" for name, value in CREDENTIALS.items()]
        assert project.inv("env.set", *values).status == 0
        project.deploy()
        lost = lose(project, server)

        fresh = new_server("fresh", with_docker=True)
        aim(project, fresh, *places)
        typed = "".join(f"{line}\n" for line in (lost.key, *CREDENTIALS.values()))
        lost.judge(fresh, project.inv("deploy", "--restore", stdin=typed))
        lost.judge_replica(fresh)
        assert project.inv("status").status == 0


@pytest.mark.skipif(not os.environ.get("RELEASE"), reason="before a release: RELEASE=1")
def test_and_from_a_replica_on_another_server(new_server, new_project, keeper) -> None:
    server, project = new_server("lost", with_docker=True), new_project()
    take_load(project)
    place = f"sftp:keeper@{keeper.address}:/home/keeper/beside"
    replica = f"sftp://keeper@{keeper.address}/home/keeper/replica"
    aim(project, server, place, replica)
    assert project.inv("deploy").status == 1  # at the replica
    let_in_all(keeper, server)
    project.deploy()
    lost = lose(project, server)

    fresh = new_server("fresh", with_docker=True)
    aim(project, fresh, place, replica)
    typed = f"{lost.key}\n"
    assert project.inv("deploy", "--restore", stdin=typed).status == 1  # at the backups
    let_in_all(keeper, fresh)
    back = project.inv("deploy", "--restore", stdin=typed)
    assert (back.status, "; then deploy again: ssh-ed25519" in back.text) == (1, True)
    let_in_all(keeper, fresh)
    project.deploy()
    lost.judge(fresh, Done(0, back.text))
    lost.judge_replica(fresh)


def let_in_all(keeper: Server, server: Server) -> None:
    """The keys that an installation has for elsewhere, as far as they are made."""
    own = "/srv/stagetools/stages/mysite_prod/replica/files"
    paths = f"{HOME}/vault/inside/ssh_key.pub {own}/ssh_key.pub"
    keys = server.run(f"cat {paths} 2>/dev/null || true")
    keeper.run(f"cat >/home/keeper/.ssh/authorized_keys <<'END'\n{keys}\nEND")


# --- cut off in each step -----------------------------------------------------------------------


@dataclass
class Gone:
    """A lost site with a backup elsewhere, and a new server that has nothing of it."""

    project: Project
    fresh: Server
    given: dict[str, str]  # in the environment of whoever types
    rows: set[str]

    def cut_off(self, fault: str, step: str, go: Path) -> Done:
        words = ("deploy", "--restore", "--yes")
        row = (fault, step, go)
        typed = Typed(self.project, *words, fault=row, environment=self.given)
        try:
            if fault == "power cut":
                typed.wait_for(MARK)
                cut_power(self.fresh)
                go.touch()
            return typed.done(300)
        finally:
            go.touch()
            typed.send(signal.SIGKILL)
            typed.done()

    def again(self) -> Done:
        typed = Typed(
            self.project, "deploy", "--restore", "--yes", environment=self.given
        )
        return typed.done(300)


@pytest.fixture(scope="module")
def gone(new_server, new_project) -> Iterator[Gone]:
    server, project = new_server("lost", with_docker=True), new_project()
    take_load(project)
    with s3() as at:
        place = f"s3:{at}/bucket/mysite"
        aim(project, server, place)
        project.deploy()
        values = [f"{name}={value}" for name, value in CREDENTIALS.items()]
        assert project.inv("env.set", *values).status == 0
        lost = lose(project, server)
        fresh = new_server("fresh", with_docker=True)
        give_disk(fresh)
        aim(project, fresh, place)
        rows = {row for row, when in lost.written.items() if when < lost.began}
        given = CREDENTIALS | {"STAGETOOLS_BACKUP_KEY": lost.key}
        yield Gone(project, fresh, given, rows)


@pytest.mark.skipif(ASKED not in ("all", "docs"), reason="before a release: FAULTS=all")
@pytest.mark.parametrize(("fault", "step"), RETURN.rows)
def test_a_return_that_was_cut_off_is_ended_by_the_same_once_more(
    gone, tmp_path, fault: str, step: str
) -> None:
    cut = gone.cut_off(fault, step, tmp_path / "go")
    assert cut.status != 0, str(cut)
    assert "Traceback (most recent call last)" not in cut.text
    link = "/srv/stagetools/web/sites/mysite_prod/current.sock"
    serves = gone.fresh.run(f"readlink {link} || true").strip()
    is_after = step in ("Switch#2", "Backups")
    assert is_after or not serves, f"{serves} serves, before all of it is there"
    if fault in ("exception", "Ctrl-C") and not serves:
        assert "No release serves, and none did before." in " ".join(cut.text.split())
    done = gone.again()
    if serves and done.status == 2:
        done = gone.project.inv("deploy", "--yes")  # as that says
    assert done.status == 0, str(done)
    assert gone.rows <= stored(gone.fresh)
    assert gone.project.inv("status").status == 0
    if ASKED == "docs":
        tell(cut, fault, step, serves)
    removed = gone.project.inv("remove", "--name", "mysite_prod")
    assert removed.status == 0, str(removed)


def tell(cut: Done, fault: str, step: str, serves: str) -> None:
    """The line of docs/faults.md."""
    is_said = fault != "kill -9"
    line = faults_table.Line(
        task=RETURN.task,
        step=step,
        fault=fault,
        serves="the new server" if serves else "none, until it is typed again",
        schema="its own" if serves else "none",
        failed="all, until it is back",
        said=(is_said and faults_table.words(cut.text, MARK))
        or "(nobody was left to say anything)",
        following="succeeds",
    )
    faults_table.write(line)
