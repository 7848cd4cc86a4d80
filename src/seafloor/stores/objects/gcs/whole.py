"""An object in one request: its name, its checksum and its content."""

from __future__ import annotations

import itertools
import uuid

import msgspec

from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.resource import FIELDS, crc32c_text

WRITE_RIGHT = "storage.objects.create and storage.objects.delete"

_BOUNDARY = f"seafloor-{uuid.uuid4().hex}"
_numbers = itertools.count()


def whole_call(
    client: GcsClient,
    name: str,
    data: bytes | memoryview,
    crc32c: int,
    *,
    if_absent: bool,
    storage_class: str | None = None,
) -> Call:
    """Make the request (``multipart/related``); the content is copied into it.

    Args:
        client: The bucket.
        name: Of the object.
        data: Its content.
        crc32c: By it the service itself refuses what was damaged on its way.
        if_absent: Whether 412 is answered where the name has an object.
        storage_class: Other than the bucket's.
    """
    query = {"uploadType": "multipart", "name": name, "fields": FIELDS}
    if if_absent:
        query["ifGenerationMatch"] = "0"
    # Chosen at random, and never used twice: no content has it.
    boundary = f"{_BOUNDARY}-{next(_numbers)}"
    described = {"name": name, "crc32c": crc32c_text(crc32c)}
    if storage_class is not None:
        described["storageClass"] = storage_class
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
        + msgspec.json.encode(described)
        + f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
    )
    return Call(
        "POST",
        client.upload_url(**query),
        WRITE_RIGHT,
        headers={"Content-Type": f"multipart/related; boundary={boundary}"},
        body=b"".join((head, data, f"\r\n--{boundary}--\r\n".encode())),
        fine=frozenset({200, 404, 412}),
    )
