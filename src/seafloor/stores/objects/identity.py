"""Which store this is: ``seafloor.json`` at its root (``docs/formats/layout.md``)."""

from __future__ import annotations

import msgspec

from seafloor.domain.errors import AlreadyExists, NotFound, NotSupported, StoreCorrupt
from seafloor.stores.objects.protocol import ObjectStore

IDENTITY_KEY = "seafloor.json"
LAYOUT_VERSION = 1
_DOCUMENT_BYTES_MAX = 64 * 1024


class StoreIdentity(msgspec.Struct, frozen=True):
    """The document.

    Args:
        format_version: Of the layout of the whole store, LAYOUT_VERSION.
        store_id: Tells one store from another; never changes.
    """

    format_version: int
    store_id: str


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
    """
    try:
        return await _read(objects)
    except NotFound:
        identity = StoreIdentity(format_version=LAYOUT_VERSION, store_id=new_id)
    try:
        await objects.put(IDENTITY_KEY, msgspec.json.encode(identity), if_absent=True)
    except AlreadyExists:
        return await _read(objects)
    return identity


async def _read(objects: ObjectStore) -> StoreIdentity:
    chunks = objects.read(IDENTITY_KEY, length=_DOCUMENT_BYTES_MAX)
    content = b"".join([chunk async for chunk in chunks])
    try:
        found = msgspec.json.decode(content, type=StoreIdentity)
    except msgspec.DecodeError as error:
        raise StoreCorrupt(
            f"{IDENTITY_KEY} at the root of the object store is damaged: "
            "bring it back from a copy, or point Seafloor at another place.",
            detail=repr(content[:200]),
        ) from error
    if found.format_version > LAYOUT_VERSION:
        raise NotSupported(
            f"The object store has layout version {found.format_version}; "
            f"this Seafloor knows up to {LAYOUT_VERSION}: upgrade it."
        )
    return found
