"""tf.events files as byte streams: decoding them, and where they are sealed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection, select

from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.stores.events.protocol import EventFile, EventFileKey
from seafloor.stores.events.scalars import read_batches
from seafloor.stores.events.store import object_key
from seafloor.stores.metadata.sql.tables import workload
from seafloor.stores.metrics.batch import Batch, batch_of_triples
from seafloor.stores.metrics.points import triples_by_key
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.streams import records
from seafloor.stores.streams.chunk_format import Piece
from seafloor.stores.streams.kind import ROW_BYTES, Change
from seafloor.stores.streams.records import Stream, StreamKey


class Decoded(msgspec.Struct, frozen=True):
    """How far a file was decoded, and what was found.

    Args:
        end: Where the first record begins that is not decoded.
        records, scalars: Counts.
        problem: One sentence when decoding stopped, None otherwise.
    """

    end: int = 0
    records: int = 0
    scalars: int = 0
    problem: str | None = None


def decoded_of(stream: Stream) -> Decoded:
    """How far a stream was decoded."""
    return msgspec.json.decode(stream.summary, type=Decoded) if stream.summary else Decoded()


def event_file_of(stream: Stream) -> EventFile:
    """A stream as users see it."""
    decoded = decoded_of(stream)
    return EventFile(
        path=stream.key.name,
        attempt=stream.key.attempt,
        size_bytes=stream.size_bytes,
        decoded_bytes=decoded.end,
        records=decoded.records,
        scalars=decoded.scalars,
        problem=decoded.problem,
    )


class EventFileKind:
    """Streams of tf.events records. Their scalars become points in the transaction of the bytes.

    Args:
        metrics: In the same database.
    """

    name = "event"
    noun = "file"

    def __init__(self, metrics: SqlMetricStore) -> None:
        self._metrics = metrics

    def admit(self, connection: Connection, key: StreamKey) -> None:
        """Refuse a file of no workload, and one that is a folder of another.

        Raises:
            NotFound: no such workload.
            Conflict: not every object store can have both ``a`` and ``a/b``.
        """
        wanted = select(workload.c.id).where(workload.c.id == key.workload_id)
        if connection.execute(wanted).first() is None:
            raise NotFound("There is no such workload.", field="workload_id")
        for other in records.of_workloads(connection, self.name, (key.workload_id,)):
            name = other.key.name
            if other.key.attempt == key.attempt and (
                name.startswith(key.name + "/") or key.name.startswith(name + "/")
            ):
                raise Conflict(
                    "A part of this path is a file, or the whole is a folder, of the same run.",
                    field="path",
                )

    def plan(self, connection: Connection, stream: Stream, data: bytes) -> Change:
        """Decode the records that new bytes complete."""
        size_bytes = stream.size_bytes + len(data)
        decoded, points = self._decode(connection, stream, data)
        pieces = [
            Piece(stream.size_bytes + at, b"", data[at : at + ROW_BYTES])
            for at in range(0, len(data), ROW_BYTES)
        ]
        return Change(
            size_bytes=size_bytes,
            settled_bytes=size_bytes if decoded.problem is not None else decoded.end,
            summary=msgspec.json.encode(decoded).decode(),
            pieces=pieces,
            also=partial(self._add, key=stream.key, points=points) if points else None,
        )

    def _decode(
        self, connection: Connection, stream: Stream, data: bytes
    ) -> tuple[Decoded, Sequence[Batch]]:
        decoded = decoded_of(stream)
        points: list[Batch] = []
        if decoded.problem is not None:
            return decoded, points

        def read_at(start: int, length: int) -> bytes:
            there = records.bytes_within(
                connection, stream.id, start, min(start + length, stream.size_bytes)
            )
            more = start + length - stream.size_bytes
            first = max(0, start - stream.size_bytes)
            return there + data[first:more] if more > 0 else there

        end = stream.size_bytes + len(data)
        for batch in read_batches(stream.key.name, read_at, start=decoded.end, end=end):
            if batch.points:
                points.append(batch_of_triples(triples_by_key(batch.points)[0]))
            decoded = Decoded(
                end=batch.end,
                records=decoded.records + batch.records,
                scalars=decoded.scalars + len(batch.points),
                problem=batch.problem,
            )
        return decoded, points

    def _add(
        self,
        connection: Connection,
        *,
        key: StreamKey,
        points: Sequence[Batch],
    ) -> None:
        if points:
            self._metrics.append_within(connection, key.workload_id, key.attempt, points)

    def folders(self, workload_id: WorkloadId) -> tuple[str, ...]:
        """The folders of a workload's event files: whole ones, and parts of those that grow."""
        return (f"runs/{workload_id}/events", f"runs/{workload_id}/event-parts")

    def chunk_folder(self, stream: Stream) -> str:
        """The folder of the parts of a file that grows."""
        return f"runs/{stream.key.workload_id}/event-parts/{stream.key.attempt}/{stream.id:016x}"

    def whole_key(self, key: StreamKey) -> str:
        """Where a finished file lies, byte for byte."""
        return object_key(EventFileKey(key.workload_id, key.attempt, key.name))
