"""HDFS passes the suite of object stores, on a real NameNode and DataNode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.services._service import Service

from hdfs_world import Fs, patient
from seafloor.stores.objects.hdfs.store import from_url
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_store_machine import ObjectStoreMachine
from seafloor.testing.object_store_suite import DurableObjectStoreSuite

Services = Callable[[str], Service]


@pytest.fixture(autouse=True)
def _patient() -> Iterator[None]:
    with patient():
        yield


class TestHdfsObjectStore(DurableObjectStoreSuite):
    # HDFS has at most 1,000 levels; a path of Seafloor's has fewer parts than that.

    @pytest.fixture(autouse=True)
    def _server(self, service: Services) -> None:
        self.fs = Fs(service("hdfs"))
        self.places: dict[Path, str] = {}

    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        place = self.places.setdefault(folder, self.fs.fresh())
        store = from_url(place, {})
        try:
            yield store
        finally:
            await store.close()


def test_any_calls__on_a_real_server__are_those_of_the_model(service: Services) -> None:
    fs = Fs(service("hdfs"))
    places: dict[Path, str] = {}

    @asynccontextmanager
    async def make_store(folder: Path) -> AsyncIterator[ObjectStore]:
        store = from_url(places.setdefault(folder, fs.fresh()), {})
        try:
            yield store
        finally:
            await store.close()

    class Machine(ObjectStoreMachine):
        pass

    Machine.make_store = staticmethod(make_store)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine, settings=settings(max_examples=8, stateful_step_count=25, deadline=None)
    )
