"""From tf.events files to media records, each exactly once.

A file is read a window at a time behind its bytes, whichever store keeps them. How far is only
remembered: after a restart, or on another server, a file is read again from its beginning, and a
record that is there already is known by its identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import struct
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from seafloor.domain.errors import CallerError
from seafloor.domain.ids import Sha256, WorkloadId
from seafloor.domain.media import PLACE_MAX, Blob, MediaRecord, check_media
from seafloor.stores.events.media_proto import decode_media
from seafloor.stores.events.protocol import EventFileKey, EventFileStore
from seafloor.stores.events.scalars import key_of, time_ms_of
from seafloor.stores.events.tfrecord import DECODED_BYTES_MAX, BadFrame, read_frames
from seafloor.stores.media.protocol import MediaStore
from seafloor.wire.protobuf import BadMessage

_WINDOW_BYTES: Final = DECODED_BYTES_MAX + 1024
_RECORDS_AT_ONCE: Final = 500
_WINDOWS_AT_ONCE: Final = 2
_FRAME_BYTES: Final = 16
_REMEMBERED_MAX: Final = 10_000
_NOWHERE: Final = 1 << 62
"""Behind the end of any file: nothing of one that is damaged is read any more."""


class _Found(msgspec.Struct, frozen=True):
    record: MediaRecord
    data: bytes | None


class _Window(msgspec.Struct, frozen=True):
    """What a stretch of a file holds; ``end`` is where to go on."""

    found: list[_Found]
    end: int


class EventMedia:
    """Keeps the histograms, images, texts and sounds of event files as media records.

    Args:
        event_files: Where the bytes are.
        media: Where the records go.
    """

    def __init__(self, event_files: EventFileStore, media: MediaStore) -> None:
        self._event_files = event_files
        self._media = media
        self._read_to: dict[EventFileKey, int] = {}
        self._windows = asyncio.Semaphore(_WINDOWS_AT_ONCE)

    async def catch_up(self, key: EventFileKey) -> None:
        """Have all media of the whole records of a file be there. Repeatable.

        What no record can hold is left out; a file of a run that was deleted is left for later.

        Raises:
            StoreError: repeat the call; it goes on where it stopped.

        Cost: the bytes since the last call, in memory of one window.
        """
        at = self._read_to.get(key, 0)
        while True:
            async with self._windows:
                try:
                    window = await self._window(key, at)
                    await self._keep(key, window.found)
                except CallerError:
                    return
            if window.end == at:
                return
            if len(self._read_to) >= _REMEMBERED_MAX:
                self._read_to.clear()
            at = self._read_to[key] = window.end

    async def finish(self, workload_id: WorkloadId, attempt: int) -> None:
        """Have all media of the files of an attempt be there, and forget how far each was read."""
        for file in await self._event_files.list(workload_id):
            if file.attempt == attempt:
                key = EventFileKey(workload_id, attempt, file.path)
                await self.catch_up(key)
                self._read_to.pop(key, None)

    async def _window(self, key: EventFileKey, at: int) -> _Window:
        read = self._event_files.read(key, start=at, length=_WINDOW_BYTES)
        content = b"".join([chunk async for chunk in read])
        return await asyncio.to_thread(_decoded, key.path, content, at)

    async def _keep(self, key: EventFileKey, found: list[_Found]) -> None:
        for one in found:
            blob = one.record.blob
            if blob is not None and one.data is not None:
                await self._media.blob_put(key.workload_id, blob.name, _stream(one.data))
        records = [one.record for one in found]
        for first in range(0, len(records), _RECORDS_AT_ONCE):
            some = records[first : first + _RECORDS_AT_ONCE]
            await self._media.append(key.workload_id, some, attempt=key.attempt)


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _decoded(path: str, content: bytes, start: int) -> _Window:
    folder = posixpath.dirname(path)
    found: list[_Found] = []
    at = start

    def read_at(offset: int, length: int) -> bytes:
        return content[offset - start : offset - start + length]

    try:
        for frame in read_frames(read_at, start=start, end=start + len(content)):
            if frame.data is not None:
                found.extend(_records(folder, frame.data))
            at = frame.end
    except (BadFrame, BadMessage):
        return _Window(found, _NOWHERE)  # the reader of scalars says so
    if at == start and len(content) == _WINDOW_BYTES:
        # One that is longer than a window is not decoded.
        (length,) = struct.unpack_from("<Q", content)
        at = start + length + _FRAME_BYTES
    return _Window(found, at)


def _records(folder: str, data: bytes) -> list[_Found]:
    event = decode_media(data)
    made: list[_Found] = []
    for tag, thing in event.things:
        blob = None
        if thing.data is not None and thing.format is not None:
            sha256 = Sha256(hashlib.sha256(thing.data).hexdigest())
            blob = Blob(sha256, thing.format, len(thing.data))
        if thing.place > PLACE_MAX:
            continue
        time_ms = time_ms_of(event.wall_time_s)
        record = MediaRecord(
            key_of(folder, tag), event.step, time_ms, thing.content, blob, thing.place
        )
        try:
            made.append(_Found(check_media(record), thing.data))
        except CallerError:
            continue
    return made
