"""The last batch of each writer as a row; ``writers`` says what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

from sqlalchemy import Connection, bindparam, select

from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql.prepared import Prepared, PreparedPairs, PreparedRows, Values
from seafloor.stores.metadata.sql.tables import metric_writer
from seafloor.stores.metrics.writers import Applied

Writer: TypeAlias = tuple[WorkloadId, str]
"""A workload, and the name of one that writes to it."""

_writer = metric_writer.c
_LAST = Prepared(
    select(_writer.workload_id, _writer.writer, _writer.sequence, _writer.sha256).where(
        _writer.workload_id == bindparam("of_workload"), _writer.writer == bindparam("of_writer")
    )
)
_LASTS = PreparedPairs(
    lambda asked: select(
        _writer.workload_id, _writer.writer, _writer.sequence, _writer.sha256
    ).where(asked(_writer.workload_id, _writer.writer))
)
_ROWS = PreparedRows(metric_writer)


def last_of(connection: Connection, writers: Collection[Writer]) -> dict[Writer, Applied]:
    """The last batches of some writers; one that has none is left out."""
    if len(writers) == 1:
        ((workload_id, writer),) = writers
        rows = _LAST.rows(connection, {"of_workload": workload_id, "of_writer": writer})
    else:
        rows = _LASTS.rows(connection, list(writers))
    return {
        (WorkloadId(of_workload), of_writer): Applied(sequence, sha256)
        for of_workload, of_writer, sequence, sha256 in rows
    }


def note(
    connection: Connection, before: Mapping[Writer, Applied], now: Mapping[Writer, Applied]
) -> None:
    """Keep the last batches of writers in the places of those before."""
    new: list[Values] = []
    changed: list[Values] = []
    for writer, made in now.items():
        workload_id, name = writer
        row: Values = {
            "workload_id": workload_id,
            "writer": name,
            "sequence": made.sequence,
            "sha256": made.sha256,
        }
        (changed if writer in before else new).append(row)
    _ROWS.insert(connection, new)
    _ROWS.replace(connection, changed)
