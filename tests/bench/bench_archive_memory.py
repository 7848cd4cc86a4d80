"""An archive of many GiB, localised over http: how much memory the whole process takes at most.

``SEAFLOOR_BENCH_ARCHIVE_GIB`` is its size (10). It is made while it is sent; the disk holds it once
in the cache, and once unpacked: twice its size below ``SEAFLOOR_BENCH_FOLDER``.
"""

from __future__ import annotations

import gzip
import http.server
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import zstandard

GIB = float(os.environ.get("SEAFLOOR_BENCH_ARCHIVE_GIB", "10"))
FOLDER = os.environ.get("SEAFLOOR_BENCH_FOLDER")
LIMIT_MIB: Final = 128
FILE_BYTES: Final = 640 << 10

# Longer than any window used here, so that nothing of it is found again and left out.
_BYTES: Final = random.Random(5).randbytes(32 << 20)


def _files() -> Iterator[tuple[str, bytes]]:
    for number in range(int(GIB * 2**30) // FILE_BYTES):
        at = number * 4099 % (len(_BYTES) - FILE_BYTES)
        yield f"d{number // 100:04d}/f{number:06d}.bin", _BYTES[at : at + FILE_BYTES]


def _tar(stream: Any) -> None:
    with tarfile.open(fileobj=stream, mode="w|", bufsize=1 << 20) as archive:
        for name, content in _files():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _tar_gz(stream: IO[bytes]) -> None:
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=0) as packed:
        _tar(packed)


def _tar_zst(stream: IO[bytes]) -> None:
    with zstandard.ZstdCompressor(1).stream_writer(stream, closefd=False) as packed:
        _tar(packed)


def _zip(stream: IO[bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        for name, content in _files():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 0)


FORMS: Final[dict[str, Callable[[IO[bytes]], None]]] = {
    "big.tar.gz": _tar_gz,
    "big.tar.zst": _tar_zst,
    "big.zip": _zip,
}


class _Sending(io.RawIOBase):
    """A socket, for those who want to know where they are."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sent = 0

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self._file.write(block)
        self.sent += len(block)
        return len(block)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("ETag", '"the same each time"')
        self.end_headers()
        sending = _Sending(self.wfile)
        try:
            with io.BufferedWriter(sending, 1 << 20) as stream:
                FORMS[self.path.lstrip("/")](stream)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # who only looks whether it is there reads no more

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def _served() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_WATCH = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(ended.returncode, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)
"""
"""A small process starts the one that is measured: what a process has when it starts another counts
as a peak of that one."""


def _localize(url: str, folder: Path) -> tuple[int, float]:
    """Peak memory in bytes, and processor time, of ``seafloor localize``."""
    command = [sys.executable, "-m", "seafloor.boot", "localize", url]
    command += ["--to", str(folder / "code"), "--cache", str(folder / "cache")]
    watching = [sys.executable, "-I", "-S", "-c", _WATCH, *command]
    said = subprocess.run(watching, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "0"
    return int(said[1]), float(said[2])


def run() -> None:
    """Print the table."""
    with _served() as url:
        for name in FORMS:
            with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
                peak_bytes, used_s = _localize(f"{url}/{name}", Path(folder))
            peak_mib = peak_bytes / 2**20
            within = "within" if peak_mib <= LIMIT_MIB else "MORE THAN"
            print(
                f"  {name:12s} {GIB:g} GiB  peak {peak_mib:6.1f} MiB, {within} {LIMIT_MIB}, "
                f"{used_s:6.1f} processor s"
            )


if __name__ == "__main__":
    run()
