"""The event file store that servers share: the suite and the machine, on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.stream_places import stream_place

from conftest import real_service
from machines import run_machine
from seafloor.testing.event_file_store_machine import EventFileStoreMachine
from seafloor.testing.event_file_store_suite import (
    DurableEventFileStoreSuite,
    OnDiskEventFileStoreSuite,
)
from seafloor.testing.event_worlds import EventWorld, SealingEventWorld, SharedEventWorld


class TestUnsealed(OnDiskEventFileStoreSuite):
    """Sealed only when finished."""

    factory = "seafloor.testing.event_worlds:SharedEventWorld"

    def make_world(self, folder: Path) -> EventWorld:
        return SharedEventWorld(folder)


class TestSealing(OnDiskEventFileStoreSuite):
    """Sealed after every append: nearly all is read from objects."""

    factory = "seafloor.testing.event_worlds:SealingEventWorld"

    def make_world(self, folder: Path) -> EventWorld:
        return SealingEventWorld(folder)


class OnServers(DurableEventFileStoreSuite):
    """Each folder has a database, and an object store, of its own."""

    kind: str
    factory = "seafloor.testing.event_worlds:SealingEventWorld"

    @pytest.fixture(autouse=True)
    def held(self) -> Iterator[None]:
        self._prepared: set[Path] = set()
        with ExitStack() as self._held:
            yield

    def prepare(self, folder: Path) -> None:
        if folder not in self._prepared:
            self._prepared.add(folder)
            self._held.enter_context(stream_place(folder, self.kind, real_service))

    def make_world(self, folder: Path) -> EventWorld:
        self.prepare(folder)
        return SealingEventWorld(folder)


class TestPostgresqlAndS3(OnServers):
    kind = "postgresql"


class TestMariadb(OnServers):
    kind = "mariadb"


_EXAMPLES = {"sqlite": 20, "postgresql": 6, "mariadb": 6}


@pytest.mark.parametrize("kind", _EXAMPLES)
def test_machine__beside_the_model__all_answers_are_equal(kind: str) -> None:
    if kind != "sqlite":
        real_service(kind)  # skips here, where it is known to be a skip

    class Machine(EventFileStoreMachine):
        make_world = staticmethod(SealingEventWorld)
        prepared = staticmethod(partial(stream_place, kind=kind, service=real_service))

    run_machine(Machine, examples=_EXAMPLES[kind])
