"""Snapshots of working folders, kept by digest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from seafloor.app.snapshots import Snapshots, snapshot_key
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import Sha256
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.testing.object_cases import content

DATA = b"an archive"
DIGEST = Sha256(sha256(DATA).hexdigest())


async def sent(data: bytes = DATA) -> AsyncIterator[bytes]:
    yield data


async def test_put__one_that_is_there__is_left_alone() -> None:
    store = MemoryObjectStore()
    snapshots = Snapshots(store)
    assert (await snapshots.put(DIGEST, sent()))[1]
    info, created = await snapshots.put(DIGEST, sent(b"not even looked at"))
    assert (info.size_bytes, created) == (len(DATA), False)


@pytest.mark.parametrize("there", [b"an arch", b"AN ARCHIVE", b""])
async def test_put__one_that_was_damaged_in_the_store__is_replaced(there: bytes) -> None:
    store = MemoryObjectStore()
    snapshots = Snapshots(store)
    await store.put(snapshot_key(DIGEST), there)
    with pytest.raises(InvalidValue):
        await snapshots.put(DIGEST, sent(b"other"))
    assert await content(store, snapshot_key(DIGEST)) == there

    info, created = await snapshots.put(DIGEST, sent())

    assert (info.size_bytes, created) == (len(DATA), True)
    assert await content(store, snapshot_key(DIGEST)) == DATA
