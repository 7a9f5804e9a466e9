"""Slow request bodies do not keep every thread of a worker: they are cut when nearly all wait.

The proxy reads small bodies before it asks; a large one comes as its sender sends it, and keeps
a thread meanwhile. While all threads but one of a worker wait so, a body of which no 4 KiB came
in 5 s (0.8 kB/s) is answered with 408. For the next minute such a body has 1 s, and others that
would take the last thread are answered with 503: that empties the queue of an attack. Bodies
that come in at any speed are never touched while there are threads, nor without an attack.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.exceptions import BadRequest

__all__ = ["GUARD", "Body", "Guard", "guarded"]

_BLOCK = 4096
_PATIENCE = 5.0  # seconds without a block
_ATTACK = 60.0  # seconds that one is remembered
_PATIENCE_THEN = 1.0
_CUT = "408 Request Timeout"
_REFUSED = "503 Service Unavailable"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class TooSlowError(BadRequest):  # type: ignore[misc]
    """For Django, which answers it and mails nobody."""


class Guard:
    """Knows which threads of this process wait for a body, and since when."""

    def __init__(self, threads: int = 4) -> None:
        self.threads = threads
        self._waiting: set[Body] = set()
        self._lock = threading.Lock()
        self._attacked = -_ATTACK
        self._watcher: threading.Thread | None = None

    @property
    def is_full(self) -> bool:
        """Whether all threads but one wait, or the only one."""
        return len(self._waiting) >= max(1, self.threads - 1)

    def admits(self, now: float) -> bool:
        """Whether one more body may be waited for."""
        with self._lock:
            return not (self.is_full and now - self._attacked < _ATTACK)

    @contextlib.contextmanager
    def waiting(self, body: "Body") -> Iterator[None]:
        """While the block runs, its thread waits for the body."""
        with self._lock:
            self._waiting.add(body)
            if self._watcher is None:  # not before: no thread survives gunicorn's fork
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(body)

    def _watch(self) -> None:
        while True:
            time.sleep(_PATIENCE_THEN / 2)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Cut what is too slow, if nearly all threads wait."""
        with self._lock:
            if not self.is_full:
                return
            attacked = now - self._attacked < _ATTACK
            patience = _PATIENCE_THEN if attacked else _PATIENCE
            for body in list(self._waiting):
                if now - body.came > patience and not body.has_more():
                    self._attacked = now
                    body.cut()


class Body:
    """`wsgi.input` of a request whose connection can be ended while a thread reads from it."""

    def __init__(
        self, stream: Any, connection: socket.socket, length: int | None, guard: Guard
    ) -> None:
        self._stream, self._connection, self._guard = stream, connection, guard
        self._left = length  # None where the sender did not say
        self._begun = False
        self.came = time.monotonic()
        self.status = ""  # instead of the application's, once the body was given up

    def has_more(self) -> bool:
        """Whether bytes are there already: then it is not the sender who is slow."""
        return bool(select.select([self._connection], [], [], 0)[0])

    def cut(self) -> None:
        """End the waiting of whoever reads."""
        self.status = _CUT
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RD)

    def read(self, size: int | None = -1) -> bytes:
        """As any file: so many bytes, or all of them."""
        parts = []
        want = None if size is None or size < 0 else size
        while want is None or want > 0:
            part = self._next(_BLOCK if want is None else min(want, _BLOCK))
            if not part:
                break
            parts.append(part)
            want = None if want is None else want - len(part)
        return b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """Up to a line's end: few ask for it, so byte by byte."""
        line = b""
        while not line.endswith(b"\n") and (
            size is None or size < 0 or len(line) < size
        ):
            part = self._next(1)
            if not part:
                break
            line += part
        return line

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """All lines."""
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _next(self, size: int) -> bytes:
        size = size if self._left is None else min(size, self._left)
        if size == 0:
            return b""
        self._begin()
        self.came = time.monotonic()
        try:
            with self._guard.waiting(self):
                part: bytes = self._stream.read(size)
        except Exception:
            self._refuse_if_given_up()
            raise
        self._refuse_if_given_up()
        if self._left is not None:
            if len(part) < size:
                raise ConnectionError("The sender of the body has gone.")
            self._left -= size
        return part

    def _begin(self) -> None:
        if not self._begun and not self._guard.admits(time.monotonic()):
            self.status = _REFUSED
        self._begun = True
        self._refuse_if_given_up()

    def _refuse_if_given_up(self) -> None:
        if self.status:
            raise TooSlowError(self.status)


GUARD = Guard()
"""That of this process; `stagetools.gunicorn_conf` tells it how many threads there are."""


def guarded(application: Application, guard: Guard = GUARD) -> Application:
    """The application, with bodies that can be given up; as it is under other servers."""

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket")
        length = environ.get("CONTENT_LENGTH") or None
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        if connection is None or (length in (None, "0") and not chunked):
            return application(environ, start)
        body = Body(
            environ["wsgi.input"], connection, int(length) if length else None, guard
        )
        environ["wsgi.input"] = body

        def start_with_body(status: str, headers: list[Any], *error: Any) -> Any:
            return start(body.status or status, headers, *error)

        return application(environ, start_with_body)

    return serve
