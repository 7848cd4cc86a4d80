"""A far network on this machine: so many bits a second, and so much delay, for two kinds of ways.

The delay is added to what is asked, the rate to what is answered, all connections together.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from seafloor.stores.objects.local.store import LocalObjectStore

BITS_PER_S = 100e6
ROUND_TRIP_S = 0.02
_CHUNK_BYTES = 64 * 1024


class Line:
    """What goes through it takes its time."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def carry(self, size_bytes: int) -> None:
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + size_bytes * 8 / BITS_PER_S
        await asyncio.sleep(self._free_at - now)


class FarObjects(LocalObjectStore):
    """Objects in a folder that are read over a line."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._line = Line()

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        await asyncio.sleep(ROUND_TRIP_S)
        async for chunk in super().read(key, start=start, length=length):
            await self._line.carry(len(chunk))
            yield chunk


@contextmanager
def far_proxy() -> Iterator[str]:
    """A proxy for https (CONNECT); gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_listen(Line()), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(line: Line) -> asyncio.Server:
    held: set[asyncio.Task[None] | None] = set()  # a loop alone does not keep a task

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(asyncio.current_task())
        # One that is cancelled when the proxy ends would be told of as an error.
        with contextlib.closing(writer), contextlib.suppress(asyncio.CancelledError):
            method, address, *_ = (await reader.readline()).decode().split(" ")
            while (await reader.readline()).strip():
                pass
            assert method == "CONNECT"
            host, _, port = address.rpartition(":")
            there, to = await asyncio.open_connection(host, int(port))
            with contextlib.closing(to):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                asking = asyncio.create_task(_pass(reader, to, None))
                with contextlib.suppress(ConnectionError):
                    await _pass(there, writer, line)
                asking.cancel()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line | None
) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        await (asyncio.sleep(ROUND_TRIP_S) if line is None else line.carry(len(data)))
        writer.write(data)
        await writer.drain()
