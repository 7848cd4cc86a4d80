"""The media store: records of what a run logs beside numbers, and their blobs."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Protocol

import msgspec

from seafloor.domain.ids import WorkloadId
from seafloor.domain.media import Blob, BlobName, MediaKind, MediaRecord, MediaSeries


class MediaReceipt(msgspec.Struct, frozen=True):
    """What an append did: records written, and records that were there already."""

    records_written: int
    records_repeated: int


class MediaQuery(msgspec.Struct, frozen=True):
    """Which records to read.

    Args:
        key: Of one key.
        kind: None: of every kind.
        step_min, step_max: Only within, both inclusive; None: no bound.
        limit: 1..MEDIA_PAGE_MAX.
        cursor: ``next`` of the page before, of the same run, key, kind and direction.
        backwards: From the last one to the first.
    """

    key: str
    kind: MediaKind | None = None
    step_min: int | None = None
    step_max: int | None = None
    limit: int = 100
    cursor: str | None = None
    backwards: bool = False


class MediaPage(msgspec.Struct, frozen=True):
    """Records in order of (step, time, place), or against it; ``next`` is None at the end."""

    records: tuple[MediaRecord, ...]
    next: str | None = None


class MediaSeriesPage(msgspec.Struct, frozen=True):
    """Series in order of (key, kind); ``next`` is None at the end."""

    series: tuple[MediaSeries, ...]
    next: str | None = None


class MediaWrite(Protocol):
    """Writing."""

    async def blob_put(
        self,
        workload_id: WorkloadId,
        name: BlobName,
        data: AsyncIterable[bytes],
        *,
        size_bytes: int | None = None,
    ) -> tuple[Blob, bool]:
        """Keep a blob, durable when it returns; visible whole or not at all.

        A blob that is there is left alone, and what is sent is not read.

        Args:
            size_bytes: As announced; None: nothing was said.

        Returns:
            What is kept, and whether it is new.

        Raises:
            InvalidValue: the bytes are not those of the name, or of another size. Nothing is kept.
            LimitExceeded: more than BLOB_BYTES_MAX. Nothing is kept.
            NotFound: no such workload. Nothing is visible.
            Conflict: the workload is deleted. Nothing is visible.
            StoreFull: no space left. Nothing is kept.
        """
        ...

    async def append(
        self,
        workload_id: WorkloadId,
        records: Sequence[MediaRecord],
        *,
        attempt: int | None = None,
    ) -> MediaReceipt:
        """Append records of any keys to one workload, all or none, durable when it returns.

        Records that are there already, the same in all they say, are counted and not stored
        twice; so a retry is harmless. What is known of the series is exact in the same
        transaction.

        Args:
            records: 1..MEDIA_PER_APPEND_MAX.
            attempt: Which attempt logged them; None: the one that the workload is at.

        Raises:
            InvalidValue, LimitExceeded: too many or none, a record is none (``check_media``), or
                its blob is not here. Nothing was written.
            NotFound: no such workload. Nothing was written.
            Conflict: the workload is deleted. Nothing was written.
            StoreUnavailable: unknown whether they were written. Repeat the call.
        """
        ...

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete all records and blobs of a workload; return the bytes freed. Repeatable."""
        ...


class MediaRead(Protocol):
    """Reading. A reader sees everything that was acknowledged before it began."""

    async def series(
        self, workload_id: WorkloadId, *, limit: int = 100, cursor: str | None = None
    ) -> MediaSeriesPage:
        """Read which keys a workload has records of, a page at a time.

        Cost: grows with the page, not with the records.

        Raises:
            InvalidValue: limit is not in 1..MEDIA_PAGE_MAX, or the cursor is not of this.
        """
        ...

    async def records(self, workload_id: WorkloadId, query: MediaQuery) -> MediaPage:
        """Read records of a key, a page at a time; a missing key has none.

        Cost: grows with the page, wherever in the series it is.

        Raises:
            InvalidValue: the limit is not in 1..MEDIA_PAGE_MAX, or the cursor is not of this.
        """
        ...

    async def blob_get(self, workload_id: WorkloadId, name: BlobName) -> Blob:
        """Describe a blob.

        Raises:
            NotFound: the workload has none of this name.
        """
        ...

    def blob_read(
        self, workload_id: WorkloadId, name: BlobName, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream a blob, or a range of it; NotFound at the first step."""
        ...


class MediaStore(MediaWrite, MediaRead, Protocol):
    """Media records and blobs of workloads."""

    async def close(self) -> None:
        """Give back what the store holds. Safe to repeat."""
        ...
