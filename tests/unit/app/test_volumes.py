"""Volumes while their cluster is away: what is asked for is done when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.leases import LeaseHolder
from seafloor.app.places import OwnPlace
from seafloor.app.volumes import NewVolume, Volumes
from seafloor.domain.errors import AlreadyExists, ClusterUnavailable, Forbidden, NotFound
from seafloor.domain.leases import lease_of_place
from seafloor.domain.volumes import ClaimState, Volume, VolumeClaim, VolumeSite
from seafloor.launch.volumes import Made, VolumeContents
from seafloor.stores.metadata.memory.store import MemoryMetadataStore


class Contents:
    """Contents that are elsewhere, of which only the numbers are real."""

    def __init__(self) -> None:
        self.made_of: dict[str, set[int]] = {}
        self.sizes: dict[str, int] = {}
        self.refusal: Exception | None = None

    def _ask(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def settle(self, volume: Volume) -> Volume:
        return volume

    def away(self, volume: Volume) -> str:  # of the protocol
        return ""

    async def make(self, volume: Volume, content: int) -> None:
        self._ask()
        self.made_of.setdefault(volume.id, set()).add(content)

    async def check_resize(self, volume: Volume, size_bytes: int) -> None:
        """Of the protocol: nothing is against it."""

    async def resize(self, volume: Volume, size_bytes: int) -> None:
        self._ask()
        self.sizes[volume.id] = size_bytes

    async def look(self, volumes: Sequence[Volume]) -> dict[str, VolumeSite]:
        return {one.id: VolumeSite(claim=self._claim(one.id)) for one in volumes}

    def _claim(self, volume_id: str) -> VolumeClaim | None:
        size_bytes = self.sizes.get(volume_id)
        if size_bytes is None:
            return None
        return VolumeClaim(
            namespace="ml",
            name=volume_id,
            state=ClaimState.BOUND,
            words="Bound.",
            requested_bytes=size_bytes,
        )

    async def made(self, volume: Volume) -> Made:
        self._ask()
        return Made(self.made_of.get(volume.id, set()))

    async def drop(self, volume: Volume, made: Made) -> None:
        self.made_of[volume.id] -= set(made.contents)

    async def remove(self, volume_id: str) -> None:
        self._ask()
        self.made_of.pop(volume_id, None)


@asynccontextmanager
async def volumes_of(contents: Contents, metadata: MemoryMetadataStore) -> AsyncIterator[Volumes]:
    """A server's, with its task in the background."""
    holder = LeaseHolder(metadata, lease_of_place("here"))
    made = Volumes(
        metadata,
        cast("VolumeContents", contents),
        OwnPlace("here", holder),
        SystemClock(),
        lambda _: "",
        again_s=0.01,
    )
    async with holder.holding():
        running = asyncio.create_task(made.run())
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(look: Any, what: str) -> None:
    try:
        async with asyncio.timeout(30):
            while not look():
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"waited for {what}") from error


AWAY = ClusterUnavailable("away")


async def test_create__cluster_away__is_completed_by_a_repeat_or_by_the_next_server() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    contents.refusal = AWAY
    async with volumes_of(contents, metadata) as volumes:
        for name in ("a", "b"):
            with pytest.raises(ClusterUnavailable):
                await volumes.create(NewVolume(name=name))
        contents.refusal = None
        made = await volumes.create(NewVolume(name="a"))
        assert made.volume.content == 1
        with pytest.raises(AlreadyExists):
            await volumes.create(NewVolume(name="a"))
        with pytest.raises(AlreadyExists):
            await volumes.create(NewVolume(name="b", size="1Gi"))
    async with volumes_of(contents, metadata):
        await until(lambda: len(contents.made_of) == 2, "the other to be completed")
    assert {1} == set.union(*contents.made_of.values())


async def test_create__refused_for_good__leaves_nothing() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    async with volumes_of(contents, metadata) as volumes:
        made = await volumes.create(NewVolume(name="other"))

        async def refuse(volume: Volume, content: int) -> None:  # of the protocol
            raise Forbidden("no")

        contents.make = refuse
        with pytest.raises(Forbidden):
            await volumes.create(NewVolume(name="a"))
        with pytest.raises(NotFound):
            await volumes.get("a", project="default")
    assert contents.made_of == {made.volume.id: {1}}


async def test_create__deleted_at_that_moment__leaves_nothing() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    async with volumes_of(contents, metadata) as volumes:
        make = contents.make

        async def make_late(volume: Volume, content: int) -> None:
            await volumes.delete("a", project="default", with_snapshots=False)
            await make(volume, content)

        contents.make = make_late
        with pytest.raises(NotFound):
            await volumes.create(NewVolume(name="a"))
    assert contents.made_of == {}


async def test_resize__refused__is_taken_back_and_one_not_answered_is_repeated() -> None:
    metadata, contents = MemoryMetadataStore(), Contents()
    async with volumes_of(contents, metadata) as volumes:
        made = await volumes.create(NewVolume(name="data", size="1Gi"))
        contents.refusal = Forbidden("exceeded quota")
        with pytest.raises(Forbidden):
            await volumes.resize("data", "2Gi", project="default")
        assert (await metadata.volume_get("default", "data")).size_bytes == 1 << 30

        contents.refusal = AWAY
        with pytest.raises(ClusterUnavailable):
            await volumes.resize("data", "2Gi", project="default")
        contents.refusal = None
        seen = await volumes.resize("data", "2Gi", project="default")
    assert seen.volume.size_bytes == contents.sizes[made.volume.id] == 2 << 30


@pytest.mark.parametrize("refused", [False, True])
async def test_resize__server_killed_before_it_asked__is_ended_by_the_next_one(
    refused: bool,
) -> None:
    metadata, contents = MemoryMetadataStore(), Contents()
    async with volumes_of(contents, metadata) as volumes:
        made = await volumes.create(NewVolume(name="data", size="1Gi"))
        contents.sizes[made.volume.id] = 1 << 30
        contents.refusal = AWAY
        with pytest.raises(ClusterUnavailable):
            await volumes.resize("data", "2Gi", project="default")
    contents.refusal = None
    if refused:

        async def refuse(volume: Volume, size_bytes: int) -> None:  # of the protocol
            raise Forbidden("exceeded quota")

        contents.resize = refuse
    size_bytes = (1 if refused else 2) << 30

    async with volumes_of(contents, metadata) as volumes:

        async def sizes() -> set[int | None]:
            noted = (await volumes.get("data", project="default")).volume.size_bytes
            return {noted, contents.sizes[made.volume.id]}

        async with asyncio.timeout(30):
            while await sizes() != {size_bytes}:
                await asyncio.sleep(0.01)


async def test_delete__cluster_away__goes_when_it_is_back() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    async with volumes_of(contents, metadata) as volumes:
        made = await volumes.create(NewVolume(name="a"))
        contents.refusal = AWAY
        await volumes.delete("a", project="default", with_snapshots=False)
        with pytest.raises(NotFound):
            await volumes.get("a", project="default")
        assert made.volume.id in contents.made_of
        contents.refusal = None
        async with asyncio.timeout(30):
            while await metadata.volumes_deleted():
                await asyncio.sleep(0.01)
    assert contents.made_of == {}


async def test_delete__failed_halfway__is_ended_later() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    async with volumes_of(contents, metadata) as volumes:
        await volumes.create(NewVolume(name="a"))
        contents.refusal = Forbidden("no")
        with pytest.raises(Forbidden):
            await volumes.delete("a", project="default", with_snapshots=False)
        contents.refusal = None
        await until(lambda: contents.made_of == {}, "the rest to go")


async def test_delete__one_refused__is_tried_again_and_keeps_no_other_from_going() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    async with volumes_of(contents, metadata) as volumes:
        names = ("a", "b", "c")
        ids = [(await volumes.create(NewVolume(name=name))).volume.id for name in names]
        contents.refusal = AWAY
        for name in ("a", "b"):
            await volumes.delete(name, project="default", with_snapshots=False)
    contents.refusal = None
    contents.made_of[ids[2]] = {1, 2}  # what a restore left
    remove = contents.remove

    async def refuse_one(volume_id: str) -> None:
        if volume_id == ids[0]:
            raise Forbidden("no")
        await remove(volume_id)

    contents.remove = refuse_one
    async with volumes_of(contents, metadata):
        await until(lambda: contents.made_of == {ids[0]: {1}, ids[2]: {1}}, "the others to be done")
        contents.remove = remove
        await until(lambda: contents.made_of == {ids[2]: {1}}, "the first to go too")


async def test_tidy__content_that_the_record_does_not_know__stays_if_the_current_is_gone() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    async with volumes_of(contents, metadata) as volumes:
        half = (await volumes.create(NewVolume(name="half"))).volume.id
        newer = (await volumes.create(NewVolume(name="before-half"))).volume.id
    contents.made_of = {half: {1, 2}, newer: {2}}
    async with volumes_of(contents, metadata):
        await until(lambda: contents.made_of[half] == {1}, "the half restore to go")
    assert contents.made_of[newer] == {2}  # a database put back to an earlier state


async def test_tidy__removal_of_one_refused__sees_to_all_others() -> None:
    contents, metadata = Contents(), MemoryMetadataStore()
    contents.refusal = AWAY
    async with volumes_of(contents, metadata) as volumes:
        for name in ("a", "b", "unfinished"):
            with pytest.raises(ClusterUnavailable):
                await volumes.create(NewVolume(name=name))
        refused = (await metadata.volume_get("default", "a")).id
        contents.refusal = Forbidden("no")  # told to whoever asks, and for the next start to try
        for name in ("a", "b"):
            with pytest.raises(Forbidden):
                await volumes.delete(name, project="default", with_snapshots=False)
    remove = contents.remove

    async def refuse(volume_id: str) -> None:  # of the protocol
        if volume_id == refused:
            raise Forbidden("no")
        await remove(volume_id)

    contents.remove, contents.refusal = refuse, None
    async with volumes_of(contents, metadata):
        await until(lambda: contents.made_of, "the unfinished one to be made")

        async def others_gone() -> bool:
            return set(await metadata.volumes_deleted()) == {refused}

        async with asyncio.timeout(30):
            while not await others_gone():
                await asyncio.sleep(0.01)
