"""A client: so many connections, kept open where the server lets them, one request each at a time."""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0  # seconds for the answers that are due when the time is over
_READ = b"GET /bench/read"
_INSERT = b"POST /bench/insert"
OPERATIONS = {
    "read one": (_READ,),
    "insert one": (_INSERT,),
    "80/20": (_READ, _READ, _READ, _READ, _INSERT),
    "read, then write": (b"POST /bench/change",),
}
_HEAD = (
    b"%s HTTP/1.1\r\nHost: bench.example.com\r\nX-Forwarded-Proto: https\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@dataclass
class Answers:
    """What came back."""

    seconds: float = 0
    good: int = 0
    bad: int = 0
    latencies: list[float] = field(default_factory=list)  # seconds

    def add(self, *others: "Answers") -> "Answers":
        for other in others:
            self.seconds += other.seconds
            self.good += other.good
            self.bad += other.bad
            self.latencies += other.latencies
        return self

    @property
    def rate(self) -> float:
        """Good ones in a second."""
        return self.good / self.seconds

    @property
    def p99(self) -> float:
        ordered = sorted(self.latencies)
        return ordered[int(len(ordered) * 0.99)] if ordered else 0.0

    @property
    def errors(self) -> float:
        """Their part of all answers."""
        return self.bad / max(1, self.good + self.bad)


class Client:
    """One connection."""

    def __init__(self, path: Path, requests: Iterator[bytes]) -> None:
        self.path, self.requests = path, requests
        self.socket: socket.socket | None = None

    def send(self, selector: selectors.BaseSelector) -> None:
        """The next request, over a new connection if the last one was closed."""
        self.answer, self.started = b"", time.monotonic()
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(str(self.path))
            selector.register(self.socket, selectors.EVENT_READ, self)
        self.socket.sendall(_HEAD % next(self.requests))

    def receive(self, selector: selectors.BaseSelector) -> int:
        """The status of a whole answer, or 0 while it lacks something."""
        try:
            part = self.socket.recv(65536)
        except ConnectionError:
            part = b""
        self.answer += part
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not part:
            self.close(selector)
            return int(head[9:12] or 599)
        length = _length(head) if found else None
        if length is None or len(body) < length:
            return 0
        if b"\r\nconnection: close" in head.lower():
            self.close(selector)
        return int(head[9:12])

    def close(self, selector: selectors.BaseSelector) -> None:
        if self.socket:
            selector.unregister(self.socket)
            self.socket.close()
        self.socket = None


def _length(head: bytes) -> int | None:
    """Content-Length, or nothing where the end of the connection says it."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else None


def load(path: Path, operation: str, clients: int, seconds: float) -> Answers:
    """Ask for so long; then wait for what is still due, which counts as late, not as rate."""
    requests = OPERATIONS[operation]
    # each client begins elsewhere in the row of requests: no two bursts of writers
    crowd = [Client(path, _cycle(requests, n)) for n in range(clients)]
    answers, due = Answers(seconds=seconds), len(crowd)
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for client in crowd:
            client.send(selector)
        while due and (now := time.monotonic()) < end + PATIENCE:
            for key, _ in selector.select(0.1):
                client = key.data
                status = client.receive(selector)
                if not status:
                    continue
                now = time.monotonic()
                answers.latencies.append(now - client.started)
                answers.good += status == 200 and now < end
                answers.bad += status != 200
                if now < end:
                    client.send(selector)
                else:  # and look at it no more: the server will close it, which is no answer
                    client.close(selector)
                    due -= 1
        for client in crowd:
            client.close(selector)
    answers.bad += due
    return answers


def _cycle(requests: tuple[bytes, ...], first: int) -> Iterator[bytes]:
    number = first
    while True:
        yield requests[number % len(requests)]
        number += 1
