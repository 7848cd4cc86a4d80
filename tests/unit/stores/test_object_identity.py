"""Which store this is."""

from __future__ import annotations

import asyncio

import pytest

from seafloor.domain.errors import NotSupported, StoreCorrupt
from seafloor.stores.objects.identity import IDENTITY_KEY, StoreIdentity, identify
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.testing.object_cases import content


async def test_identify__new_store__gets_the_id_and_keeps_it() -> None:
    store = MemoryObjectStore()
    first = await identify(store, new_id="one")
    assert first == StoreIdentity(format_version=1, store_id="one")
    assert await content(store, IDENTITY_KEY) == b'{"format_version":1,"store_id":"one"}'
    assert await identify(store, new_id="two") == first


async def test_identify__by_many_at_once__all_get_the_same() -> None:
    store = MemoryObjectStore()
    found = await asyncio.gather(*(identify(store, new_id=str(number)) for number in range(8)))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b'{"format_version":2,"store_id":"x","more":1}', NotSupported),
        (b'{"format_version":1}', StoreCorrupt),
        (b"", StoreCorrupt),
        (b"\xff" * 100_000, StoreCorrupt),
    ],
)
async def test_identify__newer_or_damaged__is_refused_and_left_alone(
    document: bytes, error: type[Exception]
) -> None:
    store = MemoryObjectStore()
    await store.put(IDENTITY_KEY, document)
    with pytest.raises(error):
        await identify(store, new_id="two")
    assert await content(store, IDENTITY_KEY) == document
