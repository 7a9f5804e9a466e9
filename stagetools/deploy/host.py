"""A server over one verified SSH connection: the one module that imports Fabric.

Fabric alone would trust any host key (it loads no known_hosts and adds what it meets), so the
keys are verified here, before anything is authenticated; and its `run` reads standard input a
byte at a time, so commands go over Paramiko's channels, and Fabric does what it does best: the
user's ~/.ssh/config, jump hosts, agents and keys.
"""

import base64
import hashlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fabric
import paramiko

from stagetools.deploy.config import StageConfig
from stagetools.deploy.limits import CONNECT
from stagetools.deploy.shell import Command, as_root, sh
from stagetools.errors import CommandFailed, ConnectionFailed, UsageError

__all__ = [
    "Background",
    "FabricHost",
    "Host",
    "OnLine",
    "OnSent",
    "connect",
    "fingerprint",
]

OnLine = Callable[[str], None]
OnSent = Callable[[int, int], None]
"""So many bytes of so many were sent."""
Confirm = Callable[[str], bool]
_CHUNK = 256 * 1024  # bytes between two reports of progress
_LAST_LINES = 40  # of a command's output, kept for the message when it fails


class Background(Protocol):
    """A command that goes on beside the others."""

    def first_line(self) -> str: ...
    def send(self, text: str) -> None: ...
    def is_over(self) -> bool: ...
    def close(self) -> None: ...


class Host(Protocol):
    """A server that runs commands as root."""

    address: str

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        """Standard output; with `on_line`, each line of both outputs as it comes.

        Raises CommandFailed when the command ends with another status than 0.
        """
        ...

    def start(self, command: Command) -> Background: ...

    def interact(self, command: Command, *, terminal: bool) -> int:
        """Join the command to this process's own input and output; its exit status."""
        ...


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` prints it: `SHA256:…`."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def connect(
    config: StageConfig, *, accept: str = "", confirm: Confirm | None = None
) -> "FabricHost":
    """Open the connection, having verified who answers; raises ConnectionFailed.

    `accept` is the fingerprint that an unknown server must have; `confirm` asks a person
    about the one that it has. With neither, an unknown server is refused.
    """
    connection = _connection(config)
    _verify_host_keys(connection, accept, confirm)
    address = f"{connection.user}@{connection.host}"
    with _explained(address, connection.port):
        connection.open()
    transport = connection.transport
    transport.set_keepalive(CONNECT.keepalive)
    host = FabricHost(connection, address, needs_sudo=connection.user != "root")
    if host.needs_sudo:
        _refuse_without_sudo(host, connection.user)
    return host


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
    keys: dict[str, Any] = {"banner_timeout": CONNECT.banner}
    if config.identity_file:
        path = Path(config.identity_file).expanduser()
        if not path.is_file():
            raise UsageError(f"identity_file: there is no {path}.")
        keys["key_filename"] = str(path)
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


def _verify_host_keys(connection: Any, accept: str, confirm: Confirm | None) -> None:
    files = connection.ssh_config.get(
        "userknownhostsfile", "~/.ssh/known_hosts"
    ).split()
    client = connection.client
    for name in [*files, "/etc/ssh/ssh_known_hosts"]:
        path = Path(name).expanduser()
        if path.is_file():
            client.load_system_host_keys(str(path))
    keep = Path(files[0]).expanduser()
    client.set_missing_host_key_policy(_Unknown(accept, confirm, keep))
    if isinstance(connection.gateway, fabric.Connection):
        _verify_host_keys(connection.gateway, accept, confirm)


class _Unknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """What to do with a server that known_hosts does not name."""

    def __init__(self, accept: str, confirm: Confirm | None, keep: Path) -> None:
        self.accept, self.confirm, self.keep = accept, confirm, keep

    def missing_host_key(
        self, client: object, hostname: str, key: paramiko.PKey
    ) -> None:
        print_ = fingerprint(key)
        if self.accept:
            if self.accept != print_:
                raise ConnectionFailed(
                    f"{hostname} shows the host key {print_}, not {self.accept}.",
                    untouched="Nothing was sent to it.",
                    remedy="Compare with the fingerprint that your provider's console shows.",
                )
        elif self.confirm is None:
            raise UsageError(
                f"{hostname} is not known yet; its {key.get_name()} key is {print_}.",
                untouched="Nothing was sent to it.",
                remedy=f"If your provider's console shows the same: --accept-host-key {print_}",
            )
        elif not self.confirm(
            f"{hostname} is new here. Its key is {print_}. Trust it?"
        ):
            raise ConnectionFailed(
                f"{hostname} was not trusted.", untouched="Nothing was sent to it."
            )
        _remember(self.keep, hostname, key)


def _remember(path: Path, hostname: str, key: paramiko.PKey) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


class _explained:  # noqa: N801 - reads as a word: with _explained(address, port)
    """Turn what a failed connection raises into words of the user's own world."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, Exception) and not isinstance(
            error, (ConnectionFailed, UsageError)
        ):
            what, remedy = self._words(error)
            raise ConnectionFailed(
                what, untouched="Nothing was changed.", remedy=remedy
            ) from error

    def _words(self, error: Exception) -> tuple[str, str]:
        host = self.address.partition("@")[2]
        match error:
            case paramiko.BadHostKeyException():
                return (
                    f"{host} shows another host key than the one in known_hosts: now {fingerprint(error.key)}.",
                    "If you rebuilt the server, forget the old key with"
                    f" `ssh-keygen -R {_known_name(host, self.port)}`; if not, somebody may be in between.",
                )
            case paramiko.PasswordRequiredException():
                return (
                    f"The key for {self.address} has a passphrase.",
                    "Load it first: ssh-add",
                )
            case paramiko.AuthenticationException():
                return (
                    f"{self.address} refused every key that was offered.",
                    f"Try `ssh -p {self.port} {self.address}`; set user or identity_file in deploy.toml.",
                )
            case socket.gaierror():
                return f"There is no host {host!r}.", "Correct host in deploy.toml."
            case TimeoutError():
                return (
                    f"{host} did not answer on port {self.port} within {CONNECT.tcp:.0f} s.",
                    "Is it running, and does its firewall let SSH in?",
                )
            case OSError():
                return (
                    f"{host} refused the connection on port {self.port}.",
                    "Is sshd running, and on this port?",
                )
            case _:
                return f"{host}, port {self.port}: {error}", "Is that an SSH server?"


def _known_name(host: str, port: int) -> str:
    return host if port == 22 else f"'[{host}]:{port}'"


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
        stdin: bytes = b"",
        on_line: OnLine | None = None,
        on_sent: OnSent | None = None,
    ) -> str:
        channel = self._channel()
        channel.set_combine_stderr(on_line is not None)
        channel.exec_command(self._rooted(command).text)
        feeder = threading.Thread(
            target=_feed, args=(channel, stdin, on_sent), daemon=True
        )
        feeder.start()
        errors = _Drain(channel.makefile_stderr("rb"))
        lines = []
        for line in _lines(channel):
            lines.append(line)
            if on_line:
                on_line(line.rstrip("\n"))
        status = channel.recv_exit_status()
        said = errors.text()
        channel.close()
        if status == -1 and not self.connection.transport.is_active():
            raise ConnectionFailed(
                f"The connection to {self.address} was lost.",
                untouched="What served goes on serving, and the lock frees itself.",
                remedy="Try again: nothing needs to be cleaned up.",
            )
        if status != 0:
            last = "".join(lines[-_LAST_LINES:]) + said
            raise CommandFailed(
                f"{self.address}: exit status {status}"
                if status > 0
                else f"{self.address}: ended by a signal",
                status=status,
                output=last.strip(),
            )
        return "".join(lines)

    def start(self, command: Command) -> "_Started":
        channel = self._channel()
        channel.exec_command(self._rooted(command).text)
        return _Started(channel)

    def interact(self, command: Command, *, terminal: bool) -> int:
        result = self.connection.run(
            self._rooted(command).text,
            pty=terminal,
            warn=True,
            hide=False,
            in_stream=None if terminal or not sys.stdin.closed else False,
        )
        return int(result.exited)

    def close(self) -> None:
        self.connection.close()

    def _channel(self) -> Any:
        """A fresh channel; the next one is asked for already, which takes a round trip."""
        transport = self.connection.transport
        if transport is None or not transport.is_active():
            raise ConnectionFailed(f"The connection to {self.address} was lost.")
        opening = self._next or _Opening(transport)
        self._next = _Opening(transport)
        try:
            return opening.channel()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionFailed(
                f"The connection to {self.address} was lost: {error}"
            ) from error

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
        self._data = stream.read()

    def text(self) -> str:
        self._thread.join()
        return self._data.decode(errors="replace")


def _feed(channel: Any, data: bytes, on_sent: OnSent | None) -> None:
    try:
        for start in range(0, len(data), _CHUNK):
            channel.sendall(data[start : start + _CHUNK])
            if on_sent:
                on_sent(min(start + _CHUNK, len(data)), len(data))
        channel.shutdown_write()
    except OSError:
        pass  # the command ended without reading all: its status says why


def _lines(channel: Any) -> Iterator[str]:
    with channel.makefile("rb") as stream:
        for raw in stream:
            yield raw.decode(errors="replace")


class _Started:
    """A command on a channel of its own, which lives no longer than the connection."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._out = channel.makefile("rb")

    def first_line(self) -> str:
        line: bytes = self._out.readline()
        return line.decode(errors="replace").rstrip("\n")

    def send(self, text: str) -> None:
        self._channel.sendall(text.encode())

    def is_over(self) -> bool:
        return bool(self._channel.exit_status_ready() or self._channel.closed)

    def close(self) -> None:
        self._channel.close()
