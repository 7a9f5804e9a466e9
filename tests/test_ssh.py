"""The connection: what is said where none can be made, and where it is gone."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import paramiko
import pytest

from stagetools.deploy.config import StageConfig
from stagetools.deploy.console.terminal import Terminal
from stagetools.deploy.host import channels
from stagetools.deploy.host.channels import FabricHost, Started
from stagetools.deploy.host.dry import DryTerminal
from stagetools.deploy.host.keys import connection_errors
from stagetools.deploy.host.ssh import _connection
from stagetools.deploy.shell import sh
from stagetools.deploy.tasks import session
from stagetools.errors import CommandFailed, ConnectionFailed, UsageError
from stagetools.utils import get_expected_system_from_name


class Gone:
    """What Paramiko is once its connection was dropped: it raises EOFError, even when closed."""

    closed = False

    def exit_status_ready(self) -> bool:
        return False

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO()

    def sendall(self, data: bytes) -> None:
        raise EOFError

    def close(self) -> None:
        raise EOFError


def test_a_sign_of_life_on_a_dropped_connection_is_an_error_that_its_sender_knows() -> (
    None
):
    with pytest.raises(OSError, match="the connection is gone"):
        Started(Gone()).send("\n")


class Over(Gone):
    """The channel of a command that has ended; the server has forgotten it."""

    def exit_status_ready(self) -> bool:
        return True

    def sendall(self, data: bytes) -> None:
        raise AssertionError("sshd would hang up")


def test_a_command_that_is_over_is_sent_nothing() -> None:
    with pytest.raises(OSError, match="the connection is gone"):
        Started(Over()).send("\n")


def test_what_was_dropped_is_closed_without_a_word() -> None:
    """Else that would be told, and not what became of the change."""
    Started(Gone()).close()
    FabricHost(Gone(), "root@test", needs_sudo=False).close()


def test_a_command_that_fails_is_told_by_its_name() -> None:
    channel = MagicMock()
    channel.makefile.side_effect = lambda mode: io.BytesIO(b"no space\n")
    channel.makefile_stderr.side_effect = lambda mode: io.BytesIO(b"")
    channel.recv_exit_status.return_value = 7
    connection = MagicMock()
    connection.transport.open_session.return_value = channel
    host = FabricHost(connection, "root@test", needs_sudo=False)
    with pytest.raises(CommandFailed) as caught:
        host.run(replace(sh("cp", "a", "b"), name="data.copy"))
    assert caught.value.command == "data.copy"
    assert (caught.value.status, caught.value.output) == (7, "no space")


def says(out: bytes, errors: bytes = b"", status: int = 0) -> FabricHost:
    """A server whose next command says that."""
    channel = MagicMock()
    channel.makefile.side_effect = lambda mode: io.BytesIO(out)
    channel.makefile_stderr.side_effect = lambda mode: io.BytesIO(errors)
    channel.recv_exit_status.return_value = status
    connection = MagicMock()
    connection.transport.open_session.return_value = channel
    return FabricHost(connection, "root@test", needs_sudo=False)


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_server_that_talks_without_end_fills_no_memory_here(
    monkeypatch, end: bytes
) -> None:
    monkeypatch.setattr(channels, "_MOST", 10**6)
    with pytest.raises(CommandFailed) as caught:
        says((b"x" * 99 + end) * 200_000).run(sh("true"))
    assert caught.value.output.startswith("It said more than any answer has")
    complaints = b"first\n" + b"x" * 10**6 + b"\nlast"
    with pytest.raises(CommandFailed) as caught:
        says(b"", complaints, status=1).run(sh("true"))
    assert caught.value.output.endswith("last")
    assert len(caught.value.output) < 10**5


# --- no key, or another file in its place ---------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "No authentication methods available",
        "encountered RSA key, expected OPENSSH key",
    ],
)
def test_who_has_no_key_is_told_how_to_make_one_and_where_to_put_it(words) -> None:
    """Paramiko has no error of its own for that: only the state of the connection tells."""
    nothing_offered = paramiko.SSHException(words)
    with (
        pytest.raises(
            ConnectionFailed, match="accepted no SSH key of this machine"
        ) as caught,
        connection_errors("root@shop.test", 2222, lambda: True),
    ):
        raise nothing_offered
    for typed in (
        "ssh-keygen -t ed25519",
        "ssh-copy-id -p 2222 root@shop.test",
        'identity_file = "',
    ):
        assert typed in caught.value.remedy


def test_what_is_no_ssh_server_is_not_told_of_keys() -> None:
    with (
        pytest.raises(ConnectionFailed) as caught,
        connection_errors("root@shop.test", 22, lambda: False),
    ):
        raise paramiko.SSHException("Error reading SSH protocol banner")
    assert caught.value.remedy == "Is that an SSH server?"


def test_whose_key_is_refused_is_told_how_to_give_it_to_the_server() -> None:
    with (
        pytest.raises(ConnectionFailed, match="refused every SSH key") as caught,
        connection_errors("ann@shop.test", 22, lambda: True),
    ):
        raise paramiko.AuthenticationException
    assert "ssh-copy-id ann@shop.test" in caught.value.remedy
    assert "user in deploy.toml" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text", "what", "remedy"),
    [
        ("id.pub", "ssh-ed25519 AAAA", "is a public key", 'id"'),
        ("id", "hello", "is not a private key", "ssh-keygen"),
        ("gone", None, "there is no file", "ssh-keygen"),
    ],
)
def test_a_file_that_is_no_private_key_is_told_before_it_is_tried(
    tmp_path: Path, name: str, text: str | None, what: str, remedy: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    config = StageConfig(
        stage_name="prod", host="shop.test", identity_file=str(tmp_path / name)
    )
    with pytest.raises(UsageError, match=what) as caught:
        _connection(config)
    assert remedy in caught.value.remedy


def test_a_private_key_is_offered(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    config = StageConfig(stage_name="prod", host="shop.test", identity_file=str(key))
    assert _connection(config).connect_kwargs["key_filename"] == [str(key)]


# --- what waits for the connection ----------------------------------------------------


@pytest.mark.parametrize(("terminal", "kept"), [(Terminal, 1), (DryTerminal, 0)])
def test_an_answer_is_kept_once_the_connection_stands(
    monkeypatch, terminal, kept: int
) -> None:
    """A mistyped server is asked for again; and a dry run changes no file."""
    calls: list[str] = []
    to = session.Destination(
        system=get_expected_system_from_name("shop_prod"),
        config=StageConfig(stage_name="prod", host="shop.test"),
        terminal=terminal(),
        connected=lambda: calls.append("kept"),
    )

    def refused(*_: object, **__: object) -> None:
        raise ConnectionFailed("There is no host.")

    monkeypatch.setattr(session, "connect", refused)
    with pytest.raises(ConnectionFailed), session.open_session(to):
        pass
    assert calls == []
    there = SimpleNamespace(address="a", needs_sudo=False, close=lambda: None)
    monkeypatch.setattr(session, "connect", lambda *_, **__: there)
    with session.open_session(to):
        assert len(calls) == kept
