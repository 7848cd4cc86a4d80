"""What every store of leases must do. Subclass ``LeaseSuite`` and give ``make_store``.

``LeaseMachine`` drives one beside rules of its own, with a clock that the machine sets.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from seafloor.domain.errors import Conflict, InvalidValue, NotFound, StaleLease
from seafloor.domain.leases import Claim, Lease, lease_of_place
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_records import T0_NS, create, entering, launched, note, run_id

NAME = "reconciler/here"
MINUTE_NS = 60 * 1_000_000_000
MOMENT_NS = 20_000_000
"""A lease that ends while a test waits."""

QUEUED, PREPARING, RUNNING = WorkloadState.QUEUED, WorkloadState.PREPARING, WorkloadState.RUNNING


async def ended(store: MetadataStore, name: str) -> None:
    """Wait until a lease has ended, by the store's clock."""
    deadline_s = time.monotonic() + 10
    while (await found(store, name)).left_ns > 0:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.005)


async def found(store: MetadataStore, name: str) -> Lease:
    """One lease out of the list of its kind."""
    (one,) = [each for each in await store.lease_list(name.split("/")[0]) if each.name == name]
    return one


class LeaseSuite(ABC):
    """True of every metadata store."""

    @abstractmethod
    def make_store(self, folder: Path) -> AbstractAsyncContextManager[MetadataStore]:
        """Open a store over a folder of the test's own."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[MetadataStore]:
        async with self.make_store(tmp_path) as store:
            yield store

    async def test_take__free__is_ones_own(self, store: MetadataStore) -> None:
        lease = await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        assert (lease.name, lease.holder, lease.fence, lease.left_ns) == (NAME, "a", 1, MINUTE_NS)
        assert lease.expires_ns == lease.taken_ns + MINUTE_NS
        assert abs(lease.taken_ns - time.time_ns()) < MINUTE_NS
        seen = await found(store, NAME)
        assert (seen.holder, seen.fence, seen.expires_ns) == ("a", 1, lease.expires_ns)
        assert 0 < seen.left_ns <= MINUTE_NS

    async def test_take__held__says_by_whom(self, store: MetadataStore) -> None:
        await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        lease = await store.lease_take(NAME, holder="b", ttl_ns=MINUTE_NS)
        assert (lease.holder, lease.fence) == ("a", 1)
        assert 0 < lease.left_ns <= MINUTE_NS

    async def test_take__ones_own_again__keeps_its_fence(self, store: MetadataStore) -> None:
        first = await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        again = await store.lease_take(NAME, holder="a", ttl_ns=2 * MINUTE_NS)
        assert (again.fence, again.taken_ns) == (1, first.taken_ns)
        assert again.expires_ns > first.expires_ns

    async def test_take__ended__has_the_next_fence(self, store: MetadataStore) -> None:
        await store.lease_take(NAME, holder="a", ttl_ns=MOMENT_NS)
        await ended(store, NAME)
        lease = await store.lease_take(NAME, holder="b", ttl_ns=MINUTE_NS)
        assert (lease.holder, lease.fence) == ("b", 2)

    async def test_take__superseding__needs_no_end(self, store: MetadataStore) -> None:
        old = await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        new = await store.lease_take(NAME, holder="b", ttl_ns=MINUTE_NS, supersede=True)
        assert (new.holder, new.fence) == ("b", 2)
        with pytest.raises(StaleLease):
            await store.lease_renew(old, ttl_ns=MINUTE_NS)

    async def test_take__many_at_once__one_has_it(self, store: MetadataStore) -> None:
        told = await asyncio.gather(
            *(store.lease_take(NAME, holder=f"h{n}", ttl_ns=MINUTE_NS) for n in range(16))
        )
        assert len({(lease.holder, lease.fence) for lease in told}) == 1

    async def test_renew__held_or_ended_but_not_taken__lasts_on(self, store: MetadataStore) -> None:
        lease = await store.lease_take(NAME, holder="a", ttl_ns=MOMENT_NS)
        await ended(store, NAME)
        renewed = await store.lease_renew(lease, ttl_ns=MINUTE_NS)
        assert (renewed.fence, renewed.taken_ns) == (1, lease.taken_ns)
        assert (await found(store, NAME)).left_ns > 0

    async def test_renew__taken_by_another__is_stale(self, store: MetadataStore) -> None:
        old = await store.lease_take(NAME, holder="a", ttl_ns=MOMENT_NS)
        await ended(store, NAME)
        await store.lease_take(NAME, holder="b", ttl_ns=MINUTE_NS)
        with pytest.raises(StaleLease):
            await store.lease_renew(old, ttl_ns=MINUTE_NS)
        assert (await found(store, NAME)).holder == "b"

    async def test_release__ones_own__is_free_at_once(self, store: MetadataStore) -> None:
        lease = await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        await store.lease_release(lease)
        await store.lease_release(lease)
        assert (await found(store, NAME)).left_ns <= 0
        assert (await store.lease_take(NAME, holder="b", ttl_ns=MINUTE_NS)).fence == 2

    async def test_release__anothers_by_now__nothing_happens(self, store: MetadataStore) -> None:
        old = await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        await store.lease_take(NAME, holder="b", ttl_ns=MINUTE_NS, supersede=True)
        await store.lease_release(old)
        assert (await found(store, NAME)).left_ns > 0

    async def test_break__ended_long_enough__shuts_its_holder_out(
        self, store: MetadataStore
    ) -> None:
        old = await store.lease_take(NAME, holder="a", ttl_ns=MOMENT_NS)
        with pytest.raises(Conflict):
            await store.lease_break(NAME, ended_ns=MINUTE_NS)
        await ended(store, NAME)
        with pytest.raises(Conflict):
            await store.lease_break(NAME, ended_ns=MINUTE_NS)
        broken = await store.lease_break(NAME, ended_ns=0)
        assert (broken.holder, broken.fence, broken.expires_ns) == ("", 2, old.expires_ns)
        with pytest.raises(StaleLease):
            await store.lease_renew(old, ttl_ns=MINUTE_NS)
        assert (await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)).fence == 3

    async def test_break__held__is_a_conflict_and_changes_nothing(
        self, store: MetadataStore
    ) -> None:
        lease = await store.lease_take(NAME, holder="a", ttl_ns=MINUTE_NS)
        with pytest.raises(Conflict):
            await store.lease_break(NAME, ended_ns=0)
        assert (await store.lease_renew(lease, ttl_ns=MINUTE_NS)).fence == 1

    async def test_break__none__is_not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.lease_break("reconciler/nobody", ended_ns=0)

    async def test_list__of_a_kind__not_of_its_siblings(self, store: MetadataStore) -> None:
        for name in ("a/2", "a/1", "a-b/1", "a0/1", "A/1", "ab/1"):
            await store.lease_take(name, holder="h", ttl_ns=MINUTE_NS)
        assert [lease.name for lease in await store.lease_list("a")] == ["a/1", "a/2"]
        assert await store.lease_list("b") == ()

    @pytest.mark.parametrize(("holder", "ttl_ns"), [("", 1), ("a", 0), ("a", -1), ("a", 1 << 62)])
    async def test_take__odd_terms__are_refused(
        self, store: MetadataStore, holder: str, ttl_ns: int
    ) -> None:
        with pytest.raises(InvalidValue):
            await store.lease_take(NAME, holder=holder, ttl_ns=ttl_ns)
        assert await store.lease_list("reconciler") == ()

    async def test_installation_value__many_at_once__all_get_the_first(
        self, store: MetadataStore
    ) -> None:
        proposed = [bytes([n]) * 32 for n in range(16)]
        told = await asyncio.gather(
            *(store.installation_value("key", first=one) for one in proposed)
        )
        assert len(set(told)) == 1
        assert told[0] in proposed
        assert await store.installation_value("other", first=b"\0\xff") == b"\0\xff"


class ClaimSuite(LeaseSuite):
    """Claims of attempts: what a reconciler writes under a lease."""

    @staticmethod
    async def _claim(store: MetadataStore, place: str, *, ttl_ns: int = MINUTE_NS) -> Claim:
        lease = await store.lease_take(
            lease_of_place(place), holder=f"h-{place}", ttl_ns=ttl_ns, supersede=True
        )
        return Claim(place, lease.fence)

    async def test_claim__of_many_places_at_once__one_gets_the_run(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        claims = [await self._claim(store, f"p{n}") for n in range(8)]
        told = await asyncio.gather(
            *(
                store.workload_transition(run_id(1), entering(PREPARING, QUEUED, claim=claim))
                for claim in claims
            ),
            return_exceptions=True,
        )
        won = [n for n, one in enumerate(told) if not isinstance(one, BaseException)]
        assert len(won) == 1
        assert {type(one) for n, one in enumerate(told) if n not in won} == {Conflict}
        (attempt,) = await store.attempt_list(run_id(1))
        assert (attempt.place, attempt.fence) == (f"p{won[0]}", claims[won[0]].number)
        assert await store.attempts_newest([run_id(1), run_id(2)]) == {run_id(1): attempt}

    async def test_claim__stale__writes_nothing(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        old = await self._claim(store, "p", ttl_ns=MOMENT_NS)
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED, claim=old))
        await ended(store, lease_of_place("p"))
        broken = await store.lease_break(lease_of_place("p"), ended_ns=0)
        before = (await store.workload_get(run_id(1)), await store.event_list(run_id(1)))
        for write in (
            store.workload_transition(run_id(1), entering(RUNNING, PREPARING, claim=old)),
            store.attempt_record(run_id(1), 1, launching_ns=1, claim=old),
            store.event_append(run_id(1), note(), claim=old),
        ):
            with pytest.raises(StaleLease):
                await write
        after = (await store.workload_get(run_id(1)), await store.event_list(run_id(1)))
        assert after == before
        assert (await store.attempt_list(run_id(1)))[0].launching_ns is None
        new = Claim("p", broken.fence)
        await store.attempt_record(run_id(1), 1, launching_ns=7, claim=new)
        assert (await store.attempt_list(run_id(1)))[0].launching_ns == 7

    async def test_claim__of_another_place__is_stale(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        mine, other = await self._claim(store, "mine"), await self._claim(store, "other")
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED, claim=mine))
        with pytest.raises(StaleLease):
            await store.workload_transition(run_id(1), entering(RUNNING, PREPARING, claim=other))
        with pytest.raises(StaleLease):
            await store.attempt_record(run_id(1), 1, launching_ns=1, claim=other)
        with pytest.raises(StaleLease):
            await store.workload_transition(
                run_id(1), entering(RUNNING, PREPARING, claim=Claim("nobody", 1))
            )

    async def test_transition__with_a_further_attempt__both_or_none(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        claim = await self._claim(store, "p")
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED, claim=claim))
        with pytest.raises(Conflict):
            await store.workload_transition(
                run_id(1), entering(RUNNING, PREPARING, claim=claim, further=note())
            )
        lost = entering(WorkloadState.LOST, PREPARING, claim=claim, further=note("again"))
        now = await store.workload_transition(run_id(1), lost)
        assert (now.state, now.attempt) == (QUEUED, 2)
        first, second = await store.attempt_list(run_id(1))
        assert (first.state, first.place, first.was_given_back) == (WorkloadState.LOST, "p", True)
        assert (second.state, second.place, second.fence) == (QUEUED, None, None)
        last = (await store.event_list(run_id(1)))[-1]
        assert (last.message, last.attempt, last.state) == ("again", 2, QUEUED)
        with pytest.raises(StaleLease):  # the claim is good, but that attempt is over
            await store.attempt_record(run_id(1), 1, launching_ns=1, claim=claim)

    async def test_transition__of_an_older_attempt__is_a_conflict(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        await store.workload_transition(run_id(1), entering(WorkloadState.FAILED, QUEUED))
        await store.attempt_create(run_id(1), created_ns=T0_NS, event=note())
        with pytest.raises(Conflict):
            await store.workload_transition(run_id(1), entering(PREPARING, QUEUED, attempt=1))
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED, attempt=2))

    async def test_record__launching__the_first_time_stays(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        for time_ns in (5, 6):
            await store.attempt_record(run_id(1), 1, launching_ns=time_ns)
        assert (await store.attempt_list(run_id(1)))[0].launching_ns == 5
        await store.workload_transition(run_id(1), entering(WorkloadState.FAILED, QUEUED))
        with pytest.raises(StaleLease):
            await store.attempt_record(run_id(1), 1, launching_ns=9)


@dataclass
class _Known:
    """What the machine knows of the one lease."""

    holder: str = ""
    fence: int = 0
    ends_ns: int = 0


class LeaseMachine(RuleBasedStateMachine):
    """Three servers take, renew, release and break one lease while the clock is moved.

    Give ``make_store`` as a static method: it gets the clock.
    """

    @staticmethod
    def make_store(now_ns: Callable[[], int]) -> MetadataStore:
        """Make an empty store."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.time_ns = T0_NS
        self.store = self.make_store(lambda: self.time_ns)
        self.known = _Known()
        self.leases: dict[str, Lease] = {}
        self.loop = asyncio.new_event_loop()

    holders = st.sampled_from(("a", "b", "c"))
    ttls = st.integers(1, 20)

    @rule(by_ns=st.integers(0, 25))
    def wait(self, by_ns: int) -> None:
        self.time_ns += by_ns

    @rule(holder=holders, ttl_ns=ttls, supersede=st.booleans())
    def take(self, holder: str, ttl_ns: int, supersede: bool) -> None:
        lease = self.loop.run_until_complete(
            self.store.lease_take(NAME, holder=holder, ttl_ns=ttl_ns, supersede=supersede)
        )
        known = self.known
        if known.holder == holder:
            known.ends_ns = self.time_ns + ttl_ns
        elif known.ends_ns <= self.time_ns or supersede:
            self.known = _Known(holder, known.fence + 1, self.time_ns + ttl_ns)
        self._check(lease)
        if lease.holder == holder:
            self.leases[holder] = lease

    @rule(holder=holders, ttl_ns=ttls)
    def renew(self, holder: str, ttl_ns: int) -> None:
        mine = self.leases.get(holder)
        if mine is None:
            return
        work = self.store.lease_renew(mine, ttl_ns=ttl_ns)
        if self.known.fence != mine.fence:
            with pytest.raises(StaleLease):
                self.loop.run_until_complete(work)
            return
        self.known.ends_ns = self.time_ns + ttl_ns
        self.leases[holder] = self.loop.run_until_complete(work)
        self._check(self.leases[holder])

    @rule(holder=holders)
    def release(self, holder: str) -> None:
        mine = self.leases.get(holder)
        if mine is None:
            return
        self.loop.run_until_complete(self.store.lease_release(mine))
        if mine.fence == self.known.fence:
            self.known.ends_ns = min(self.known.ends_ns, self.time_ns)

    @rule(ended_ns=st.integers(0, 20))
    def break_(self, ended_ns: int) -> None:
        if not self.known.fence:
            return
        work = self.store.lease_break(NAME, ended_ns=ended_ns)
        if self.known.ends_ns + ended_ns > self.time_ns:
            with pytest.raises(Conflict):
                self.loop.run_until_complete(work)
            return
        self.known.holder, self.known.fence = "", self.known.fence + 1
        self._check(self.loop.run_until_complete(work))

    @invariant()
    def is_as_known(self) -> None:
        for lease in self.loop.run_until_complete(self.store.lease_list("reconciler")):
            self._check(lease)

    def _check(self, lease: Lease) -> None:
        known = self.known
        assert (lease.holder, lease.fence) == (known.holder, known.fence)
        assert lease.expires_ns == known.ends_ns
        assert lease.left_ns == known.ends_ns - self.time_ns

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
