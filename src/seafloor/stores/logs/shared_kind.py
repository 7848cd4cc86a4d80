"""Logs as byte streams: what an append does to one, and where it is sealed."""

from __future__ import annotations

import struct

import msgspec
from sqlalchemy import Connection

from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.ids import WorkloadId
from seafloor.stores.logs.record import Tally, scan
from seafloor.stores.streams import records
from seafloor.stores.streams.chunk_format import Piece
from seafloor.stores.streams.kind import ROW_BYTES, Change
from seafloor.stores.streams.records import Stream, StreamKey

_MARK = struct.Struct("<8Q")


def mark_of(tally: Tally) -> bytes:
    """A tally as the mark of a piece."""
    return _MARK.pack(*msgspec.structs.astuple(tally))


def tally_of_mark(mark: bytes) -> Tally:
    """A tally back from a mark."""
    return Tally(*_MARK.unpack(mark))


def tally_of(stream: Stream | None) -> Tally:
    """What the whole records of a log amount to."""
    if stream is None or not stream.summary:
        return Tally()
    return msgspec.json.decode(stream.summary, type=Tally)


class LogKind:
    """Streams of log records; their marks are tallies."""

    name = "log"
    noun = "log"

    def admit(self, connection: Connection, key: StreamKey) -> None:
        """Any log may begin."""

    def plan(self, connection: Connection, stream: Stream, data: bytes) -> Change:
        """Check and count the new records; a record may have begun in an earlier append.

        The mark of a piece is the tally at the first record that was not whole before it.
        """
        tally = tally_of(stream)
        torn = records.bytes_within(connection, stream.id, tally.offset, stream.size_bytes)
        pieces: list[Piece] = []
        size_bytes, problem = stream.size_bytes, None
        for at in range(0, len(data), ROW_BYTES):
            part = data[at : at + ROW_BYTES]
            found = scan(torn + part, tally)
            kept = part
            if found.problem is not None:
                # The bad record may have begun in an earlier piece.
                problem = found.problem
                kept = part[: max(0, problem.offset - size_bytes)]
            if kept:
                pieces.append(Piece(size_bytes, mark_of(tally), kept))
            size_bytes += len(kept)
            if problem is not None:
                tally = found.tally
                break
            torn = (torn + part)[found.tally.offset - tally.offset :]
            tally = found.tally
        if problem is not None:
            size_bytes = tally.offset
            pieces = [_until(piece, size_bytes) for piece in pieces if piece.start < size_bytes]
        return Change(
            size_bytes=size_bytes,
            settled_bytes=tally.offset,
            summary=msgspec.json.encode(tally).decode(),
            pieces=pieces,
            problem=problem
            and StoreCorrupt(f"{problem}. The log was kept up to there.", detail=str(stream.key)),
        )

    def folders(self, workload_id: WorkloadId) -> tuple[str, ...]:
        """The folder of a workload's logs."""
        return (f"runs/{workload_id}/logs",)

    def chunk_folder(self, stream: Stream) -> str:
        """The folder of a log's chunks."""
        key = stream.key
        return f"runs/{key.workload_id}/logs/{key.attempt}/{key.name}"

    def whole_key(self, key: StreamKey) -> None:
        """A log stays in chunks: they have an index."""


def _until(piece: Piece, end: int) -> Piece:
    """The part of a piece below an offset."""
    return msgspec.structs.replace(piece, data=piece.data[: end - piece.start])
