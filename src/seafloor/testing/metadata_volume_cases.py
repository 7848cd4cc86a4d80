"""What every metadata store must do with volumes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from seafloor.domain.errors import AlreadyExists, Conflict, InUse, NotFound, StaleLease
from seafloor.domain.ids import Sha256, WorkloadId
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.volumes import (
    AccessMode,
    OperationKind,
    Volume,
    VolumeHolder,
    VolumeOperation,
    VolumeSnapshot,
    VolumeUse,
)
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.volume_records import VolumeResult
from seafloor.testing.metadata_cases import (
    FAILED,
    PREPARING,
    QUEUED,
    RUNNING,
    STOPPED,
    MetadataStoreCases,
)
from seafloor.testing.metadata_records import T0_NS, entering, labels, launched, note, run_id

HERE = "here"
MINUTE_NS = 60 * 1_000_000_000


def a_volume(number: int = 1, **changes: Any) -> Volume:
    """A volume of the project ``default``."""
    made = Volume(
        id=f"{number:032x}",
        project="default",
        name=f"data-{number}",
        access_mode=AccessMode.RWO,
        created_ns=T0_NS,
    )
    return replace(made, **changes)


def a_snapshot(operation: VolumeOperation) -> VolumeSnapshot:
    """What a snapshot could have become."""
    return VolumeSnapshot(
        number=operation.snapshot,
        sha256=Sha256("a" * 64),
        size_bytes=10,
        files=3,
        content_bytes=2**40,
        created_ns=T0_NS,
        left_out=1,
    )


async def attached(
    store: MetadataStore, number: int, volume: Volume, *, read_only: bool = False
) -> WorkloadId:
    """Create a run with a volume."""
    made = await store.workload_create(
        launched(number),
        labels=labels(),
        event=note("it began"),
        idempotency_key=None,
        volumes=(VolumeUse(volume.id, read_only),),
    )
    return made.id


async def held(store: MetadataStore, volume: Volume) -> tuple[VolumeHolder, ...]:
    """Who has a volume."""
    return (await store.volume_holders([volume.id])).get(volume.id, ())


async def claim(store: MetadataStore, holder: str = "a", *, supersede: bool = False) -> Claim:
    """Take the lease of a place."""
    name = lease_of_place(HERE)
    taken = await store.lease_take(name, holder=holder, ttl_ns=MINUTE_NS, supersede=supersede)
    return Claim(HERE, taken.fence)


async def begun(
    store: MetadataStore, volume: Volume, kind: OperationKind, by: Claim, *, snapshot: int = 0
) -> VolumeOperation:
    """Begin an operation."""
    return await store.volume_begin(volume.id, kind, snapshot=snapshot, claim=by, started_ns=T0_NS)


async def snapshotted(store: MetadataStore, volume: Volume, by: Claim) -> VolumeSnapshot:
    """Make a snapshot."""
    operation = await begun(store, volume, OperationKind.SNAPSHOT, by)
    made = a_snapshot(operation)
    await store.volume_end(volume.id, operation, VolumeResult(snapshot=made))
    return made


class VolumeCases(MetadataStoreCases):
    """Volumes, and who has them."""

    async def test_volume_create__read_back__is_the_same(self, store: MetadataStore) -> None:
        made = a_volume(size_bytes=2**40, storage_class="fast", access_mode=AccessMode.RWX)
        assert await store.volume_create(made) == made
        assert await store.volume_get("default", "data-1") == made
        assert await held(store, made) == ()

    async def test_volume_create__on_a_cluster__is_nobodys_until_it_is_made(
        self, store: MetadataStore
    ) -> None:
        made = await store.volume_create(a_volume(content=0, namespace="ml"))
        assert await store.volume_get("default", "data-1") == made
        with pytest.raises(Conflict, match="not made yet"):
            await attached(store, 1, made, read_only=True)
        for kind in OperationKind:
            with pytest.raises(Conflict, match="not made yet"):
                await begun(store, made, kind, await claim(store, supersede=True), snapshot=1)
        await store.volume_made(made.id)
        await store.volume_made(made.id)
        assert await store.volume_get("default", "data-1") == replace(made, content=1)
        by = await claim(store, supersede=True)
        snapshot = await snapshotted(store, made, by)
        for content in (2, 3):
            operation = await begun(
                store, made, OperationKind.RESTORE, by, snapshot=snapshot.number
            )
            assert operation.content == content
            await store.volume_end(made.id, operation, VolumeResult(restored=True))
            await store.volume_made(made.id)
        assert (await store.volume_get("default", "data-1")).content == 3
        await attached(store, 1, made)

    async def test_snapshot__that_a_cluster_keeps__has_no_digest(
        self, store: MetadataStore
    ) -> None:
        made = await store.volume_create(a_volume(namespace="ml"))
        by = await claim(store)
        operation = await begun(store, made, OperationKind.SNAPSHOT, by)
        kept = replace(a_snapshot(operation), sha256=None)
        await store.volume_end(made.id, operation, VolumeResult(snapshot=kept))
        assert await store.volume_snapshots(made.id) == (kept,)

    async def test_project_delete__volumes_out_of_use__are_not_in_the_way_and_stay_so(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        for made in (a_volume(1, project="vision"), a_volume(2, name="data-1")):
            await store.volume_create(made)
        with pytest.raises(InUse, match="table 'volumes' still contains 1 resource"):
            await store.project_delete("vision", with_experiments=True)
        await store.volume_delete(a_volume(1).id, with_snapshots=False, deleted_ns=T0_NS)
        await store.project_delete("vision", with_experiments=True)
        assert await store.volumes_deleted() == (a_volume(1).id,)
        (kept,) = await store.volume_list(project="default", limit=10)
        assert kept.id == a_volume(2).id
        await store.volume_forget(a_volume(1).id)
        assert await store.volumes_deleted() == ()

    async def test_volume_create__name_taken__only_in_its_project(
        self, store: MetadataStore
    ) -> None:
        await store.volume_create(a_volume(1))
        with pytest.raises(AlreadyExists):
            await store.volume_create(a_volume(2, name="data-1"))
        await store.project_create("other", created_ns=T0_NS)
        await store.volume_create(a_volume(2, name="data-1", project="other"))
        with pytest.raises(NotFound):
            await store.volume_create(a_volume(3, project="nowhere"))

    async def test_volume_create__one_name_many_at_once__one_is_made(
        self, store: MetadataStore
    ) -> None:
        made = await asyncio.gather(
            *(store.volume_create(a_volume(number, name="data")) for number in range(1, 9)),
            return_exceptions=True,
        )
        assert sum(isinstance(one, Volume) for one in made) == 1
        assert sum(isinstance(one, AlreadyExists) for one in made) == 7

    async def test_volume_get__unknown__names_the_nearest(self, store: MetadataStore) -> None:
        await store.volume_create(a_volume(name="team-data"))
        with pytest.raises(NotFound, match="team-data"):
            await store.volume_get("default", "tean-data")

    async def test_volume_list__in_pages__each_once_in_order(self, store: MetadataStore) -> None:
        await store.project_create("a-project", created_ns=T0_NS)
        for number, name in enumerate(["b", "a", "ab", "a-b", "z"], start=1):
            project = "a-project" if name == "z" else "default"
            await store.volume_create(a_volume(number, name=name, project=project))
        seen: list[tuple[str, str]] = []
        while page := await store.volume_list(
            project=None, limit=2, after=seen[-1] if seen else None
        ):
            seen += [(one.project, one.name) for one in page]
        assert seen == [
            ("a-project", "z"),
            *[("default", name) for name in ("a", "a-b", "ab", "b")],
        ]
        (only,) = await store.volume_list(project="a-project", limit=10)
        assert only.name == "z"

    async def test_attach__second_writer__is_told_of_the_first(self, store: MetadataStore) -> None:
        volume = await store.volume_create(a_volume())
        first = await attached(store, 1, volume)
        with pytest.raises(Conflict, match=first) as refused:
            await attached(store, 2, volume)
        assert "run 1" in refused.value.message
        with pytest.raises(NotFound):
            await store.workload_get(run_id(2))
        await attached(store, 3, volume, read_only=True)
        assert [(one.workload_id, one.name, one.kind, one.read_only) for one in
                await held(store, volume)] == [
            (first, "run 1", "run", False),
            (run_id(3), "run 3", "run", True),
        ]  # fmt: skip
        assert await store.volumes_of(first) == (volume,)

    async def test_attach__many_writers_at_once__one_wins_and_all_others_know_it(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        made = await asyncio.gather(
            *(attached(store, number, volume) for number in range(1, 17)), return_exceptions=True
        )
        (winner,) = [one for one in made if isinstance(one, str)]
        refused = [one for one in made if isinstance(one, Conflict)]
        assert len(refused) == 15
        assert all(winner in one.message for one in refused)
        assert [one.workload_id for one in await held(store, volume)] == [winner]

    async def test_attach__many_may_write__all_do(self, store: MetadataStore) -> None:
        volume = await store.volume_create(a_volume(access_mode=AccessMode.RWX))
        for number in (1, 2, 3):
            await attached(store, number, volume)
        assert len(await held(store, volume)) == 3

    async def test_attach__one_of_two_refused__holds_none(self, store: MetadataStore) -> None:
        one, other = [await store.volume_create(a_volume(number)) for number in (1, 2)]
        await attached(store, 1, other)
        with pytest.raises(Conflict):
            await store.workload_create(
                launched(2),
                labels=labels(),
                event=note(),
                idempotency_key=None,
                volumes=(VolumeUse(one.id, read_only=False), VolumeUse(other.id, read_only=False)),
            )
        assert await held(store, one) == ()

    async def test_hold__through_a_run__ends_with_it_and_never_between_attempts(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        first = await attached(store, 1, volume)
        for state, before in ((PREPARING, QUEUED), (RUNNING, PREPARING)):
            await store.workload_transition(first, entering(state, before))
            assert len(await held(store, volume)) == 1
        again = entering(FAILED, RUNNING, further=note("attempt 2"))
        await store.workload_transition(first, again)
        with pytest.raises(Conflict):
            await attached(store, 2, volume)
        await store.workload_transition(first, entering(STOPPED, QUEUED))
        assert await held(store, volume) == ()
        second = await attached(store, 2, volume)
        with pytest.raises(Conflict, match=second):
            await store.attempt_create(first, created_ns=T0_NS, event=note())
        await store.workload_transition(second, entering(STOPPED, QUEUED))
        await store.attempt_create(first, created_ns=T0_NS, event=note())
        assert [one.workload_id for one in await held(store, volume)] == [first]

    async def test_snapshot__made__is_listed_and_its_number_never_comes_again(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        mine = await claim(store)
        first = await snapshotted(store, volume, mine)
        failed = await begun(store, volume, OperationKind.SNAPSHOT, mine)
        await store.volume_end(volume.id, failed, VolumeResult(problem="no space"))
        assert (await store.volume_get("default", "data-1")).problem == "no space"
        third = await snapshotted(store, volume, mine)
        assert [first.number, failed.snapshot, third.number] == [1, 2, 3]
        assert await store.volume_snapshots(volume.id) == (first, third)
        found = await store.volume_get("default", "data-1")
        assert (found.snapshot_last, found.operation, found.problem) == (3, None, "")

    async def test_snapshot__being_made__readers_may_and_writers_may_not(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume(access_mode=AccessMode.RWX))
        mine = await claim(store)
        reader = await attached(store, 1, volume, read_only=True)
        operation = await begun(store, volume, OperationKind.SNAPSHOT, mine)
        await store.volume_progress(volume.id, replace(operation, done_bytes=7))
        found = await store.volume_get("default", "data-1")
        assert found.operation == replace(operation, done_bytes=7)
        await attached(store, 2, volume, read_only=True)
        with pytest.raises(Conflict, match="snapshot 1"):
            await attached(store, 3, volume)
        for kind in OperationKind:
            with pytest.raises(Conflict):
                await begun(store, volume, kind, mine, snapshot=1)
        with pytest.raises(Conflict):
            await store.volume_delete(volume.id, with_snapshots=True, deleted_ns=T0_NS)
        await store.volume_end(volume.id, operation, VolumeResult(snapshot=a_snapshot(operation)))
        await attached(store, 3, volume)
        with pytest.raises(Conflict, match=run_id(3)):
            await begun(store, volume, OperationKind.SNAPSHOT, mine)
        assert reader == run_id(1)

    async def test_restore__done__is_another_content_and_refused_while_attached(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        mine = await claim(store)
        with pytest.raises(NotFound, match="snapshot 1"):
            await begun(store, volume, OperationKind.RESTORE, mine, snapshot=1)
        await snapshotted(store, volume, mine)
        reader = await attached(store, 1, volume, read_only=True)
        with pytest.raises(Conflict, match=reader):
            await begun(store, volume, OperationKind.RESTORE, mine, snapshot=1)
        await store.workload_transition(reader, entering(STOPPED, QUEUED))
        broken = await begun(store, volume, OperationKind.RESTORE, mine, snapshot=1)
        with pytest.raises(Conflict, match="being restored"):
            await attached(store, 2, volume, read_only=True)
        await store.volume_end(volume.id, broken, VolumeResult(problem="damaged"))
        assert (await store.volume_get("default", "data-1")).content == 1
        good = await begun(store, volume, OperationKind.RESTORE, mine, snapshot=1)
        assert (broken.content, good.content) == (2, 3)
        await store.volume_end(volume.id, good, VolumeResult(restored=True))
        assert (await store.volume_get("default", "data-1")).content == 3

    async def test_operation__its_server_replaced__is_over_and_can_end_nothing(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        old = await claim(store)
        await snapshotted(store, volume, old)
        operation = await begun(store, volume, OperationKind.RESTORE, old, snapshot=1)
        new = await claim(store, "b", supersede=True)
        found = await store.volume_get("default", "data-1")
        assert found.operation is None
        assert "went away" in found.problem
        ending = VolumeResult(restored=True)
        for refused in (
            store.volume_end(volume.id, operation, ending),
            store.volume_progress(volume.id, operation),
            begun(store, volume, OperationKind.SNAPSHOT, old),
        ):
            with pytest.raises(StaleLease):
                await refused
        again = await begun(store, volume, OperationKind.RESTORE, new, snapshot=1)
        assert again.content == operation.content + 1
        with pytest.raises(StaleLease):
            await store.volume_end(volume.id, operation, ending)
        await store.volume_end(volume.id, again, ending)
        assert (await store.volume_get("default", "data-1")).content == again.content

    async def test_operation__its_lease_ended_and_a_run_came__can_end_nothing(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        mine = await claim(store)
        await snapshotted(store, volume, mine)
        operation = await begun(store, volume, OperationKind.RESTORE, mine, snapshot=1)
        name = lease_of_place(HERE)
        lease = await store.lease_take(name, holder="a", ttl_ns=MINUTE_NS)
        await store.lease_release(lease)
        writer = await attached(store, 1, volume)
        with pytest.raises(StaleLease):
            await store.volume_end(volume.id, operation, VolumeResult(restored=True))
        assert [one.workload_id for one in await held(store, volume)] == [writer]

    async def test_volume_resize__one_size_seen_by_many__one_of_them_changes_it(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume(size_bytes=2**30))
        await attached(store, 1, volume)
        sizes = [2**31 + number for number in range(8)]
        told = await asyncio.gather(
            *(store.volume_resize(volume.id, before=2**30, after=size) for size in sizes),
            return_exceptions=True,
        )
        (won,) = [size for size, one in zip(sizes, told, strict=True) if one is None]
        assert sum(isinstance(one, Conflict) for one in told) == 7
        assert (await store.volume_get("default", "data-1")).size_bytes == won
        await store.volume_resize(volume.id, before=won, after=won)
        await store.volume_resize(volume.id, before=won, after=None)
        assert await store.volume_get("default", "data-1") == replace(volume, size_bytes=None)
        with pytest.raises(NotFound):
            await store.volume_resize("f" * 32, before=None, after=1)

    async def test_volume_resize__content_being_made__is_refused_until_that_is_over(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume(content=0, size_bytes=1))
        with pytest.raises(Conflict, match="not made yet"):
            await store.volume_resize(volume.id, before=1, after=2)
        await store.volume_made(volume.id)
        mine = await claim(store)
        await snapshotted(store, volume, mine)
        operation = await begun(store, volume, OperationKind.RESTORE, mine, snapshot=1)
        with pytest.raises(Conflict, match="being restored"):
            await store.volume_resize(volume.id, before=1, after=2)
        await claim(store, "b", supersede=True)
        await store.volume_resize(volume.id, before=1, after=2)
        with pytest.raises(StaleLease):
            await store.volume_end(volume.id, operation, VolumeResult(restored=True))
        assert (await store.volume_get("default", "data-1")).size_bytes == 2

    async def test_volume_delete__in_use_or_with_snapshots__is_refused(
        self, store: MetadataStore
    ) -> None:
        volume = await store.volume_create(a_volume())
        reader = await attached(store, 1, volume, read_only=True)
        with pytest.raises(Conflict, match=reader):
            await store.volume_delete(volume.id, with_snapshots=True, deleted_ns=T0_NS)
        await store.workload_transition(reader, entering(STOPPED, QUEUED))
        await snapshotted(store, volume, await claim(store))
        with pytest.raises(Conflict, match="1 snapshot"):
            await store.volume_delete(volume.id, with_snapshots=False, deleted_ns=T0_NS)
        await store.volume_delete(volume.id, with_snapshots=True, deleted_ns=T0_NS)
        assert await store.volumes_deleted() == (volume.id,)
        assert await store.volume_list(project=None, limit=10) == ()
        assert await store.volumes_of(reader) == ()
        for gone in (
            store.volume_get("default", "data-1"),
            store.volume_delete(volume.id, with_snapshots=True, deleted_ns=T0_NS),
            attached(store, 2, volume),
            store.attempt_create(reader, created_ns=T0_NS, event=note()),
        ):
            with pytest.raises(NotFound):
                await gone
        await store.volume_create(a_volume(2, name="data-1"))
        await store.volume_forget(volume.id)
        await store.volume_forget(volume.id)
        await store.volume_forget(a_volume(2).id)
        assert await store.volumes_deleted() == ()
        assert (await store.volume_get("default", "data-1")).id == a_volume(2).id

    async def test_volume_delete__as_a_run_attaches__one_of_both(
        self, store: MetadataStore
    ) -> None:
        for number in range(1, 9):
            volume = await store.volume_create(a_volume(number))
            told = await asyncio.gather(
                attached(store, number, volume),
                store.volume_delete(volume.id, with_snapshots=False, deleted_ns=T0_NS),
                return_exceptions=True,
            )
            assert sum(isinstance(one, Conflict | NotFound) for one in told) == 1
            holders = await held(store, volume)
            assert bool(holders) is (volume.id not in await store.volumes_deleted())
