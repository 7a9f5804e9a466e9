"""What a step may ask of a server; `ssh.py` is the real one."""

from collections.abc import Callable
from typing import Protocol

from stagetools.deploy.shell import Command

__all__ = ["Background", "Host", "OnLine", "OnSent", "Reads", "Writes"]

OnLine = Callable[[str], None]
"""A line of a command's output, as it comes."""
OnSent = Callable[[int, int], None]
"""So many bytes of so many were sent."""


class Reads(Protocol):
    """Something that bytes are read from: so many at the most, and none at its end."""

    def read(self, size: int, /) -> bytes: ...


class Writes(Protocol):
    """Something that bytes are written to."""

    def write(self, data: bytes, /) -> int: ...


class Background(Protocol):
    """A command that goes on beside the others."""

    def first_line(self) -> str: ...
    def send(self, text: str) -> None: ...
    def is_over(self) -> bool: ...
    def was_ended(self) -> bool:
        """Whether it is over because it ended, and not because the connection was lost."""
        ...

    def close(self) -> None: ...


class Host(Protocol):
    """A server that runs commands as root."""

    address: str

    def run(
        self,
        command: Command,
        *,
        stdin: bytes | Reads = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """Standard output; with `on_line`, each line of both outputs as it comes.

        Raises CommandFailed when the command ends with another status than 0.
        """
        ...

    def receive(self, command: Command, to: Writes) -> None:
        """Write standard output to a file, byte for byte; raises CommandFailed as `run` does."""
        ...

    def start(self, command: Command) -> Background: ...

    def interact(
        self, command: Command, *, terminal: bool, on_line: OnLine | None = None
    ) -> int:
        """Join the command to this process's own input and output; its exit status.

        With `on_line`, and without a terminal, its lines go there.
        """
        ...
