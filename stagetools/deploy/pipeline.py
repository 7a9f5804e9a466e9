"""`inv deploy`, as prose: each step looks first, and changes only what differs."""

import getpass
import hashlib
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts, Record
from stagetools.deploy.host import FabricHost, connect
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import Outcome, lock, release, server, source
from stagetools.deploy.terminal import Step, Terminal
from stagetools.deploy.tree import Manifest, read_tree
from stagetools.errors import UsageError
from stagetools.system import System

__all__ = ["Deploy", "Stage", "deploy", "locked", "open_stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, with an open connection to its server."""

    host: FabricHost
    layout: Layout
    config: StageConfig
    terminal: Terminal


@contextmanager
def open_stage(
    system: System,
    config: StageConfig,
    terminal: Terminal,
    *,
    accept: str = "",
    shown: bool = False,
) -> Iterator[Stage]:
    """Connect to the stage's server, having verified its key."""
    confirm = terminal.confirm if terminal.can_ask else None
    with terminal.step("Connect") if shown else nullcontext() as step:
        host = connect(config, accept=accept, confirm=confirm)
        if step:
            step.outcome = host.address
    try:
        yield Stage(host, Layout(system), config, terminal)
    finally:
        host.close()


@contextmanager
def locked(stage: Stage, does: str) -> Iterator[lock.Held]:
    """Let nobody else change the stage meanwhile."""
    who = f"{_person()} {does}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    with lock.hold(stage.host, stage.layout, who) as held:
        yield held


def deploy(
    root: Path,
    system: System,
    config: StageConfig,
    terminal: Terminal,
    *,
    accept: str = "",
) -> None:
    """Put the working tree at `root` before the stage's users."""
    started = time.monotonic()
    terminal.head(f"{system.name} → {config.url}")
    refuse_placeholders(config)
    tree = read_tree(root)
    with (
        open_stage(system, config, terminal, accept=accept, shown=True) as stage,
        locked(stage, "deploys") as held,
    ):
        facts = server.look(stage.host, stage.layout)
        words = Deploy(stage, held, root, tree, facts).run()
    terminal.say(f"{words} {time.monotonic() - started:.1f} s.", "bold green")


def refuse_placeholders(config: StageConfig) -> None:
    """No authority certifies example.com: say so before anything is done."""
    if config.tls == "acme" and config.placeholder_domains:
        raise UsageError(
            f"{', '.join(config.placeholder_domains)} is a placeholder,"
            " which no authority certifies.",
            remedy="Set domains in deploy.toml to your own, with DNS that points to the"
            ' server. To try without one: tls = "internal".',
        )


class Deploy:
    """One deploy, from what was seen on the server to what serves there."""

    def __init__(
        self, stage: Stage, held: lock.Held, root: Path, tree: Manifest, facts: Facts
    ) -> None:
        self.stage, self.held = stage, held
        self.root, self.tree, self.facts = root, tree, facts
        self.host, self.layout, self.config = stage.host, stage.layout, stage.config
        self.name = self.container = ""

    def run(self) -> str:
        """Every step in its order; the words with which it ends."""
        if self.nothing_changed():
            serving = f"{self.facts.release} serves {self.config.url}"
            return f"Nothing has changed: {serving}. Seen in"
        self.step("Docker", self.bootstrap)
        self.step("Account", self.account)
        self.step("Proxy", self.proxy)
        self.step("Upload", self.upload)
        self.step("Build", self.build)
        self.step("Migrate", self.migrate)
        self.step("Start", self.start)
        self.step("Switch", self.switch)
        self.step("Drain", self.drain)
        if set(self.config.domains) - set(self.facts.domains):
            self.step("Visit", self.visit)
        return f"{self.config.url} is live, with {self.name}, after"

    def step(self, title: str, action: Callable[[Step], Outcome]) -> None:
        """Run one step, unless the server has given up on us."""
        self.held.check()
        with self.stage.terminal.step(title) as step:
            step.end(action(step))

    def nothing_changed(self) -> bool:
        """Whether the release that serves was made of just this, and is well."""
        return (
            self.facts.record is not None
            and self.facts.record.fingerprint == self.fingerprint()
            and self.facts.serving(self.layout.system.name) is not None
            and server.proxy_is_current(self.facts)
        )

    def fingerprint(self) -> str:
        """Of sources, configuration and environment: all that a release is made of."""
        # how the server is reached makes no difference to what it serves
        what = replace(self.config, host="", user="", port=0, identity_file="")
        made_of = f"{self.tree.digest} {what} {self.facts.env}"
        return hashlib.sha256(made_of.encode()).hexdigest()

    # --- the steps --------------------------------------------------------------------

    def bootstrap(self, step: Step) -> Outcome:
        return server.bootstrap(self.host, self.facts, step.line)

    def account(self, step: Step) -> Outcome:
        outcome = server.ensure_account(self.host, self.layout)
        if outcome.changed or not self.facts.docker:
            self.facts = server.look(self.host, self.layout)
        return outcome

    def proxy(self, step: Step) -> Outcome:
        return server.ensure_proxy(self.host, self.facts, self.config, step.line)

    def upload(self, step: Step) -> Outcome:
        # unique for each deploy, not for each commit: an environment may change alone
        self.name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{self.fingerprint()[:7]}"
        to = source.Target(self.layout, self.name, base=self.facts.release)
        outcome = source.upload(self.host, to, self.root, self.tree, step.progress)
        release.configure(self.host, self.layout, self.facts, self.config, self.name)
        return outcome

    def build(self, step: Step) -> Outcome:
        return release.build(self.host, self.layout, self.name, step.line)

    def migrate(self, step: Step) -> Outcome:
        return release.migrate(self.host, self.layout, self.name, step.line)

    def start(self, step: Step) -> Outcome:
        release.sweep(self.host, self.layout, self.facts.release)
        self.container = release.start_beside(self.host, self.layout, self.name)
        return release.wait_until_healthy(
            self.host, self.layout, self.name, self.container
        )

    def switch(self, step: Step) -> Outcome:
        release.claim_domains(self.host, self.layout, self.config)
        release.record(self.host, self.layout, self.new_record())
        return release.switch(self.host, self.layout, self.name)

    def drain(self, step: Step) -> Outcome:
        return release.drain_and_stop(self.host, self.layout, self.facts)

    def visit(self, step: Step) -> Outcome:
        return release.visit(self.host, self.layout, self.config, self.name)

    def new_record(self) -> Record:
        return Record(
            release=self.name,
            fingerprint=self.fingerprint(),
            who=_person(),
            commit=_commit(self.root),
            at=datetime.now(UTC).replace(microsecond=0).isoformat(),
        )


def _person() -> str:
    return f"{getpass.getuser()}@{platform.node()}"


def _commit(root: Path) -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()
