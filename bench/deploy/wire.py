"""A TCP proxy on loopback: counts the bytes, and delays them as a long way does."""

import asyncio
import threading
from collections.abc import Callable


class Wire:
    """Between a client here and the SSH server at `address`; it runs in its own thread."""

    def __init__(self, address: str, port: int = 22) -> None:
        self.address, self.target = address, port
        self.delay = 0.0
        """Seconds for a round trip."""
        self.sent = self.received = self.port = 0
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True).start()
        self._ready.wait()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await server.serve_forever()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(self.delay)  # the handshake of TCP
        far_reader, far_writer = await asyncio.open_connection(
            self.address, self.target
        )
        await asyncio.gather(
            self._one_way(reader, far_writer, self._count_sent),
            self._one_way(far_reader, writer, self._count_received),
        )

    async def _one_way(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None],
    ) -> None:
        """Late by half a round trip, in order, as much at a time as there is."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            data = b"-"
            while data:
                due, data = await under_way.get()
                await asyncio.sleep(due - loop.time())
                writer.write(data)
            writer.close()

        arriving = asyncio.create_task(arrive())
        data = b"-"
        while data:
            try:
                data = await reader.read(65_536)
            except OSError:
                data = b""
            count(len(data))
            under_way.put_nowait((loop.time() + self.delay / 2, data))
        await arriving

    def _count_sent(self, size: int) -> None:
        self.sent += size

    def _count_received(self, size: int) -> None:
        self.received += size
