"""A host that answers from a script: any command that is not in it is a KeyError."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache, wraps
from typing import Any

from stagetools.database import protocol
from stagetools.deploy.commands import (
    compose,
    data,
    database,
    environment,
    files,
    logs,
    proxy,
    releases,
    removal,
    server,
    traffic,
)
from stagetools.deploy.commands.backup import move, replica, repository, setup
from stagetools.deploy.host import fence
from stagetools.deploy.host.host import OnLine, OnSent, Reads, Writes
from stagetools.deploy.shell import Command
from stagetools.errors import CommandFailed

Answer = str | BaseException | list["Answer"]
"""What a command prints, or how it fails; a list answers one run after the other."""
MODULES = (
    *(compose, data, database, environment, files, logs, proxy),
    *(releases, removal, server, traffic, move, replica, repository, setup),
)


def failure(output: str = "", *, status: int = 1) -> CommandFailed:
    """A command that ended with an error."""
    return CommandFailed("root@test", status=status, output=output)


def lines(*values: protocol.Value) -> str:
    """What a release's image prints when it says this of its database."""
    return "".join(f"{protocol.line(value)}\n" for value in values)


@dataclass(frozen=True)
class Made(Command):
    """A command that knows what it was made of."""

    given: dict[str, Any] = field(default_factory=dict)


@cache
def remembered(builder: Callable[..., Command]) -> Callable[..., Command]:
    """The same builder, whose commands know what they were made of."""
    signature = inspect.signature(builder)

    @wraps(builder)
    def build(*args: Any, **options: Any) -> Command:
        command = builder(*args, **options)
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        made = {item.name: getattr(command, item.name) for item in fields(command)}
        return Made(**made, given=dict(bound.arguments))

    return build


def name_of(command: Command) -> str:
    """Its name; its text, where it has none."""
    return command.name or command.text


@cache  # each test of a step puts them in place, and asking takes milliseconds
def builders() -> list[tuple[Any, str, Callable[..., Command]]]:
    """Every function that makes a command, with its module and its name."""
    return [
        (module, name, function)
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        if inspect.signature(function).return_annotation is Command
    ]


def all_of(stream: Reads) -> Iterator[bytes]:
    """What is read until the end, in its pieces."""
    while piece := stream.read(1 << 18):
        yield piece


@dataclass
class ScriptedHost:
    """A Host without a server; it is asked by a command's text, or by its name.

    `ran` is every command in its order, `names` the same by their names.
    """

    script: dict[str, Answer]
    address: str = "root@203.0.113.7"
    needs_sudo: bool = False
    ran: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)
    lock: str = "held"

    def run(
        self,
        command: Command,
        *,
        stdin: bytes | Reads = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        command = replace(command, text=fence.unfenced(command.text))
        answer = self.answer(command)
        self.ran.append(command.text)
        self.names.append(name_of(command))
        self.given.append(getattr(command, "given", {}))
        sent = stdin if isinstance(stdin, bytes) else b"".join(all_of(stdin))
        self.sent[command.text] = self.sent[name_of(command)] = sent
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, BaseException):
            if on_line:  # what it said until then
                self.tell(getattr(answer, "output", ""), on_line)
            raise answer
        assert isinstance(answer, str)
        if on_line:
            self.tell(answer, on_line)
        return answer

    def receive(self, command: Command, to: Writes) -> None:
        said = self.run(command)
        to.write(said.encode("latin-1"))

    def answer(self, command: Command) -> Answer:
        if command.text in self.script:
            return self.script[command.text]
        return self.script[name_of(command)]

    def tell(self, text: str, on_line: OnLine) -> None:
        for line in text.splitlines():
            on_line(line)

    def of(self, name: str) -> dict[str, Any]:
        """What the last command of that name was made of."""
        return next(
            given
            for ran, given in reversed(list(zip(self.names, self.given, strict=True)))
            if ran == name
        )

    def start(self, command: Command) -> "ScriptedHolder":
        self.ran.append(command.text)
        self.holder = ScriptedHolder(self.lock)
        return self.holder

    def interact(
        self, command: Command, *, terminal: bool, on_line: OnLine | None = None
    ) -> int:
        said = self.run(command)
        for line in said.splitlines() if on_line else ():
            on_line(line)
        return 0

    def close(self) -> None: ...


@dataclass
class ScriptedHolder:
    """The lock's holder on the server."""

    said: str
    over: bool = False
    closed: bool = False
    heard: list[str] = field(default_factory=list)

    def first_line(self) -> str:
        return self.said

    def send(self, text: str) -> None:
        self.heard.append(text)

    def is_over(self) -> bool:
        return self.over

    def was_ended(self) -> bool:
        return self.over

    def close(self) -> None:
        self.closed = True
