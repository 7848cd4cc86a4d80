"""Google's own client of its storage, in a process of its own, as ``bench_objects_gcs`` drives it.

It has a process of its own because it can keep gigabytes, which would be measured as Seafloor's.
It blocks, so it has a thread for each request at once. Run with arguments, this file is that
process: it needs nothing but ``google-cloud-storage``.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

PYTHON_VARIABLE = "SEAFLOOR_BENCH_GOOGLE"
_PIECE = os.urandom(1024 * 1024)
_SMALL = os.urandom(4096)


@contextmanager
def google_client(
    url: str, *, size_bytes: int, count: int, at_once: int
) -> Iterator[Callable[[str], float] | None]:
    """Start it; gives what measures one piece of work, in seconds, by its title.

    None if ``SEAFLOOR_BENCH_GOOGLE`` names no Python that has ``google-cloud-storage``.
    """
    python = os.environ.get(PYTHON_VARIABLE)
    if python is None:
        print(f"google-cloud-storage: left out ({PYTHON_VARIABLE} names no Python that has it)")
        yield None
        return
    command = [python, __file__, url, str(size_bytes), str(count), str(at_once)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asks, says = process.stdin, process.stdout

        def timed(title: str) -> float:
            asks.write(f"{title}\n")
            asks.flush()
            return float(says.readline())

        print(f"google-cloud-storage {says.readline().strip()}")
        try:
            yield timed
        finally:
            asks.close()


class _Source:
    """A file that is read once."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._at = 0

    def tell(self) -> int:
        return self._at

    def read(self, size_bytes: int) -> bytes:
        count = min(size_bytes, self._size_bytes - self._at)
        self._at += count
        whole, rest = divmod(count, len(_PIECE))
        return _PIECE * whole + _PIECE[:rest]


class _Sink:
    """A file that counts what is written."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        return len(data)


def _work(url: str, size_bytes: int, count: int, at_once: int) -> Mapping[str, Callable[[], None]]:
    storage: Any = importlib.import_module("google.cloud.storage")
    credentials: Any = importlib.import_module("google.auth.credentials")
    adapters: Any = importlib.import_module("requests.adapters")
    client = storage.Client(
        project="bench",
        credentials=credentials.AnonymousCredentials(),
        client_options={"api_endpoint": url},
    )
    # A connection for each thread; by itself it keeps ten.
    client._http.mount("http://", adapters.HTTPAdapter(pool_maxsize=at_once))
    bucket = client.bucket("bench")
    threads = ThreadPoolExecutor(at_once)
    print(storage.__version__, flush=True)

    def up() -> None:
        # The server tells no checksum of what it was sent.
        source = _Source(size_bytes)
        bucket.blob("large").upload_from_file(source, size=size_bytes, checksum=None)

    def down() -> None:
        sink = _Sink()
        bucket.blob("large").download_to_file(sink)
        assert sink.size_bytes == size_bytes

    def write(number: int) -> None:
        bucket.blob(f"small/{number}").upload_from_string(_SMALL, checksum=None)

    def read(number: int) -> None:
        assert len(bucket.blob(f"small/{number}").download_as_bytes()) == len(_SMALL)

    def each(work: Callable[[int], None]) -> None:
        for _ in threads.map(work, range(count)):
            pass

    return {
        "1 large object up": up,
        "1 large object down": down,
        "small objects up": lambda: each(write),
        "small objects down": lambda: each(read),
    }


def _serve(url: str, *sizes: str) -> None:
    work = _work(url, *map(int, sizes))
    for line in sys.stdin:
        begun = time.perf_counter()
        work[line.strip()]()
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
