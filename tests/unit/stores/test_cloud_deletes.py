"""Deleting many objects of Azure where some are missing: what an error of one of them is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from obstore.exceptions import GenericError

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.objects.cloud.azure import from_url
from seafloor.stores.objects.cloud.store import CloudObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore, RetryPolicy

AT_ONCE = RetryPolicy(attempts_max=3, delay_first_s=0.0, delay_max_s=0.0)
BUSY = (
    "Generic MicrosoftAzure error: Error performing DELETE http://storage.test/c/a in 1ms - Server "
    "returned non-2xx status code: 503 Service Unavailable: busy"
)
VARIABLES = {
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "AZURE_STORAGE_ACCOUNT_KEY": "a2V5",
    "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1",
}


class Bucket:
    """Says of a batch that something is missing, and of the first objects that it is busy."""

    def __init__(self, *, busy: int) -> None:
        self._busy = busy
        self.deleted: list[str] = []

    async def delete_async(self, keys: str | Sequence[str]) -> None:
        if not isinstance(keys, str):
            raise FileNotFoundError("one of them")
        if self._busy > 0:
            self._busy -= 1
            raise GenericError(BUSY)
        self.deleted.append(keys)


def store_over(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> CloudObjectStore:
    store = from_url("az://container", VARIABLES)
    monkeypatch.setattr(store, "_bucket", bucket)
    return store


async def test_delete_many__some_missing_and_the_store_busy__is_one_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = store_over(Bucket(busy=100), monkeypatch)
    with pytest.raises(StoreUnavailable):
        await store.delete_many(["a", "b", "c"])
    await store.close()


async def test_delete_many__some_missing_and_the_store_busy_for_a_while__is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = Bucket(busy=2)
    store = RetryObjectStore(store_over(bucket, monkeypatch), AT_ONCE)
    await store.delete_many(["a", "b", "c"])
    assert set(bucket.deleted) == {"a", "b", "c"}
    await store.close()
