"""A state machine that drives any metric store beside the model and compares all they say."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from seafloor.domain.errors import SeafloorError
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX, BatchId, Point
from seafloor.stores.metrics.columns import columns_of
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.stores.metrics.pyramid import AXES, Axis
from seafloor.stores.metrics.window import Window
from seafloor.testing.metric_worlds import MemoryMetricWorld, MetricWorld, workload_id

KEYS = ("loss", "loss/a", "acc")
_workloads = st.sampled_from([1, 2, 3, 99])
_keys = st.sampled_from(KEYS)
_steps = st.one_of(st.integers(-3, 12), st.sampled_from([STEP_MIN, STEP_MAX]))
_times = st.one_of(st.integers(0, 6), st.sampled_from([TIME_MS_MAX]))
_values = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.5]), st.floats(allow_nan=True))
_points = st.builds(Point, _keys, _values, _steps, _times)


class MetricStoreMachine(RuleBasedStateMachine):
    """Writers that append and repeat, readers that page and chart, servers that restart.

    Subclass it and set ``make_world`` and ``durable``.
    """

    make_world: ClassVar[Callable[[Path], MetricWorld]]
    durable: ClassVar[bool] = True
    prepared: ClassVar[Callable[[Path], AbstractContextManager[object]]] = nullcontext
    """What a folder needs before a store is opened over it, for the time of one example."""

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        self._held.enter_context(type(self).prepared(self._folder))
        self._runner = self._held.enter_context(asyncio.Runner())
        self._model = MemoryMetricWorld(self._folder)
        self._world = type(self).make_world(self._folder)
        self._runner.run(self._model.open())
        self._runner.run(self._world.open())
        self._sent: list[list[Point]] = []
        self._deleted = False

    def teardown(self) -> None:
        self._runner.run(self._world.close())
        self._held.close()

    def _answer(
        self, store: MetricStore, ask: Callable[[MetricStore], Awaitable[object]]
    ) -> object:
        async def work() -> object:
            return await ask(store)

        try:
            # As bytes, since NaN is not equal to itself; the very bits are compared below.
            return msgspec.msgpack.encode(self._runner.run(work()))
        except SeafloorError as exc:
            return exc.code

    def _compare(self, ask: Callable[[MetricStore], Awaitable[object]]) -> None:
        expected = self._answer(self._model.store, ask)
        assert self._answer(self._world.store, ask) == expected

    @rule(
        workload=_workloads,
        points=st.lists(_points, min_size=1, max_size=12),
        as_columns=st.booleans(),
    )
    def append(self, workload: int, points: list[Point], as_columns: bool) -> None:
        """A writer logs."""
        self._sent.append(points)
        sent = columns_of(points) if as_columns else points
        self._compare(lambda store: store.append(workload_id(workload), sent))

    @precondition(lambda self: self._sent)
    @rule(workload=_workloads, data=st.data())
    def repeat(self, workload: int, data: st.DataObject) -> None:
        """A writer did not hear the answer, or another logs the same."""
        points = data.draw(st.sampled_from(self._sent))
        self._compare(lambda store: store.append(workload_id(workload), points))

    @precondition(lambda self: self._sent)
    @rule(
        workload=_workloads,
        batch=st.builds(BatchId, st.sampled_from(["v", "w"]), st.integers(0, 5)),
        data=st.data(),
    )
    def append_batch(self, workload: int, batch: BatchId, data: st.DataObject) -> None:
        """A writer counts its batches; some come again, some late, some with others' points."""
        points = data.draw(st.sampled_from(self._sent))
        self._compare(lambda store: store.append(workload_id(workload), points, batch=batch))

    @rule(workload=_workloads, key=_keys, limit=st.integers(1, 6))
    def series(self, workload: int, key: str, limit: int) -> None:
        """Somebody reads a series, page by page."""

        async def read(store: MetricStore) -> object:
            pages: list[object] = []
            cursor: str | None = None
            while True:
                page = await store.series(workload_id(workload), key, limit=limit, cursor=cursor)
                pages.append(page)
                cursor = page.next
                if cursor is None:
                    return pages

        self._compare(read)

    @rule(workload=_workloads, keys=st.one_of(st.none(), st.lists(_keys, max_size=2)))
    def summaries(self, workload: int, keys: list[str] | None) -> None:
        """Somebody lists runs."""
        ids = [workload_id(workload), workload_id(1)]
        self._compare(lambda store: store.summaries(ids, keys=keys))
        self._compare(lambda store: store.last_points(ids))

    @rule(
        workload=_workloads,
        key=_keys,
        buckets=st.integers(1, 9),
        step_min=st.one_of(st.none(), _steps),
        step_max=st.one_of(st.none(), _steps),
        time_ms_min=st.one_of(st.none(), _times),
        time_ms_max=st.one_of(st.none(), _times),
        x=st.sampled_from(AXES),
    )
    def chart(
        self,
        workload: int,
        key: str,
        buckets: int,
        x: Axis,
        **bounds: int | None,
    ) -> None:
        """Somebody looks at a chart."""
        self._compare(
            lambda store: store.chart(
                workload_id(workload), key, buckets=buckets, window=Window(**bounds), x=x
            )
        )

    @rule()
    def seal(self) -> None:
        """The sealer works."""
        self._runner.run(self._world.store.seal_due())

    @precondition(lambda self: len(self._sent) > 5 and not self._deleted)
    @rule()
    def delete(self) -> None:
        """A workload is deleted."""
        self._runner.run(self._model.workload_delete(3))
        self._runner.run(self._world.workload_delete(3))
        self._deleted = True

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        """The server stops and starts; what was deleted is there anew, empty."""
        self._runner.run(self._world.close())
        self._world = type(self).make_world(self._folder)
        self._runner.run(self._world.open())
        self._runner.run(self._model.open())
        self._deleted = False
