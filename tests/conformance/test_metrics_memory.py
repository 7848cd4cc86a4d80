"""The model of the metric store passes the suite it is the model of."""

from __future__ import annotations

from pathlib import Path

from seafloor.testing.metric_store_suite import MetricStoreSuite
from seafloor.testing.metric_worlds import MemoryMetricWorld, MetricWorld


class TestMemoryMetricStore(MetricStoreSuite):
    def make_world(self, folder: Path) -> MetricWorld:
        return MemoryMetricWorld(folder)
