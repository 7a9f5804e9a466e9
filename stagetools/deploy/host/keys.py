"""Who answers: verified before anything is authenticated, and said in words when it fails."""

import base64
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko

from stagetools.deploy.limits import CONNECT
from stagetools.errors import ConnectionFailed, UsageError

__all__ = ["Confirm", "connection_errors", "fingerprint", "verify_host_keys"]

Confirm = Callable[[str], bool]
"""A question to a person, and whether the answer is yes."""


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` prints it: `SHA256:…`."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def verify_host_keys(connection: Any, accept: str, confirm: Confirm | None) -> None:
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
    if hasattr(connection.gateway, "client"):
        verify_host_keys(connection.gateway, accept, confirm)


class _Unknown(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """What to do with a server that known_hosts does not name."""

    def __init__(self, accept: str, confirm: Confirm | None, keep: Path) -> None:
        self.accept, self.confirm, self.keep = accept, confirm, keep

    def missing_host_key(
        self, client: object, hostname: str, key: paramiko.PKey
    ) -> None:
        offered = fingerprint(key)
        if self.accept:
            if self.accept != offered:
                raise ConnectionFailed(
                    f"{hostname} shows the host key {offered}, not {self.accept}.",
                    untouched="Nothing was sent to it.",
                    remedy="Compare with the fingerprint that your provider's console shows.",
                )
        elif self.confirm is None:
            raise UsageError(
                f"{hostname} is not known yet; its {key.get_name()} key is {offered}.",
                untouched="Nothing was sent to it.",
                remedy=f"If your provider's console shows the same: --accept-host-key {offered}",
            )
        elif not self.confirm(
            f"{hostname} is new here. Its key is {offered}. Trust it?"
        ):
            raise ConnectionFailed(
                f"{hostname} was not trusted.", untouched="Nothing was sent to it."
            )
        _remember(self.keep, hostname, key)


def _remember(path: Path, hostname: str, key: paramiko.PKey) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


class connection_errors:  # noqa: N801 - it is called as a function is
    """Turn what a failed connection raises into words of the user's own world.

    `is_ssh` says whether an SSH server answered, so that only the login is left to fail.
    """

    def __init__(
        self, address: str, port: int, is_ssh: Callable[[], bool] = lambda: False
    ) -> None:
        self.address, self.port, self.is_ssh = address, port, is_ssh

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
                    f" `ssh-keygen -R {_known_name(host, self.port)}`; if not, somebody may be intercepting the connection.",
                )
            case paramiko.PasswordRequiredException():
                return (
                    f"The key for {self.address} has a passphrase.",
                    "Load it first: ssh-add",
                )
            case paramiko.AuthenticationException():
                return (
                    f"{self.address} refused every SSH key that was offered.",
                    f"{self._give_it_a_key()} If the login has another name: user in deploy.toml.",
                )
            case socket.gaierror():
                return (
                    f"There is no host {host!r}.",
                    "Fix the name: host in deploy.toml.",
                )
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
            # No key at all; or Paramiko's words on the last kind of key that it tried to
            # read a file as, whatever became of the right kind.
            case paramiko.SSHException() if self.is_ssh():
                return (
                    f"{self.address} accepted no SSH key of this machine: there is none, or it was refused.",
                    f"If you have none yet, make one: ssh-keygen -t ed25519. {self._give_it_a_key()}",
                )
            case _:
                return f"{host}, port {self.port}: {error}", "Is that an SSH server?"

    def _give_it_a_key(self) -> str:
        port = "" if self.port == 22 else f"-p {self.port} "
        return (
            f"Give the server your key: ssh-copy-id {port}{self.address} (or paste your"
            " .pub file into your provider's console). If your key is in a file with a"
            ' name of its own: identity_file = "~/.ssh/NAME" in deploy.toml.'
        )


def _known_name(host: str, port: int) -> str:
    return host if port == 22 else f"'[{host}]:{port}'"
