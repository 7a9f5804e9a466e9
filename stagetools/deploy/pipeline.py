"""`inv deploy`, as prose."""

import getpass
import hashlib
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from stagetools.deploy.config import StageConfig
from stagetools.deploy.facts import Facts, Record
from stagetools.deploy.host import FabricHost, connect
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import lock, release, server, source
from stagetools.deploy.terminal import Terminal
from stagetools.deploy.tree import Manifest, read_tree
from stagetools.errors import UsageError
from stagetools.system import System

__all__ = ["Stage", "deploy", "open_stage"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, with an open connection to its server."""

    host: FabricHost
    layout: Layout
    config: StageConfig
    terminal: Terminal


@contextmanager
def open_stage(
    system: System, config: StageConfig, terminal: Terminal, *, accept: str = ""
) -> Iterator[Stage]:
    """Connect to the stage's server, having verified its key."""
    confirm = terminal.confirm if terminal.can_ask else None
    with terminal.step("Connect") as step:
        host = connect(config, accept=accept, confirm=confirm)
        step.outcome = host.address
    try:
        yield Stage(host, Layout(system), config, terminal)
    finally:
        host.close()


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
        open_stage(system, config, terminal, accept=accept) as stage,
        lock.hold(stage.host, stage.layout, _who("deploys")) as held,
    ):
        _deploy(stage, root, tree, held)
    terminal.say(
        f"{config.url} is live, after {time.monotonic() - started:.1f} s.", "bold green"
    )


def _deploy(stage: Stage, root: Path, tree: Manifest, held: lock.Held) -> None:
    host, layout, config, terminal = (
        stage.host,
        stage.layout,
        stage.config,
        stage.terminal,
    )
    facts = server.look(host, layout)
    if _unchanged(facts, layout, config, tree):
        terminal.say(f"Nothing has changed since {facts.release}, which serves.")
        return
    with terminal.step("Docker") as step:
        step.end(server.bootstrap(host, facts, step.line))
    with terminal.step("Account") as step:
        step.end(server.ensure_account(host, layout))
    facts = server.look(host, layout)
    with terminal.step("Proxy") as step:
        step.end(server.ensure_proxy(host, facts, config, step.line))

    name = _release_name(_fingerprint(facts, config, tree))
    with terminal.step("Upload") as step:
        base = facts.release
        step.end(
            source.upload(
                host, layout, root, tree, release=name, base=base, on_sent=step.progress
            )
        )
        release.configure(host, layout, facts, config, name)
    with terminal.step("Build") as step:
        step.end(release.build(host, layout, name, step.line))
    with terminal.step("Migrate") as step:
        held.check()
        step.end(release.migrate(host, layout, name, step.line))
    with terminal.step("Start") as step:
        release.sweep(host, layout, facts.release)
        container = release.start_beside(host, layout, name)
        step.end(release.wait_until_healthy(host, layout, name, container))
    with terminal.step("Switch") as step:
        held.check()
        release.claim_domains(host, layout, config)
        release.record(host, layout, _record(facts, config, tree, name, root))
        step.end(release.switch(host, layout, name))
    with terminal.step("Old one") as step:
        step.end(release.drain_and_stop(host, layout, facts))
    if set(config.domains) - set(facts.domains):
        with terminal.step("Visit") as step:
            step.end(release.visit(host, layout, config, name))


def refuse_placeholders(config: StageConfig) -> None:
    """No authority certifies example.com: say so before anything is done."""
    if config.tls == "acme" and config.placeholder_domains:
        raise UsageError(
            f"{', '.join(config.placeholder_domains)} is a placeholder, which no authority certifies.",
            remedy="Set domains in deploy.toml to your own, with DNS that points to the server."
            ' To try without one: tls = "internal".',
        )


def _unchanged(
    facts: Facts, layout: Layout, config: StageConfig, tree: Manifest
) -> bool:
    return (
        facts.record is not None
        and facts.record.fingerprint == _fingerprint(facts, config, tree)
        and facts.serving(layout.system.name) is not None
        and server.proxy_is_current(facts)
    )


def _fingerprint(facts: Facts, config: StageConfig, tree: Manifest) -> str:
    """Equal for equal sources, configuration and environment: then there is nothing to do."""
    reached = replace(
        config, host="", user="", port=0, identity_file=""
    )  # how, not what
    made_of = f"{tree.digest} {reached} {facts.env}"
    return hashlib.sha256(made_of.encode()).hexdigest()


def _release_name(fingerprint: str) -> str:
    """Unique for each deploy, not for each commit: an environment may change alone."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{fingerprint[:7]}"


def _record(
    facts: Facts, config: StageConfig, tree: Manifest, name: str, root: Path
) -> Record:
    return Record(
        release=name,
        fingerprint=_fingerprint(facts, config, tree),
        who=_person(),
        commit=_commit(root),
        at=datetime.now(UTC).replace(microsecond=0).isoformat(),
    )


def _person() -> str:
    return f"{getpass.getuser()}@{platform.node()}"


def _who(does: str) -> str:
    return f"{_person()} {does}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _commit(root: Path) -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()
