"""The model of the log store passes the suite it is the model of."""

from __future__ import annotations

from pathlib import Path

from seafloor.stores.logs.memory import MemoryLogStore
from seafloor.stores.logs.protocol import LogStore
from seafloor.testing.log_store_suite import LogStoreSuite


class TestMemoryLogStore(LogStoreSuite):
    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        return MemoryLogStore(quiet_s=quiet_s)
