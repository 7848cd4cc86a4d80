"""Byte streams as rows of the metadata database: what is said to it, on a given connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, select, update

from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql.tables import byte_stream, byte_stream_chunk, byte_stream_row
from seafloor.stores.streams.chunk_format import Piece

_NAMES_PER_QUERY = 500

_stream, _row, _chunk = byte_stream.c, byte_stream_row.c, byte_stream_chunk.c


class StreamKey(msgspec.Struct, frozen=True):
    """Which stream: of one kind, one attempt of one workload, and a name."""

    kind: str
    workload_id: WorkloadId
    attempt: int
    name: str


class Stream(msgspec.Struct, frozen=True):
    """A stream as it stands.

    Args:
        id: Drawn at random: a stream that is deleted and written anew has another.
        version: Rises with whatever changes what is kept; sealing does not.
        size_bytes: Accepted bytes.
        settled_bytes: Up to here nothing changes any more and no decoder looks again.
        sealed_bytes: Up to here the bytes are in objects, from here on in rows.
        row_count: How many rows there are.
        finished: Whether it takes no more.
        seal_due: Whether something of it waits to be sealed.
        summary: What its kind knows of its bytes, as JSON.
    """

    id: int
    key: StreamKey
    version: int = 0
    size_bytes: int = 0
    settled_bytes: int = 0
    sealed_bytes: int = 0
    row_count: int = 0
    finished: bool = False
    seal_due: bool = False
    summary: str = ""

    @property
    def sealable_bytes(self) -> int:
        """Up to here it may be sealed."""
        return self.size_bytes if self.finished else self.settled_bytes


class Chunk(msgspec.Struct, frozen=True):
    """A sealed stretch of a stream.

    Args:
        start, size_bytes: Which bytes.
        mark: Of its first piece.
        object_key, object_bytes: Where it lies.
        index_bytes: How many of the object's last bytes are its index.
    """

    start: int
    size_bytes: int
    mark: bytes
    object_key: str
    object_bytes: int
    index_bytes: int


# Statements are built once: building one takes longer than running it.
_OF_KEY = (
    _stream.workload_id == bindparam("of_workload"),
    _stream.kind == bindparam("of_kind"),
    _stream.attempt == bindparam("of_attempt"),
    _stream.name == bindparam("of_name"),
)
_FIND = select(byte_stream).where(*_OF_KEY)
_GET = select(byte_stream).where(_stream.id == bindparam("of_id"))
_OF_WORKLOADS = select(byte_stream).where(
    _stream.workload_id.in_(bindparam("of_workloads", expanding=True)),
    _stream.kind == bindparam("of_kind"),
)
_DUE = (
    select(byte_stream)
    .where(
        _stream.seal_due == 1, _stream.kind == bindparam("of_kind"), _stream.id > bindparam("after")
    )
    .order_by(_stream.id)
    .limit(bindparam("limit"))
)
_INSERT = insert(byte_stream)
_UPDATE = update(byte_stream).where(_stream.id == bindparam("of_id"))
_DELETE = delete(byte_stream).where(_stream.id == bindparam("of_id"))

_ROW_INSERT = insert(byte_stream_row)
_ROW_BEFORE = (
    select(_row.start, _row.mark)
    .where(_row.stream_id == bindparam("of_id"), _row.start <= bindparam("at"))
    .order_by(_row.start.desc())
    .limit(1)
)
_CHUNK_BEFORE = (
    select(byte_stream_chunk)
    .where(_chunk.stream_id == bindparam("of_id"), _chunk.start <= bindparam("at"))
    .order_by(_chunk.start.desc())
    .limit(1)
)
_CHUNKS = (
    select(byte_stream_chunk).where(_chunk.stream_id == bindparam("of_id")).order_by(_chunk.start)
)
_ROW_START = select(func.max(_row.start)).where(
    _row.stream_id == bindparam("of_id"), _row.start <= bindparam("at")
)
_ROWS_WITHIN = (
    select(_row.start, _row.mark, _row.data)
    .where(
        _row.stream_id == bindparam("of_id"),
        _row.start >= bindparam("at"),
        _row.start < bindparam("end"),
    )
    .order_by(_row.start)
)
_ROWS_FROM = delete(byte_stream_row).where(
    _row.stream_id == bindparam("of_id"), _row.start >= bindparam("at")
)
_ROWS_BELOW = delete(byte_stream_row).where(
    _row.stream_id == bindparam("of_id"), _row.start < bindparam("at")
)
_ROW_UPDATE = update(byte_stream_row).where(
    _row.stream_id == bindparam("of_id"), _row.start == bindparam("at")
)
_CHUNK_INSERT = insert(byte_stream_chunk)
_CHUNKS_DELETE = delete(byte_stream_chunk).where(_chunk.stream_id == bindparam("of_id"))


def _named(key: StreamKey) -> dict[str, str | int]:
    return {
        "of_workload": key.workload_id,
        "of_kind": key.kind,
        "of_attempt": key.attempt,
        "of_name": key.name,
    }


def _stream_of(row: Row[Any]) -> Stream:
    return Stream(
        id=row.id,
        key=StreamKey(row.kind, WorkloadId(row.workload_id), row.attempt, row.name),
        version=row.version,
        size_bytes=row.size_bytes,
        settled_bytes=row.settled_bytes,
        sealed_bytes=row.sealed_bytes,
        row_count=row.row_count,
        finished=bool(row.finished),
        seal_due=bool(row.seal_due),
        summary=row.summary,
    )


def _chunk_of(row: Row[Any]) -> Chunk:
    return Chunk(
        start=row.start,
        size_bytes=row.size_bytes,
        mark=bytes(row.mark),
        object_key=row.object_key,
        object_bytes=row.object_bytes,
        index_bytes=row.index_bytes,
    )


def find(connection: Connection, key: StreamKey) -> Stream | None:
    """A stream by its key; None when nothing is known of it."""
    row = connection.execute(_FIND, _named(key)).first()
    return None if row is None else _stream_of(row)


def get(connection: Connection, stream_id: int) -> Stream | None:
    """A stream by its id; None when it was deleted."""
    row = connection.execute(_GET, {"of_id": stream_id}).first()
    return None if row is None else _stream_of(row)


def of_workloads(
    connection: Connection, kind: str, workload_ids: Iterable[WorkloadId]
) -> list[Stream]:
    """The streams of some workloads by workload, attempt and name."""
    wanted = sorted(set(workload_ids))
    found: list[Stream] = []
    for at in range(0, len(wanted), _NAMES_PER_QUERY):
        some = {"of_kind": kind, "of_workloads": wanted[at : at + _NAMES_PER_QUERY]}
        found.extend(_stream_of(row) for row in connection.execute(_OF_WORKLOADS, some))
    return sorted(found, key=lambda one: (one.key.workload_id, one.key.attempt, one.key.name))


def due(connection: Connection, kind: str, *, after: int, limit: int) -> list[Stream]:
    """Some streams that have something to seal, by id, those above one."""
    wanted = {"of_kind": kind, "after": after, "limit": limit}
    return [_stream_of(row) for row in connection.execute(_DUE, wanted)]


def save(connection: Connection, stream: Stream, *, is_new: bool) -> None:
    """Write how a stream stands."""
    values: dict[str, str | int] = {
        "version": stream.version,
        "size_bytes": stream.size_bytes,
        "settled_bytes": stream.settled_bytes,
        "sealed_bytes": stream.sealed_bytes,
        "row_count": stream.row_count,
        "finished": int(stream.finished),
        "seal_due": int(stream.seal_due),
        "summary": stream.summary,
    }
    if not is_new:
        connection.execute(_UPDATE, {"of_id": stream.id, **values})
        return
    key = stream.key
    values |= {"kind": key.kind, "workload_id": key.workload_id}
    values |= {"attempt": key.attempt, "name": key.name}
    connection.execute(_INSERT, {"id": stream.id, **values})


def remove(connection: Connection, stream: Stream) -> None:
    """Forget a stream; its rows and chunks go with it."""
    connection.execute(_DELETE, {"of_id": stream.id})


def add_rows(connection: Connection, stream_id: int, pieces: Sequence[Piece]) -> None:
    """Add bytes at a stream's end."""
    values = [
        {
            "stream_id": stream_id,
            "start": piece.start,
            "size_bytes": len(piece.data),
            "mark": piece.mark,
            "data": piece.data,
        }
        for piece in pieces
    ]
    if values:
        connection.execute(_ROW_INSERT, values)


def cut_rows(connection: Connection, stream_id: int, size_bytes: int) -> int:
    """Drop the bytes from an offset on; return how many rows went."""
    dropped = connection.execute(_ROWS_FROM, {"of_id": stream_id, "at": size_bytes}).rowcount
    (last,) = rows_within(connection, stream_id, size_bytes - 1, size_bytes) or (None,)
    if last is not None and last.start + len(last.data) > size_bytes:
        data = last.data[: size_bytes - last.start]
        values = {"data": data, "size_bytes": len(data)}
        connection.execute(_ROW_UPDATE, {"of_id": stream_id, "at": last.start, **values})
    return dropped


def rows_within(connection: Connection, stream_id: int, start: int, end: int) -> list[Piece]:
    """The rows that hold a stretch of a stream, whole, as far as they exist."""
    if start >= end:
        return []
    # Two statements: not every database makes a range of its index out of a subquery.
    first = connection.execute(_ROW_START, {"of_id": stream_id, "at": start}).scalar() or 0
    rows = connection.execute(_ROWS_WITHIN, {"of_id": stream_id, "at": first, "end": end})
    return [Piece(row.start, bytes(row.mark), bytes(row.data)) for row in rows]


def bytes_within(connection: Connection, stream_id: int, start: int, end: int) -> bytes:
    """The bytes of a stretch of a stream that its rows hold from its start on."""
    pieces = rows_within(connection, stream_id, start, end)
    if not pieces:
        return b""
    data = pieces[0].data if len(pieces) == 1 else b"".join(piece.data for piece in pieces)
    first = pieces[0].start
    return data[start - first : end - first]


def seal_rows(connection: Connection, stream_id: int, chunk: Chunk) -> int:
    """Put a chunk in the place of the rows before its end; return how many rows went."""
    values = msgspec.structs.asdict(chunk)
    connection.execute(_CHUNK_INSERT, {"stream_id": stream_id, **values})
    end = chunk.start + chunk.size_bytes
    return connection.execute(_ROWS_BELOW, {"of_id": stream_id, "at": end}).rowcount


def drop_content(connection: Connection, stream_id: int, size_bytes: int) -> None:
    """Forget the rows and chunks of a stream: an object holds it whole."""
    connection.execute(_ROWS_BELOW, {"of_id": stream_id, "at": size_bytes})
    connection.execute(_CHUNKS_DELETE, {"of_id": stream_id})


def chunks(connection: Connection, stream_id: int) -> list[Chunk]:
    """All chunks of a stream in order."""
    return [_chunk_of(row) for row in connection.execute(_CHUNKS, {"of_id": stream_id})]


def chunk_at(connection: Connection, stream_id: int, offset: int) -> Chunk | None:
    """The chunk that holds an offset, if one does."""
    row = connection.execute(_CHUNK_BEFORE, {"of_id": stream_id, "at": offset}).first()
    if row is None or offset >= row.start + row.size_bytes:
        return None
    return _chunk_of(row)


def last_row_mark(
    connection: Connection, stream: Stream, measure: Callable[[bytes], int], value: int
) -> bytes | None:
    """The last mark of a row with ``measure(mark) <= value``; None when no row has such a one.

    Args:
        measure: Must not fall from row to row.

    Cost: one index seek per halving of the bytes that are in rows.
    """
    found = _bisect(connection, _ROW_BEFORE, stream.id, _Sought(measure, value), stream.size_bytes)
    return None if found is None else bytes(found.mark)


def last_chunk(
    connection: Connection, stream: Stream, measure: Callable[[bytes], int], value: int
) -> Chunk | None:
    """The last chunk that begins with a mark of ``measure(mark) <= value``; None: no such one.

    Cost: one index seek per halving.
    """
    sought = _Sought(measure, value)
    found = _bisect(connection, _CHUNK_BEFORE, stream.id, sought, stream.sealed_bytes)
    return None if found is None else _chunk_of(found)


class _Sought(msgspec.Struct, frozen=True):
    """What is sought among marks that do not fall."""

    measure: Callable[[bytes], int]
    value: int

    def is_after(self, row: Row[Any]) -> bool:
        """Whether the sought one is this, or comes later."""
        return self.measure(bytes(row.mark)) <= self.value


def _bisect(
    connection: Connection,
    before: Select[Any] | Select[Any, Any],
    stream_id: int,
    sought: _Sought,
    end: int,
) -> Row[Any] | None:
    """Find the last row that is not above what is sought, by places in the stream.

    Most readers want the end, so that is looked at first.
    """
    found: Row[Any] | None = None
    low, high, at = 0, end, end  # the sought row, when there is one, begins within low..high-1
    while low < high:
        row = connection.execute(before, {"of_id": stream_id, "at": at}).first()
        if row is None or row.start < low:
            low = at + 1
        elif sought.is_after(row):
            found, low = row, at + 1
        else:
            high = row.start
        at = (low + high) // 2
    return found
