"""Volumes: the use cases. Snapshots are made and restored beside the requests that ask for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from seafloor.app.clock import Clock, new_workload_id
from seafloor.app.places import OwnPlace
from seafloor.domain.errors import NotSupported, SeafloorError, StaleLease, StoreUnavailable
from seafloor.domain.ids import Sha256
from seafloor.domain.leases import Claim
from seafloor.domain.names import check_slug
from seafloor.domain.specs import VolumeSpec
from seafloor.domain.volumes import (
    AccessMode,
    OperationKind,
    Volume,
    VolumeHolder,
    VolumeOperation,
    VolumeSnapshot,
    VolumeUse,
    check_size,
    check_storage_class,
    check_volume_name,
    plain_path,
    snapshot_folder,
    snapshot_object,
    volume_variable,
)
from seafloor.launch.volumes import Counted, Packing, VolumeFolders
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.volume_records import VOLUMES_MAX, VolumeResult
from seafloor.stores.objects.protocol import ObjectStore

_log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.2

_TELL_S: Final = 1.0
"""How often it is noted how far an operation has come."""


class NewVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume to be made; see ``Volume``.

    Args:
        size: "20Gi" or bytes; None: as much as there is room for.
    """

    name: str
    project: str = "default"
    access_mode: AccessMode = AccessMode.RWO
    size: str | int | None = None
    storage_class: str | None = None


class VolumeDetails(msgspec.Struct, frozen=True):
    """A volume and who has it."""

    volume: Volume
    holders: tuple[VolumeHolder, ...]


class VolumeDetailsPage(msgspec.Struct, frozen=True):
    """One page of them; ``last`` is where the next goes on, None at the end."""

    items: tuple[VolumeDetails, ...]
    last: tuple[str, str] | None


class Volumes:
    """Attachable folders.

    Args:
        folders: Where their contents are; None: runs here are pods, and volumes claims of the
            cluster, which this server does not make.
        place: In whose name snapshots are made and restored.
        mount_problem: Says why volumes cannot be at some paths here; ``""``: they can. Blocking.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        objects: ObjectStore,
        folders: VolumeFolders | None,
        place: OwnPlace,
        clock: Clock,
        mount_problem: Callable[[Sequence[str]], str],
    ) -> None:
        self._metadata = metadata
        self._objects = objects
        self._given_folders = folders
        self._place = place
        self._clock = clock
        self._mount_problem = mount_problem
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def _folders(self) -> VolumeFolders:
        if self._given_folders is None:
            raise NotSupported(
                "Runs on this server are pods, and their volumes claims of the cluster: make those "
                "with kubectl."
            )
        return self._given_folders

    async def create(self, new: NewVolume) -> Volume:
        """Make a volume, empty.

        Raises:
            InvalidValue, LimitExceeded: a field is not acceptable.
            NotFound: no such project.
            AlreadyExists: the project has one of that name.
        """
        check_slug(new.project, field="project")
        check_volume_name(new.name)
        if new.storage_class is not None:
            check_storage_class(new.storage_class)
        volume = Volume(
            id=new_workload_id(self._clock),
            project=new.project,
            name=new.name,
            access_mode=new.access_mode,
            size_bytes=check_size(new.size),
            storage_class=new.storage_class,
            created_ns=self._clock.now_ns(),
        )
        await asyncio.to_thread(self._folders.make, volume.id, volume.content)
        try:
            return await self._metadata.volume_create(volume)
        except StoreUnavailable:
            raise  # unknown whether it was written: what is left over is swept
        except SeafloorError:
            await asyncio.to_thread(self._folders.remove, volume.id)
            raise

    async def get(self, name: str, *, project: str) -> VolumeDetails:
        """Get a volume, or NotFound with the nearest name."""
        found = await self._metadata.volume_get(project, name)
        holders = await self._metadata.volume_holders([found.id])
        return VolumeDetails(found, holders.get(found.id, ()))

    async def list(
        self, *, project: str | None, limit: int, after: tuple[str, str] | None
    ) -> VolumeDetailsPage:
        """List volumes by project and name."""
        found = await self._metadata.volume_list(project=project, limit=limit + 1, after=after)
        shown = found[:limit]
        holders = await self._metadata.volume_holders([volume.id for volume in shown])
        items = tuple(VolumeDetails(volume, holders.get(volume.id, ())) for volume in shown)
        more = len(found) > limit
        return VolumeDetailsPage(items, (shown[-1].project, shown[-1].name) if more else None)

    async def count(self, name: str, *, project: str) -> Counted:
        """Count what a volume holds; takes as long as looking at each of its files."""
        found = await self._metadata.volume_get(project, name)
        await self._check_here(found)
        return await asyncio.to_thread(self._folders.count, found.id, found.content)

    def path(self, volume: Volume) -> str:
        """Where the content of a volume is on this machine."""
        return str(self._folders.path(volume.id, volume.content))

    async def snapshots(self, name: str, *, project: str) -> tuple[VolumeSnapshot, ...]:
        """The snapshots of a volume by number."""
        found = await self._metadata.volume_get(project, name)
        return await self._metadata.volume_snapshots(found.id)

    async def snapshot(self, name: str, *, project: str) -> VolumeDetails:
        """Begin to keep the content of a volume; returns at once.

        Raises:
            Conflict: somebody writes to it, or something else is under way.
            StoreUnavailable: this server has only just started.
        """
        found = await self._metadata.volume_get(project, name)
        await self._check_here(found)
        operation = await self._metadata.volume_begin(
            found.id,
            OperationKind.SNAPSHOT,
            snapshot=0,
            claim=self._claim(),
            started_ns=self._clock.now_ns(),
        )
        self._go(found, operation, self._keep)
        return await self.get(name, project=project)

    async def restore(self, name: str, number: int, *, project: str) -> VolumeDetails:
        """Begin to give a volume the content of a snapshot; returns at once.

        Raises:
            NotFound: no such snapshot.
            Conflict: somebody has the volume, or something else is under way.
            StoreUnavailable: this server has only just started.
        """
        found = await self._metadata.volume_get(project, name)
        operation = await self._metadata.volume_begin(
            found.id,
            OperationKind.RESTORE,
            snapshot=number,
            claim=self._claim(),
            started_ns=self._clock.now_ns(),
        )
        self._go(found, operation, self._restore)
        return await self.get(name, project=project)

    async def delete(self, name: str, *, project: str, with_snapshots: bool) -> None:
        """Remove a volume for good, and what is in it.

        Raises:
            Conflict: somebody has it, something is under way, or it has snapshots.
        """
        found = await self._metadata.volume_get(project, name)
        await self._metadata.volume_delete(
            found.id, with_snapshots=with_snapshots, deleted_ns=self._clock.now_ns()
        )
        await self._remove(found.id)

    async def uses(self, wanted: list[VolumeSpec], *, project: str) -> tuple[VolumeUse, ...]:
        """The volumes that a spec names; one at several paths is written if one of them is.

        Raises:
            NotFound: one of them is not there, or not on this machine.
        """
        uses: dict[str, VolumeUse] = {}
        if self._given_folders is None:
            return ()
        for one in wanted:
            found = await self._metadata.volume_get(project, one.volume)
            await self._check_here(found)
            before = uses.get(found.id)
            read_only = one.read_only and (before is None or before.read_only)
            uses[found.id] = VolumeUse(found.id, read_only)
        return tuple(uses.values())

    async def warnings(self, wanted: Sequence[VolumeSpec]) -> tuple[str, ...]:
        """What somebody who submits a spec with volumes should know."""
        paths = [plain_path(one.path) for one in wanted]
        why = await asyncio.to_thread(self._mount_problem, paths) if paths else ""
        if not why:
            return ()
        said = [f"${volume_variable(one.volume)} for {one.path}" for one in wanted]
        rights = ""
        if any(one.read_only for one in wanted):
            rights = " Nothing keeps the command from writing to one that is read_only."
        return (f"Volumes cannot be at their paths here ({why}): use {', '.join(said)}.{rights}",)

    async def run(self) -> None:
        """Remove what servers left that were killed; for the start of this one."""
        if self._given_folders is None:
            return
        # Until then the last server of this place seems to live.
        while self._place.claim is None:  # noqa: ASYNC110 - the lease is taken in a moment
            await asyncio.sleep(_LOOK_S)
        try:
            await self._tidy_all()
        except SeafloorError as error:
            _log.warning("volumes were not tidied", error=error.code, message=error.message)

    async def _tidy_all(self) -> None:
        for volume_id in await self._metadata.volumes_deleted():
            await self._remove(volume_id)
        known: set[str] = set()
        after: tuple[str, str] | None = None
        while page := await self._metadata.volume_list(
            project=None, limit=VOLUMES_MAX, after=after
        ):
            for volume in page:
                known.add(volume.id)
                if volume.operation is None:
                    await self._tidy(volume)
            after = (page[-1].project, page[-1].name)
        await asyncio.to_thread(self._folders.sweep, known)

    async def _tidy(self, volume: Volume) -> None:
        await asyncio.to_thread(self._folders.tidy, volume.id, keep=volume.content)
        kept = {one.number for one in await self._metadata.volume_snapshots(volume.id)}
        for number in range(1, volume.snapshot_last + 1):
            if number not in kept:  # its server was killed before it counted
                await self._objects.delete(snapshot_object(volume.id, number))

    async def close(self) -> None:
        """Break off what is under way: volumes stay as they are."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _claim(self) -> Claim:
        claim = self._place.claim
        if claim is None:
            raise StoreUnavailable(
                "This server has only just started, or does not reach the database: repeat the "
                "request.",
                retry_after_s=1.0,
            )
        return claim

    async def _check_here(self, found: Volume) -> None:
        await asyncio.to_thread(self._folders.check, found.id, found.content, name=found.name)

    async def _remove(self, volume_id: str) -> None:
        """Remove all of a volume out of use; what is known of it goes last."""
        await self._objects.delete_folder(snapshot_folder(volume_id))
        await asyncio.to_thread(self._folders.remove, volume_id)
        await self._metadata.volume_forget(volume_id)

    def _go(
        self,
        volume: Volume,
        operation: VolumeOperation,
        do: Callable[[Volume, VolumeOperation, _Progress], Coroutine[None, None, VolumeResult]],
    ) -> None:
        work = self._work(volume, operation, do)
        task = asyncio.create_task(work, name=f"{operation.kind} {volume.id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _work(
        self,
        volume: Volume,
        operation: VolumeOperation,
        do: Callable[[Volume, VolumeOperation, _Progress], Coroutine[None, None, VolumeResult]],
    ) -> None:
        """Do it, and note what came of it; whatever goes wrong is said to whoever asks."""
        progress = _Progress()
        telling = asyncio.create_task(self._tell(volume, operation, progress))
        try:
            result = await do(volume, operation, progress)
        except asyncio.CancelledError:
            progress.stop()
            result = VolumeResult(problem="The server was stopped meanwhile. Do it again.")
        except StaleLease as error:
            _log.warning("a volume was left to others", volume_id=volume.id, why=error.message)
            return
        except SeafloorError as error:
            result = VolumeResult(problem=error.message)
        except Exception:  # noqa: BLE001  # edge: background task
            mark = uuid.uuid4().hex[:12]
            _log.exception("an operation on a volume failed", volume_id=volume.id, mark=mark)
            said = f"Seafloor met an error of its own (see {mark} in the server's log)."
            result = VolumeResult(problem=said)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        await self._end(volume, operation, result)

    async def _end(self, volume: Volume, operation: VolumeOperation, result: VolumeResult) -> None:
        """Note what came of an operation, and remove what it left."""
        try:
            await self._metadata.volume_end(volume.id, operation, result)
            if operation.kind is OperationKind.RESTORE:
                keep = operation.content if result.restored else volume.content
                await asyncio.to_thread(self._folders.tidy, volume.id, keep=keep)
        except SeafloorError as error:
            _log.warning("an operation counts for nothing", volume_id=volume.id, why=error.message)

    async def _tell(self, volume: Volume, operation: VolumeOperation, progress: _Progress) -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            told = msgspec.structs.replace(
                operation, done_bytes=progress.done_bytes, total_bytes=progress.total_bytes
            )
            try:
                await self._metadata.volume_progress(volume.id, told)
            except SeafloorError as error:
                _log.warning("progress was not noted", volume_id=volume.id, why=error.message)

    async def _keep(
        self, volume: Volume, operation: VolumeOperation, progress: _Progress
    ) -> VolumeResult:
        counted = await asyncio.to_thread(self._folders.count, volume.id, volume.content)
        progress.total_bytes = counted.content_bytes
        packing = Packing(progress.told)
        key = snapshot_object(volume.id, operation.snapshot)
        async with aclosing(self._packed(volume, packing)) as data:
            await self._objects.put(key, data)
        made = VolumeSnapshot(
            number=operation.snapshot,
            sha256=Sha256(packing.sha256),
            size_bytes=packing.size_bytes,
            files=packing.files,
            content_bytes=packing.content_bytes,
            left_out=packing.left_out,
            created_ns=self._clock.now_ns(),
        )
        return VolumeResult(snapshot=made)

    async def _packed(self, volume: Volume, packing: Packing) -> AsyncGenerator[bytes]:
        pieces = self._folders.pack(volume.id, volume.content, packing)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    async def _restore(
        self, volume: Volume, operation: VolumeOperation, progress: _Progress
    ) -> VolumeResult:
        (snapshot,) = [
            one
            for one in await self._metadata.volume_snapshots(volume.id)
            if one.number == operation.snapshot
        ]
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
        return VolumeResult(restored=True)


class _Stopped(Exception):
    """The server stops: a thread is to end."""


class _Progress:
    """How far an operation has come; told by a thread, which it also ends."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self.total_bytes = 0
        self._stopped = False

    def told(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes
        if self._stopped:
            raise _Stopped

    def stop(self) -> None:
        self._stopped = True


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


async def _settled(work: asyncio.Future[None], progress: _Progress) -> None:
    """Wait for a thread to end, also when cancelled: then it is told to."""
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        progress.stop()
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()
        raise
