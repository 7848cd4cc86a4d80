"""Objects with points of runs, and the rows that say which of them are to be removed, and when."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select

from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql.leases import database_now_ns
from seafloor.stores.metadata.sql.tables import metric_removal, metric_segment

_segment = metric_segment.c
_WITH_OBJECTS = select(_segment.id).where(
    _segment.workload_id == bindparam("workload_id"), _segment.data_bytes > 0
)


def object_keys(workload_id: WorkloadId, segment_id: str) -> tuple[str, str]:
    """The keys of the data and of the index of a segment."""
    base = f"runs/{workload_id}/metrics/{segment_id}"
    return f"{base}.parquet", f"{base}.index"


def remove_later(connection: Connection, keys: Sequence[str], *, after_ns: int) -> None:
    """Have objects removed when so much time has passed."""
    due_ns = database_now_ns(connection) + after_ns
    connection.execute(
        insert(metric_removal), [{"object_key": key, "due_ns": due_ns} for key in keys]
    )


def remove_those_of(connection: Connection, workload_id: WorkloadId) -> None:
    """Have all objects removed that a workload's rows name; the rows go in the same transaction.

    Nobody has to be waited for: a reader whose object is gone looks for the rows again.
    """
    found = connection.execute(_WITH_OBJECTS, {"workload_id": workload_id}).scalars()
    keys = [key for segment_id in found for key in object_keys(workload_id, segment_id)]
    if keys:
        remove_later(connection, keys, after_ns=0)
