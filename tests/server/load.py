"""Steady load on one site, every request counted: `python -m tests.server.load --help`.

Visitors of many kinds come at fixed rates, however slow the answers are, as they do to a real
site. The load ends with its standard input, and prints a report in JSON: `Load` does both.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import math
import os
import re
import ssl
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 45.0  # seconds; a visitor who waits longer has gone (the proxy tries for 30)
MIX = {
    "new": 25.0,
    "kept": 40.0,
    "asset": 10.0,
    "write": 12.0,
    "form": 3.0,
    "slow": 0.7,
    "upload": 0.4,
    "http2": 25.0,
    "http2-write": 3.0,
    "http2-slow": 0.3,
}
"""Visitors a second, of each kind."""
SLOW = 3.0  # seconds that a slow answer takes
PIECES, PIECE, PAUSE = 16, 65_536, 0.15  # an upload of 1 MB in 2.4 s
STREAMS = 100  # requests at once over one HTTP/2 connection
REMEMBERED = 4  # releases whose assets are asked for again; five are kept

Request = Callable[[], Awaitable[None]]


# --- the protocol, as little of it as a visitor needs --------------------------------------


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One HTTP/1.1 connection."""

    def __init__(
        self, domain: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.domain, self.reader, self.writer = domain, reader, writer
        self.is_last = False  # whether the answer said `Connection: close`

    @property
    def is_over(self) -> bool:
        """Whether the server has said goodbye; a browser then takes another one."""
        return self.is_last or self.reader.at_eof() or self.writer.is_closing()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        pieces: AsyncIterator[bytes] | None = None,
        **headers: str,
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"Host": self.domain, "Content-Length": str(len(body)), **named}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        if pieces:
            async for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
        return await self._answer()

    async def _answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.is_last = headers.get("connection", "").lower() == "close"
        return Answer(int(first.split()[1]), headers, await self._body(headers))

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        chunks = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            chunks.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(chunks)

    def close(self) -> None:
        self.writer.transport.abort()


class UnseenError(Exception):
    """A request that the server says it never looked at: for another connection."""


GOAWAY, HEAD = (
    7,
    9,
)  # the type of a frame, and the bytes before its payload. RFC 9113, 4.1


class Http2Connection:
    """One HTTP/2 connection, and all the requests in flight on it."""

    def __init__(
        self, domain: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.domain, self.reader, self.writer = domain, reader, writer
        self.state = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.state.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self.rest, self.is_last = b"", False
        self.listener = asyncio.create_task(self._listen())

    @property
    def has_room(self) -> bool:
        is_open = not self.is_last and not self.listener.done()
        return is_open and len(self.waiting) < STREAMS

    async def ask(self, method: str, path: str) -> Answer:
        stream = self.state.get_next_available_stream_id()
        words = {":method": method, ":path": path, ":scheme": "https"}
        words |= {":authority": self.domain}
        self.state.send_headers(stream, list(words.items()), end_stream=True)
        self.writer.write(self.state.data_to_send())
        self.waiting[stream] = asyncio.get_running_loop().create_future()
        try:
            return await self.waiting[stream]
        finally:
            del self.waiting[stream]

    async def _listen(self) -> None:
        error = "the connection was closed"
        try:
            while data := await self.reader.read(65_536):
                for event in self.state.receive_data(self._but_goodbyes(data)):
                    self._heed(event)
                self.writer.write(self.state.data_to_send())
        except Exception as problem:
            error = repr(problem)
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError(error))

    def _but_goodbyes(self, data: bytes) -> bytes:
        """All whole frames but GOAWAY: h2 takes that for the end, and loses later answers."""
        self.rest, whole = self.rest + data, b""
        while len(self.rest) >= HEAD:
            end = HEAD + int.from_bytes(self.rest[:3])
            if len(self.rest) < end:
                break
            frame, self.rest = self.rest[:end], self.rest[end:]
            if frame[3] == GOAWAY:
                self._leave(int.from_bytes(frame[HEAD : HEAD + 4]))
            else:
                whole += frame
        return whole

    def _leave(self, last: int) -> None:
        """The server takes no new streams; those after `last` it has not seen. RFC 9113, 6.8"""
        self.is_last = True
        for stream, answer in self.waiting.items():
            if stream > last and not answer.done():
                answer.set_exception(UnseenError)

    def _heed(self, event: object) -> None:
        match event:
            case ResponseReceived():
                headers = dict(event.headers)
                answer = Answer(int(headers[":status"]), headers, b"")
                self.answers[event.stream_id] = answer
            case DataReceived():
                self.answers[event.stream_id].body += event.data
                size = event.flow_controlled_length
                self.state.acknowledge_received_data(size, event.stream_id)
            case StreamEnded():
                answer = self.answers.pop(event.stream_id)
                if waiting := self._waiting(event.stream_id):
                    waiting.set_result(answer)
            case StreamReset():
                if waiting := self._waiting(event.stream_id):
                    problem = f"stream reset: {event.error_code}"
                    waiting.set_exception(ConnectionError(problem))

    def _waiting(self, stream: int) -> asyncio.Future[Answer] | None:
        """Whoever asked, unless that visitor has gone."""
        waiting = self.waiting.get(stream)
        return waiting if waiting and not waiting.done() else None


def any_certificate(protocol: str) -> ssl.SSLContext:
    """TLS with whoever answers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


class Site:
    """One site at one address, whatever DNS says and whoever signed its certificate."""

    def __init__(self, address: str, domain: str, *, port: int, tls: bool) -> None:
        self.address, self.domain, self.port = address, domain, port
        self.tls = tls
        self.contexts = {name: any_certificate(name) for name in ("http/1.1", "h2")}
        self.idle: list[Connection] = []
        self.http2: list[Http2Connection] = []
        self.opening = asyncio.Lock()

    async def connect(self) -> Connection:
        return Connection(self.domain, *await self._open("http/1.1"))

    async def _open(
        self, protocol: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self.tls:
            return await asyncio.open_connection(self.address, self.port)
        return await asyncio.open_connection(
            self.address,
            self.port,
            ssl=self.contexts[protocol],
            server_hostname=self.domain,
        )

    async def shared(self) -> Http2Connection:
        """The HTTP/2 connection of all, and another one only when that is full."""
        async with self.opening:
            for connection in self.http2:
                if connection.has_room:
                    return connection
            self.http2.append(Http2Connection(self.domain, *await self._open("h2")))
            return self.http2[-1]

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Connection]:
        """A connection of its own."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            connection.close()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Connection]:
        """A connection that others have used before, if one is free."""
        connection = self._free() or await self.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self.idle.append(connection)

    def _free(self) -> Connection | None:
        while self.idle:
            connection = self.idle.pop(0)
            if not connection.is_over:
                return connection
            connection.close()
        return None


# --- what is counted -----------------------------------------------------------------------


class RefusedError(Exception):
    """An answer, but not the one that was hoped for."""


def expect(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise RefusedError(f"status {answer.status}: {answer.body[:80]!r}")
    return answer


@dataclass
class Tally:
    """Each request: its kind, when it began, how long it took, and what went wrong."""

    requests: list[tuple[str, float, float, str]] = field(default_factory=list)
    written: list[tuple[str, str, float]] = field(default_factory=list)
    """Acknowledged rows: the key, the release that said so, when."""
    releases: list[str] = field(default_factory=list)
    seen: list[tuple[str, float]] = field(default_factory=list)
    """When each release was first seen on a page."""
    began: float = field(default_factory=time.monotonic)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def report(self) -> dict[str, object]:
        """All that is known, in what JSON can hold."""
        kinds = defaultdict(list)
        for kind, _, took, error in self.requests:
            kinds[kind].append((took, bool(error)))
        failures = [r for r in self.requests if r[3]]
        return {
            "seconds": round(self.now, 1),
            "requests": len(self.requests),
            "failed": len(failures),
            "outage": round(longest_outage(self.requests), 2),
            "kinds": {kind: summary(rows) for kind, rows in sorted(kinds.items())},
            "errors": Counter(f"{kind}: {error}" for kind, _, _, error in failures),
            "failures": [
                (kind, round(at, 3), round(took, 3), error)
                for kind, at, took, error in failures[:5000]
            ],
            "answered": [
                (kind, round(at, 3), round(took, 4))
                for kind, at, took, error in self.requests
                if not error
            ],
            "written": [key for key, _, _ in self.written],
            "acknowledged": self.written,
            "releases": self.releases,
            "seen": self.seen,
            "began": self.began,
        }


def summary(rows: list[tuple[float, bool]]) -> dict[str, float]:
    """How many, how many failed, and the times of all in milliseconds."""
    times = sorted(took * 1000 for took, _ in rows)

    def share(part: float) -> float:
        return round(times[min(len(times) - 1, math.floor(part * len(times)))], 1)

    failed = sum(error for _, error in rows)
    return {
        "requests": len(rows),
        "failed": failed,
        "p50": share(0.5),
        "p99": share(0.99),
        "max": share(1),
    }


def longest_outage(requests: list[tuple[str, float, float, str]]) -> float:
    """The longest time in which nobody who came was served, in seconds."""
    longest, since = 0.0, None
    for _, at, _, error in sorted(requests, key=lambda request: request[1]):
        if error and since is None:
            since = at
        elif not error and since is not None:
            longest, since = max(longest, at - since), None
    return longest


# --- the visitors --------------------------------------------------------------------------


class Visitors:
    """One method for each kind of `MIX`."""

    def __init__(self, site: Site, tally: Tally) -> None:
        self.site, self.tally = site, tally
        self.run, self.numbers = os.urandom(4).hex(), itertools.count()
        self.assets: dict[str, list[str]] = {}
        self.digests: dict[str, str] = {}

    def of(self, kind: str) -> Request:
        return getattr(self, kind.replace("-", "_"))

    def key(self) -> str:
        return f"{self.run}-{next(self.numbers)}"

    def note_written(self, key: str, answer: Answer) -> None:
        """Acknowledged: by whom, and at what time of this machine's monotonic clock."""
        release = answer.headers.get("x-release", "")
        self.tally.written.append((key, release, time.monotonic()))

    async def new(self) -> None:
        """The page, over a connection and a handshake of its own."""
        async with self.site.fresh() as connection:
            answer = await connection.ask("GET", "/", Connection="close")
        self.note_page(expect(answer, 200))

    def note_page(self, answer: Answer) -> None:
        page = answer.body.decode()
        release = re.search(r"\b\d{8}-\d{6}-[0-9a-f]{7}\b", page)
        name = release[0] if release else ""
        if name not in self.assets:
            self.tally.releases.append(name)
            self.tally.seen.append((name, time.monotonic()))
            self.assets[name] = re.findall(r'"(/static/[^"]+)"', page)
            if len(self.assets) > REMEMBERED:
                del self.assets[next(iter(self.assets))]

    async def kept(self) -> None:
        """An answer over a connection that is kept alive."""
        async with self.site.kept() as connection:
            expect(await connection.ask("GET", "/healthz"), 200)

    async def asset(self) -> None:
        """A hashed file of a page that may have been loaded several releases ago."""
        paths = list(dict.fromkeys(itertools.chain(*self.assets.values())))
        if not paths:
            return
        path = paths[next(self.numbers) % len(paths)]
        async with self.site.kept() as connection:
            answer = expect(await connection.ask("GET", path), 200)
        digest = hashlib.sha256(answer.body).hexdigest()
        if self.digests.setdefault(path, digest) != digest:
            raise RefusedError(f"{path} has other bytes than before")

    async def write(self) -> None:
        """A row that must be in the database once it is acknowledged."""
        key = self.key()
        async with self.site.fresh() as connection:
            answer = await connection.ask("POST", f"/load/write?key={key}")
        self.note_written(key, expect(answer, 201))

    async def form(self) -> None:
        """A page with a form, and the form sent, cookie and all."""
        key = self.key()
        async with self.site.kept() as connection:
            page = expect(await connection.ask("GET", "/"), 200)
        token = re.search(rb'csrfmiddlewaretoken" value="([^"]+)"', page.body)
        assert token, "the page has no form"
        values = {
            "csrfmiddlewaretoken": token[1].decode(),
            "name": key,
            "message": "load",
        }
        async with self.site.kept() as connection:
            answer = await connection.ask(
                "POST",
                "/",
                body=urlencode(values).encode(),
                Content_Type="application/x-www-form-urlencoded",
                Referer=f"https://{self.site.domain}/",
                Cookie=page.headers["set-cookie"].partition(";")[0],
            )
        self.note_written(key, expect(answer, 302))

    async def slow(self) -> None:
        """A request that is in flight for seconds."""
        async with self.site.fresh() as connection:
            path = f"/load/slow?seconds={SLOW}"
            expect(await connection.ask("GET", path, Connection="close"), 200)

    async def upload(self) -> None:
        """A body that comes in pieces; the answer is its hash."""
        digest = hashlib.sha256()

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(PIECES):
                piece = os.urandom(PIECE)
                digest.update(piece)
                yield piece
                await asyncio.sleep(PAUSE)

        async with self.site.fresh() as connection:
            length = str(PIECES * PIECE)
            answer = await connection.ask(
                "POST", "/load/upload", pieces=pieces(), Content_Length=length
            )
        if expect(answer, 200).body.decode() != digest.hexdigest():
            raise RefusedError("the upload arrived changed")

    async def http2(self) -> None:
        """The page, as one stream of many in a connection."""
        self.note_page(await self.over_http2("GET", "/", 200))

    async def http2_write(self) -> None:
        key = self.key()
        answer = await self.over_http2("POST", f"/load/write?key={key}", 201)
        self.note_written(key, answer)

    async def http2_slow(self) -> None:
        await self.over_http2("GET", f"/load/slow?seconds={SLOW}", 200)

    async def over_http2(self, method: str, path: str, status: int) -> Answer:
        while True:
            connection = await self.site.shared()
            with suppress(UnseenError):
                return expect(await connection.ask(method, path), status)


async def visit(tally: Tally, kind: str, request: Request) -> None:
    """One request, counted whatever comes of it."""
    began, error = tally.now, ""
    try:
        async with asyncio.timeout(PATIENCE):
            await request()
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"[:160]
    tally.requests.append((kind, began, tally.now - began, error))


async def come(tally: Tally, kind: str, rate: float, visitors: Visitors) -> None:
    """Visitors of one kind, at their rate, until this is cancelled; then the last leave."""
    visits: set[asyncio.Task[None]] = set()
    try:
        for number in itertools.count():
            await asyncio.sleep(number / rate - tally.now)
            task = asyncio.create_task(visit(tally, kind, visitors.of(kind)))
            visits.add(task)
            task.add_done_callback(visits.discard)
    finally:
        await asyncio.gather(*visits)


async def run(site: Site, rates: dict[str, float]) -> dict[str, object]:
    """The load, until standard input ends; its report."""
    tally = Tally()
    visitors = Visitors(site, tally)
    coming = [
        asyncio.create_task(come(tally, kind, rate, visitors))
        for kind, rate in rates.items()
    ]
    await asyncio.to_thread(sys.stdin.read)
    for task in coming:
        task.cancel()
    await asyncio.gather(*coming, return_exceptions=True)
    return tally.report()


# --- from a test ---------------------------------------------------------------------------


class Load:
    """`with Load(address, domain) as load: …`; `load.report` afterwards."""

    def __init__(
        self, address: str, domain: str, *words: str, rates: dict[str, float] = MIX
    ) -> None:
        self.words = [sys.executable, "-m", "tests.server.load", address, domain]
        self.words += [*words, *(f"--rate={kind}={n}" for kind, n in rates.items())]
        self.report: dict = {}

    def __enter__(self) -> "Load":
        self.process = subprocess.Popen(
            self.words,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        said, _ = self.process.communicate()
        self.report = json.loads(said)
        if any(error):
            figures = (self.report[of] for of in ("requests", "failed", "errors"))
            sys.stdout.write(f"\nuntil then: {tuple(figures)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("domain")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--plain", action="store_true", help="HTTP without TLS")
    parser.add_argument(
        "--rate",
        action="append",
        default=[],
        metavar="KIND=NUMBER",
        help=f"visitors a second of one kind: {', '.join(MIX)}",
    )
    options = parser.parse_args()
    rates = {kind: float(n) for kind, n in (word.split("=") for word in options.rate)}
    site = Site(
        options.address, options.domain, port=options.port, tls=not options.plain
    )
    json.dump(asyncio.run(run(site, rates or MIX)), sys.stdout)


if __name__ == "__main__":
    main()
