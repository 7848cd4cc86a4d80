"""Google Cloud Storage: Seafloor's client beside obstore's and Google's; see ``bench_objects``.

All speak with a server that keeps nothing, in a process of its own: what differs is the client.
It has a thread for each connection, which only the system keeps busy: on an event loop in Python
a byte that comes by one connection took half as much time again as one that comes by four, and a
client without any work of its own was 0.64 as fast as obstore.
(fake-gcs-server looks through all of an upload at each chunk, which hides any client, and takes
none of obstore's writes, which go by the XML API.) What is read has a checksum; Seafloor's client
and Google's compare it, obstore's does not. For Google's see ``google_client``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import socket
import subprocess
import sys
import threading

from obstore.store import GCSStore
from tests.bench.bench_objects import (
    AT_ONCE,
    COUNT,
    PIECE,
    SIZE_BYTES,
    SMALL,
    compare,
    obstore_work,
)
from tests.bench.google_client import google_client

from seafloor.stores.objects.gcs.auth import Anonymous
from seafloor.stores.objects.gcs.chunks import crc32c
from seafloor.stores.objects.gcs.client import GcsClient
from seafloor.stores.objects.gcs.resource import crc32c_text
from seafloor.stores.objects.gcs.store import GcsObjectStore

NOW = "2026-01-01T00:00:00Z"
OBJECT = f'{{"name":"a","generation":"1","timeCreated":"{NOW}","size":"{SIZE_BYTES}"}}'.encode()
XML = b"<R><Bucket>b</Bucket><Key>a</Key><UploadId>1</UploadId><ETag>e</ETag></R>"
TELLS = "X-Goog-Generation: 1\r\nETag: e\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


def run() -> None:
    """Measure both, in turns."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_objects_gcs"], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        nobody = {
            "gcs_base_url": url,
            "client_email": "",
            "private_key": "",
            "disable_oauth": True,
            "private_key_id": "",
        }
        direct = GCSStore(
            "bench",
            config={"service_account_key": json.dumps(nobody), "skip_signature": True},
            client_options={"allow_http": True, "timeout": "600s"},
        )
        with google_client(url, size_bytes=SIZE_BYTES, count=COUNT, at_once=AT_ONCE) as google:
            compare(
                "gcs",
                GcsObjectStore(GcsClient("bench", Anonymous(), endpoint=url)),
                obstore_work(direct),
                beside={} if google is None else {"google-cloud-storage": google},
            )
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def _serve_one(connection: socket.socket) -> None:
    """Answer requests of both APIs; take what is sent, give blocks."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken = memoryview(bytearray(len(PIECE)))
    came = b""
    with connection, contextlib.suppress(ConnectionError):
        while True:
            while b"\r\n\r\n" not in came:
                more = connection.recv(64 * 1024)
                if not more:
                    return
                came += more
            start, _, came = came.partition(b"\r\n\r\n")
            head = start.decode()
            found = re.search(r"(?im)^content-length: (\d+)", head)
            left = int(found[1]) if found else 0
            left, came = left - min(left, len(came)), came[left:]
            while left:
                count = connection.recv_into(taken, min(left, len(taken)))
                if not count:
                    return
                left -= count
            if head.startswith("GET"):
                _give(connection, is_small="small" in head.partition("\r\n")[0])
                continue
            status, extra, body = _answer(head)
            told = f"HTTP/1.1 {status}\r\n{extra}{TELLS}Content-Length: {len(body)}\r\n\r\n"
            connection.sendall(told.encode() + body)


def _answer(head: str) -> tuple[str, str, bytes]:
    """Answer a write: status, headers, body."""
    if "/upload" not in head.partition("\r\n")[0]:
        return "200 OK", "", XML
    if "uploadType=resumable" in head:
        host = re.search(r"(?im)^host: (\S+)", head)
        assert host is not None
        return "200 OK", f"Location: http://{host[1]}/upload?upload_id=1\r\n", OBJECT
    part = re.search(r"(?i)bytes \d+-(\d+)/(\d+|\*)", head)
    if part is not None and part[2] != str(int(part[1]) + 1):
        return "308 Resume", f"Range: bytes=0-{part[1]}\r\n", b""
    return "200 OK", "", OBJECT


@functools.cache
def _checksum(size_bytes: int) -> str:
    """Of what is given for an object of that size."""
    if size_bytes == len(SMALL):
        return crc32c_text(crc32c.extend(0, SMALL))
    value = 0
    for _ in range(size_bytes // len(PIECE)):
        value = crc32c.extend(value, PIECE)
    return crc32c_text(value)


def _give(connection: socket.socket, *, is_small: bool) -> None:
    size_bytes = len(SMALL) if is_small else SIZE_BYTES
    told = f"{TELLS}X-Goog-Hash: crc32c={_checksum(size_bytes)}\r\nContent-Length: {size_bytes}"
    head = f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode()
    if is_small:
        connection.sendall(head + SMALL)
        return
    connection.sendall(head)
    for _ in range(SIZE_BYTES // len(PIECE)):
        connection.sendall(PIECE)


def _serve() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * AT_ONCE) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve_one, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    _serve()
