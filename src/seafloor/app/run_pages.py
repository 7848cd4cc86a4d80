"""Pages of runs with what they hold, bounded by that: one run has ten keys, another ten thousand.

A page that would hold more than there is room for ends sooner, and the next begins there; whoever
reads pages goes on until there is no next one. So an answer takes the same memory at most, whatever
was logged. What is read at once is bounded too: a part of a page that turns out to hold more is
read in smaller ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as copy_of

import msgspec
from msgspec.structs import replace

from seafloor.domain.errors import LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import MetricSummary, Point
from seafloor.domain.search import Columns, WorkloadQuery
from seafloor.domain.workloads import Workload
from seafloor.stores.metadata.protocol import Labels, MetadataStore, WorkloadInputs
from seafloor.stores.metrics.protocol import MetricRead

KEYS_MAX = 300_000
"""Params, tags and metrics on a page, 10,000 runs of thirty each, as mlflow's client asks for at
once. A run more than its first has room only below it."""
CHARS_MAX = 16 * 1024 * 1024
"""Of the values of params and tags, and of what is told of datasets."""
SEARCHED_AT_ONCE = 10_000
"""A search may look at all runs each time, so an ordinary page is one."""
RUNS_AT_ONCE = 1_000
"""Whose contents are read together."""
ROWS_AT_ONCE = 16_384
"""Of each kind, for several runs; what one run holds is read whole."""
_INPUT_CHARS_AT_ONCE = CHARS_MAX // 2
_SMALLER = 4


class Wanted(msgspec.Struct, frozen=True):
    """What of runs is wanted.

    Args:
        columns: Which params, tags and summaries of metrics.
        as_tracked: Of metrics the last points instead, and inputs and outputs: as MLflow has them.
    """

    columns: Columns = Columns()
    as_tracked: bool = False


class RunContents(msgspec.Struct, frozen=True, gc=False):
    """What a run holds, as far as it was wanted."""

    labels: Labels
    metrics: tuple[MetricSummary, ...] = ()
    points: tuple[Point, ...] = ()
    inputs: WorkloadInputs | None = None


class RunContentsPage(msgspec.Struct, frozen=True):
    """Runs with what they hold; ``next`` is the cursor of the next page, None at the end."""

    items: tuple[tuple[Workload, RunContents], ...]
    next: str | None = None


@dataclass(slots=True)
class _Room:
    """What a page has room for."""

    keys: int = KEYS_MAX
    chars: int = CHARS_MAX
    is_untouched: bool = True

    def take(self, some: Sequence[RunContents]) -> bool:
        """Whether there was room for some runs; for the first one alone there is."""
        keys, chars = _size(some)
        is_first = self.is_untouched and len(some) == 1
        if not is_first and (keys > self.keys or chars > self.chars):
            return False
        self.keys -= keys
        self.chars -= chars
        self.is_untouched = False
        return True


class RunPages:
    """Reads runs with what they hold."""

    def __init__(self, metadata: MetadataStore, metrics: MetricRead) -> None:
        self._metadata = metadata
        self._metrics = metrics

    async def search(self, query: WorkloadQuery, wanted: Wanted) -> RunContentsPage:
        """Search runs; a constant number of statements for each thousand that are not too large.

        Those that have no room are searched once more, up to where the page ends.

        Returns:
            At most as many as the query says, at least one if there is one.
        """
        made: list[tuple[Workload, RunContents]] = []
        room, following = _Room(), query.cursor
        while len(made) < query.limit:
            limit = min(query.limit - len(made), SEARCHED_AT_ONCE)
            step = replace(query, cursor=following, limit=limit)
            page = await self._fitting(step, wanted, room)
            made += page.items
            following = page.next
            if following is None or len(page.items) < limit:
                break
        return RunContentsPage(tuple(made), following)

    async def _fitting(self, query: WorkloadQuery, wanted: Wanted, room: _Room) -> RunContentsPage:
        """The first of the runs that are found, as many as there is room for; it is taken."""
        held: dict[WorkloadId, RunContents] = {}
        while True:
            page = await self._metadata.workload_search(query)
            left = copy_of(room)
            count = await self._hold(page.items, held, wanted, left)
            if count == len(page.items):
                room.keys, room.chars = left.keys, left.chars
                room.is_untouched = left.is_untouched
                items = tuple((run, held[run.id]) for run in page.items)
                return RunContentsPage(items, page.next)
            if count == 0:
                return RunContentsPage((), query.cursor)
            # The search says by itself where its page ends: they are as they are now.
            query = replace(query, limit=count)

    async def _hold(
        self,
        runs: Sequence[Workload],
        held: dict[WorkloadId, RunContents],
        wanted: Wanted,
        room: _Room,
    ) -> int:
        """Read what runs hold, as far as there is room; of how many of them there was.

        Args:
            held: What was read already; added to.
        """
        done, at_once = 0, RUNS_AT_ONCE
        while done < len(runs):
            some = [run.id for run in runs[done : done + at_once]]
            unread = [one for one in some if one not in held]
            try:
                held |= await self.contents(unread, wanted, is_bounded=len(unread) > 1)
            except LimitExceeded:
                at_once = max(1, len(some) // _SMALLER)
                continue
            found = [held[one] for one in some]
            if room.take(found):
                done += len(found)
                continue
            for one in found:
                if not room.take([one]):
                    return done
                done += 1
        return done

    async def contents(
        self, ids: Sequence[WorkloadId], wanted: Wanted, *, is_bounded: bool = False
    ) -> dict[WorkloadId, RunContents]:
        """What runs hold; of one that is not there any more, nothing.

        Raises:
            LimitExceeded: it is bounded, and they hold more than may be read at once.
        """
        if not ids:
            return {}
        most = ROWS_AT_ONCE if is_bounded else None
        columns = wanted.columns
        labels: dict[WorkloadId, Labels] = {}
        metrics: dict[WorkloadId, tuple[MetricSummary, ...]] = {}
        points: dict[WorkloadId, tuple[Point, ...]] = {}
        inputs: dict[WorkloadId, WorkloadInputs] = {}
        if columns.params != () or columns.tags != ():
            labels = await self._metadata.labels_get(
                ids, params=columns.params, tags=columns.tags, most=most
            )
        if wanted.as_tracked:
            chars_max = _INPUT_CHARS_AT_ONCE if is_bounded else None
            inputs = await self._metadata.inputs_get(ids, chars_max=chars_max)
            points = await self._metrics.last_points(ids, most=most)
        elif columns.metrics != ():
            metrics = await self._metrics.summaries(ids, keys=columns.metrics, most=most)
        return {
            one: RunContents(
                labels.get(one) or Labels({}, {}),
                metrics.get(one, ()),
                points.get(one, ()),
                inputs.get(one),
            )
            for one in ids
        }


def _size(some: Sequence[RunContents]) -> tuple[int, int]:
    """How many keys runs have, and how many characters their values and datasets.

    A page has ten thousands of them, so that none is looked at by itself.
    """
    labels = [one for each in some for one in (each.labels.params, each.labels.tags)]
    keys = sum(map(len, labels)) + sum([len(each.metrics) + len(each.points) for each in some])
    chars = sum([sum(map(len, one.values())) for one in labels])
    for each in some:
        if each.inputs is not None:
            keys += len(each.inputs.models) + len(each.inputs.outputs)
            for dataset in each.inputs.datasets:
                keys += 1 + len(dataset.tags)
                texts = (dataset.source, dataset.schema or "", dataset.profile or "")
                chars += sum(map(len, (*texts, *dataset.tags.values())))
    return keys, chars
