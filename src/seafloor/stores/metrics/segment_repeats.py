"""Which of some points a segment has already: what an append must know before its transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seafloor.stores.metrics.columns import SeriesColumns, triples_of
from seafloor.stores.metrics.points import Triple
from seafloor.stores.metrics.segment_index import SegmentIndex
from seafloor.stores.metrics.segment_objects import SegmentObjects
from seafloor.stores.metrics.segment_rows import SegmentRow
from seafloor.stores.metrics.window import Window


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Rows of one key and one row group, (first, behind the last), that may be repeated."""

    key: str
    first: int
    stop: int


async def present(
    objects: SegmentObjects, row: SegmentRow, wanted: Mapping[str, Sequence[Triple]]
) -> dict[str, set[Triple]]:
    """Which of some points a segment has.

    Args:
        wanted: Of each key at least one.

    Raises:
        NotFound: it was removed.
        StoreCorrupt: it is damaged.

    Cost: each row group with candidates is read once, however many keys are in it; memory of one.
    """
    index = await objects.index(row)
    found: dict[str, set[Triple]] = {}
    for (first, stop), some in (await asyncio.to_thread(_by_group, index, wanted)).items():
        points = await objects.points(row, index.plan_of_rows(first, stop))
        await asyncio.to_thread(_take_repeats, points, first, some, wanted, found)
    return found


def _by_group(
    index: SegmentIndex, wanted: Mapping[str, Sequence[Triple]]
) -> dict[tuple[int, int], list[_Candidates]]:
    """Where to look, by row groups, each given by its first row and the one behind its last."""
    groups: dict[tuple[int, int], list[_Candidates]] = {}
    for key in wanted.keys() & index.keys.keys():
        steps = [triple[0] for triple in wanted[key]]
        times = [triple[1] for triple in wanted[key]]
        window = Window(
            step_min=min(steps), step_max=max(steps), time_ms_min=min(times), time_ms_max=max(times)
        )
        for first, stop in index.plan(key, window=window).rows:
            at = first
            while at < stop:
                group = index.group_of(at)
                end = min(stop, group[1])
                groups.setdefault(group, []).append(_Candidates(key, at, end))
                at = end
    return groups


def _take_repeats(
    points: SeriesColumns,
    first: int,
    some: Sequence[_Candidates],
    wanted: Mapping[str, Sequence[Triple]],
    found: dict[str, set[Triple]],
) -> None:
    """Add to what was found what a row group has.

    Args:
        points: All of the row group.
        first: Its first row.
    """
    for one in some:
        steps = np.array([triple[0] for triple in wanted[one.key]], np.int64)
        here = points.slice(one.first - first, one.stop - first)
        here = here.where(np.isin(here.step, steps))
        both = set(triples_of(here)).intersection(wanted[one.key])
        if both:
            found.setdefault(one.key, set()).update(both)
