"""The event file store: tf.events files, kept byte for byte; their scalars become metrics.

A file is addressed by (workload, attempt, path) and grows by appends at offsets, as the agent
tails it. Every complete record whose checksum holds is decoded once and its scalars are appended
to the metric store under the record's tag (with the folder of the file as prefix when it is not
the root: ``train/loss`` from ``train/events.out…`` tag ``loss``). A torn tail waits for more bytes;
a wrong checksum stops decoding of that file, is counted and told, and the bytes are still kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from seafloor.domain.ids import WorkloadId


class EventFileKey(msgspec.Struct, frozen=True):
    """Which file."""

    workload_id: WorkloadId
    attempt: int
    path: str


class EventFile(msgspec.Struct, frozen=True):
    """What is known of a tf.events file.

    Args:
        path: Relative to the events folder.
        attempt: Of which attempt.
        size_bytes: Accepted bytes.
        decoded_bytes: How far it was decoded.
        records: Records decoded.
        scalars: Scalar points found in them.
        problem: One sentence when decoding stopped, None otherwise.
    """

    path: str
    attempt: int
    size_bytes: int
    decoded_bytes: int
    records: int
    scalars: int
    problem: str | None = None


class EventFileStore(Protocol):
    """tf.events files."""

    async def append(self, key: EventFileKey, *, offset: int, data: bytes) -> int:
        """Append bytes, durable when it returns; the contract of ``LogStore.append``.

        Returns:
            The offset wanted next. Scalars of complete records are in the metric store.

        Raises:
            OutOfOrder: offset is above the accepted size.
            InvalidValue: the path is not one (``domain.names.check_path``).
            StoreFull: nothing was accepted.
        """
        ...

    async def list(self, workload_id: WorkloadId) -> tuple[EventFile, ...]:
        """The files of a workload, by attempt and path."""
        ...

    def read(
        self, key: EventFileKey, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes of a file; NotFound at the first step.

        Raises:
            StoreCorrupt: what is left of a finished file ends too early; it was given before.
        """
        ...

    async def finish(self, workload_id: WorkloadId, attempt: int) -> int:
        """Put the files of an attempt into the object store.

        Their keys are ``runs/<id>/events/<attempt>/<path>``.

        Repeatable; returns how many files there are. They stay readable throughout.
        """
        ...

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete the files of a workload; return how many there were. Repeatable."""
        ...

    async def close(self) -> None:
        """Give back what the store holds. Safe to repeat."""
        ...
