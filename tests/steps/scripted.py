"""A host that answers from a script: any command that is not in it is a KeyError."""

from dataclasses import dataclass, field

from stagetools.deploy import fence
from stagetools.deploy.host import OnLine, OnSent
from stagetools.deploy.shell import Command
from stagetools.errors import CommandFailed

Answer = str | CommandFailed | list["Answer"]
"""What a command prints, or how it fails; a list answers one run after the other."""


def failure(output: str = "", *, status: int = 1) -> CommandFailed:
    """A command that ended with an error."""
    return CommandFailed("root@test", status=status, output=output)


@dataclass
class ScriptedHost:
    """A Host without a server; `ran` is every command in its order."""

    script: dict[str, Answer]
    address: str = "root@203.0.113.7"
    needs_sudo: bool = False
    ran: list[str] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)
    lock: str = "held"

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        text = fence.unfenced(command.text)
        answer = self.script[text]
        self.ran.append(text)
        self.sent[text] = stdin
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, CommandFailed):
            raise answer
        assert isinstance(answer, str)
        if on_line:
            for line in answer.splitlines():
                on_line(line)
        return answer

    def start(self, command: Command) -> "ScriptedHolder":
        self.ran.append(command.text)
        self.holder = ScriptedHolder(self.lock)
        return self.holder

    def interact(self, command: Command, *, terminal: bool) -> int:
        self.run(command)
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

    def close(self) -> None:
        self.closed = True
