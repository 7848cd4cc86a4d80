"""The rows that name what is sealed of series: small sets with their points, large ones as objects.

Every row has points of one workload and one attempt, and no point is in two rows or in the
journal as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select

from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql.leases import database_now_ns
from seafloor.stores.metadata.sql.metric_objects import object_keys
from seafloor.stores.metadata.sql.tables import metric_removal, metric_segment
from seafloor.stores.metrics.window import Reach, Window

_IDS_PER_QUERY = 500
_ID_BYTES = 16
_SECOND_NS = 1_000_000_000
UNFINISHED_NS = 3_600 * _SECOND_NS
"""An object that was put and not named for so long never will be."""
READERS_NS = 600 * _SECOND_NS
"""A reader that began before an object was replaced is done after so long."""

_segment = metric_segment.c
_COLUMNS = [column for column in metric_segment.columns if column.name != "payload"]
_OF_WORKLOAD = (
    select(*_COLUMNS)
    .where(_segment.workload_id == bindparam("workload_id"))
    .order_by(_segment.step_min, _segment.time_ms_min, _segment.id)
)
_NAMED = select(*_COLUMNS).where(_segment.id == bindparam("segment_id"))
_PAYLOADS = select(_segment.id, _segment.payload).where(
    _segment.id.in_(bindparam("ids", expanding=True))
)
_INSERT = insert(metric_segment)
_DELETE = delete(metric_segment).where(
    _segment.id.in_(bindparam("gone_ids", expanding=True)),
    _segment.workload_id == bindparam("of_workload"),
)


class OvertakenError(Exception):
    """What is to be replaced is there no more: another server was faster, or the run is gone."""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A row, its payload aside.

    Args:
        id: 32 hex digits, drawn at random: what it names never changes.
        data_bytes, index_bytes: Of its two objects; both 0 when the row has the points itself.
    """

    id: str
    workload_id: WorkloadId
    points: int
    reach: Reach
    data_bytes: int = 0
    index_bytes: int = 0

    @property
    def attempt(self) -> int:
        """Which attempt measured the points."""
        return self.reach.attempt_min

    @property
    def is_inline(self) -> bool:
        """Whether the row has the points itself."""
        return self.data_bytes == 0

    @property
    def data_key(self) -> str:
        """Of the object with the points."""
        return object_keys(self.workload_id, self.id)[0]

    @property
    def index_key(self) -> str:
        """Of the object with the index."""
        return object_keys(self.workload_id, self.id)[1]


def new_segment_id() -> str:
    """Draw an id."""
    return secrets.token_hex(_ID_BYTES)


def of_workload(
    connection: Connection, workload_id: WorkloadId, window: Window
) -> list[SegmentRow]:
    """The rows of a workload that may have points of a window, by their least step."""
    rows = connection.execute(_OF_WORKLOAD, {"workload_id": workload_id})
    return [found for found in map(_of_row, rows) if window.meets(found.reach)]


def named(connection: Connection, segment_id: str) -> SegmentRow | None:
    """The row of an id; None when it is gone."""
    row = connection.execute(_NAMED, {"segment_id": segment_id}).one_or_none()
    return None if row is None else _of_row(row)


def _of_row(row: Row[Any]) -> SegmentRow:
    return SegmentRow(
        row.id,
        WorkloadId(row.workload_id),
        row.points,
        Reach(
            step_min=row.step_min,
            step_max=row.step_max,
            time_ms_min=row.time_ms_min,
            time_ms_max=row.time_ms_max,
            attempt_min=row.attempt,
            attempt_max=row.attempt,
        ),
        row.data_bytes,
        row.index_bytes,
    )


def payloads(connection: Connection, some: Sequence[SegmentRow]) -> dict[str, bytes]:
    """The points of rows that have them, by id; one that is gone is missing."""
    found: dict[str, bytes] = {}
    for ids in _slices([row.id for row in some]):
        found.update((row.id, row.payload) for row in connection.execute(_PAYLOADS, {"ids": ids}))
    return found


def add(connection: Connection, row: SegmentRow, payload: bytes | None = None) -> None:
    """Name what is sealed.

    Args:
        payload: The points, of a row that has them.
    """
    reach = row.reach
    connection.execute(
        _INSERT,
        {
            "id": row.id,
            "workload_id": row.workload_id,
            "attempt": row.attempt,
            "points": row.points,
            "step_min": reach.step_min,
            "step_max": reach.step_max,
            "time_ms_min": reach.time_ms_min,
            "time_ms_max": reach.time_ms_max,
            "data_bytes": row.data_bytes,
            "index_bytes": row.index_bytes,
            "payload": payload,
        },
    )


def remove(connection: Connection, some: Sequence[SegmentRow]) -> int:
    """Remove rows of one workload; return how many were there."""
    return sum(
        connection.execute(_DELETE, {"gone_ids": ids, "of_workload": some[0].workload_id}).rowcount
        for ids in _slices([row.id for row in some])
    )


def _slices(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[at : at + _IDS_PER_QUERY] for at in range(0, len(ids), _IDS_PER_QUERY))


def name_objects(connection: Connection, row: SegmentRow) -> None:
    """Name objects that were put; they are not removed after all.

    Raises:
        OvertakenError: they may be gone already. The transaction is to be undone.
    """
    removal = metric_removal.c
    keys = [row.data_key, row.index_key]
    kept = connection.execute(
        delete(metric_removal).where(
            removal.object_key.in_(keys), removal.due_ns > database_now_ns(connection)
        )
    )
    if kept.rowcount != len(keys):
        raise OvertakenError
    add(connection, row)


def removals_due(connection: Connection, *, limit: int) -> list[str]:
    """Keys of objects that are to be removed by now."""
    removal = metric_removal.c
    due = (
        select(removal.object_key)
        .where(removal.due_ns <= database_now_ns(connection))
        .order_by(removal.due_ns)
        .limit(limit)
    )
    return list(connection.execute(due).scalars())


def removed(connection: Connection, keys: Sequence[str]) -> None:
    """Forget objects that are gone."""
    for some in _slices(keys):
        connection.execute(delete(metric_removal).where(metric_removal.c.object_key.in_(some)))
