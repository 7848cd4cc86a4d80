"""The model of the media store passes the suite it is the model of."""

from __future__ import annotations

from pathlib import Path

from seafloor.testing.media_store_suite import MediaStoreSuite
from seafloor.testing.media_worlds import MediaWorld, MemoryMediaWorld


class TestMemoryMediaStore(MediaStoreSuite):
    def make_world(self, folder: Path) -> MediaWorld:
        return MemoryMediaWorld(folder)
