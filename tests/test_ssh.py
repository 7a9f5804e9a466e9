"""The connection, where it is gone."""

import io

import pytest

from stagetools.deploy.ssh import FabricHost, _Started


class Gone:
    """What Paramiko is once its connection was dropped: it raises EOFError, even when closed."""

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
        _Started(Gone()).send("\n")


def test_what_was_dropped_is_closed_without_a_word() -> None:
    """Else that would be told, and not what became of the change."""
    _Started(Gone()).close()
    FabricHost(Gone(), "root@test", needs_sudo=False).close()
