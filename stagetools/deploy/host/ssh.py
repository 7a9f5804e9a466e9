"""A server over one verified SSH connection: the one module that imports Fabric.

Fabric alone would trust any host key (it loads no known_hosts and adds what it meets), so the
keys are verified by `keys.py`; and its `run` reads standard input a byte at a time, so
commands go over Paramiko's channels, and Fabric does what it does best: the user's
~/.ssh/config, jump hosts, agents and keys.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import fabric
import paramiko

from stagetools.deploy.config import StageConfig
from stagetools.deploy.host.host import OnLine, OnSent, Reads, Writes
from stagetools.deploy.host.keys import Confirm, connection_errors, verify_host_keys
from stagetools.deploy.limits import CONNECT
from stagetools.deploy.shell import Command, as_root, sh
from stagetools.errors import CommandFailed, ConnectionFailed, UsageError

__all__ = ["FabricHost", "connect"]

_GONE = (EOFError, OSError, paramiko.SSHException)
"""What Paramiko raises on a connection that is gone, even when it is closed."""
_CHUNK = 256 * 1024  # bytes between two reports of progress
_LAST_LINES = 40  # of a command's output, kept for the message when it fails
_LONGEST = 1024 * 1024  # bytes of a line; what follows is the next one
_MOST = (
    64 * 1024 * 1024
)  # bytes that a command may print: lists of files are a tenth of it
_COMPLAINTS = 64 * 1024  # bytes of standard error that are kept, the last ones


def connect(
    config: StageConfig, *, accept: str = "", confirm: Confirm | None = None
) -> "FabricHost":
    """Open the connection, having verified who answers; raises ConnectionFailed.

    `accept` is the fingerprint that an unknown server must have; `confirm` asks a person
    about the one that it has. With neither, an unknown server is refused.
    """
    connection = _connection(config)
    verify_host_keys(connection, accept, confirm)
    address = f"{connection.user}@{connection.host}"
    with connection_errors(address, connection.port, lambda: _answers(connection)):
        connection.open()
    transport = connection.transport
    transport.set_keepalive(CONNECT.keepalive)
    _keep_queue_short(transport.sock)
    host = FabricHost(connection, address, needs_sudo=connection.user != "root")
    if host.needs_sudo:
        _refuse_without_sudo(host, connection.user)
    return host


def _answers(connection: Any) -> bool:
    """Whether an SSH server is there, whose key was verified."""
    transport = connection.client.get_transport()
    return transport is not None and bool(transport.is_active())


def _keep_queue_short(sock: Any) -> None:
    """Let the lock's beats, which share the connection with an upload, not wait behind megabytes.

    What the kernel has taken and not sent yet, tcp(7); it may send as much as before.
    """
    with suppress(OSError, AttributeError):  # a jump host's channel; another system
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, CONNECT.unsent)


def _refuse_without_sudo(host: "FabricHost", user: str) -> None:
    try:
        host.run(sh("true"))
    except CommandFailed as error:
        raise ConnectionFailed(
            f"{host.address} may not sudo without a password.",
            untouched="Nothing was changed.",
            remedy=f"As root, in a file below /etc/sudoers.d: {user} ALL=(ALL) NOPASSWD:ALL",
        ) from error


def _connection(config: StageConfig) -> Any:
    # compressed: what is sent for a small change is mostly the commands' own text
    keys: dict[str, Any] = {"banner_timeout": CONNECT.banner, "compress": True}
    if config.identity_file:
        keys["key_filename"] = str(_private_key(config.identity_file))
    connection = fabric.Connection(
        config.host,
        user=config.user or None,
        port=config.port or None,
        connect_timeout=CONNECT.tcp,
        connect_kwargs=keys,
    )
    if not config.user and "user" not in connection.ssh_config:
        connection.user = "root"
    return connection


def _private_key(named: str) -> Path:
    """The file that identity_file names; UsageError where that can open no connection."""
    path = Path(named).expanduser()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UsageError(
            f"identity_file in deploy.toml: there is no file {path}.",
            remedy="ls ~/.ssh lists your keys; ssh-keygen -t ed25519 makes one.",
        ) from None
    except OSError as error:
        raise UsageError(
            f"identity_file in deploy.toml: {path} cannot be read: {error.strerror}.",
            remedy=f"Allow yourself to read it: chmod 600 {path}",
        ) from None
    if "PRIVATE KEY-----" not in text:
        kind = "a public key" if path.suffix == ".pub" else "not a private key"
        private = named.removesuffix(".pub")
        raise UsageError(
            f"identity_file in deploy.toml: {path} is {kind}.",
            remedy=f'Name the private key, in the file beside it: identity_file = "{private}".'
            if path.suffix == ".pub"
            else "Name a file that ssh-keygen made, the one without .pub.",
        )
    return path


@dataclass(slots=True)
class FabricHost:
    """A Host behind an open Fabric connection."""

    connection: Any
    address: str
    needs_sudo: bool
    _next: "_Opening | None" = None

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
            target=_feed, args=(channel, stdin, on_sent), daemon=True
        )
        feeder.start()
        errors = _Drain(channel.makefile_stderr("rb"))
        lines, left = [], _MOST
        for line in _lines(channel):
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
        errors = _Drain(channel.makefile_stderr("rb"))
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
            return bytes(channel.recv(_CHUNK))

    def start(self, command: Command) -> "_Started":
        with self._loss_in_words():
            channel = self._channel()
            channel.exec_command(self._rooted(command).text)
            return _Started(channel)

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
            threading.Thread(target=_feed_input, args=(channel,), daemon=True).start()
            complaints = threading.Thread(
                target=_pour, args=(channel.recv_stderr, sys.stderr), daemon=True
            )
            complaints.start()
            if on_line:
                for line in _lines(channel):
                    on_line(line.rstrip("\n"))
            else:
                _pour(channel.recv, sys.stdout)
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
        opening = self._next or _Opening(transport)
        self._next = _Opening(transport)
        return opening.channel()

    def _rooted(self, command: Command) -> Command:
        return as_root(command) if self.needs_sudo else command


class _Opening:
    """A channel that the server is being asked for."""

    def __init__(self, transport: Any) -> None:
        self._opened: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(
            target=self._open, args=(transport,), daemon=True
        )
        self._thread.start()

    def _open(self, transport: Any) -> None:
        try:
            self._opened = transport.open_session()
        except Exception as error:  # told to whoever takes the channel
            self._error = error

    def channel(self) -> Any:
        self._thread.join()
        if self._error:
            raise self._error
        return self._opened


class _Drain:
    """Reads one stream beside another, so that neither fills and blocks."""

    def __init__(self, stream: Any) -> None:
        self._data = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        while piece := stream.read(_CHUNK):
            self._data = (self._data + piece)[-_COMPLAINTS:]

    def text(self) -> str:
        self._thread.join()
        return self._data.decode(errors="replace")


def _feed(channel: Any, data: bytes | Reads, on_sent: OnSent | None) -> None:
    try:
        if not isinstance(data, bytes):
            while piece := data.read(_CHUNK):
                channel.sendall(piece)
            channel.shutdown_write()
            return
        for start in range(0, len(data), _CHUNK):
            channel.sendall(data[start : start + _CHUNK])
            if on_sent:
                on_sent(min(start + _CHUNK, len(data)), len(data))
        channel.shutdown_write()
    except OSError:
        pass  # the command ended without reading all: its status says why


def _feed_input(channel: Any) -> None:
    """Standard input, but not a keyboard: another program may be reading that (`| less`)."""
    with suppress(OSError, ValueError):
        if sys.stdin and not sys.stdin.isatty():
            while data := os.read(sys.stdin.fileno(), _CHUNK):
                channel.sendall(data)
        channel.shutdown_write()


def _pour(receive: Callable[[int], bytes], to: TextIO) -> None:
    """What comes, at once."""
    while data := receive(_CHUNK):
        to.buffer.write(data)
        to.flush()


def _lines(channel: Any) -> Iterator[str]:
    with channel.makefile("rb") as stream:
        while raw := stream.readline(_LONGEST):
            yield raw.decode(errors="replace")


def _too_much(address: str, command: Command) -> CommandFailed:
    return CommandFailed(
        f"{address}: it said more than {_MOST // 1024**2} MB",
        status=-1,
        output="It said more than any answer has; the rest was not read.",
        command=command.name,
    )


class _Started:
    """A command on a channel of its own, which lives no longer than the connection."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._out = channel.makefile("rb")

    def first_line(self) -> str:
        line: bytes = self._out.readline(_LONGEST)
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
