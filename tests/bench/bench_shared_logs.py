"""Logs: the spool of one server's disk beside the store that servers share, on each database.

Appends as agents send them (pieces of 64 KiB, and of 20 lines), by 1 and by 16 logs at once; then a
page in the middle and at the end of logs of 10^3 to 10^6 lines, which must not grow with them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.measuring import alternate, table
from tests.databases import fresh_database
from tests.services._service import Missing, Service
from tests.services._supervisor import SOCKET_VARIABLE, Supervisor, ask

from seafloor.stores.logs.protocol import LogKey, LogStore
from seafloor.stores.logs.shared_store import SharedLogStore
from seafloor.stores.logs.spool import SpoolLogStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.log_spools import line, log_key, numbered, spool

LINE_BYTES = 72
SIZES = (1_000, 10_000, 100_000, 1_000_000)

Make = Callable[[Path], Awaitable[tuple[LogStore, Callable[[], Awaitable[None]]]]]


async def _spool(folder: Path) -> tuple[LogStore, Callable[[], Awaitable[None]]]:
    store = SpoolLogStore(folder / "spool")
    return store, store.close


def _shared(url: str) -> Make:
    async def make(folder: Path) -> tuple[LogStore, Callable[[], Awaitable[None]]]:
        database = Database(url.replace("FOLDER", str(folder)))
        await database.migrate()
        objects = LocalObjectStore(folder / "objects")
        store = SharedLogStore(database, objects)

        async def close() -> None:
            await store.close()
            await objects.close()
            await database.close()

        return store, close

    return make


def _key() -> LogKey:
    return LogKey(log_key(uuid.uuid4().int >> 8).workload_id, 1)


async def _send(store: LogStore, data: bytes, piece_bytes: int) -> None:
    key = _key()
    for at in range(0, len(data), piece_bytes):
        await store.append(key, offset=at, data=data[at : at + piece_bytes])
    await store.finish(key)


async def _sealing(store: LogStore, stop: asyncio.Event) -> None:
    """What the sealer does beside."""
    while isinstance(store, SharedLogStore) and not stop.is_set():
        await store.seal_due()
        await asyncio.sleep(0.2)


def _appends(make: Make, *, logs: int, lines: int, piece_bytes: int) -> Callable[[], float]:
    """Measure lines per second."""
    data = numbered(lines, width=LINE_BYTES)

    async def work(folder: Path) -> float:
        store, close = await make(folder)
        stop = asyncio.Event()
        sealing = asyncio.create_task(_sealing(store, stop))
        begun_s = time.perf_counter()
        await asyncio.gather(*(_send(store, data, piece_bytes) for _ in range(logs)))
        took_s = time.perf_counter() - begun_s
        stop.set()
        await sealing
        await close()
        return logs * lines / took_s

    def measure() -> float:
        folder = Path(tempfile.mkdtemp(prefix="bench-logs-"))
        try:
            return asyncio.run(work(folder))
        finally:
            shutil.rmtree(folder)

    return measure


async def _page_ms(store: LogStore, key: LogKey, from_line: int) -> float:
    found: list[float] = []
    for _ in range(15):
        begun_s = time.perf_counter()
        page = await store.page(key, from_line=from_line, limit=100)
        found.append((time.perf_counter() - begun_s) * 1000)
        assert len(page.lines) == 100
    return sorted(found)[len(found) // 2]


def _pages(name: str, make: Make) -> None:
    """Print the median latency of a page of 100 lines by length of the log."""

    async def work(folder: Path) -> None:
        store, close = await make(folder)
        for lines in SIZES:
            key, at, first = _key(), 0, 1
            while first <= lines:
                upto = min(lines, first + 50_000)
                data = spool(line(n, b"%0*d" % (LINE_BYTES, n)) for n in range(first, upto + 1))
                data = data if first == 1 else data[8:]
                for start in range(0, len(data), 256 * 1024):
                    at = await store.append(key, offset=at, data=data[start:][: 256 * 1024])
                first = upto + 1
            if isinstance(store, SharedLogStore):
                await store.seal_due()
            middle = await _page_ms(store, key, lines // 2)
            end = await _page_ms(store, key, -100)
            print(f"  {name:28s} {lines:9,d} lines   middle {middle:7.2f} ms   end {end:7.2f} ms")
        await close()

    folder = Path(tempfile.mkdtemp(prefix="bench-logs-"))
    try:
        asyncio.run(work(folder))
    finally:
        shutil.rmtree(folder)


@contextmanager
def _services() -> Iterator[Callable[[str], Service]]:
    if SOCKET_VARIABLE in os.environ:
        yield lambda name: ask(os.environ[SOCKET_VARIABLE], name)
        return
    supervisor = Supervisor()
    try:
        yield lambda name: ask(supervisor.socket, name)
    finally:
        supervisor.close()


def run() -> None:
    """Print the tables."""
    with _services() as service, ExitStack() as held:
        sides: dict[str, Make] = {
            "spool": _spool,
            "shared, SQLite": _shared("sqlite:///FOLDER/seafloor.db"),
        }
        for kind in ("postgresql", "mariadb"):
            try:
                url = held.enter_context(fresh_database(service(kind)))
            except Missing as error:
                print(f"{kind}: {error}")
            else:
                sides[f"shared, {kind}"] = _shared(url)
        for logs, lines, piece_bytes in (
            (1, 100_000, 65_536),
            (16, 10_000, 65_536),
            (16, 400, 2_000),
        ):
            found = alternate(
                {
                    name: _appends(make, logs=logs, lines=lines, piece_bytes=piece_bytes)
                    for name, make in sides.items()
                },
                rounds=3,
            )
            title = f"append, {logs} logs of {lines:,} lines of {LINE_BYTES} bytes"
            table(f"{title}, {piece_bytes:,} bytes a piece", "lines/s", found, base="spool")
        print("page of 100 lines")
        for name, make in sides.items():
            _pages(name, make)
