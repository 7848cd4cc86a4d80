"""Every wrapper of an object store is an object store: the suite, over memory and over files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from seafloor.domain.names import PATH_BYTES_MAX
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.prefix import PrefixObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore
from seafloor.testing.object_count import CountObjectStore
from seafloor.testing.object_fault import FaultObjectStore
from seafloor.testing.object_store_machine import ObjectStoreMachine
from seafloor.testing.object_store_suite import DurableObjectStoreSuite, ObjectStoreSuite

FOLDER = "tenant a/b"
KEY_BYTES_MAX = PATH_BYTES_MAX - len(FOLDER) - 1
Wrap = Callable[[ObjectStore], ObjectStore]


def all_of_them(inner: ObjectStore) -> ObjectStore:
    """A stack, as a server has it."""
    faults = FaultObjectStore(inner)
    return CountObjectStore(RetryObjectStore(PrefixObjectStore(faults, FOLDER)))


WRAPS: dict[str, Wrap] = {
    "prefix": lambda inner: PrefixObjectStore(inner, FOLDER),
    "retry": RetryObjectStore,
    "count": CountObjectStore,
    "fault": FaultObjectStore,
    "all": all_of_them,
}


class WrappedSuite(ObjectStoreSuite):
    """The suite over memory."""

    wrap: ClassVar[Wrap]

    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        store = type(self).wrap(MemoryObjectStore())
        yield store
        await store.close()


class TestPrefixObjectStore(WrappedSuite):
    wrap = staticmethod(WRAPS["prefix"])
    key_bytes_max = KEY_BYTES_MAX


class TestRetryObjectStore(WrappedSuite):
    wrap = staticmethod(WRAPS["retry"])


class TestCountObjectStore(WrappedSuite):
    wrap = staticmethod(WRAPS["count"])


class TestFaultObjectStore(WrappedSuite):
    wrap = staticmethod(WRAPS["fault"])


class TestAllWrappersOverFiles(DurableObjectStoreSuite):
    key_bytes_max = KEY_BYTES_MAX

    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        store = all_of_them(LocalObjectStore(folder))
        yield store
        await store.close()


@pytest.mark.parametrize("name", WRAPS)
def test_any_calls__wrapped__are_those_of_the_model(name: str) -> None:
    @asynccontextmanager
    async def make_store(_: Path) -> AsyncIterator[ObjectStore]:
        yield WRAPS[name](MemoryObjectStore())

    class Machine(ObjectStoreMachine):
        durable = False

    Machine.make_store = staticmethod(make_store)  # type: ignore[assignment]
    run_state_machine_as_test(Machine, settings=settings(max_examples=15, deadline=None))
