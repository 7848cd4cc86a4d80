"""The event file store that servers share: the suite, the state machine, and what is its own."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings

from seafloor.testing.event_file_store_machine import EventFileStoreMachine
from seafloor.testing.event_file_store_suite import DurableEventFileStoreSuite
from seafloor.testing.event_worlds import EventWorld, SealingEventWorld, SharedEventWorld

_MACHINE = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class TestSharedEventFileStore(DurableEventFileStoreSuite):
    factory = "seafloor.testing.event_worlds:SharedEventWorld"

    def make_world(self, folder: Path) -> EventWorld:
        return SharedEventWorld(folder)


class TestSealingEventFileStore(DurableEventFileStoreSuite):
    """Sealed after every append: nearly all is read from objects."""

    factory = "seafloor.testing.event_worlds:SealingEventWorld"

    def make_world(self, folder: Path) -> EventWorld:
        return SealingEventWorld(folder)


class SharedEventFileStoreMachine(EventFileStoreMachine):
    make_world = staticmethod(SealingEventWorld)


SharedEventFileStoreMachine.TestCase.settings = _MACHINE
TestSharedEventFileStoreMachine = SharedEventFileStoreMachine.TestCase
