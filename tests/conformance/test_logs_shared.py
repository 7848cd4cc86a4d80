"""The log store that servers share: the suite, the state machine, and what is its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, settings

from seafloor.stores.logs.protocol import LogStore
from seafloor.testing.log_store_machine import LogStoreMachine
from seafloor.testing.log_store_suite import OnDiskLogStoreSuite
from seafloor.testing.log_worlds import SharedLogWorld, in_folder, shared_logs_in

_MACHINE = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestSharedLogStoreSealing(OnDiskLogStoreSuite):
    """Sealed after every append: nearly all is read from objects."""

    factory = "seafloor.testing.log_worlds:shared_logs_in"
    disk_bytes = 16 << 20

    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        return SharedLogWorld(partial(in_folder, folder), quiet_s=quiet_s)


class TestSharedLogStoreUnsealed(OnDiskLogStoreSuite):
    """Never sealed: all is read from rows."""

    factory = "seafloor.testing.log_worlds:shared_logs_in"
    disk_bytes = 16 << 20

    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        return SharedLogWorld(partial(in_folder, folder), quiet_s=quiet_s, seals=False)


class SharedLogStoreMachine(LogStoreMachine):
    make_store = staticmethod(shared_logs_in)


SharedLogStoreMachine.TestCase.settings = _MACHINE
TestSharedLogStoreMachine = SharedLogStoreMachine.TestCase
