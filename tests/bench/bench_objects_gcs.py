"""Google Cloud Storage: Seafloor's client beside obstore's and Google's; see ``bench_objects``.

All speak with a server that keeps nothing, in a process of its own: what differs is the client.
(fake-gcs-server looks through all of an upload at each chunk, which hides any client, and takes
none of obstore's writes, which go by the XML API.) What is read has a checksum; Seafloor's client
and Google's compare it, obstore's does not. For Google's see ``google_client``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import subprocess
import sys

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


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests of both APIs; take what is sent, give blocks."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"(?im)^content-length: (\d+)", head)
            left = int(found[1]) if found else 0
            while left:
                left -= len(await reader.read(min(left, 1024 * 1024)))
            if head.startswith("GET"):
                await _give(writer, is_small="small" in head.partition("\r\n")[0])
                continue
            status, extra, body = _answer(head)
            writer.write(
                f"HTTP/1.1 {status}\r\n{extra}{TELLS}Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


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


async def _give(writer: asyncio.StreamWriter, *, is_small: bool) -> None:
    size_bytes = len(SMALL) if is_small else SIZE_BYTES
    told = f"{TELLS}X-Goog-Hash: crc32c={_checksum(size_bytes)}\r\nContent-Length: {size_bytes}"
    writer.write(f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode())
    if is_small:
        writer.write(SMALL)
        await writer.drain()
        return
    for _ in range(SIZE_BYTES // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()


async def _serve() -> None:
    server = await asyncio.start_server(_serve_one, "127.0.0.1", 0, limit=4 * 1024 * 1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
