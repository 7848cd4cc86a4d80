"""A gigabyte to and from Google Cloud Storage: Seafloor's client beside bare httpx.

Both speak with a server that keeps nothing, in a process of its own: what differs is the client.
(fake-gcs-server looks through all of an upload at each chunk, which hides any client.)
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine

import httpx
from tests.bench.measuring import alternate, table

from seafloor.stores.objects.gcs.auth import Anonymous
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES
from seafloor.stores.objects.gcs.client import GcsClient
from seafloor.stores.objects.gcs.store import GcsObjectStore

SIZE_BYTES = int(os.environ.get("SEAFLOOR_BENCH_BYTES", 1024**3))
BLOCK = os.urandom(1024 * 1024)
NOW = "2026-01-01T00:00:00Z"
OBJECT = f'{{"name":"a","generation":"1","timeCreated":"{NOW}","size":"{SIZE_BYTES}"}}'.encode()


def run() -> None:
    """Measure both, in turns."""
    from tests.bench.bench_large_files import peak_growth  # not in the server's process

    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_objects_gcs"], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        with peak_growth(os.getpid()) as grown:
            _timed(_up(url))()
            _timed(_down(url))()
        print(f"the client's memory grew by at most {grown[0] / 2**20:.0f} MiB")
        ups = {"bare httpx": _timed(_bare_up(url)), "Seafloor": _timed(_up(url))}
        downs = {"bare httpx": _timed(_bare_down(url)), "Seafloor": _timed(_down(url))}
        for title, sides in (("up", ups), ("down", downs)):
            found = alternate(sides, rounds=3)
            table(f"gcs: {title}, {SIZE_BYTES:,} bytes", "s", found, base="bare httpx")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


Move = Callable[[], Coroutine[None, None, None]]


def _timed(move: Move) -> Callable[[], float]:
    def measure() -> float:
        begun = time.perf_counter()
        asyncio.run(move())
        return time.perf_counter() - begun

    return measure


async def _blocks() -> AsyncIterator[bytes]:
    for _ in range(SIZE_BYTES // len(BLOCK)):
        yield BLOCK


def _store(url: str) -> GcsObjectStore:
    return GcsObjectStore(GcsClient("bench", Anonymous(), endpoint=url))


def _up(url: str) -> Move:
    async def move() -> None:
        store = _store(url)
        assert (await store.put("a", _blocks())).size_bytes == SIZE_BYTES
        await store.close()

    return move


def _down(url: str) -> Move:
    async def move() -> None:
        store = _store(url)
        size_bytes = 0
        async for chunk in store.read("a"):
            size_bytes += len(chunk)
        assert size_bytes == SIZE_BYTES
        await store.close()

    return move


def _bare_up(url: str) -> Move:
    async def move() -> None:
        chunk = BLOCK * (CHUNK_BYTES // len(BLOCK))
        async with httpx.AsyncClient(timeout=60.0) as http:
            for start in range(0, SIZE_BYTES, CHUNK_BYTES):
                end = min(start + CHUNK_BYTES, SIZE_BYTES)
                total = str(SIZE_BYTES) if end == SIZE_BYTES else "*"
                answer = await http.put(
                    f"{url}/upload?upload_id=1",
                    content=chunk[: end - start],
                    headers={"Content-Range": f"bytes {start}-{end - 1}/{total}"},
                )
                assert answer.status_code == (200 if end == SIZE_BYTES else 308)

    return move


def _bare_down(url: str) -> Move:
    async def move() -> None:
        size_bytes = 0
        async with (
            httpx.AsyncClient(timeout=60.0) as http,
            http.stream("GET", f"{url}/storage/v1/b/bench/o/a?alt=media") as answer,
        ):
            async for chunk in answer.aiter_raw():
                size_bytes += len(chunk)
        assert size_bytes == SIZE_BYTES

    return move


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests of the API; take what is sent, give blocks."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"(?i)content-length: (\d+)", head)
            left = int(found[1]) if found else 0
            while left:
                left -= len(await reader.read(min(left, 1024 * 1024)))
            if head.startswith("GET"):
                await _give(writer)
                continue
            status, extra, body = "200 OK", "", OBJECT
            if head.startswith("POST"):
                host = re.search(r"(?i)host: (\S+)", head)
                assert host is not None
                extra = f"Location: http://{host[1]}/upload?upload_id=1\r\n"
            elif (part := re.search(r"(?i)bytes \d+-(\d+)/\*", head)) is not None:
                status, extra, body = "308 Resume", f"Range: bytes=0-{part[1]}\r\n", b""
            writer.write(
                f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _give(writer: asyncio.StreamWriter) -> None:
    writer.write(
        f"HTTP/1.1 200 OK\r\nX-Goog-Generation: 1\r\nContent-Length: {SIZE_BYTES}\r\n\r\n".encode()
    )
    for _ in range(SIZE_BYTES // len(BLOCK)):
        writer.write(BLOCK)
        await writer.drain()


async def _serve() -> None:
    server = await asyncio.start_server(_serve_one, "127.0.0.1", 0, limit=4 * 1024 * 1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
