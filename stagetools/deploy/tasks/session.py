"""A stage with an open connection, and the lock that whoever changes it holds."""

import getpass
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from stagetools.deploy.config import StageConfig, load, remember
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.host.dry import DryHost, DryTerminal
from stagetools.deploy.host.site import Site
from stagetools.deploy.host.ssh import connect
from stagetools.deploy.layout import Layout
from stagetools.deploy.steps import lock
from stagetools.errors import UsageError
from stagetools.naming.system import System
from stagetools.utils import get_expected_system_from_name

__all__ = [
    "Destination",
    "Session",
    "commit_of",
    "destination",
    "locked",
    "open_session",
    "person",
    "utc_now",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a task goes: a stage, what deploy.toml says of it, and who looks on."""

    system: System
    config: StageConfig
    terminal: Terminal
    accept: str = ""  # the fingerprint that an unknown server must have
    connected: Callable[[], None] = lambda: None  # for when the connection stands


def destination(
    root: Path,
    here: System,
    name: str,
    *,
    yes: bool = False,
    dry: bool = False,
    verbose: bool = False,
    accept: str = "",
) -> Destination:
    """The stage of that name in the deploy.toml of the project at `root`.

    `here` is the project's system on this machine: what the two have in common is its own.
    """
    if verbose and not dry:
        raise UsageError("--verbose is for --dry-run.", remedy="Write both.")
    file = root / "deploy.toml"
    config, keep = remember(file, load(file, name), ask=Terminal().ask)
    system = get_expected_system_from_name(
        f"{here.configuration}_{name}", core_repo=here.core_repo, core_app=here.core_app
    )
    terminal = DryTerminal(verbose=verbose) if dry else Terminal(yes=yes)
    return Destination(
        system=system, config=config, terminal=terminal, accept=accept, connected=keep
    )


@dataclass(frozen=True, slots=True)
class Session(Site):
    """One stage, with an open connection to its server, and whoever looks on."""

    terminal: Terminal

    def under(self, held: lock.Held) -> "Session":
        """The stage for whoever holds its lock: what is changed, only as long as that."""
        return self if self.terminal.dry else replace(self, host=held.host)


@contextmanager
def open_session(
    to: Destination, *, shown: bool = False, aside: bool = False
) -> Iterator[Session]:
    """Connect to the stage's server, having verified its key.

    `aside` is for a stage that a task only reads from, beside its own.
    """
    terminal, layout = to.terminal, Layout(to.system)
    confirm = terminal.confirm if terminal.can_ask else None
    with terminal.step("Connect") if shown else nullcontext() as step:
        host = connect(to.config, accept=to.accept, confirm=confirm)
        if step:
            step.outcome = host.address
    try:
        if not terminal.dry:
            to.connected()
        if isinstance(terminal, DryTerminal):
            dry = DryHost(host, terminal, needs_sudo=host.needs_sudo)
            yield Session(dry, layout, to.config, terminal)
            if not aside:
                dry.end()
        else:
            yield Session(host, layout, to.config, terminal)
    finally:
        host.close()


@contextmanager
def locked(
    session: Session, does: str, *, wait: float = 0, moved: bool = False
) -> Iterator[lock.Held]:
    """Let nobody else change the stage meanwhile; wait so many seconds for the lock.

    `moved` allows one that is on another server by now.
    """
    since = f"since {utc_now():%Y-%m-%d %H:%M:%S} UTC"
    who = f"{person()} {does}, {since}"
    with lock.hold(session, who, wait=wait, moved=moved) as held:
        yield held


def person() -> str:
    """Who types, and on which machine."""
    return f"{getpass.getuser()}@{platform.node()}"


def commit_of(root: Path) -> str:
    """The commit of the working tree, `-dirty` where it is changed; empty without git."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def utc_now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
