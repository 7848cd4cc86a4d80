"""Volumes as folders of the server's machine; their snapshots are objects of the object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from seafloor.app.clock import Clock
from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import Sha256
from seafloor.domain.volumes import (
    OperationKind,
    Volume,
    VolumeOperation,
    VolumeSite,
    VolumeSnapshot,
    snapshot_folder,
    snapshot_object,
)
from seafloor.launch.volumes import Counted, Made, Packing, Progress, VolumeFolders
from seafloor.stores.objects.protocol import ObjectStore

_ELSEWHERE = (
    "It is a claim of the cluster that this installation had its runs in; runs of this server are "
    "processes of its machine."
)


class FolderContents:
    """See ``VolumeContents``."""

    def __init__(self, folders: VolumeFolders, objects: ObjectStore, clock: Clock) -> None:
        self._folders = folders
        self._objects = objects
        self._clock = clock

    def settle(self, volume: Volume) -> Volume:
        """See ``VolumeContents``: whatever can be, can be a folder."""
        return volume

    def away(self, volume: Volume) -> str:
        """See ``VolumeContents``."""
        return "" if volume.namespace is None else _ELSEWHERE

    def is_theirs(self, name: str) -> bool:  # noqa: ARG002  # of the protocol
        """See ``VolumeContents``."""
        return False

    async def is_there(self, name: str) -> bool:  # noqa: ARG002  # of the protocol
        """See ``VolumeContents``."""
        return False

    async def make(self, volume: Volume, content: int) -> None:
        """See ``VolumeContents``."""
        await asyncio.to_thread(self._folders.make, volume.id, content)

    async def check(self, volume: Volume) -> None:
        """See ``VolumeContents``."""
        if away := self.away(volume):
            raise NotFound(f'The volume "{volume.name}" is not here. {away}', field="volumes")
        await asyncio.to_thread(self._folders.check, volume.id, volume.content, name=volume.name)

    async def look(self, volumes: Sequence[Volume]) -> dict[str, VolumeSite]:
        """See ``VolumeContents``."""
        return {
            one.id: VolumeSite(path=str(self._folders.path(one.id, one.content)))
            if not self.away(one)
            else VolumeSite(away=self.away(one))
            for one in volumes
        }

    async def check_resize(self, volume: Volume, size_bytes: int) -> None:  # noqa: ARG002  # of the protocol
        """See ``VolumeContents``: a folder has no size, what is noted of it may be any."""
        if away := self.away(volume):
            raise Conflict(f'The volume "{volume.name}" cannot be resized from here. {away}')

    async def resize(self, volume: Volume, size_bytes: int) -> None:
        """See ``VolumeContents``: nothing holds a folder to it."""

    async def count(self, volume: Volume) -> Counted:
        """See ``VolumeContents``."""
        await self.check(volume)
        return await asyncio.to_thread(self._folders.count, volume.id, volume.content)

    async def check_snapshots(self, volume: Volume, kind: OperationKind) -> None:
        """See ``VolumeContents``. A restore makes a folder where there is none."""
        if kind is OperationKind.SNAPSHOT or self.away(volume):
            await self.check(volume)

    async def keep(
        self, volume: Volume, operation: VolumeOperation, progress: Progress
    ) -> VolumeSnapshot:
        """See ``VolumeContents``."""
        counted = await asyncio.to_thread(self._folders.count, volume.id, volume.content)
        progress.total_bytes = counted.content_bytes
        packing = Packing(progress.told)
        key = snapshot_object(volume.id, operation.snapshot)
        async with aclosing(self._packed(volume, packing)) as data:
            await self._objects.put(key, data)
        return VolumeSnapshot(
            number=operation.snapshot,
            sha256=Sha256(packing.sha256),
            size_bytes=packing.size_bytes,
            files=packing.files,
            content_bytes=packing.content_bytes,
            left_out=packing.left_out,
            created_ns=self._clock.now_ns(),
        )

    async def _packed(self, volume: Volume, packing: Packing) -> AsyncGenerator[bytes]:
        pieces = self._folders.pack(volume.id, volume.content, packing)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    async def restore(
        self,
        volume: Volume,
        operation: VolumeOperation,
        snapshot: VolumeSnapshot,
        progress: Progress,
    ) -> None:
        """See ``VolumeContents``."""
        if snapshot.sha256 is None:
            raise Conflict(f"Snapshot {snapshot.number} is kept by a cluster. {_ELSEWHERE}")
        progress.total_bytes = snapshot.content_bytes
        key = snapshot_object(volume.id, operation.snapshot)
        work = asyncio.to_thread(
            self._folders.unpack,
            volume.id,
            operation.content,
            _Source(self._objects.read(key), asyncio.get_running_loop()),
            sha256=snapshot.sha256,
            progress=progress.told,
        )
        await _settled(asyncio.ensure_future(work), progress)

    async def made(self, volume: Volume) -> Made:
        """See ``VolumeContents``. Objects are not listed: there is none of a higher number."""
        contents = await asyncio.to_thread(self._folders.contents, volume.id)
        return Made(contents, range(1, volume.snapshot_last + 1))

    async def drop(self, volume: Volume, made: Made) -> None:
        """See ``VolumeContents``."""
        for content in made.contents:
            await asyncio.to_thread(self._folders.drop, volume.id, content)
        for number in made.snapshots:
            await self._objects.delete(snapshot_object(volume.id, number))

    async def remove(self, volume_id: str) -> None:
        """See ``VolumeContents``."""
        await self._objects.delete_folder(snapshot_folder(volume_id))
        await asyncio.to_thread(self._folders.remove, volume_id)


class _Source:
    """Chunks that a thread reads as one stream.

    Args:
        chunks: In order.
        loop: Where they come.
    """

    def __init__(self, chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = chunks
        self._loop = loop
        self._chunk: bytes = b""
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        while self._at == len(self._chunk):
            waited = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            chunk: bytes | None = waited.result()
            if chunk is None:
                return b""
            self._chunk, self._at = chunk, 0
        begin, end = self._at, len(self._chunk)
        self._at = end if size < 0 else min(end, begin + size)
        return self._chunk[begin : self._at]

    async def _next(self) -> bytes | None:
        return await anext(self._chunks, None)


async def _settled(work: asyncio.Future[None], progress: Progress) -> None:
    """Wait for a thread to end, also when cancelled: then it is told to."""
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        progress.stop()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()
        raise
