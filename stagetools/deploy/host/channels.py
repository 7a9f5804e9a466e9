"""Commands over the channels of a connection that stands: output, input, and exit status.

Fabric's `run` reads standard input a byte at a time, so what is not at a terminal goes over
Paramiko's channels.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import paramiko

from stagetools.deploy.host.host import OnLine, OnSent, Reads, Writes
from stagetools.deploy.host.streams import (
    CHUNK,
    LONGEST,
    Drain,
    Opening,
    feed,
    feed_input,
    lines_of,
    pour,
)
from stagetools.deploy.shell import Command, as_root
from stagetools.errors import CommandFailed, ConnectionFailed

__all__ = ["FabricHost", "Started"]

_GONE = (EOFError, OSError, paramiko.SSHException)
"""What Paramiko raises on a connection that is gone, even when it is closed."""
_LAST_LINES = 40  # of a command's output, kept for the message when it fails
_MOST = (
    64 * 1024 * 1024
)  # bytes that a command may print: lists of files are a tenth of it


@dataclass(slots=True)
class FabricHost:
    """A Host behind an open Fabric connection."""

    connection: Any
    address: str
    needs_sudo: bool
    _next: "Opening | None" = None

    def run(
        self,
        command: Command,
        *,
        stdin: bytes | Reads = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        with self._loss_in_words():
            return self._run(command, stdin, on_line, on_sent)

    def _run(
        self,
        command: Command,
        stdin: bytes | Reads,
        on_line: OnLine | None,
        on_sent: OnSent | None,
    ) -> str:
        channel = self._channel()
        channel.set_combine_stderr(on_line is not None)
        channel.exec_command(self._rooted(command).text)
        feeder = threading.Thread(
            target=feed, args=(channel, stdin, on_sent), daemon=True
        )
        feeder.start()
        errors = Drain(channel.makefile_stderr("rb"))
        lines, left = [], _MOST
        for line in lines_of(channel):
            lines.append(line)
            left -= len(line)
            if left < 0:  # a server that is somebody else's, or speaks for one
                channel.close()
                raise _too_much(self.address, command)
            if on_line:
                on_line(line.rstrip("\n"))
        status = channel.recv_exit_status()
        said = errors.text()
        channel.close()
        if status == -1 and not self.connection.transport.is_active():
            raise EOFError
        if status != 0:
            last = "".join(lines[-_LAST_LINES:]) + said
            raise CommandFailed(
                f"{self.address}: exit status {status}"
                if status > 0
                else f"{self.address}: ended by a signal",
                status=status,
                output=last.strip(),
                command=command.name,
            )
        return "".join(lines)

    def receive(self, command: Command, to: Writes) -> None:
        with self._loss_in_words():
            channel = self._channel()
            channel.exec_command(self._rooted(command).text)
        errors = Drain(channel.makefile_stderr("rb"))
        try:
            while data := self._piece(channel):
                to.write(data)  # outside: a full disk is no lost connection
        except BaseException:
            channel.close()  # else the command would go on, for nobody
            raise
        with self._loss_in_words():
            status, said = channel.recv_exit_status(), errors.text()
            channel.close()
            if status == -1 and not self.connection.transport.is_active():
                raise EOFError
        if status != 0:
            raise CommandFailed(
                f"{self.address}: exit status {status}", status=status, output=said
            )

    def _piece(self, channel: Any) -> bytes:
        with self._loss_in_words():
            return bytes(channel.recv(CHUNK))

    def start(self, command: Command) -> "Started":
        with self._loss_in_words():
            channel = self._channel()
            channel.exec_command(self._rooted(command).text)
            return Started(channel)

    @contextmanager
    def _loss_in_words(self) -> Iterator[None]:
        """Whatever a lost connection raises, in words."""
        try:
            yield
        except BrokenPipeError:
            raise  # not the connection, but whoever reads this program's output
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionFailed(
                f"The connection to {self.address} was lost.",
                untouched="The live release goes on serving, and the lock is released by itself.",
                remedy="Try again: nothing needs to be cleaned up.",
            ) from error

    def interact(
        self, command: Command, *, terminal: bool, on_line: OnLine | None = None
    ) -> int:
        with self._loss_in_words():
            if not terminal:
                return self._join(command, on_line)
            text = self._rooted(command).text
            result = self.connection.run(text, pty=True, warn=True, hide=False)
            return int(result.exited)

    def _join(self, command: Command, on_line: OnLine | None) -> int:
        """Byte for byte, as a pipe: a dump is no text that could be read and written anew."""
        channel = self._channel()
        try:
            channel.exec_command(self._rooted(command).text)
            threading.Thread(target=feed_input, args=(channel,), daemon=True).start()
            complaints = threading.Thread(
                target=pour, args=(channel.recv_stderr, sys.stderr), daemon=True
            )
            complaints.start()
            if on_line:
                for line in lines_of(channel):
                    on_line(line.rstrip("\n"))
            else:
                pour(channel.recv, sys.stdout)
            complaints.join()
            return int(channel.recv_exit_status())
        finally:
            channel.close()

    def close(self) -> None:
        with suppress(*_GONE):
            self.connection.close()

    def _channel(self) -> Any:
        """A fresh channel; the next one is asked for already, which takes a round trip."""
        transport = self.connection.transport
        if transport is None or not transport.is_active():
            raise EOFError
        opening = self._next or Opening(transport)
        self._next = Opening(transport)
        return opening.channel()

    def _rooted(self, command: Command) -> Command:
        return as_root(command) if self.needs_sudo else command


def _too_much(address: str, command: Command) -> CommandFailed:
    return CommandFailed(
        f"{address}: it said more than {_MOST // 1024**2} MB",
        status=-1,
        output="It said more than any answer has; the rest was not read.",
        command=command.name,
    )


class Started:
    """A command on a channel of its own, which lives no longer than the connection."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._out = channel.makefile("rb")

    def first_line(self) -> str:
        line: bytes = self._out.readline(LONGEST)
        return line.decode(errors="replace").rstrip("\n")

    def send(self, text: str) -> None:
        """Raises OSError when nobody is there; Paramiko has other errors for that."""
        try:
            if self.is_over():  # sshd hangs up on whoever sends to what it has closed
                raise EOFError
            self._channel.sendall(text.encode())
        except (EOFError, paramiko.SSHException) as error:
            raise OSError("the connection is gone") from error

    def is_over(self) -> bool:
        return bool(self._channel.exit_status_ready() or self._channel.closed)

    def was_ended(self) -> bool:
        return bool(self._channel.exit_status >= 0)

    def close(self) -> None:
        with suppress(*_GONE):
            self._channel.close()
