"""A server in memory: what the commands of a change leave on it, whichever of them fails.

No script runs here (tests/commands does that): a command changes a few fields, and prints
what a real one would. So a test can ask at any moment what visitors get.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console

from stagetools.database import protocol
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.facts import Facts, Record
from stagetools.deploy.layout import Layout
from stagetools.deploy.shell import Command
from stagetools.deploy.tasks.session import Session
from tests.steps.conftest import OLD, printed
from tests.steps.scripted import Answer, ScriptedHost, lines, name_of

WELL = '{"well": true, "said": "200"}\n'
RUNS = "container running, exit code 0, restarts 0\n"
SECOND = protocol.Migration(migration="shop.0002", seconds=1)
MIGRATED = lines(SECOND, protocol.Migrated(migrated=1))
REHEARSED = lines(protocol.Copied(copied=0), SECOND, protocol.Rehearsed(rehearsed=1))
SAID: dict[str, Answer] = {
    "files.read_text": f"{'0' * 64} f old.py\n",
    "compose.start_beside": "new-id\n",
    "compose.create_beside": "new-id\n",
    "compose.probe": WELL,
    "compose.last_lines": RUNS,
    "database.plan": lines(protocol.Plan(pending=("shop.0002",))),
    "database.snapshot": lines(protocol.Snapshot(snapshot="/b/before.sqlite3")),
    "rehearsal.rehearse": REHEARSED,
    "rehearsal.migrate": MIGRATED,
    "database.migrate": MIGRATED,
    "database.known": lines(protocol.Known(known=("shop.0001",))),
    "database.unknown": lines(protocol.Unknown(unknown=())),
    "rehearsal.reverse": lines(protocol.Reversed(reversed=1)),
    "database.reverse": lines(protocol.Reversed(reversed=1)),
    "data.snapshot_age": "10805\n",
}
"""What commands print unless a test has them say something else."""


@dataclass
class Half(Exception):  # noqa: N818 - what a command did, not an error
    """The command did its work, and then this became of its answer."""

    error: BaseException


@dataclass
class World(ScriptedHost):
    """A server on which `OLD` serves, or none does."""

    facts: Facts = None  # type: ignore[assignment]
    serves: str = ""
    held: bool = False  # visitors wait
    frozen: bool = False
    ever_held: bool = False
    containers: set[str] = field(default_factory=set)  # of releases, running or not
    copies: set[str] = field(
        default_factory=set
    )  # releases with a database of their own
    now: float = 1000.0  # seconds, on the clock of whoever waits
    takes: dict[str, float] = field(
        default_factory=dict
    )  # seconds, by a command's name
    at: Callable[["World", str], None] = lambda world, name: None

    def __post_init__(self) -> None:
        self.serves = self.facts.release
        self.containers = {self.serves} - {""}

    def answer(self, command: Command) -> Answer:
        name = name_of(command)
        self.at(self, name)
        self.now += self.takes.get(name, 0)
        answer = self.script.get(name, SAID.get(name, ""))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, str | Half):
            self.change(name, getattr(command, "given", {}))
        if isinstance(answer, Half):
            return answer.error
        if name == "server.look" and answer == "":
            return printed(
                replace(self.facts, release=self.serves, env="5e", uid="998")
            )
        return answer

    def change(self, name: str, given: dict[str, Any]) -> None:
        """Do what the command does."""
        release = given.get("release", "")
        match name:
            case "traffic.hold":
                self.held = self.ever_held = True
            case "compose.freeze":
                self.frozen = True
            case "traffic.resume" if self.held:
                self.held = self.frozen = False
                if self.serves != OLD:
                    self.containers.discard(OLD)
            case "traffic.switch" | "traffic.switch_back":
                self.serves = release
            case "compose.start_beside" | "compose.create_beside":
                self.containers.add(release)
            case "compose.discard":  # of the new one alone
                self.containers &= {OLD}
            case "compose.sweep":
                self.containers.discard(release)
            case "compose.stop":
                self.containers.discard(OLD)
            case "data.seed" | "backup.repository.take" | "backup.repository.receive":
                self.copies.add(release)
            case "data.discard":
                self.copies.discard(release)

    @property
    def visitors(self) -> str:
        """Which release answers them; nothing where they wait, or get an error."""
        return self.serves if self.serves in self.containers and not self.held else ""

    def start(self, command: Command) -> Any:
        holder = super().start(command)
        self.ran.clear()  # the lock is no step
        return holder


@dataclass
class Scene:
    """A stage on such a server, and what its terminal showed."""

    layout: Layout
    config: Any
    facts: Facts
    yes: bool = True
    answers: dict[str, Answer] = field(default_factory=dict)
    output: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        answers = {
            k: [*v] if isinstance(v, list) else v for k, v in self.answers.items()
        }
        self.world = World(answers, facts=self.facts)
        terminal = Terminal(Console(file=self.output, width=200), yes=self.yes)
        self.session = Session(self.world, self.layout, self.config, terminal)

    @property
    def steps(self) -> list[str]:
        """The titles of the steps that ended well, and ✗ before the one that did not."""
        found = []
        for line in self.output.getvalue().splitlines():
            mark, _, rest = line.partition(" ")
            if mark in ("✓", "=", "✗", "·"):
                title = rest.partition(":")[0]
                found.append(f"✗ {title}" if mark == "✗" else title)
        return found

    @property
    def written(self) -> Record:
        """The record that the switch wrote."""
        record = Record.parse(self.world.sent["traffic.switch"].decode())
        assert record
        return record
