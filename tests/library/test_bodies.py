"""Slow bodies: what is cut, what never is, and what the sender is told."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from stagetools.web.bodies import Body, Guard, TooSlowError, guarded
from tests.library.sites import Server


class Sender:
    """One end of a connection whose other end a thread of the worker reads."""

    def __init__(self, guard: Guard, length: int | None) -> None:
        self.own, self.connection = socket.socketpair()
        self.body = Body(self.connection.makefile("rb"), self.connection, length, guard)
        self.said: bytes | Exception | None = None
        self.thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        try:
            self.said = self.body.read()
        except Exception as error:
            self.said = error

    def outcome(self) -> Any:
        self.thread.join(5)
        assert not self.thread.is_alive()
        return self.said


@pytest.fixture
def senders() -> Iterator[Any]:
    made: list[Sender] = []

    def senders(guard: Guard, count: int, length: int | None = 10**6) -> list[Sender]:
        new = [Sender(guard, length) for _ in range(count)]
        for sender in new:
            sender.thread.start()
        made.extend(new)
        wait_until(lambda: len(guard._waiting) >= len(made))
        return new

    yield senders
    for sender in made:
        sender.own.close()
        sender.thread.join(5)
        sender.body._stream.close()
        sender.connection.close()


def wait_until(true: Any) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as connection:
        yield connection


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """One that looks only when the test says so."""
    monkeypatch.setattr(Guard, "_watch", lambda self: None)
    return Guard(threads=4)


def test_slow_bodies_are_cut_when_all_threads_but_one_wait(guard, senders) -> None:
    slow = senders(guard, 3)
    guard.look(time.monotonic() + 6)
    assert [str(sender.outcome()) for sender in slow] == ["408 Request Timeout"] * 3


def test_slow_bodies_may_take_their_time_while_threads_are_left(guard, senders) -> None:
    slow = senders(guard, 2)
    guard.look(time.monotonic() + 3600)
    assert [sender.body.status for sender in slow] == ["", ""]


def test_a_body_that_keeps_coming_is_never_cut(guard, senders) -> None:
    (quick, *_) = senders(guard, 4)
    before = quick.body.came
    quick.own.sendall(b"a" * 4096)  # what makes 0.8 kB/s of it
    wait_until(lambda: quick.body.came > before)
    quick.body.came += 5.5  # as if it came then
    guard.look(time.monotonic() + 6)
    assert quick.body.status == ""
    assert [bool(s.status) for s in guard._waiting if s is not quick.body] == [True] * 3


def test_a_worker_that_is_too_busy_to_read_cuts_nobody(guard, senders) -> None:
    """The bytes are there; it is not the sender who is slow."""
    waiting = senders(guard, 3)
    for sender in waiting:
        sender.body._connection = sender.own  # whose other end has sent something
        sender.connection.sendall(b"a")
    guard.look(time.monotonic() + 60)
    assert [sender.body.status for sender in waiting] == ["", "", ""]


def test_a_burst_of_uploads_is_never_refused_without_an_attack(guard, senders) -> None:
    """All visitors who waited while a database was changed come at once."""
    burst = senders(guard, 50, length=200_000)
    guard.look(time.monotonic() + 4)
    for sender in burst:
        threading.Thread(target=sender.own.sendall, args=(b"a" * 200_000,)).start()
    assert [len(sender.outcome()) for sender in burst] == [200_000] * 50


def test_in_an_attack_the_last_thread_is_nobodys_for_long(
    guard, senders, connection
) -> None:
    senders(guard, 3)
    guard.look(time.monotonic() + 6)
    wait_until(lambda: not guard._waiting)
    for body in [Body(io.BytesIO(), connection, 9, guard) for _ in range(3)]:
        guard._waiting.add(body)
    late = Body(io.BytesIO(b"a" * 9), connection, 9, guard)
    with pytest.raises(TooSlowError, match="503"):
        late.read()
    guard._waiting.clear()
    assert Body(io.BytesIO(b"a" * 9), connection, 9, guard).read() == b"a" * 9


def test_a_body_whose_sender_has_gone_is_not_taken_for_whole(guard, senders) -> None:
    (sender,) = senders(guard, 1, length=100)
    sender.own.sendall(b"half")
    sender.own.shutdown(socket.SHUT_WR)
    assert isinstance(sender.outcome(), OSError)  # Django's own: UnreadablePostError


def test_a_body_is_a_file_as_any_other(guard, connection) -> None:
    def body(length: int | None = 12) -> Body:
        return Body(io.BytesIO(b"one\ntwo\nfour"), connection, length, guard)

    assert body().read(5) == b"one\nt"
    assert body().read(None) == b"one\ntwo\nfour"
    assert body(None).read() == b"one\ntwo\nfour"
    assert body().readline(2) == b"on"
    assert body().readlines() == list(body()) == [b"one\n", b"two\n", b"four"]
    assert body(7).read(100) == b"one\ntwo"


def test_under_another_server_the_application_is_as_it_was(guard) -> None:
    stream = io.BytesIO(b"a")
    seen: list[Any] = []
    application = guarded(lambda environ, start: seen.append(environ) or [], guard)
    application({"wsgi.input": stream, "CONTENT_LENGTH": "1"}, lambda *_: None)
    assert seen[0]["wsgi.input"] is stream


def test_a_page_is_answered_while_slow_bodies_have_every_thread(server: Server) -> None:
    """Eight of them stopped a site for as long as they lasted; here there are four threads."""
    head = (
        "POST / HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-Proto: https\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n"
        f"Referer: https://shop.example.com/\r\nCookie: __Host-csrftoken={'a' * 32};"
        f" csrftoken={'a' * 32}\r\n\r\na"
    )
    slow = []
    for _ in range(8):
        slow.append(socket.socket(socket.AF_UNIX))
        slow[-1].connect(str(server.socket))
        slow[-1].sendall(head.encode())
    time.sleep(0.5)
    started = time.monotonic()
    assert server.get("/")[0] == 200
    assert 2 < time.monotonic() - started < 8  # all threads did wait
    said = b""
    for connection in slow:
        connection.settimeout(10)
        with suppress(OSError):
            said += connection.recv(100)
        connection.close()
    assert said.count(b"HTTP/1.1 408 Request Timeout") >= 3
    assert b"HTTP/1.1 500" not in said
