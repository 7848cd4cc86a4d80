"""Which store this is: ``seafloor.json`` at its root, and whether it is an unfinished copy.

``docs/formats/layout.md`` has both documents.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    NotSupported,
    StoreCorrupt,
)
from seafloor.stores.objects.protocol import ObjectStore

IDENTITY_KEY = "seafloor.json"
COPY_KEY = "seafloor-copy.json"
LAYOUT_VERSION = 1
COPY_VERSION = 1
_DOCUMENT_BYTES_MAX = 64 * 1024


class StoreIdentity(msgspec.Struct, frozen=True):
    """The document.

    Args:
        format_version: Of the layout of the whole store, LAYOUT_VERSION.
        store_id: Tells one store from another; never changes.
    """

    format_version: int
    store_id: str


class CopyMarker(msgspec.Struct, frozen=True):
    """The document that lies here as long as this is an unfinished copy of another store.

    Args:
        format_version: COPY_VERSION.
        copy_id: Tells one copy from another.
        source: ``store_id`` of what is copied.
        rows: Digest of the rows of the source's database: a copy is of one state.
    """

    format_version: int
    copy_id: str
    source: str
    rows: str


async def identify(objects: ObjectStore, *, new_id: str) -> StoreIdentity:
    """Read a store's identity, or give it one. Safe to repeat and to do by many at once.

    Args:
        objects: The store.
        new_id: What a store without an id gets.

    Returns:
        What is written there, by this call or another.

    Raises:
        NotSupported: the layout is of a newer version of Seafloor. Nothing was written.
        StoreCorrupt: the document is not one. Nothing was written.
        Conflict: this is a copy that is not whole yet. Nothing was written.
    """
    if await copy_marker(objects) is not None:
        raise Conflict(
            "This object store is a copy that is not whole yet: give the same `seafloor copy` "
            "command again, it goes on where it stopped; or empty the place to use it otherwise."
        )
    try:
        return await read_identity(objects)
    except NotFound:
        identity = StoreIdentity(format_version=LAYOUT_VERSION, store_id=new_id)
    try:
        await objects.put(IDENTITY_KEY, msgspec.json.encode(identity), if_absent=True)
    except AlreadyExists:
        return await read_identity(objects)
    return identity


async def read_identity(objects: ObjectStore) -> StoreIdentity:
    """Read a store's identity, and write nothing.

    Raises:
        NotFound: it has none: no server ever used it.
        NotSupported, StoreCorrupt: as ``identify``.
    """
    found = await _read(objects, IDENTITY_KEY, StoreIdentity)
    if found.format_version > LAYOUT_VERSION:
        raise NotSupported(
            f"The object store has layout version {found.format_version}; "
            f"this Seafloor knows up to {LAYOUT_VERSION}: upgrade it."
        )
    return found


async def copy_marker(objects: ObjectStore) -> CopyMarker | None:
    """Read what says that this is an unfinished copy; None when it is none.

    Raises:
        NotSupported, StoreCorrupt: as ``identify``.
    """
    try:
        found = await _read(objects, COPY_KEY, CopyMarker)
    except NotFound:
        return None
    if found.format_version > COPY_VERSION:
        raise NotSupported(
            f"This copy was begun by a newer version of Seafloor (format {found.format_version}): "
            "finish it with that version."
        )
    return found


_Document = TypeVar("_Document", StoreIdentity, CopyMarker)


async def _read(objects: ObjectStore, key: str, cls: type[_Document]) -> _Document:
    chunks = objects.read(key, length=_DOCUMENT_BYTES_MAX)
    content = b"".join([chunk async for chunk in chunks])
    try:
        return msgspec.json.decode(content, type=cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorrupt(
            f"{key} at the root of the object store is damaged: "
            "bring it back from a copy, or point Seafloor at another place.",
            detail=repr(content[:200]),
        ) from error
