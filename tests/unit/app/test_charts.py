"""Whole series, read piece by piece."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from seafloor.app.charts import Charts
from seafloor.app.runs import Runs
from seafloor.domain.errors import NotFound
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX
from seafloor.stores.metrics.columns import PointColumns
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.testing.metric_worlds import workload_id, workload_of

RUN = workload_of(1)


async def filled(points: int) -> MemoryMetricStore:
    store = MemoryMetricStore()
    store.workload_create(workload_id(1))
    for begin in range(0, points, POINTS_PER_APPEND_MAX):
        step = np.arange(begin, min(points, begin + POINTS_PER_APPEND_MAX))
        none = np.zeros(len(step), np.int32)
        columns = PointColumns(("loss",), none, step, step, step.astype(np.float64))
        await store.append(workload_id(1), columns)
    return store


@pytest.mark.parametrize("points", [0, 1, POINTS_PER_APPEND_MAX, POINTS_PER_APPEND_MAX + 1])
async def test_columns__of_any_length__are_all_points(points: int) -> None:
    charts = Charts(cast(Runs, None), await filled(points))
    found = [piece.step async for piece in charts.columns(RUN, "loss")]
    assert np.array_equal(np.concatenate(found), np.arange(points))


async def test_columns__of_a_run_that_is_purged_meanwhile__do_not_end_as_if_whole() -> None:
    """An Arrow stream ended properly after the part that had been read."""
    store = await filled(POINTS_PER_APPEND_MAX + 1)
    pieces = Charts(cast(Runs, None), store).columns(RUN, "loss")
    assert len(await anext(pieces)) == POINTS_PER_APPEND_MAX
    store.workload_delete(workload_id(1))
    with pytest.raises(NotFound, match="while it was read"):
        await anext(pieces)
