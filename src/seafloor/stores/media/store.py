"""The media store over the metadata database and an object store.

A blob takes two steps, each durable before the next: its bytes under their digest, then its row.
Records refer to rows only, and in the transaction that finds them; so no record is there before
its bytes. Blobs lie at ``runs/<workload>/media/<sha256>.<format>`` and go with the run.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from seafloor.domain.errors import (
    Conflict,
    InvalidValue,
    LimitExceeded,
    NotFound,
    StoreCorrupt,
)
from seafloor.domain.ids import Sha256, WorkloadId, parse_workload_id
from seafloor.domain.media import (
    BLOB_BYTES_MAX,
    Blob,
    BlobName,
    Content,
    MediaRecord,
    MediaSeries,
)
from seafloor.stores.artifacts.intake import Announced, Intake
from seafloor.stores.media.pages import (
    Position,
    SeriesPosition,
    check_batch,
    check_limit,
    decode_position,
    encode_position,
    name_of_list,
)
from seafloor.stores.media.protocol import (
    MediaPage,
    MediaQuery,
    MediaReceipt,
    MediaSeriesPage,
)
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import media_blob, media_record, media_series, workload
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.streams import tapped

_NAMES_PER_QUERY: Final = 500

# Statements are built once: building one takes longer than running it.
_record, _series, _blob = media_record.c, media_series.c, media_blob.c
_WORKLOAD = select(workload.c.attempt, workload.c.deleted_ns).where(
    workload.c.id == bindparam("of_workload")
)
_BLOB = select(_blob.size_bytes).where(
    _blob.workload_id == bindparam("of_workload"),
    _blob.sha256 == bindparam("of_sha256"),
    _blob.format == bindparam("of_format"),
)
_BLOBS = select(_blob.sha256, _blob.format, _blob.size_bytes).where(
    _blob.workload_id == bindparam("of_workload"),
    _blob.sha256.in_(bindparam("sha256s", expanding=True)),
)
_THERE = select(_record.digest).where(
    _record.workload_id == bindparam("of_workload"),
    _record.digest.in_(bindparam("digests", expanding=True)),
)
_SERIES_OF_KEYS = select(media_series).where(
    _series.workload_id == bindparam("of_workload"),
    _series.key.in_(bindparam("keys", expanding=True)),
)
_SERIES_UPDATE = update(media_series).where(
    _series.workload_id == bindparam("of_workload"),
    _series.key == bindparam("of_key"),
    _series.kind == bindparam("of_kind"),
)


def blob_key(workload_id: WorkloadId, name: BlobName) -> str:
    """Where a blob lies in the object store."""
    return f"{media_folder(workload_id)}/{name}"


def media_folder(workload_id: WorkloadId) -> str:
    """The folder of all blobs of a workload."""
    return f"runs/{parse_workload_id(workload_id, field='workload_id')}/media"


class ObjectMediaStore:
    """Records in rows, blobs in objects; the contract is ``MediaStore``.

    Args:
        database: Migrated; it is not closed with the store.
        objects: Where blobs go; not closed with the store.
    """

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects

    async def blob_put(
        self,
        workload_id: WorkloadId,
        name: BlobName,
        data: AsyncIterable[bytes],
        *,
        size_bytes: int | None = None,
    ) -> tuple[Blob, bool]:
        """See ``MediaWrite.blob_put``."""
        key = blob_key(workload_id, name)

        def look(connection: Connection) -> int | None:
            _check_active(connection, workload_id)
            return connection.execute(_BLOB, _of(workload_id, name)).scalar()

        known = await self._database.read(look)
        if known is not None:
            return Blob(name.sha256, name.format, known), False
        announced = Announced(sha256=name.sha256, size_bytes=size_bytes)
        intake = Intake(tapped(data, _Bound().count), announced, _nothing_more)
        await self._objects.put(key, intake.stream())
        blob = Blob(name.sha256, name.format, intake.size_bytes)
        try:
            await self._database.write(lambda connection: _note(connection, workload_id, blob))
        except NotFound:
            # The run was purged meanwhile, its folder emptied, and its id never comes back.
            await self._objects.delete(key)
            raise
        return blob, True

    async def append(
        self,
        workload_id: WorkloadId,
        records: Sequence[MediaRecord],
        *,
        attempt: int | None = None,
    ) -> MediaReceipt:
        """See ``MediaWrite.append``."""
        batch = check_batch(records)

        def write(connection: Connection) -> int:
            current = _check_active(connection, workload_id)
            _check_blobs(connection, workload_id, batch.values())
            there = _there(connection, workload_id, list(batch))
            fresh = {digest: made for digest, made in batch.items() if digest not in there}
            if fresh:
                number = current if attempt is None else attempt
                connection.execute(
                    insert(media_record),
                    [
                        {"workload_id": workload_id, "attempt": number, **_row(digest, made)}
                        for digest, made in fresh.items()
                    ],
                )
                _add_to_series(connection, workload_id, fresh.values())
            return len(fresh)

        written = await self._database.write(write)
        return MediaReceipt(written, len(records) - written)

    async def delete(self, workload_id: WorkloadId) -> int:
        """See ``MediaWrite.delete``: the records first, then what they refer to."""
        folder = media_folder(workload_id)

        def forget(connection: Connection) -> int:
            for table in (media_record, media_series):
                connection.execute(delete(table).where(table.c.workload_id == workload_id))
            sizes = select(func.sum(_blob.size_bytes)).where(_blob.workload_id == workload_id)
            return int(connection.execute(sizes).scalar() or 0)

        freed_bytes = await self._database.write(forget)
        await self._objects.delete_folder(folder)
        gone = delete(media_blob).where(_blob.workload_id == workload_id)
        await self._database.write(lambda connection: connection.execute(gone).rowcount)
        return freed_bytes

    async def series(
        self, workload_id: WorkloadId, *, limit: int = 100, cursor: str | None = None
    ) -> MediaSeriesPage:
        """See ``MediaRead.series``."""
        check_limit(limit)
        wanted = select(media_series).where(_series.workload_id == workload_id)
        if cursor is not None:
            after = decode_position(workload_id, cursor, SeriesPosition)
            wanted = wanted.where(_behind((_series.key, _series.kind), after))
        wanted = wanted.order_by(_series.key, _series.kind).limit(limit + 1)

        def read(connection: Connection) -> MediaSeriesPage:
            rows = connection.execute(wanted).all()
            shown = tuple(_series_of(row) for row in rows[:limit])
            if len(rows) <= limit:
                return MediaSeriesPage(shown)
            last = shown[-1].key, shown[-1].kind
            return MediaSeriesPage(shown, encode_position(workload_id, last))

        return await self._database.read(read)

    async def records(self, workload_id: WorkloadId, query: MediaQuery) -> MediaPage:
        """See ``MediaRead.records``."""
        check_limit(query.limit)
        name = name_of_list(workload_id, query)
        wanted = select(media_record).where(
            _record.workload_id == workload_id, _record.key == query.key
        )
        if query.kind is not None:
            wanted = wanted.where(_record.kind == query.kind)
        if query.step_min is not None:
            wanted = wanted.where(_record.step >= query.step_min)
        if query.step_max is not None:
            wanted = wanted.where(_record.step <= query.step_max)
        order = (_record.step, _record.time_ms, _record.place, _record.digest)
        if query.cursor is not None:
            position = decode_position(name, query.cursor, Position)
            wanted = wanted.where(_behind(order, position, backwards=query.backwards))
        ordered = [one.desc() for one in order] if query.backwards else order
        wanted = wanted.order_by(*ordered).limit(query.limit + 1)

        def read(connection: Connection) -> MediaPage:
            rows = connection.execute(wanted).all()
            shown = tuple(_record_of(row) for row in rows[: query.limit])
            if len(rows) <= query.limit:
                return MediaPage(shown)
            last = rows[query.limit - 1]
            position = last.step, last.time_ms, last.place, last.digest
            return MediaPage(shown, encode_position(name, position))

        return await self._database.read(read)

    async def blob_get(self, workload_id: WorkloadId, name: BlobName) -> Blob:
        """See ``MediaRead.blob_get``."""
        size_bytes = await self._database.read(
            lambda connection: connection.execute(_BLOB, _of(workload_id, name)).scalar()
        )
        if size_bytes is None:
            raise NotFound(f"The run has no blob {name}.", field="blob")
        return Blob(name.sha256, name.format, size_bytes)

    async def blob_read(
        self, workload_id: WorkloadId, name: BlobName, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """See ``MediaRead.blob_read``."""
        await self.blob_get(workload_id, name)
        key = blob_key(workload_id, name)
        try:
            async for chunk in self._objects.read(key, start=start, length=length):
                yield chunk
        except NotFound as error:
            await self.blob_get(workload_id, name)  # it may have gone with its run meanwhile
            raise StoreCorrupt(
                f'The object "{key}" is gone: restore it from a backup of the object store.'
            ) from error

    async def close(self) -> None:
        """Nothing is held: database and object store have their owners."""


class _Bound:
    """Counts the bytes of a blob on its way in."""

    def __init__(self) -> None:
        self._size_bytes = 0

    def count(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes > BLOB_BYTES_MAX:
            raise LimitExceeded(
                f"A blob has at most {BLOB_BYTES_MAX:,} bytes: keep larger files as artifacts.",
                field="blob",
            )


async def _nothing_more(_sha256: Sha256, _size_bytes: int) -> None:
    pass


def _of(workload_id: WorkloadId, name: BlobName) -> dict[str, str]:
    return {"of_workload": workload_id, "of_sha256": name.sha256, "of_format": name.format}


def _check_active(connection: Connection, workload_id: WorkloadId) -> int:
    """Give the attempt that a workload is at.

    Raises:
        NotFound: no such workload.
        Conflict: it is deleted.
    """
    found = connection.execute(_WORKLOAD, {"of_workload": workload_id}).first()
    if found is None:
        raise NotFound("There is no such workload.", field="workload_id")
    if found.deleted_ns is not None:
        raise Conflict("The run was deleted: restore it before writing to it.")
    return int(found.attempt)


def _note(connection: Connection, workload_id: WorkloadId, blob: Blob) -> None:
    """Let a blob be there whose bytes are."""
    _check_active(connection, workload_id)
    if connection.execute(_BLOB, _of(workload_id, blob.name)).first() is None:
        connection.execute(
            insert(media_blob),
            {
                "workload_id": workload_id,
                "sha256": blob.sha256,
                "format": blob.format,
                "size_bytes": blob.size_bytes,
            },
        )


def _some(names: Sequence[str]) -> Iterable[list[str]]:
    for at in range(0, len(names), _NAMES_PER_QUERY):
        yield list(names[at : at + _NAMES_PER_QUERY])


def _check_blobs(
    connection: Connection, workload_id: WorkloadId, records: Iterable[MediaRecord]
) -> None:
    """Refuse records whose bytes are not here."""
    blobs = {record.blob for record in records if record.blob is not None}
    here: set[tuple[str, str, int]] = set()
    for sha256s in _some(sorted({blob.sha256 for blob in blobs})):
        rows = connection.execute(_BLOBS, {"of_workload": workload_id, "sha256s": sha256s})
        here.update((row.sha256, row.format, row.size_bytes) for row in rows)
    for blob in blobs:
        if (blob.sha256, blob.format, blob.size_bytes) not in here:
            raise InvalidValue(
                f"The blob {blob.name} of {blob.size_bytes:,} bytes is not here: upload it first.",
                field="blob",
            )


def _there(connection: Connection, workload_id: WorkloadId, digests: Sequence[str]) -> set[str]:
    """Those of some records that are there already."""
    found: set[str] = set()
    for some in _some(digests):
        found.update(
            connection.execute(_THERE, {"of_workload": workload_id, "digests": some}).scalars()
        )
    return found


def _add_to_series(
    connection: Connection, workload_id: WorkloadId, records: Iterable[MediaRecord]
) -> None:
    added: dict[SeriesPosition, list[int]] = {}
    for record in records:
        added.setdefault((record.key, record.kind), []).append(record.step)
    before: dict[SeriesPosition, MediaSeries] = {}
    for keys in _some(sorted({key for key, _ in added})):
        for row in connection.execute(_SERIES_OF_KEYS, {"of_workload": workload_id, "keys": keys}):
            before[row.key, row.kind] = _series_of(row)
    fresh: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for at, steps in added.items():
        known = before.get(at)
        reach = steps if known is None else [*steps, known.step_min, known.step_max]
        values = {
            "records": len(steps) + (0 if known is None else known.records),
            "step_min": min(reach),
            "step_max": max(reach),
        }
        if known is None:
            fresh.append({"workload_id": workload_id, "key": at[0], "kind": at[1], **values})
        else:
            changed.append(
                {"of_workload": workload_id, "of_key": at[0], "of_kind": at[1], **values}
            )
    if fresh:
        connection.execute(insert(media_series), fresh)
    if changed:
        connection.execute(_SERIES_UPDATE, changed)


def _behind(
    columns: Sequence[ColumnElement[Any]],
    position: Sequence[int | str],
    *,
    backwards: bool = False,
) -> ColumnElement[bool]:
    """What comes behind a position, in a form that every database follows an index by."""
    first, *others = columns
    at, *rest = position
    beyond, from_there = (first < at, first <= at) if backwards else (first > at, first >= at)
    if not others:
        return beyond
    return and_(from_there, or_(beyond, _behind(others, rest, backwards=backwards)))


def _row(digest: str, record: MediaRecord) -> Mapping[str, str | int]:
    blob = record.blob
    return {
        "digest": digest,
        "key": record.key,
        "kind": record.kind,
        "step": record.step,
        "time_ms": record.time_ms,
        "place": record.place,
        "content": msgspec.json.encode(record.content).decode(),
        "blob_sha256": "" if blob is None else blob.sha256,
        "blob_format": "" if blob is None else blob.format,
        "blob_bytes": 0 if blob is None else blob.size_bytes,
    }


_CONTENT: Final = msgspec.json.Decoder(Content)


def _record_of(row: Row[Any]) -> MediaRecord:
    blob = None
    if row.blob_sha256:
        blob = Blob(Sha256(row.blob_sha256), row.blob_format, row.blob_bytes)
    return MediaRecord(
        row.key, row.step, row.time_ms, _CONTENT.decode(row.content), blob, row.place
    )


def _series_of(row: Row[Any]) -> MediaSeries:
    return MediaSeries(row.key, row.kind, row.records, row.step_min, row.step_max)
