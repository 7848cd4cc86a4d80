"""The model of the event file store passes the suite it is the model of."""

from __future__ import annotations

from pathlib import Path

from seafloor.testing.event_file_store_suite import EventFileStoreSuite
from seafloor.testing.event_worlds import EventWorld, MemoryEventWorld


class TestMemoryEventFileStore(EventFileStoreSuite):
    def make_world(self, folder: Path) -> EventWorld:
        return MemoryEventWorld(folder)
