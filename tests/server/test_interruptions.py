"""A fault in every step of every task that changes a site, and what is true after each.

After every row: the page answers, on a schema that its release can live with; no request has
failed and no write that was acknowledged is lost; what the message says of all that is so;
and the next `inv deploy` succeeds without other work. The rows are a product, so most of them
run when they are asked for: `FAULTS=all`, or `FAULTS=docs`, which also writes docs/faults.md.
"""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server import faults_table, notes
from tests.server.disk import cut_power, give_disk, has_disk
from tests.server.inject import MARK
from tests.server.machines import Server
from tests.server.notes import Notes, State
from tests.server.project import Done, Project
from tests.server.typed import Typed
from tests.server.watch import Watch, watching

DOMAIN = "mysite.test"
FENCES = "/run/stagetools"
SITES = "/srv/stagetools/web/sites"
RELEASE = re.compile(r"\d{8}-\d{6}-[0-9a-f]{7}")
RESTORES = re.compile(
    r"restore|clone"
)  # what was written since is lost, as was said before
ADDITIVE, BREAKING = Notes.add_a_field, Notes.rename_a_field


@dataclass(frozen=True)
class Task:
    """What is typed, over what, and the steps that it goes through."""

    name: str
    words: tuple[str, ...]
    steps: tuple[str, ...]
    changes: Callable[[Notes], str] | None = None  # what the tree gains
    deployed: bool = False  # before the task, which then goes back
    stage: str = "prod"  # which it changes

    @property
    def domain(self) -> str:
        return DOMAIN if self.stage == "prod" else f"{self.stage}.test"

    @property
    def system(self) -> str:
        return f"mysite_{self.stage}"


# Switch#2 is the rename itself; before it, the domains are claimed.
CODE = ("Upload", "Build", "Start", "Switch", "Switch#2", "Drain", "Prune")
IN_PLACE = ("Start", "Rehearse", "Snapshot", "Migrate", "Start 2", "Switch#2", "Drain")
COPIED = ("Snapshot", "Rehearse", "Hold", "Migrate", "Start 2", "Switch#2", "Clean up")
UNDONE = ("Prepare", "Snapshot", "Rehearse", "Hold", "Undo", "Start", "Switch#2", "Clean up", "Prune")  # fmt: skip
RESTORED = ("Prepare", "Restore", "Start", "Switch#2", "Drain", "Clean up", "Prune")
BROUGHT_BACK = ("Prepare", "Restore", "Uploads", "Start", "Switch#2", "Drain", "Clean up", "Prune")  # fmt: skip
CLONED = ("Prepare", "Copy", "Start", "Switch#2", "Drain", "Clean up", "Prune")
AGAIN = ("Prepare", "Start", "Switch#2", "Drain", "Prune")
TASKS = {
    task.name: task
    for task in (
        Task("deploy", ("deploy",), CODE, Notes.next_version),
        Task("deploy, migrating in place", ("deploy",), IN_PLACE, ADDITIVE),
        Task("deploy, migrating a copy", ("deploy", "--yes"), COPIED, BREAKING),
        Task("rollback, undoing", ("rollback", "--yes"), UNDONE, BREAKING, True),
        Task("rollback, undoing what adds", ("rollback", "--yes"), UNDONE, ADDITIVE, True),
        Task("rollback --restore-database", ("rollback", "--restore-database", "--yes"), RESTORED, BREAKING, True),
        Task("restore", ("restore", "latest", "--yes"), BROUGHT_BACK),
        Task("clone", ("clone", "--from", "prod", "--to", "qual", "--yes"), CLONED, stage="qual"),
        Task("env.set", ("env.set", "FAULT_VALUE=new"), ("first", *AGAIN)),
        Task("env.unset", ("env.unset", "FAULT_VALUE"), ("first", *AGAIN)),
        Task("restart", ("restart",), AGAIN),
        Task("remove", ("remove", "--name", "mysite_prod"), ("Remove", "Remove#2")),
    )
}  # fmt: skip
FAULTS = ("exception", "Ctrl-C", "kill -9", "connection", "power cut")
SILENT = ("Build", "Migrate", "Start 2", "Hold", "Undo", "Switch#2", "Restore", "Copy")


@dataclass(frozen=True)
class Row:
    task: str
    step: str
    fault: str

    def __str__(self) -> str:
        return f"{self.task}: {self.fault} in {self.step}"


def rows() -> list[Row]:
    """Every fault at every step; a network that falls silent where it may matter most."""
    every = [
        Row(task.name, step, fault)
        for task in TASKS.values()
        for step in task.steps
        for fault in FAULTS
    ]
    silent = [
        Row(task.name, step, "network")
        for task in TASKS.values()
        for step in task.steps
        if step in SILENT and task.name not in ("env.unset", "rollback, undoing what adds")
    ]  # fmt: skip
    return every + silent


CHOSEN = {
    Row("deploy", "Build", "kill -9"),
    Row("deploy", "Switch#2", "network"),
    Row("deploy, migrating in place", "Migrate", "kill -9"),
    Row("deploy, migrating in place", "Start 2", "exception"),
    Row("deploy, migrating a copy", "Hold", "kill -9"),
    Row("deploy, migrating a copy", "Start 2", "Ctrl-C"),
    Row("rollback, undoing", "Undo", "kill -9"),
    Row("rollback, undoing", "Undo", "power cut"),
    Row("rollback, undoing", "Start", "exception"),
    Row("rollback --restore-database", "Restore", "kill -9"),
    Row("rollback --restore-database", "Start", "Ctrl-C"),
    Row("restore", "Switch#2", "connection"),
    Row("env.set", "Start", "kill -9"),
    Row("restart", "Switch#2", "connection"),
    Row("remove", "Remove#2", "kill -9"),
}
# They go the way of another one.
ALIKE = {
    "rollback, undoing what adds",
    "env.unset",
    "clone",
}  # the last one: a restore's
ASKED = os.environ.get("FAULTS", "")
ROWS = rows() if ASKED in ("all", "docs") else [r for r in rows() if r in CHOSEN]


# --- one server, and one project that is well before each row ---------------------------------


@dataclass
class Site:
    """A deployed project with its server."""

    server: Server
    project: Project
    notes: Notes
    well: bool = False
    gained: object = None  # what the release that serves has over the one to go back to

    def deploy(self, task: Task | None = None) -> Done:
        stage = task.stage if task else "prod"
        done = self.project.deploy("--yes", "--stage", stage)
        self.well = stage == "prod"
        return done

    def begin(self, task: Task) -> None:
        """The stage that the task changes is there, of the same version as the others."""
        if f"[stages.{task.stage}]" not in self.project.read("deploy.toml"):
            ways = {"host": self.server.address, "user": "root", "tls": "internal"}
            self.project.add_stage(task.stage, **ways, domains=[task.domain])
            self.deploy()
        self.deploy(task)

    def state(self, domain: str = DOMAIN, limit: float = 60) -> State | None:
        """What serves, once something does."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            try:
                return notes.state(self.server, domain)
            except (OSError, ValueError):
                time.sleep(0.1)
        return None


@pytest.fixture(scope="module")
def site(new_server, new_project) -> Site:
    server, project = new_server("faults", with_docker=True), new_project()
    with suppress(RuntimeError):  # where that cannot be, a power cut takes less
        give_disk(server)
    project.target(server, domain=DOMAIN)
    app = Notes(project)
    app.begin()
    made = Site(server, project, app)
    made.deploy()
    return made


def prepare(site: Site, task: Task) -> State:
    """Bring the site to where the task begins."""
    if not site.well:
        site.deploy()
    if task.stage != "prod":
        site.begin(task)
    if task.name == "env.unset":
        done = site.project.inv("env.set", "FAULT_VALUE=old")
        assert done.status == 0, str(done)
    if task.name == "restore":
        done = site.project.inv("backup")
        assert done.status == 0, str(done)
    if task.changes and not (task.deployed and site.gained is task.changes):
        task.changes(site.notes)
        if task.deployed:
            site.deploy()
    site.gained = None
    state = site.state(task.domain)
    assert state is not None
    site.well = False
    return state


# --- what happens -----------------------------------------------------------------------------


def suffer(site: Site, row: Row) -> Done:
    """Type the task, and let the fault come in its step."""
    with tempfile.TemporaryDirectory() as folder:
        go = Path(folder) / "go"
        typed = Typed(
            site.project, *TASKS[row.task].words, fault=(row.fault, row.step, go)
        )
        try:
            if row.fault in ("power cut", "network"):
                typed.wait_for(MARK)
                bring_about(site.server, row, typed, go)
            return typed.done(180)
        finally:
            go.touch()
            typed.send(signal.SIGKILL)
            typed.done()


def bring_about(server: Server, row: Row, typed: Typed, go: Path) -> None:
    if row.fault == "power cut":
        (cut_power if has_disk(server) else Server.cut_power)(server)
        go.touch()
        return
    port = "-p tcp --dport 22 -m conntrack --ctstate ESTABLISHED"
    server.run(
        f"iptables -I INPUT {port} -j DROP; iptables -I OUTPUT -p tcp --sport 22 -j DROP"
    )
    go.touch()
    # the holder of the lock gives up, and puts back what was begun
    lock = f"{FENCES}/{TASKS[row.task].system}.lock"
    server.run(f"sleep 11; timeout 60 flock {lock} true || true")
    typed.send(signal.SIGKILL)
    server.run("iptables -F INPUT; iptables -F OUTPUT")


@dataclass
class Seen:
    """All that a row is judged by."""

    row: Row
    before: State
    done: Done
    after: State | None
    watch: Watch
    kept: set[str]

    @property
    def words(self) -> str:
        """What was said about the fault; nothing where nobody was left to say it."""
        return "" if self.is_silent else faults_table.words(self.done.text, MARK)

    @property
    def is_silent(self) -> bool:
        return self.row.fault in ("kill -9", "network")

    @property
    def same(self) -> bool:
        """Whether what served before serves still."""
        return self.after is not None and self.after.release == self.before.release


# A row's test, as its name says; an AssertionError tells what is not as it should be.


def judge(seen: Seen) -> None:
    if "Remove" in seen.row.step:
        return judge_words(seen)
    assert seen.after, "no page answers"
    task = TASKS[seen.row.task]
    extra = set(seen.after.applied) - set(seen.after.known)
    missing = set(seen.after.known) - set(seen.after.applied)
    assert not missing, f"not applied: {missing}"
    assert not extra or task.changes is ADDITIVE, f"cannot live with {extra}"
    if seen.row.fault != "power cut":
        assert not seen.watch.failures, seen.watch.failures
    if seen.same or not RESTORES.search(task.name):
        assert set(seen.watch.acknowledged) <= seen.kept, "writes are lost"
    judge_words(seen)


def judge_words(seen: Seen) -> None:
    """Hold what was said to what is so."""
    words, after = seen.words, seen.after
    assert "Traceback (most recent call last)" not in words
    if not seen.is_silent:
        assert words, seen.done
    if "Remove" in seen.row.step or after is None:
        return
    for name in re.findall(rf"({RELEASE.pattern}) goes on serving", words):
        assert seen.same, f"{after.release} serves"
        assert name == after.release
    for name in re.findall(rf"({RELEASE.pattern}) serves", words):
        assert name == after.release, f"{after.release} serves"
    if re.search(
        r"(What served|The live release) goes on|[Nn]othing (was|has) changed(?! since then)|left as it was",
        words,
    ):
        assert seen.same, f"{after.release} serves: {words}"
    if re.search(r"database was not touched", words):
        assert after.applied == seen.before.applied, f"applied: {after.applied}"
    for names in re.findall(
        r"Applied to the live database: ([^.]+(?:\.\d+_\w+)?)", words
    ):
        for name in re.findall(r"\d{4}_\w+", names):
            assert name in after.applied, f"applied: {after.applied}"
    if seen.done.status == 0:
        assert not seen.same, "it said that all went well"


def judge_next(site: Site, task: Task, done: Done) -> None:
    """The next deploy has succeeded; nothing is left that serves nobody."""
    after = site.state(task.domain)
    assert after, str(done)
    assert after.fits, after
    assert after.version == f"v{site.notes.count}", str(done)
    name = task.system
    site.server.run(
        f"test ! -e {FENCES}/{name}.hold; test ! -e /home/{name}/env.before"
    )
    assert ".held" not in site.server.run(f"ls {SITES}/{name}/run")
    if "Nothing has changed" not in done.text:
        there = f"docker ps --all --quiet --filter label=stagetools.system={name}"
        assert len(site.server.run(there).split()) == 1


# A TLS socket whose peer goes away in the middle of wrap_socket() is closed by nobody else.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_after(row: Row, site: Site) -> None:
    task = TASKS[row.task]
    before = prepare(site, task)
    source = site.state() if task.stage != "prod" else None
    with watching(site.server, task.domain) as watch:
        done = suffer(site, row)
        gone = "Remove" in row.step
        after = site.state(task.domain, 5 if gone else 60)
    kept = set() if gone else notes.kept(site.server, task.domain)
    assert not source or site.state() == source, "the stage that was only read"
    seen = Seen(row, before, done, after, watch, kept)
    assert row.fault in ("kill -9", "network") or done.status != 0, str(done)
    judge(seen)
    if not task.changes:
        site.notes.next_version()
    began = time.monotonic()
    following = site.deploy(task)
    site.well = False
    judge_next(site, task, following)
    site.well = task.stage == "prod"
    if task.deployed and seen.same and "Nothing has changed" in following.text:
        site.gained = task.changes  # so the next row need not deploy it first
    if ASKED == "docs":
        faults_table.write(told(seen, following, time.monotonic() - began))


# --- docs/faults.md ---------------------------------------------------------------------------


def told(seen: Seen, following: Done, seconds: float) -> faults_table.Line:
    """The row as docs/faults.md has it."""
    failed = len(seen.watch.failures)
    serves, schema = "nothing", "none"
    if seen.after:
        serves = "the old release" if seen.same else "the new release"
        schema = "its own" if seen.after.fits else "its own, and what adds to it"
    words = seen.words.replace(seen.before.release, "OLD")
    words = RELEASE.sub("NEW", words).replace("an injected fault", "").strip()
    nothing = "Nothing has changed" in following.text
    return faults_table.Line(
        task=seen.row.task,
        step=seen.row.step,
        fault=seen.row.fault,
        serves=serves,
        schema=schema,
        failed="while it was off" if seen.row.fault == "power cut" else str(failed),
        said=words or "(nobody was left to say anything)",
        following="finds nothing to do" if nothing else "succeeds",
    )


def test_each_task_and_each_fault_is_among_the_chosen() -> None:
    assert {row.task for row in CHOSEN} >= set(TASKS) - ALIKE
    assert {row.fault for row in CHOSEN} == {row.fault for row in rows()}


def test_there_are_at_least_eighty() -> None:
    assert len(set(rows())) == len(rows()) >= 80
    assert set(rows()) >= CHOSEN
