"""1 GiB up and down, and 5,000 objects of 4 KiB, through our object store and beside it.

Beside it stands the store's own fast client, called directly with the same parts and the same
number of requests at once; the two take turns in one run. Printed is the time of each, and by how
much this process's memory grew at most in a turn of ours before these. Targets: ratio of speeds at
least 0.8 for the large object and 0.7 for the small ones (so ``x`` at most 1.25 and 1.43), less
than 64 MiB.

``SEAFLOOR_BENCH_STORES=s3,azure`` names the stores (``objects_gcs`` is a comparison of its
own); ``SEAFLOOR_BENCH_BYTES`` and ``SEAFLOOR_BENCH_COUNT`` make it smaller.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import obstore
import uvloop
from hdfs_native import Client, WriteOptions
from obstore.store import AzureStore, GCSStore, S3Store
from tests.bench.measuring import alternate, peak_growth, table
from tests.services._service import Missing, Service
from tests.services._supervisor import Supervisor, ask

from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore

SIZE_BYTES = int(os.environ.get("SEAFLOOR_BENCH_BYTES", 1024**3))
COUNT = int(os.environ.get("SEAFLOOR_BENCH_COUNT", 5_000))
AT_ONCE = 64
PIECE = os.urandom(1024 * 1024)
SMALL = os.urandom(4096)
STORES = ("s3", "azure", "hdfs")
ROUNDS = 7

Work = Callable[[], Awaitable[None]]


def run() -> None:
    """Measure each store that runs here."""
    supervisor = Supervisor()
    try:
        supervisor.wait_ready()
        for name in os.environ.get("SEAFLOOR_BENCH_STORES", ",".join(STORES)).split(","):
            try:
                _measure(name, ask(supervisor.socket, name))
            except Missing as error:
                print(f"{name}: left out ({error})")
    finally:
        supervisor.close()


def _measure(name: str, service: Service) -> None:
    store = open_objects(f"{service.url}/{uuid.uuid4().hex}", service.env)
    compare(name, store, _by_hdfs_native(service) if name == "hdfs" else _by_obstore(name, service))


def compare(
    name: str,
    store: ObjectStore,
    theirs: Mapping[str, Work],
    beside: Mapping[str, Callable[[str], float]] = MappingProxyType({}),
) -> None:
    """Measure a store beside another client of the same server; close it.

    Args:
        beside: Further clients, by name: what measures a piece of work by its title.
    """
    # On the loop that the server runs on.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ours = _ours(store)
        grown_bytes = 0
        for title in ours:
            if title.startswith("1 "):
                # First, while nothing is kept for the next time; and not while time is taken, for
                # to watch takes some of the processors.
                with peak_growth(os.getpid()) as grown:
                    _timed(runner, ours[title])
                grown_bytes = max(grown_bytes, grown[0])
            sides: dict[str, Callable[[], float]] = {
                "store's own client": functools.partial(_timed, runner, theirs[title]),
                "seafloor": functools.partial(_timed, runner, ours[title]),
            }
            for other, timed in beside.items():
                sides[other] = functools.partial(timed, title)
            found = alternate(sides, rounds=ROUNDS)
            table(f"{name}: {title}", "s", found, base="store's own client")
        print(f"{name}: memory grew by at most {grown_bytes / 2**20:.0f} MiB with the large object")
        runner.run(store.close())


def _timed(runner: asyncio.Runner, work: Work) -> float:
    async def worked() -> None:
        await work()

    begun = time.perf_counter()
    runner.run(worked())
    return time.perf_counter() - begun


async def _pieces() -> AsyncIterator[bytes]:
    for _ in range(SIZE_BYTES // len(PIECE)):
        yield PIECE


async def _each(work: Callable[[int], Awaitable[object]]) -> None:
    """Work through all small objects, some at once."""
    numbers = iter(range(COUNT))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())


def _ours(store: ObjectStore) -> Mapping[str, Work]:
    async def up() -> None:
        await store.put("large", _pieces())

    async def down() -> None:
        size_bytes = 0
        async for chunk in store.read("large"):
            size_bytes += len(chunk)
        assert size_bytes == SIZE_BYTES

    async def read(number: int) -> None:
        assert [len(chunk) async for chunk in store.read(f"small/{number}")] == [len(SMALL)]

    return {
        "1 large object up": up,
        "1 large object down": down,
        "small objects up": lambda: _each(lambda number: store.put(f"small/{number}", SMALL)),
        "small objects down": lambda: _each(read),
    }


def obstore_work(store: AzureStore | GCSStore | S3Store) -> Mapping[str, Work]:
    """The same work by obstore's client."""
    folder = uuid.uuid4().hex

    async def up() -> None:
        key = f"{folder}/large"
        await obstore.put_async(
            store, key, _pieces(), chunk_size=8 * 2**20, max_concurrency=4, use_multipart=True
        )

    async def down() -> None:
        size_bytes = 0
        async for chunk in (await obstore.get_async(store, f"{folder}/large")).stream(2**20):
            size_bytes += len(chunk)
        assert size_bytes == SIZE_BYTES

    async def read(number: int) -> None:
        answer = await obstore.get_async(store, f"{folder}/small/{number}")
        assert len(await answer.bytes_async()) == len(SMALL)

    async def write(number: int) -> None:
        await obstore.put_async(store, f"{folder}/small/{number}", SMALL)

    return {
        "1 large object up": up,
        "1 large object down": down,
        "small objects up": lambda: _each(write),
        "small objects down": lambda: _each(read),
    }


def _by_hdfs_native(service: Service) -> Mapping[str, Work]:
    """By the client that blocks, in threads: the asynchronous one panics in its wakers."""
    client = Client(service.url)
    folder = f"/{uuid.uuid4().hex}"
    anew = WriteOptions(overwrite=True)
    threads = ThreadPoolExecutor(AT_ONCE)

    def up() -> None:
        with client.create(f"{folder}/large", anew) as file:
            for _ in range(SIZE_BYTES // len(PIECE)):
                file.write(PIECE)

    def down() -> None:
        with client.read(f"{folder}/large") as file:
            assert sum(map(len, file.read_range_stream(0, SIZE_BYTES))) == SIZE_BYTES

    def write(number: int) -> None:
        with client.create(f"{folder}/small/{number}", anew) as file:
            file.write(SMALL)

    def read(number: int) -> None:
        with client.read(f"{folder}/small/{number}") as file:
            assert len(file.read()) == len(SMALL)

    async def in_thread(work: Callable[..., None], *arguments: int) -> None:
        await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    return {
        "1 large object up": lambda: in_thread(up),
        "1 large object down": lambda: in_thread(down),
        "small objects up": lambda: _each(lambda number: in_thread(write, number)),
        "small objects down": lambda: _each(lambda number: in_thread(read, number)),
    }


def _by_obstore(name: str, service: Service) -> Mapping[str, Work]:
    return obstore_work(_obstore(name, service))


def _obstore(name: str, service: Service) -> S3Store | AzureStore:
    bucket, env = service.url.partition("://")[2], service.env
    if name == "s3":
        return S3Store(
            bucket,
            endpoint=env["AWS_ENDPOINT_URL"],
            access_key_id=env["AWS_ACCESS_KEY_ID"],
            secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region=env["AWS_REGION"],
            client_options={"allow_http": True, "timeout": "600s"},
        )
    return AzureStore(
        bucket,
        account_name=env["AZURE_STORAGE_ACCOUNT_NAME"],
        account_key=env["AZURE_STORAGE_ACCOUNT_KEY"],
        endpoint=env["AZURE_STORAGE_ENDPOINT"],
        client_options={"allow_http": True, "timeout": "600s"},
    )
