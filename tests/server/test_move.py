"""A living site moves to another server under load, and back: no acknowledged write is lost.

The way over is cut off after the old server has left and before the new one serves, which is
when nobody does; then the same command ends it. `FAULTS=all` moves on with other faults.
"""

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server import faults_table
from tests.server.browser import Browser
from tests.server.changes import stored, take_load
from tests.server.faults_table import MOVE
from tests.server.inject import MARK
from tests.server.load import Load
from tests.server.machines import Server
from tests.server.project import Done, Project
from tests.server.typed import Typed

DOMAIN = "mysite.test"
SITE = "/srv/stagetools/web/sites/mysite_prod"
HOME = "/home/mysite_prod"
RATES = {"kept": 5.0, "write": 10.0, "form": 1.0, "slow": 0.3}
SILENCE = (
    20  # seconds in which a server notices that a client was killed, and cleans up
)
NOBODY = ("kill -9", "Switch")
AFTER = [row for row in MOVE.rows if row[1] == "Clean up"]
BEFORE = [row for row in MOVE.rows if row not in AFTER and row != NOBODY]
ASKED = os.environ.get("FAULTS", "")
ALL = ASKED in ("all", "docs")


@dataclass
class Pair:
    """Two servers, of which the site is on the first, and its project."""

    old: Server
    new: Server
    project: Project
    early: Done | None = (
        None  # a deploy to the new one, while the site was on the old one
    )

    def aim(self, server: Server) -> None:
        """What the owner writes into deploy.toml."""
        self.project.target(server, domain=DOMAIN)

    def commit(self) -> None:
        git = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@mysite.test"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "As deployed"]):
            subprocess.run([*git, *words], cwd=self.project.root, check=True)

    def move(self) -> Done:
        return self.project.inv("deploy", "--restore", "--yes")

    def cut_off(self, kind: str, step: str, tmp_path: Path) -> Done:
        fault = (kind, step, tmp_path / "go")
        words = ("deploy", "--restore", "--yes")
        done = Typed(self.project, *words, fault=fault).done(300)
        assert done.status != 0, str(done)
        return done

    def tell(self, row: tuple[str, str], serves: str, load: Load, done: Done) -> None:
        """The line of docs/faults.md, where that is written."""
        if ASKED == "docs":
            fault, step = row
            said = faults_table.words(done.text, MARK) if fault != "kill -9" else ""
            for server, name in ((self.old, "OLD SERVER"), (self.new, "NEW SERVER")):
                said = said.replace(server.address, name)
            line = faults_table.Line(
                task=MOVE.task,
                step=step,
                fault=fault,
                serves=serves,
                schema="its own",
                failed=str(load.report["failed"]),
                said=said or "(nobody was left to say anything)",
                following="succeeds",
            )
            faults_table.write(line)

    def moved(self) -> None:
        """It is on the other one now."""
        self.commit()
        self.old, self.new = self.new, self.old


@pytest.fixture(scope="module")
def pair(new_server, new_project) -> Pair:
    old, project = new_server("old", with_docker=True), new_project()
    pair = Pair(old, new_server("new", with_docker=True), project)
    take_load(project)
    pair.aim(old)
    project.trust(pair.new)
    project.deploy()
    pair.commit()
    pair.aim(pair.new)
    pair.early = project.inv("deploy", "--yes")
    return pair


def leads_to(server: Server) -> str:
    """What visitors of the server get: a release, `moved`, or nothing."""
    link = server.run(f"readlink {SITE}/current.sock || true")
    return link.removeprefix("run/").removesuffix(".sock")


def answers(server: Server) -> bool:
    return Browser(server.address, DOMAIN).get("/healthz").status == 200


def until(true, limit: float = SILENCE) -> bool:
    end = time.monotonic() + limit
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def upload(server: Server, name: str, size: int) -> None:
    file = f"{HOME}/media/{name}"
    server.run(f"head -c {size} /dev/urandom >'{file}'; chown mysite_prod: '{file}'")


def uploads(server: Server) -> str:
    return server.run(
        f"cd {HOME}/media; find . -path ./.tmp -prune -o -type f -print0 |"
        " sort -z | xargs -0 sha256sum"
    )


def environment(server: Server) -> str:
    return server.run(f"sha256sum <{HOME}/env")


def judge(pair: Pair, load: Load, done: Done) -> None:
    """All is on the new server; the old one serves nobody and leads on."""
    assert done.status == 0, str(done)
    lost = set(load.report["written"]) - stored(pair.new)
    print(  # noqa: T201
        f"{len(lost)} of {len(load.report['written'])} acknowledged writes lost,"
        f" {load.report['failed']} of {load.report['requests']} requests failed;",
        *re.findall(r"visitors waited for [\d.]+ s", done.text),
    )
    assert not lost
    assert leads_to(pair.old) == "moved"
    assert leads_to(pair.new) in done.text + pair.project.inv("status").text
    assert answers(pair.old)
    assert answers(pair.new)
    mine = "docker ps --all --format '{{.Names}}' | grep ^mysite-prod"
    assert pair.old.run(mine) == "mysite-prod-moved"


def test_no_empty_site_begins_beside_the_one_that_serves(pair) -> None:
    assert pair.early.status == 2, str(pair.early)
    words = " ".join(pair.early.text.split())
    assert "with its database. This would put an empty site on" in words
    assert "inv deploy --restore." in words


@pytest.mark.skipif(not os.environ.get("RELEASE"), reason="before a release: RELEASE=1")
def test_a_site_moves_although_nobody_served_when_it_was_cut_off(
    pair, tmp_path
) -> None:
    pair.aim(pair.new)
    upload(pair.old, "a b", 300_000)
    before = uploads(pair.old), environment(pair.old)
    with Load(pair.old.address, DOMAIN, rates=RATES) as load:
        time.sleep(1)
        cut = pair.cut_off(*NOBODY, tmp_path)
        assert (leads_to(pair.old), leads_to(pair.new)) == ("moved", "")
        early = pair.project.inv("deploy")
        assert early.status == 1, str(early)
        assert "was about to come to" in " ".join(early.text.split())
        done = pair.move()
        time.sleep(1)
    judge(pair, load, done)
    pair.tell(NOBODY, "none, until it is typed again", load, cut)
    assert (uploads(pair.new), environment(pair.new)) == before
    pair.moved()
    pair.aim(pair.new)  # the one that it has left
    refused = pair.project.inv("deploy")
    assert refused.status == 1, str(refused)
    assert "has moved from" in refused.text
    pair.aim(pair.old)
    assert pair.project.inv("backup").status == 0
    assert pair.project.inv("status").status == 0


def test_it_moves_back_and_no_request_fails(pair) -> None:
    pair.aim(pair.new)
    upload(pair.old, "new\nline", 100_000)
    pair.old.run(
        f"rm -f '{HOME}/media/a b'"
    )  # the new one has it, if it was there before
    before = uploads(pair.old)
    with Load(pair.old.address, DOMAIN, rates=RATES) as load:
        time.sleep(1)
        done = pair.move()
        time.sleep(1)
    judge(pair, load, done)
    assert not load.report["failed"], load.report["errors"]
    assert "visitors waited for" in done.text
    assert uploads(pair.new) == before
    pair.moved()


@pytest.mark.skipif(not ALL, reason="with FAULTS=all, before a release")
@pytest.mark.parametrize(("kind", "step"), BEFORE)
def test_cut_off_before_that_the_old_server_serves(pair, tmp_path, kind, step) -> None:
    pair.aim(pair.new)
    serves = leads_to(pair.old)
    with Load(pair.old.address, DOMAIN, rates=RATES) as load:
        cut = pair.cut_off(kind, step, tmp_path)
        assert until(lambda: answers(pair.old))
        assert (leads_to(pair.old), leads_to(pair.new) or "moved") == (serves, "moved")
        if kind != "kill -9":
            assert "goes on serving, with its own database" in cut.text
        done = pair.move()
    judge(pair, load, done)
    pair.tell((kind, step), "the old server", load, cut)
    pair.moved()


@pytest.mark.skipif(not ALL, reason="with FAULTS=all, before a release")
@pytest.mark.parametrize(("kind", "step"), AFTER)
def test_cut_off_after_that_the_new_server_serves(pair, tmp_path, kind, step) -> None:
    pair.aim(pair.new)
    with Load(pair.old.address, DOMAIN, rates=RATES) as load:
        cut = pair.cut_off(kind, step, tmp_path)
        assert until(lambda: answers(pair.new))
        assert leads_to(pair.old) == "moved"
        done = pair.move()
    judge(pair, load, done)
    pair.tell((kind, step), "the new server", load, cut)
    pair.moved()
