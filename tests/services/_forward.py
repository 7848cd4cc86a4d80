"""What listens on loopback, at another address of this machine too: for those who come by that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CHUNK: Final = 65_536


@contextmanager
def forwarded(address: tuple[str, int], port: int) -> Iterator[str]:
    """Hand connections to an address on to a port of loopback; give ``<host>:<port>``.

    Args:
        address: Host and port; port 0 is one that is free there.
        port: Of loopback.
    """
    loop = asyncio.new_event_loop()
    try:
        serving = loop.run_until_complete(
            asyncio.start_server(lambda read, write: _hand_on(read, write, port), *address)
        )
    except OSError:
        loop.close()
        raise
    taken: int = serving.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, name=f"forward {address}", daemon=True)
    thread.start()
    try:
        yield f"{address[0]}:{taken}"
    finally:
        asyncio.run_coroutine_threadsafe(_stop(serving), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(serving: asyncio.Server) -> None:
    serving.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _hand_on(read: asyncio.StreamReader, write: asyncio.StreamWriter, port: int) -> None:
    try:
        there, here = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        write.transport.abort()
        return
    try:
        await asyncio.gather(_copy(read, here), _copy(there, write))
    except OSError:
        pass  # one side is gone, and so the other
    finally:
        write.transport.abort()
        here.transport.abort()


async def _copy(read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
    while data := await read.read(_CHUNK):
        write.write(data)
        await write.drain()
    if write.can_write_eof():
        write.write_eof()
