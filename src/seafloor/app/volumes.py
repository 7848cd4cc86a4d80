"""Volumes: the use cases. Snapshots are made and restored beside the requests that ask for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from seafloor.app.clock import Clock, new_workload_id
from seafloor.app.places import OwnPlace
from seafloor.domain.errors import (
    AlreadyExists,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    InvalidValue,
    NotFound,
    SeafloorError,
    StaleLease,
    StoreUnavailable,
)
from seafloor.domain.leases import Claim
from seafloor.domain.names import check_slug
from seafloor.domain.specs import VolumeSpec
from seafloor.domain.volumes import (
    AccessMode,
    OperationKind,
    Volume,
    VolumeClaim,
    VolumeHolder,
    VolumeOperation,
    VolumeSite,
    VolumeSnapshot,
    VolumeUse,
    check_size,
    check_storage_class,
    check_volume_name,
    plain_path,
    volume_variable,
)
from seafloor.launch.volumes import Counted, Made, Progress, VolumeContents
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.volume_records import VOLUMES_MAX, VolumeResult

_log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.2

_AGAIN_S: Final = 15.0

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
    """A volume, who has it, and where its content is."""

    volume: Volume
    holders: tuple[VolumeHolder, ...]
    site: VolumeSite


class VolumeDetailsPage(msgspec.Struct, frozen=True):
    """One page of them; ``last`` is where the next goes on, None at the end."""

    items: tuple[VolumeDetails, ...]
    last: tuple[str, str] | None


class Attachments(msgspec.Struct, frozen=True):
    """What a spec attaches.

    Args:
        volumes: Ours, by their names in the spec.
        uses: Of them.
    """

    volumes: dict[str, Volume]
    uses: tuple[VolumeUse, ...]


class Volumes:
    """Attachable folders.

    Args:
        contents: Where their contents are.
        place: In whose name snapshots are made and restored.
        mount_problem: Says why volumes cannot be at some paths here; ``""``: they can. Blocking.
        again_s: Until what could not be tidied is tried again.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        contents: VolumeContents,
        place: OwnPlace,
        clock: Clock,
        mount_problem: Callable[[Sequence[str]], str],
        *,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._metadata = metadata
        self._contents = contents
        self._place = place
        self._clock = clock
        self._mount_problem = mount_problem
        self._again_s = again_s
        self._under_way: set[asyncio.Task[None]] = set()
        self._left: set[str] = set()

    async def create(self, new: NewVolume) -> VolumeDetails:
        """Make a volume, empty. One that an earlier try left without its content is completed.

        Raises:
            InvalidValue, LimitExceeded: a field is not acceptable.
            Forbidden: the cluster or its administrator does not allow it.
            NotFound: no such project.
            AlreadyExists: the project has one of that name.
            ClusterUnavailable: unknown whether it was made; repeat it.
        """
        check_slug(new.project, field="project")
        check_volume_name(new.name)
        if new.storage_class is not None:
            check_storage_class(new.storage_class)
        asked = self._contents.settle(
            Volume(
                id=new_workload_id(self._clock),
                project=new.project,
                name=new.name,
                access_mode=new.access_mode,
                size_bytes=None if new.size is None else check_size(new.size),
                storage_class=new.storage_class,
                created_ns=self._clock.now_ns(),
                content=0,
            )
        )
        try:
            volume = await self._metadata.volume_create(asked)
        except AlreadyExists:
            volume = await self._metadata.volume_get(asked.project, asked.name)
            same = msgspec.structs.replace(asked, id=volume.id, created_ns=volume.created_ns)
            if volume != same:
                raise
        try:
            await self._make(volume)
        except (StoreUnavailable, ClusterUnavailable):
            raise  # whoever repeats it, or starts next, goes on
        except SeafloorError:
            await self._delete(volume, with_snapshots=False)
            raise
        return await self.get(volume.name, project=volume.project)

    async def get(self, name: str, *, project: str) -> VolumeDetails:
        """Get a volume, or NotFound with the nearest name."""
        (details,) = await self._details([await self._metadata.volume_get(project, name)])
        return details

    async def list(
        self, *, project: str | None, limit: int, after: tuple[str, str] | None
    ) -> VolumeDetailsPage:
        """List volumes by project and name."""
        found = await self._metadata.volume_list(project=project, limit=limit + 1, after=after)
        shown = found[:limit]
        more = len(found) > limit
        last = (shown[-1].project, shown[-1].name) if more else None
        return VolumeDetailsPage(await self._details(shown), last)

    async def _details(self, volumes: Sequence[Volume]) -> tuple[VolumeDetails, ...]:
        holders = await self._metadata.volume_holders([volume.id for volume in volumes])
        sites = await self._contents.look(volumes)
        return tuple(VolumeDetails(one, holders.get(one.id, ()), sites[one.id]) for one in volumes)

    async def count(self, name: str, *, project: str) -> Counted:
        """Count what a volume holds; takes as long as looking at each of its files."""
        return await self._contents.count(await self._metadata.volume_get(project, name))

    async def snapshots(self, name: str, *, project: str) -> tuple[VolumeSnapshot, ...]:
        """The snapshots of a volume by number."""
        found = await self._metadata.volume_get(project, name)
        return await self._metadata.volume_snapshots(found.id)

    async def snapshot(self, name: str, *, project: str) -> VolumeDetails:
        """Begin to keep the content of a volume; returns at once.

        Raises:
            Conflict: somebody writes to it, or something else is under way.
            NotSupported: the cluster makes none.
            StoreUnavailable: this server has only just started.
        """
        found = await self._metadata.volume_get(project, name)
        await self._contents.check_snapshots(found, OperationKind.SNAPSHOT)
        operation = await self._begin(found, OperationKind.SNAPSHOT, 0)
        self._go(found, operation, self._keep)
        return await self.get(name, project=project)

    async def restore(self, name: str, number: int, *, project: str) -> VolumeDetails:
        """Begin to give a volume the content of a snapshot; returns at once.

        Raises:
            NotFound: no such snapshot.
            Conflict: somebody has the volume, or something else is under way.
            NotSupported: the cluster keeps none.
            StoreUnavailable: this server has only just started.
        """
        found = await self._metadata.volume_get(project, name)
        await self._contents.check_snapshots(found, OperationKind.RESTORE)
        operation = await self._begin(found, OperationKind.RESTORE, number)
        # Its size cannot change any more.
        self._go(await self._metadata.volume_get(project, name), operation, self._restore)
        return await self.get(name, project=project)

    async def resize(self, name: str, size: str | int, *, project: str) -> VolumeDetails:
        """Give a volume another size; the cluster does it later, of which ``VolumeClaim`` tells.

        Raises:
            InvalidValue, LimitExceeded: it is no size.
            Forbidden: the administrator or the cluster's quota does not allow it.
            NotSupported: its storage class makes nothing larger.
            Conflict: it has more already, or something else is under way.
            ClusterUnavailable: unknown whether it was asked for; repeat it.
        """
        size_bytes = check_size(size)
        found = await self._metadata.volume_get(project, name)
        await self._contents.check_resize(found, size_bytes)
        before = found.size_bytes
        # The record goes first: a restore that begins now makes a content of the new size.
        await self._metadata.volume_resize(found.id, before=before, after=size_bytes)
        try:
            await self._contents.resize(found, size_bytes)
        except (StoreUnavailable, ClusterUnavailable):
            raise  # whoever repeats it goes on; until then the claim tells of it
        except SeafloorError:
            with suppress(Conflict, NotFound):  # somebody came after, whose size it is now
                await self._metadata.volume_resize(found.id, before=size_bytes, after=before)
            raise
        return await self.get(name, project=project)

    async def _begin(self, found: Volume, kind: OperationKind, snapshot: int) -> VolumeOperation:
        return await self._metadata.volume_begin(
            found.id,
            kind,
            snapshot=snapshot,
            claim=self._claim(),
            started_ns=self._clock.now_ns(),
        )

    async def delete(self, name: str, *, project: str, with_snapshots: bool) -> None:
        """Remove a volume for good, and what is in it.

        Raises:
            Conflict: somebody has it, something is under way, it has snapshots, or it is not here.
        """
        found = await self._metadata.volume_get(project, name)
        if away := self._contents.away(found):
            raise Conflict(f'The volume "{name}" cannot be removed from here. {away}')
        try:
            await self._delete(found, with_snapshots=with_snapshots)
        except ClusterUnavailable as error:
            # It is out of use for good; its claim goes when the cluster is back.
            _log.warning("a claim is removed later", volume_id=found.id, message=error.message)

    async def attachments(self, wanted: Sequence[VolumeSpec], *, project: str) -> Attachments:
        """Find the volumes that a spec names; one at several paths is written if one of them is.

        What the cluster's administrator made himself is no volume of ours, and left out.

        Raises:
            NotFound: one of them is not there, or not to be had here.
            Forbidden: the name is that of a claim which is reached by another.
        """
        volumes: dict[str, Volume] = {}
        uses: dict[str, VolumeUse] = {}
        for one in wanted:
            if self._contents.is_theirs(one.volume):
                continue
            found = volumes.get(one.volume) or await self._wanted(one.volume, project)
            if found is None:
                continue
            volumes[one.volume] = found
            before = uses.get(found.id)
            read_only = one.read_only and (before is None or before.read_only)
            uses[found.id] = VolumeUse(found.id, read_only)
        return Attachments(volumes, tuple(uses.values()))

    async def _wanted(self, name: str, project: str) -> Volume | None:
        try:
            found = await self._metadata.volume_get(project, name)
        except NotFound:
            if await self._contents.is_there(name):
                return None
            raise
        if found.content == 0:
            await self._make(found)
            found = await self._metadata.volume_get(project, name)
        await self._contents.check(found)
        return found

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
        """Complete and remove what servers left that were killed; then what could not be removed.

        Until it is cancelled. A cluster or a database that is away is waited for.
        """
        # Until then the last server of this place seems to live.
        while self._place.claim is None:  # noqa: ASYNC110 - the lease is taken in a moment
            await asyncio.sleep(_LOOK_S)
        tidied = False
        while True:
            try:
                if not tidied:
                    await self._tidy_all()
                    tidied = True
            except SeafloorError as error:
                _log.warning("volumes were not tidied", error=error.code, message=error.message)
                tidied = not error.retryable
            await self._remove_left()
            await asyncio.sleep(self._again_s)

    async def _remove_left(self) -> None:
        """Remove what is out of use; one that cannot be removed now keeps no other from it."""
        for volume_id in list(self._left):
            try:
                await self._remove(volume_id)
            except SeafloorError as error:
                _log.warning("a volume was not removed", volume_id=volume_id, message=error.message)

    async def _tidy_all(self) -> None:
        self._left.update(await self._metadata.volumes_deleted())
        after: tuple[str, str] | None = None
        while page := await self._metadata.volume_list(
            project=None, limit=VOLUMES_MAX, after=after
        ):
            sites = await self._contents.look(page)
            for volume in page:
                if volume.operation is None and not self._contents.away(volume):
                    await self._mend(volume, sites[volume.id].claim)
            after = (page[-1].project, page[-1].name)

    async def _mend(self, volume: Volume, claim: VolumeClaim | None) -> None:
        """See to one volume; one that cannot be seen to now does not keep others from it."""
        try:
            if volume.content == 0:
                await self._make(volume)
                return
            await self._tidy(volume)
            await self._finish_resize(volume, claim)
        except SeafloorError as error:
            _log.warning("a volume was not tidied", volume_id=volume.id, message=error.message)

    async def _tidy(self, volume: Volume) -> None:
        """Remove what operations left that were broken off."""
        made = await self._contents.made(volume)
        # Only afterwards is certain whose they are: what is made now is of an operation under way.
        seen = await self._metadata.volume_get(volume.project, volume.name)
        if seen.id != volume.id or seen.operation is not None:
            return
        kept = {one.number for one in await self._metadata.volume_snapshots(volume.id)}
        # Of a database that was put back to an earlier state, others may be the newest.
        known = seen.content in made.contents
        await self._contents.drop(
            seen,
            Made(
                [one for one in made.contents if known and one != seen.content],
                [one for one in made.snapshots if one <= volume.snapshot_last and one not in kept],
            ),
        )

    async def _finish_resize(self, volume: Volume, claim: VolumeClaim | None) -> None:
        """Ask for a size that was noted and not asked for; one that is refused is taken back."""
        wanted, asked = volume.size_bytes, None if claim is None else claim.requested_bytes
        if wanted is None or asked is None or asked >= wanted:
            return
        try:
            await self._contents.resize(volume, wanted)
        except (Forbidden, InvalidValue) as error:
            await self._metadata.volume_resize(volume.id, before=wanted, after=asked)
            _log.warning("a resize was taken back", volume_id=volume.id, message=error.message)

    async def _make(self, volume: Volume) -> None:
        await self._contents.make(volume, 1)
        try:
            await self._metadata.volume_made(volume.id)
        except NotFound:  # deleted meanwhile by somebody who did not see what was just made
            await self._contents.remove(volume.id)
            raise

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

    async def _delete(self, volume: Volume, *, with_snapshots: bool) -> None:
        await self._metadata.volume_delete(
            volume.id, with_snapshots=with_snapshots, deleted_ns=self._clock.now_ns()
        )
        self._left.add(volume.id)
        await self._remove(volume.id)

    async def _remove(self, volume_id: str) -> None:
        """Remove all of a volume out of use; what is known of it goes last."""
        await self._contents.remove(volume_id)
        await self._metadata.volume_forget(volume_id)
        self._left.discard(volume_id)

    def _go(
        self,
        volume: Volume,
        operation: VolumeOperation,
        do: Callable[[Volume, VolumeOperation, Progress], Coroutine[None, None, VolumeResult]],
    ) -> None:
        work = self._work(volume, operation, do)
        task = asyncio.create_task(work, name=f"{operation.kind} {volume.id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _work(
        self,
        volume: Volume,
        operation: VolumeOperation,
        do: Callable[[Volume, VolumeOperation, Progress], Coroutine[None, None, VolumeResult]],
    ) -> None:
        """Do it, and note what came of it; whatever goes wrong is said to whoever asks."""
        progress = Progress()
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
                old = volume.content if result.restored else operation.content
                await self._contents.drop(volume, Made([old]))
        except SeafloorError as error:
            _log.warning("an operation counts for nothing", volume_id=volume.id, why=error.message)

    async def _tell(self, volume: Volume, operation: VolumeOperation, progress: Progress) -> None:
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
        self, volume: Volume, operation: VolumeOperation, progress: Progress
    ) -> VolumeResult:
        return VolumeResult(snapshot=await self._contents.keep(volume, operation, progress))

    async def _restore(
        self, volume: Volume, operation: VolumeOperation, progress: Progress
    ) -> VolumeResult:
        (snapshot,) = [
            one
            for one in await self._metadata.volume_snapshots(volume.id)
            if one.number == operation.snapshot
        ]
        await self._contents.restore(volume, operation, snapshot, progress)
        return VolumeResult(restored=True)
