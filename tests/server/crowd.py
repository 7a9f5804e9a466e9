"""Visitors that mean no good: `python -m tests.server.crowd WHAT ADDRESS DOMAIN SECONDS`.

Prints, as JSON, how many there were and the beginnings of what they were answered.
"""

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress

from tests.server.load import any_certificate

SLOW, PAUSE = 500, 5.0  # connections; seconds between two bytes
HUGE = 400 * 10**6
READ = 2**20  # bytes of an answer that are looked at
TLS = any_certificate("http/1.1")  # one for all: each would load every authority


async def connect(
    address: str, domain: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        address, 443, ssl=TLS, server_hostname=domain, ssl_handshake_timeout=30
    )


def head(method: str, path: str, domain: str, **headers: object) -> bytes:
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: {domain}\r\n{lines}\r\n".encode()


async def slow(address: str, domain: str) -> bytes:
    """A body of 100 kB, a byte every few seconds."""
    reader, writer = await connect(address, domain)
    writer.write(
        head("POST", "/", domain, Content_Length=100_000, Cookie="csrftoken=x")
    )
    while not reader.at_eof():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(PAUSE)
    return await reader.read(READ)


async def slow_head(address: str, domain: str) -> bytes:
    """Headers that never end, a line every few seconds."""
    reader, writer = await connect(address, domain)
    writer.write(f"GET / HTTP/1.1\r\nHost: {domain}\r\n".encode())
    while not reader.at_eof():
        writer.write(b"X-Slow: x\r\n")
        await writer.drain()
        await asyncio.sleep(PAUSE)
    return await reader.read(READ)


async def huge(address: str, domain: str) -> bytes:
    """More than the site takes, as fast as it goes."""
    reader, writer = await connect(address, domain)
    writer.write(head("POST", "/", domain, Content_Length=HUGE, Cookie="csrftoken=x"))
    with suppress(OSError):
        for _ in range(HUGE // 10**6):
            if reader.at_eof():
                break
            writer.write(b"x" * 10**6)
            await writer.drain()
    return await reader.read(READ)


PATHS = ("/", "/config/", "/pki/ca/local", "/load/version", "/../../etc/shadow")


async def curious(address: str, domain: str) -> bytes:
    """Ask for what a proxy that was led elsewhere would answer."""
    said = b""
    for path in PATHS:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(4):
                reader, writer = await connect(address, domain)
                writer.write(head("GET", path, domain, Connection="close"))
                while (piece := await reader.read(READ)) and len(said) < READ:
                    said += piece
                writer.close()
    return said


CROWDS = {"slow": (slow, SLOW), "slow_head": (slow_head, SLOW), "huge": (huge, 2)}
CROWDS["curious"] = (curious, 20)


async def come(what: str, address: str, domain: str, seconds: float) -> list[object]:
    """All of them at once, and again whoever has been sent away."""
    visitor, count = CROWDS[what]
    answers: list[bytes | str] = []

    async def keep_coming() -> None:
        while True:
            try:
                answers.append(await visitor(address, domain))
            except OSError as error:
                answers.append(type(error).__name__)
            await asyncio.sleep(0.5)

    coming = [asyncio.create_task(keep_coming()) for _ in range(count)]
    await asyncio.sleep(seconds)
    for task in coming:
        task.cancel()
    await asyncio.gather(*coming, return_exceptions=True)
    return answers


def main() -> None:
    what, address, domain, seconds = sys.argv[1:]
    answers = asyncio.run(come(what, address, domain, float(seconds)))
    texts = [a.decode("latin-1") if isinstance(a, bytes) else str(a) for a in answers]
    firsts = Counter(text.split("\r\n")[0][:80] for text in texts)
    json.dump({"firsts": firsts, "all": "\n".join(texts)[: 4 * READ]}, sys.stdout)


if __name__ == "__main__":
    main()
