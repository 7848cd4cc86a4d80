"""The log store that servers share: the suite and the state machine, on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.stream_places import stream_place

from conftest import real_service
from machines import run_machine
from seafloor.stores.logs.protocol import LogStore
from seafloor.testing.log_store_machine import LogStoreMachine
from seafloor.testing.log_store_suite import DurableLogStoreSuite, OnDiskLogStoreSuite
from seafloor.testing.log_worlds import SharedLogWorld, shared_logs_in
from seafloor.testing.stream_worlds import below_in


class TestSealing(OnDiskLogStoreSuite):
    """Sealed after every append: nearly all is read from objects."""

    factory = "seafloor.testing.log_worlds:shared_logs_in"
    disk_bytes = 16 << 20

    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        return SharedLogWorld(partial(below_in, folder), quiet_s=quiet_s)


class TestUnsealed(OnDiskLogStoreSuite):
    """Never sealed: all is read from rows."""

    factory = "seafloor.testing.log_worlds:shared_logs_in"
    disk_bytes = 16 << 20

    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        return SharedLogWorld(partial(below_in, folder), quiet_s=quiet_s, seals=False)


class OnServers(DurableLogStoreSuite):
    """Each folder has a database, and an object store, of its own."""

    kind: str
    factory = "seafloor.testing.log_worlds:shared_logs_in"

    @pytest.fixture(autouse=True)
    def held(self) -> Iterator[None]:
        self._prepared: set[Path] = set()
        with ExitStack() as self._held:
            yield

    def prepare(self, folder: Path) -> None:
        if folder not in self._prepared:
            self._prepared.add(folder)
            self._held.enter_context(stream_place(folder, self.kind, real_service))

    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        self.prepare(folder)
        return SharedLogWorld(partial(below_in, folder), quiet_s=quiet_s)


class TestPostgresqlAndS3(OnServers):
    kind = "postgresql"


class TestMariadb(OnServers):
    kind = "mariadb"


_EXAMPLES = {"sqlite": 25, "postgresql": 8, "mariadb": 8}


@pytest.mark.parametrize("kind", _EXAMPLES)
def test_machine__beside_the_model__all_answers_are_equal(kind: str) -> None:
    if kind != "sqlite":
        real_service(kind)  # skips here, where it is known to be a skip

    class Machine(LogStoreMachine):
        make_store = staticmethod(shared_logs_in)
        prepared = staticmethod(partial(stream_place, kind=kind, service=real_service))

    run_machine(Machine, examples=_EXAMPLES[kind])
