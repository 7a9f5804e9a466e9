"""What goes through a channel of an SSH connection, in both directions, and how much of it.

Whoever is on the other side may be somebody else's server: nothing here grows without end.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TextIO

from stagetools.deploy.host.host import OnSent, Reads

__all__ = [
    "CHUNK",
    "LONGEST",
    "Drain",
    "Opening",
    "feed",
    "feed_input",
    "lines_of",
    "pour",
]

CHUNK = 256 * 1024
"""Bytes between two reports of progress."""
LONGEST = 1024 * 1024
"""Bytes of a line; what follows is the next one."""
_COMPLAINTS = 64 * 1024  # bytes of standard error that are kept, the last ones


class Opening:
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


class Drain:
    """Reads one stream beside another, so that neither fills and blocks."""

    def __init__(self, stream: Any) -> None:
        self._data = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        while piece := stream.read(CHUNK):
            self._data = (self._data + piece)[-_COMPLAINTS:]

    def text(self) -> str:
        self._thread.join()
        return self._data.decode(errors="replace")


def feed(channel: Any, data: bytes | Reads, on_sent: OnSent | None) -> None:
    try:
        if not isinstance(data, bytes):
            while piece := data.read(CHUNK):
                channel.sendall(piece)
            channel.shutdown_write()
            return
        for start in range(0, len(data), CHUNK):
            channel.sendall(data[start : start + CHUNK])
            if on_sent:
                on_sent(min(start + CHUNK, len(data)), len(data))
        channel.shutdown_write()
    except OSError:
        pass  # the command ended without reading all: its status says why


def feed_input(channel: Any) -> None:
    """Standard input, but not a keyboard: another program may be reading that (`| less`)."""
    with suppress(OSError, ValueError):
        if sys.stdin and not sys.stdin.isatty():
            while data := os.read(sys.stdin.fileno(), CHUNK):
                channel.sendall(data)
        channel.shutdown_write()


def pour(receive: Callable[[int], bytes], to: TextIO) -> None:
    """What comes, at once."""
    while data := receive(CHUNK):
        to.buffer.write(data)
        to.flush()


def lines_of(channel: Any) -> Iterator[str]:
    with channel.makefile("rb") as stream:
        while raw := stream.readline(LONGEST):
            yield raw.decode(errors="replace")
