"""A file of 1 GiB up and down through a server, on each object store: memory and throughput.

Beside it, in the same run and in turns, the store's own fast client moves the same bytes directly.
``SEAFLOOR_BENCH_STORES=s3,local`` names the stores; those that cannot run here are left out.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from tests.bench.measuring import alternate, peak_growth, table
from tests.services._service import Missing, Service
from tests.services._supervisor import Supervisor, ask

from live_server import LiveServer

if TYPE_CHECKING:
    from obstore.store import ClientConfig

SIZE_BYTES = int(os.environ.get("SEAFLOOR_BENCH_BYTES", 1024**3))
BLOCK = os.urandom(1024 * 1024)
STORES = ("local", "s3", "azure", "hdfs")


def run() -> None:
    """Measure each store that runs here."""
    wanted = os.environ.get("SEAFLOOR_BENCH_STORES", ",".join(STORES)).split(",")
    supervisor = Supervisor()
    try:
        supervisor.wait_ready()
        for name in wanted:
            try:
                service = None if name == "local" else ask(supervisor.socket, name)
            except Missing as error:
                print(f"{name}: left out ({error})")
                continue
            _measure(name, service)
    finally:
        supervisor.close()


def _measure(name: str, service: Service | None) -> None:
    with tempfile.TemporaryDirectory(prefix="seafloor-bench-") as folder:
        env = {}
        if service is not None:
            url = f"{service.url}/{uuid.uuid4().hex}"
            env = {**service.env, "SEAFLOOR_STORES__OBJECTS": url}
        server = LiveServer(Path(folder) / "data", env=env).start()
        try:
            run_id = server.post("/api/v1/runs", {"experiment": "bench"})["id"]
            path = f"{server.url}/api/v1/runs/{run_id}/artifacts/large.bin"
            direct = _direct(name, service, Path(folder))
            assert server.process is not None
            ups = {"store's own client": direct[0], "through the server": lambda: _up(path)}
            downs = {"store's own client": direct[1], "through the server": lambda: _down(path)}
            with peak_growth(server.process.pid) as grown:
                up, down = alternate(ups, rounds=2), alternate(downs, rounds=2)
            print(f"{name}: the server's memory grew by at most {grown[0] / 2**20:.0f} MiB")
            table(f"{name}: up, {SIZE_BYTES:,} bytes", "s", up, base="store's own client")
            table(f"{name}: down", "s", down, base="store's own client")
        finally:
            server.stop()


def _blocks() -> Iterator[bytes]:
    for _ in range(SIZE_BYTES // len(BLOCK)):
        yield BLOCK


def _up(path: str) -> float:
    begun = time.perf_counter()
    with urllib3.PoolManager(retries=False, timeout=600.0) as pool:
        answer = pool.request("PUT", path, body=_blocks())
        assert answer.status in (200, 201), answer.data[:300]
    return time.perf_counter() - begun


def _down(path: str) -> float:
    begun = time.perf_counter()
    with urllib3.PoolManager(retries=False, timeout=600.0) as pool:
        answer = pool.request("GET", path, preload_content=False)
        got = sum(len(chunk) for chunk in answer.stream(1024 * 1024))
        assert (answer.status, got) == (200, SIZE_BYTES)
    return time.perf_counter() - begun


Move = Callable[[], float]


def _direct(name: str, service: Service | None, folder: Path) -> tuple[Move, Move]:
    """Up and down by the client that the store's users would take when speed counts."""
    if service is None:
        return _file(folder / "direct.bin")
    if name == "hdfs":
        return _hdfs(service)
    return _obstore(name, service)


def _file(path: Path) -> tuple[Move, Move]:
    def up() -> float:
        begun = time.perf_counter()
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            stream.writelines(_blocks())
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        return time.perf_counter() - begun

    def down() -> float:
        begun = time.perf_counter()
        with path.open("rb", buffering=0) as stream:
            while stream.read(len(BLOCK)):
                pass
        return time.perf_counter() - begun

    return up, down


def _obstore(name: str, service: Service) -> tuple[Move, Move]:
    import obstore
    from obstore.store import AzureStore, S3Store

    bucket = service.url.partition("://")[2]
    env = service.env
    plain: ClientConfig = {"allow_http": True, "timeout": "600s"}
    store: S3Store | AzureStore
    if name == "s3":
        store = S3Store(
            bucket,
            endpoint=env["AWS_ENDPOINT_URL"],
            access_key_id=env["AWS_ACCESS_KEY_ID"],
            secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region=env["AWS_REGION"],
            client_options=plain,
        )
    else:
        store = AzureStore(
            bucket,
            account_name=env["AZURE_STORAGE_ACCOUNT_NAME"],
            account_key=env["AZURE_STORAGE_ACCOUNT_KEY"],
            endpoint=env["AZURE_STORAGE_ENDPOINT"],
            client_options=plain,
        )
    key = f"direct/{uuid.uuid4().hex}"

    def up() -> float:
        begun = time.perf_counter()
        obstore.put(store, key, _blocks(), chunk_size=8 * 2**20, max_concurrency=8)
        return time.perf_counter() - begun

    def down() -> float:
        begun = time.perf_counter()
        got = sum(len(chunk) for chunk in obstore.get(store, key).stream(2**20))
        assert got == SIZE_BYTES
        return time.perf_counter() - begun

    return up, down


def _hdfs(service: Service) -> tuple[Move, Move]:
    from hdfs_native import Client, WriteOptions

    client = Client(service.url)
    path = f"/direct-{uuid.uuid4().hex}"

    def up() -> float:
        begun = time.perf_counter()
        with client.create(path, WriteOptions(overwrite=True)) as stream:
            for block in _blocks():
                stream.write(block)
        return time.perf_counter() - begun

    def down() -> float:
        begun = time.perf_counter()
        with client.read(path) as stream:
            for _ in stream.read_range_stream(0, SIZE_BYTES):
                pass
        return time.perf_counter() - begun

    return up, down
