"""When a place counts as gone: by the database's clock, and by what this server has seen itself."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.app import places as module
from seafloor.app.clock import SystemClock
from seafloor.app.places import Living, LostPlaces
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim, Lease, lease_of_place
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import T0_NS, create, entering, launched

S_NS = 1_000_000_000
TTL_NS = 10 * S_NS
GIVEN_UP_AFTER_S = 600.0


class Ends:
    """Takes what becomes of attempts."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def lost(self, *_: object, **__: object) -> None:
        self.said.append("lost")

    async def give_back(self, *_: object, **__: object) -> None:
        self.said.append("given back")


class World:
    """Two runs of a place, one started and one not, and a server of another that looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database_ns = T0_NS
        self.here_s = 50_000.0
        self.metadata = MemoryMetadataStore(now_ns=lambda: self.database_ns)
        self.ends = Ends()
        self.living: list[Living] = []
        self.places = LostPlaces(
            self.metadata,
            cast("Any", self.ends),
            SystemClock(),
            given_up_after_s=GIVEN_UP_AFTER_S,
        )
        monkeypatch.setattr(module, "boot_time_s", lambda: self.here_s)

    async def begin(self) -> Lease:
        lease = await self.metadata.lease_take(lease_of_place("p"), holder="h", ttl_ns=TTL_NS)
        claim = Claim("p", lease.fence)
        for number in (1, 2):
            made = await create(self.metadata, launched(number))
            await self._enter(made.id, WorkloadState.PREPARING, WorkloadState.QUEUED, claim)
            if number == 1:
                await self.metadata.attempt_record(made.id, 1, launching_ns=T0_NS, claim=claim)
            attempts = await self.metadata.attempts_newest([made.id])
            now = await self.metadata.workload_get(made.id)
            self.living.append(Living(now, attempts[made.id]))
        return lease

    async def _enter(
        self, run: WorkloadId, state: WorkloadState, before: WorkloadState, claim: Claim
    ) -> None:
        await self.metadata.workload_transition(run, entering(state, before, claim=claim))

    def pass_time(self, seconds: float) -> None:
        self.here_s += seconds
        self.database_ns += int(seconds * S_NS)

    async def look_for(self, seconds: int) -> None:
        """Look each second."""
        for _ in range(seconds):
            self.pass_time(1.0)
            await self.places.look(self.living)


async def test_look__lease_that_is_a_day_old__its_server_may_come_back_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All servers were stopped for a backup, or the database is yesterday's."""
    world = World(monkeypatch)
    await world.begin()
    world.pass_time(86_400.0)
    await world.look_for(10)
    assert world.ends.said == []
    await world.look_for(1)
    assert world.ends.said == ["given back"]
    world.living = world.living[:1]  # as the next pass finds
    await world.look_for(589)
    assert world.ends.said == ["given back"]
    await world.look_for(1)
    assert world.ends.said == ["given back", "lost"]


async def test_look__clock_of_the_database_is_set_forward__who_renews_is_not_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    lease = await world.begin()
    await world.look_for(3)
    world.database_ns += 3600 * S_NS
    for _ in range(300):
        await world.look_for(3)
        lease = await world.metadata.lease_renew(lease, ttl_ns=TTL_NS)
    assert world.ends.said == []


async def test_look__looker_was_paused_for_a_day__that_is_no_silence_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    await world.begin()
    await world.look_for(2)
    for _ in range(2):
        world.pass_time(86_400.0)
        await world.look_for(1)
    assert "lost" not in world.ends.said


async def test_look__server_that_stays_away__what_it_prepared_goes_on_elsewhere_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    await world.begin()
    await world.look_for(10)
    assert world.ends.said == []
    await world.look_for(1)
    assert world.ends.said == ["given back"]
