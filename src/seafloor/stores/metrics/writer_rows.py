"""The last batch of each writer as a row; ``writers`` says what follows from it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, bindparam, insert, select, update

from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import BatchId
from seafloor.stores.metadata.sql.prepared import Prepared
from seafloor.stores.metadata.sql.tables import metric_writer
from seafloor.stores.metrics.writers import Applied

_writer = metric_writer.c
_LAST = Prepared(
    select(_writer.sequence, _writer.sha256).where(
        _writer.workload_id == bindparam("of_workload"), _writer.writer == bindparam("of_writer")
    )
)
_INSERT = Prepared(
    insert(metric_writer).values(
        workload_id=bindparam("of_workload"),
        writer=bindparam("of_writer"),
        sequence=bindparam("sequence"),
        sha256=bindparam("sha256"),
    )
)
_UPDATE = Prepared(
    update(metric_writer)
    .where(
        _writer.workload_id == bindparam("of_workload"), _writer.writer == bindparam("of_writer")
    )
    .values(sequence=bindparam("sequence"), sha256=bindparam("sha256"))
)


def once(
    workload_id: WorkloadId,
    batch: BatchId,
    made: Applied,
    write: Callable[[Connection], int],
) -> Callable[[Connection], int]:
    """Have a batch written unless it was written, and noted in the same transaction.

    Args:
        made: Of the batch, by ``applied``.
        write: Writes its points, and says how many were not there yet.

    Returns:
        The same for ``Database.write``; it raises Conflict as ``Applied.is_repeat_of`` does.
    """

    def write_once(connection: Connection) -> int:
        of = {"of_workload": workload_id, "of_writer": batch.writer}
        rows = _LAST.rows(connection, of)
        last = Applied(*rows[0]) if rows else None
        if made.is_repeat_of(last):
            return 0
        written = write(connection)
        if made.is_above(last):
            note = _INSERT if last is None else _UPDATE
            note.run(connection, {**of, "sequence": made.sequence, "sha256": made.sha256})
        return written

    return write_once
