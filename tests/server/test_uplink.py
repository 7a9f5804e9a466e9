"""From a slow uplink: an upload keeps its lock, and one that was cut goes on where it stopped."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server.browser import Browser
from tests.server.machines import Server
from tests.server.project import Project

DOMAIN = "mysite.test"
RATE = 180_000  # bytes a second, an ordinary uplink of a home
SIZE = 6_000_000  # bytes that no compression makes fewer: 33 s, in two parts of more than 12 s


class Uplink:
    """A TCP proxy before a server's sshd that takes so many bytes a second from its client."""

    def __init__(self, address: str) -> None:
        self.address, self.sent = address, 0
        self._links: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._let_in, daemon=True).start()

    def _let_in(self) -> None:
        while True:
            try:
                client = self._door.accept()[0]
            except OSError:
                return
            server = socket.create_connection((self.address, 22))
            self._links += [client, server]
            for words in ((client, server, RATE), (server, client, 0)):
                threading.Thread(target=self._pass, args=words, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, rate: int) -> None:
        started, passed = time.monotonic(), 0
        try:
            while data := source.recv(8192):
                to.sendall(data)
                passed += len(data)
                if rate:
                    self.sent += len(data)
                    # what was not sent while the client was idle is not made up for
                    started = max(started, time.monotonic() - passed / rate - 0.1)
                    time.sleep(max(0, started + passed / rate - time.monotonic()))
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self) -> None:
        """As when the network goes."""
        for link in self._links:
            _reset(link)
        self._links.clear()

    def close(self) -> None:
        self._door.close()
        self.cut()


def _reset(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()


@pytest.fixture
def slow(new_server, new_project):
    """A project with 6 MB in it, and the slow line to its server."""
    server: Server = new_server("uplink", with_docker=True)
    uplink = Uplink(server.address)
    project: Project = new_project()
    project.target(server, domain=DOMAIN)
    known = project.home / ".ssh" / "known_hosts"
    key = known.read_text().split(" ", 1)[1]
    known.write_text(f"[127.0.0.1]:{uplink.port} {key}")
    project.replace(
        "deploy.toml", f'"{server.address}"', f'"127.0.0.1"\nport = {uplink.port}'
    )
    (project.root / "noise.bin").write_bytes(os.urandom(SIZE))
    yield server, uplink, project
    uplink.close()


@pytest.mark.skipif(not os.environ.get("RELEASE"), reason="before a release: RELEASE=1")
def test_a_slow_upload_keeps_its_lock_and_goes_on_where_it_was_cut(slow) -> None:
    server, uplink, project = slow
    half = SIZE * 55 // 100
    typed = subprocess.Popen(
        [Path(sys.executable).parent / "inv", "deploy"],
        cwd=project.root, env=project.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while uplink.sent < half and typed.poll() is None:
        time.sleep(0.05)
    uplink.cut()
    said, _ = typed.communicate(timeout=60)
    assert typed.returncode == 1
    assert "was lost" in said
    assert "had not heard" not in said

    uplink.sent = 0
    done = project.inv("deploy", "--wait", "40")
    assert done.status == 0, str(done)
    assert "had arrived before)" in done.text
    assert uplink.sent < SIZE - half + 400_000
    assert Browser(server.address, DOMAIN).get("/").status == 200
    container = server.run("docker ps --quiet --filter label=stagetools.system").strip()
    size = server.run(f"docker exec {container} stat -c %s /app/noise.bin")
    assert int(size) == SIZE
