"""One verified SSH connection to a server: the one module that imports Fabric.

Fabric alone would trust any host key (it loads no known_hosts and adds what it meets), so the
keys are verified by `keys.py`. It does what it does best: the user's ~/.ssh/config, jump hosts,
agents and keys. `channels.py` has the commands that go over it.
"""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import fabric

from stagetools.deploy.config import StageConfig
from stagetools.deploy.host.channels import FabricHost
from stagetools.deploy.host.keys import Confirm, connection_errors, verify_host_keys
from stagetools.deploy.limits import CONNECT
from stagetools.deploy.shell import sh
from stagetools.errors import CommandFailed, ConnectionFailed, UsageError

__all__ = ["connect"]


def connect(
    config: StageConfig, *, accept: str = "", confirm: Confirm | None = None
) -> FabricHost:
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


def _refuse_without_sudo(host: FabricHost, user: str) -> None:
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
