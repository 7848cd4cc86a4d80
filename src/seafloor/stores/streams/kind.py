"""What differs between kinds of byte streams: logs and event files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.ids import WorkloadId
from seafloor.stores.streams.chunk_format import Piece
from seafloor.stores.streams.records import Stream, StreamKey

ROW_BYTES = 256 * 1024
"""The most that one row holds: well below what any database takes in one packet."""


class Change(msgspec.Struct, frozen=True):
    """What an append does to a stream.

    Args:
        size_bytes, settled_bytes, summary: As they are afterwards. A size below the one before
            cuts the stream back to it.
        pieces: What is added, each of at most ROW_BYTES.
        also: What else belongs into the same transaction.
        problem: What the caller is told once the change is durable.
    """

    size_bytes: int
    settled_bytes: int
    summary: str
    pieces: Sequence[Piece] = ()
    also: Callable[[Connection], None] | None = None
    problem: StoreCorrupt | None = None


class StreamKind(Protocol):
    """One kind of streams."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        ...

    @property
    def noun(self) -> str:
        """As users call one."""
        ...

    def admit(self, connection: Connection, key: StreamKey) -> None:
        """Refuse, by raising, a stream that may not begin."""
        ...

    def plan(self, connection: Connection, stream: Stream, data: bytes) -> Change:
        """Say what new bytes at a stream's end do to it; reads, and changes nothing."""
        ...

    def folders(self, workload_id: WorkloadId) -> tuple[str, ...]:
        """The folders of the object store that hold what is sealed of a workload's streams."""
        ...

    def chunk_folder(self, stream: Stream) -> str:
        """The folder of a stream's chunks."""
        ...

    def whole_key(self, key: StreamKey) -> str | None:
        """The object that a finished stream becomes; None: it stays in chunks."""
        ...
