"""Volumes on a cluster: ``VolumeContents`` there. A content is a PersistentVolumeClaim."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NoReturn

import msgspec
import structlog

from seafloor.domain.errors import (
    ClusterUnavailable,
    Conflict,
    Forbidden,
    InvalidValue,
    NotFound,
    NotSupported,
    PodRejected,
    SeafloorError,
)
from seafloor.domain.volumes import (
    ClaimState,
    OperationKind,
    Volume,
    VolumeClaim,
    VolumeOperation,
    VolumeSite,
    VolumeSnapshot,
)
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.claim_states import (
    bytes_of,
    claim_view,
    needs_events,
    requested_by,
    snapshot_failure,
    waits_for_consumer,
)
from seafloor.launch.kubernetes.claims import (
    CLAIM,
    SNAPSHOT,
    claim_manifest,
    content_of,
    is_made_for,
    is_of_volume,
    snapshot_manifest,
    snapshot_of,
    volume_selector,
)
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.names import SNAPSHOT_API, claim_name, label_value, snapshot_name
from seafloor.launch.kubernetes.observed import (
    Claim,
    Metadata,
    ObjectEvent,
    Snapshot,
    SnapshotStatus,
)
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.resources import memory_quantity
from seafloor.launch.volumes import Counted, Made, Progress

_log = structlog.get_logger(__name__)

_FOLDER: Final = (
    "It is a folder of a server whose runs are processes of its machine; runs of this server are "
    "pods. Make another by `seafloor volume create`."
)


class Patience(msgspec.Struct, frozen=True):
    """How long the cluster may take, which tries again by itself.

    Args:
        look_s: Between two looks.
        failing_s: So long something fails before it has failed.
        nobody_s: So long nobody takes care of a snapshot before it is given up.
    """

    look_s: float = 1.0
    failing_s: float = 60.0
    nobody_s: float = 120.0


class _Object(msgspec.Struct):
    metadata: Metadata


class ClusterVolumes:
    """See ``VolumeContents``. Objects that it did not make are neither changed nor deleted.

    Args:
        cluster: Closed by whoever made it.
        policy: The administrator's.
        place: Of the installation; objects of other places are not touched.
    """

    def __init__(
        self, cluster: Cluster, policy: Policy, *, place: str, patience: Patience | None = None
    ) -> None:
        self._cluster = cluster
        self._policy = policy
        self._place = label_value(place)
        self._namespaces = [one for one in policy.namespaces if not set(one) & set("*?[")]
        self._patience = patience or Patience()

    def settle(self, volume: Volume) -> Volume:
        """See ``VolumeContents``: its size, its class, and the namespace it is made in."""
        rules.volume_name(self._policy, volume.name)
        if volume.size_bytes is None:
            raise InvalidValue(
                "A volume of a cluster needs a size, such as `--size 20Gi`.", field="size"
            )
        rules.volume_size(self._policy, volume.size_bytes)
        return msgspec.structs.replace(
            volume,
            storage_class=rules.storage_class(self._policy, volume.storage_class),
            namespace=self._policy.namespaces[0],
        )

    def away(self, volume: Volume) -> str:
        """See ``VolumeContents``."""
        if volume.namespace is None:
            return _FOLDER
        if volume.namespace not in self._namespaces:
            return (
                f"Its claim is in the namespace {volume.namespace}, which the policy does not name."
            )
        return ""

    def is_theirs(self, name: str) -> bool:
        """See ``VolumeContents``: the policy says which claim it is."""
        return name in self._policy.volumes

    async def is_there(self, name: str) -> bool:
        """See ``VolumeContents``: a claim of that name which others made."""
        rules.volume(self._policy, name, read_only=True, field="volumes")
        try:
            found = await self._cluster.get(CLAIM, self._policy.namespaces[0], name)
        except NotFound:
            return False
        except (ClusterUnavailable, Forbidden) as error:
            # The pod will tell: it waits for a claim that is not there.
            _log.info("a claim was not looked at", claim=name, message=error.message)
            return True
        if is_of_volume(_metadata(found)):
            raise Forbidden(
                f'"{name}" is the claim of a volume: name the volume itself.', field="volumes"
            )
        return True

    async def make(self, volume: Volume, content: int) -> None:
        """See ``VolumeContents``. Durable once the API server has it; when it is bound is its."""
        await self._create(
            claim_manifest(volume, content, self._policy, self._place, asked_ns=volume.created_ns)
        )

    async def check(self, volume: Volume) -> None:
        """See ``VolumeContents``. While the cluster is away its claims are believed to be there."""
        if away := self.away(volume):
            raise NotFound(f'The volume "{volume.name}" is not here. {away}', field="volumes")
        if volume.namespace != self._policy.namespaces[0]:
            raise NotFound(
                f'The volume "{volume.name}" is in the namespace {volume.namespace}, runs are in '
                f"{self._policy.namespaces[0]}.",
                field="volumes",
            )
        try:
            found = await self._claim(volume)
        except ClusterUnavailable as error:
            _log.info("a claim was not looked at", volume_id=volume.id, message=error.message)
            return
        if found is None:
            raise NotFound(
                f'The claim of the volume "{volume.name}" is not there: {_gone(volume).words}',
                field="volumes",
            )
        view = claim_view(found)
        if view.state in (ClaimState.LOST, ClaimState.REMOVING):
            raise Conflict(
                f'The volume "{volume.name}" cannot be had: {view.words}', field="volumes"
            )

    async def look(self, volumes: Sequence[Volume]) -> dict[str, VolumeSite]:
        """See ``VolumeContents``. Cost: one list for each namespace, and one of events at most."""
        sites = {one.id: VolumeSite(away=self.away(one)) for one in volumes}
        here = [one for one in volumes if not sites[one.id].away]
        for namespace in dict.fromkeys(one.namespace for one in here if one.namespace):
            of_it = [one for one in here if one.namespace == namespace]
            try:
                views = await self._views(namespace)
            except SeafloorError as error:
                sites |= {one.id: VolumeSite(claim=_unknown(one, error)) for one in of_it}
                continue
            for one in of_it:
                view = views.get(_claim_of(one))
                sites[one.id] = VolumeSite(claim=_gone(one) if view is None else _asked(one, view))
        return sites

    async def _views(self, namespace: str) -> dict[str, VolumeClaim]:
        selector = volume_selector(self._place)
        listed = await self._cluster.list(CLAIM, namespace, selector)
        claims = [msgspec.json.decode(item, type=Claim) for item in listed.items]
        events: tuple[ObjectEvent, ...] = ()
        if any(needs_events(claim) for claim in claims):
            events = await self._cluster.events_of_kind(namespace, CLAIM)
        return {one.metadata.name: claim_view(one, _about(one, events)) for one in claims}

    async def check_resize(self, volume: Volume, size_bytes: int) -> None:
        """See ``VolumeContents``. What a storage class allows is asked where we may read it."""
        if away := self.away(volume):
            raise Conflict(f'The volume "{volume.name}" cannot be resized from here. {away}')
        rules.volume_size(self._policy, size_bytes)
        claim = await self._resizable(volume, size_bytes)
        if size_bytes == requested_by(claim):
            return
        name = claim.spec.storage_class_name
        if not name:
            raise NotSupported(
                f'The claim of the volume "{volume.name}" has no storage class, and is as large as '
                "it is."
            )
        try:
            made_by = await self._cluster.storage_class(name)
        except Forbidden:
            return  # the cluster itself refuses it then, in its own words
        except NotFound as error:
            raise NotSupported(
                f'The storage class "{name}" is not there any more, and nothing else can make the '
                f'volume "{volume.name}" larger.'
            ) from error
        if not made_by.allow_volume_expansion:
            raise NotSupported(
                f'The storage class "{name}" does not make volumes larger '
                "(`allowVolumeExpansion`): its administrator allows it, or make another volume of "
                "a class that does."
            )

    async def _resizable(self, volume: Volume, size_bytes: int) -> Claim:
        """The claim of a volume that can get a size, as far as the claim itself is concerned."""
        claim = await self._claim(volume)
        if claim is None:
            raise Conflict(f'The volume "{volume.name}" cannot be resized: {_gone(volume).words}')
        view = claim_view(claim)
        if view.state is not ClaimState.BOUND:
            raise Conflict(
                f'The volume "{volume.name}" can be resized once its claim is bound. {view.words}'
            )
        has, asks = view.size_bytes or 0, view.requested_bytes or 0
        # One that did not get what it asks for may ask for less, but not for less than it has.
        if size_bytes < asks and size_bytes <= has:
            raise Conflict(
                f'The volume "{volume.name}" has {memory_quantity(max(has, asks))}: none can be '
                "made smaller."
            )
        return claim

    async def resize(self, volume: Volume, size_bytes: int) -> None:
        """See ``VolumeContents``: what the claim asks for is exchanged, if it is what we saw."""
        claim = await self._resizable(volume, size_bytes)
        before = claim.spec.resources.requests.get("storage")
        if size_bytes == requested_by(claim):
            return
        try:
            await self._cluster.exchange(
                CLAIM,
                claim.metadata.namespace,
                claim.metadata.name,
                "/spec/resources/requests/storage",
                before=before,
                after=memory_quantity(size_bytes),
            )
        except Forbidden as error:
            raise Forbidden(
                f"The cluster does not let Seafloor make the claim larger: {error.message}."
            ) from error
        except NotFound as error:
            raise Conflict(f'The claim of the volume "{volume.name}" is gone.') from error
        except PodRejected as error:
            seen = await self._claim(volume)
            if seen is not None and requested_by(seen) == size_bytes:
                return  # a server that began meanwhile saw the note, and was quicker
            if seen is None or seen.spec.resources.requests.get("storage") != before:
                raise Conflict(
                    f'The claim of the volume "{volume.name}" was changed meanwhile: repeat it.'
                ) from error
            raise InvalidValue(
                f"The cluster does not take the size: {error.message}.", field="size"
            ) from error

    async def count(self, volume: Volume) -> Counted:  # noqa: ARG002  # of the protocol
        """See ``VolumeContents``."""
        raise NotSupported("What a claim holds is seen by the runs that attach it, not from here.")

    async def check_snapshots(self, volume: Volume, kind: OperationKind) -> None:
        """See ``VolumeContents``."""
        if away := self.away(volume):
            raise NotFound(f'The volume "{volume.name}" is not here. {away}')
        if not await self._cluster.has_snapshots():
            raise NotSupported(
                f"The cluster has no VolumeSnapshots ({SNAPSHOT_API}): its administrator installs "
                "their CRDs and the snapshot controller, and a storage driver that makes them."
            )
        if kind is OperationKind.SNAPSHOT:
            found = await self._claim(volume)
            if found is not None and found.status.phase != "Bound":
                raise Conflict(
                    f'The volume "{volume.name}" holds nothing yet, its claim is not bound: there '
                    "is nothing to keep."
                )

    async def keep(
        self,
        volume: Volume,
        operation: VolumeOperation,
        progress: Progress,  # noqa: ARG002  # a cluster does not tell
    ) -> VolumeSnapshot:
        """See ``VolumeContents``. It takes as long as the cluster does."""
        number = operation.snapshot
        manifest = snapshot_manifest(
            volume, number, self._policy, self._place, asked_ns=operation.started_ns
        )
        await self._create(manifest)
        try:
            status = await self._ready(manifest)
        except SeafloorError:
            with suppress(SeafloorError):  # if not now, when a server starts
                await self.drop(volume, Made(snapshots=(number,)))
            raise
        return VolumeSnapshot(
            number=number,
            sha256=None,
            size_bytes=bytes_of(status.restore_size) or volume.size_bytes or 0,
            files=0,
            content_bytes=0,
            created_ns=_nanoseconds(status.creation_time) or time.time_ns(),
        )

    async def _ready(self, manifest: Manifest) -> SnapshotStatus:
        metadata = manifest["metadata"]
        alone, failing = _Timer(self._patience.nobody_s), _Timer(self._patience.failing_s)
        while True:
            content = await self._cluster.get(SNAPSHOT, metadata["namespace"], metadata["name"])
            status = msgspec.json.decode(content, type=Snapshot).status
            if status is not None and status.ready_to_use:
                return status
            if alone.is_over(status is None):
                raise Conflict(
                    "Nothing in the cluster takes care of snapshots: has it a snapshot controller?"
                )
            error = None if status is None else status.error
            if failing.is_over(error is not None) and error is not None:
                raise Conflict(snapshot_failure(error.message))
            await asyncio.sleep(self._patience.look_s)

    async def restore(
        self,
        volume: Volume,
        operation: VolumeOperation,
        snapshot: VolumeSnapshot,
        progress: Progress,  # noqa: ARG002  # a cluster does not tell
    ) -> None:
        """See ``VolumeContents``.

        Where the storage class waits for a first consumer the claim is filled when a run comes; the
        snapshot stays meanwhile.
        """
        namespace = str(volume.namespace)
        source = snapshot_name(volume.name, volume.id, snapshot.number)
        try:
            await self._cluster.get(SNAPSHOT, namespace, source)
        except NotFound as error:
            raise Conflict(
                f"The VolumeSnapshot {source} is not there: somebody deleted it in the cluster."
            ) from error
        await self._create(
            claim_manifest(
                volume,
                operation.content,
                self._policy,
                self._place,
                asked_ns=operation.started_ns,
                source=source,
                least_bytes=snapshot.size_bytes,
            )
        )
        await self._usable(volume, operation.content)

    async def _usable(self, volume: Volume, content: int) -> None:
        name, namespace = claim_name(volume.name, volume.id, content), str(volume.namespace)
        failing = _Timer(self._patience.failing_s)
        while True:
            claim = msgspec.json.decode(await self._cluster.get(CLAIM, namespace, name), type=Claim)
            events = await self._cluster.events_of_kind(namespace, CLAIM)
            of_it = _about(claim, events)
            view = claim_view(claim, of_it)
            if view.state is ClaimState.BOUND or waits_for_consumer(of_it):
                return
            if failing.is_over(view.state is not ClaimState.WAITING):
                raise Conflict(view.words)
            await asyncio.sleep(self._patience.look_s)

    async def made(self, volume: Volume) -> Made:
        """See ``VolumeContents``."""
        claims = await self._listed(CLAIM, str(volume.namespace), volume.id)
        snapshots = await self._listed(SNAPSHOT, str(volume.namespace), volume.id)
        return Made(
            [found[1] for one in claims if (found := content_of(one, self._place))],
            [found[1] for one in snapshots if (found := snapshot_of(one, self._place))],
        )

    async def drop(self, volume: Volume, made: Made) -> None:
        """See ``VolumeContents``."""
        contents, snapshots = set(made.contents), set(made.snapshots)
        await self._delete(volume.id, [str(volume.namespace)], contents, snapshots)

    async def remove(self, volume_id: str) -> None:
        """See ``VolumeContents``. A claim that a pod still has goes with the end of that."""
        await self._delete(volume_id, self._namespaces, None, None)

    async def _delete(
        self,
        volume_id: str,
        namespaces: Sequence[str],
        contents: Collection[int] | None,
        snapshots: Collection[int] | None,
    ) -> None:
        """Delete claims and snapshots of a volume that we made; None: all of them."""
        for namespace in namespaces:
            for kind, wanted, of in (
                (SNAPSHOT, snapshots, snapshot_of),
                (CLAIM, contents, content_of),
            ):
                if wanted is not None and not wanted:
                    continue
                for one in await self._listed(kind, namespace, volume_id):
                    found = of(one, self._place)
                    if found is not None and (wanted is None or found[1] in wanted):
                        await self._cluster.delete(kind, namespace, one.name, uid=one.uid)

    async def _listed(self, kind: str, namespace: str, volume_id: str) -> list[Metadata]:
        selector = volume_selector(self._place, volume_id)
        try:
            listed = await self._cluster.list(kind, namespace, selector)
        except (NotFound, Forbidden):
            if kind == CLAIM:
                raise
            return []  # where there are no snapshots, or none allowed, none was made
        return [_metadata(item) for item in listed.items]

    async def _claim(self, volume: Volume) -> Claim | None:
        try:
            found = await self._cluster.get(CLAIM, str(volume.namespace), _claim_of(volume))
        except NotFound:
            return None
        return msgspec.json.decode(found, type=Claim)

    async def _create(self, manifest: Manifest) -> None:
        """Create an object once, however often this is repeated.

        Raises:
            Forbidden, InvalidValue, Conflict: the cluster does not take it, or has another.
        """
        try:
            made = await self._cluster.create(manifest)
        except (Forbidden, NotFound, PodRejected) as error:
            _refused(manifest, error)
        if not is_made_for(_metadata(made), manifest):
            raise Conflict(
                f"There is a {manifest['kind']} {manifest['metadata']['name']} in the cluster that "
                "was made for something else: remove it there."
            )


class _Timer:
    """Says whether something has been so for long."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._since_s: float | None = None

    def is_over(self, so: bool) -> bool:
        """Whether it was so at each look, for longer than that."""
        if not so:
            self._since_s = None
            return False
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= self._most_s


def _refused(manifest: Manifest, error: SeafloorError) -> NoReturn:
    what = "snapshot" if manifest["kind"] == SNAPSHOT else "claim"
    if isinstance(error, Forbidden):
        raise Forbidden(
            f"The cluster does not let Seafloor make the {what}: {error.message}."
        ) from error
    raise InvalidValue(f"The cluster does not take the {what}: {error.message}.") from error


def _metadata(content: bytes | msgspec.Raw) -> Metadata:
    return msgspec.json.decode(content, type=_Object).metadata


def _about(claim: Claim, events: Sequence[ObjectEvent]) -> list[ObjectEvent]:
    return [event for event in events if event.involved_object.uid == claim.metadata.uid]


def _claim_of(volume: Volume) -> str:
    return claim_name(volume.name, volume.id, volume.content or 1)


def _asked(volume: Volume, view: VolumeClaim) -> VolumeClaim:
    """The same, and that a resize was broken off before the cluster heard of it."""
    wanted, asked = volume.size_bytes, view.requested_bytes
    if wanted is None or asked is None or asked >= wanted:
        return view
    words = (
        f"{view.words} It does not ask for {memory_quantity(wanted)} yet. Resize it again, "
        "or the next start of a server does."
    )
    return msgspec.structs.replace(view, words=words)


def _gone(volume: Volume) -> VolumeClaim:
    words = "Somebody deleted the claim in the cluster, and what was in it."
    if volume.content == 0:
        words = "It is not made yet: repeat `seafloor volume create`."
    return _told(volume, ClaimState.MISSING, words)


def _unknown(volume: Volume, error: SeafloorError) -> VolumeClaim:
    return _told(volume, ClaimState.UNKNOWN, error.message)


def _told(volume: Volume, state: ClaimState, words: str) -> VolumeClaim:
    return VolumeClaim(
        namespace=str(volume.namespace), name=_claim_of(volume), state=state, words=words
    )


def _nanoseconds(time_text: str | None) -> int | None:
    if time_text is None:
        return None
    return int(datetime.fromisoformat(time_text).timestamp() * 1e9)
