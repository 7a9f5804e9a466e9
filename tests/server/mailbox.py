"""A mail server that the servers reach: whatever is sent is kept, and nothing goes on."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server.machines import SUBNET


class _Talk(socketserver.StreamRequestHandler):
    """As much of SMTP as a client asks for (RFC 5321)."""

    server: "Mailbox"

    def handle(self) -> None:
        self._say("220 mailbox")
        for line in self.rfile:
            word = line[:4].strip().upper()
            if word == b"DATA":
                self._say("354 go on")
                self._keep()
            self._say("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return

    def _keep(self) -> None:
        lines = iter(self.rfile.readline, b"")
        text = list(iter(lambda: next(lines, b".\r\n"), b".\r\n"))
        self.server.mails.append(b"".join(text).decode())

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Mailbox(socketserver.ThreadingTCPServer):
    """At the servers' side of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        self.mails: list[str] = []
        super().__init__((f"{SUBNET}.1", 0), _Talk)

    def wait_for(self, words: str, seconds: float = 20) -> None:
        """Until a mail has these words."""
        end = time.monotonic() + seconds
        while not any(words in mail for mail in self.mails):
            assert time.monotonic() < end, (words, self.mails)
            time.sleep(0.1)


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        threading.Thread(target=box.serve_forever, daemon=True).start()
        yield box
        box.shutdown()
