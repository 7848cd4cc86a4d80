"""What each wrapper of an object store adds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from seafloor.domain.errors import (
    AlreadyExists,
    InvalidValue,
    NotFound,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.wrap.prefix import PrefixObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore, RetryPolicy
from seafloor.testing.object_cases import broken_stream, content, keys_of, put_all, stream_of
from seafloor.testing.object_count import CountObjectStore, ObjectCounts, OperationCount
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment, Operation

AWAY = StoreUnavailable("away")


class Chunks:
    """A stream that can be begun again."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


class Sleeps:
    """Notes how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []

    async def __call__(self, delay_s: float) -> None:
        self.asked_s.append(delay_s)


def retrying(
    *faults: Fault, policy: RetryPolicy | None = None
) -> tuple[RetryObjectStore, FaultObjectStore, Sleeps]:
    inner, sleeps = FaultObjectStore(MemoryObjectStore(), *faults), Sleeps()
    return RetryObjectStore(inner, policy, sleep=sleeps, dice=lambda: 1.0), inner, sleeps


# -- prefix


async def test_prefix__two_tenants__do_not_see_each_other() -> None:
    inner = MemoryObjectStore()
    one, other = PrefixObjectStore(inner, "t/a"), PrefixObjectStore(inner, "t/a-b")
    await put_all(one, ["x/y", "z"])
    await put_all(other, ["x/y"])
    assert await keys_of(inner) == ["t/a-b/x/y", "t/a/x/y", "t/a/z"]
    assert await keys_of(one) == ["x/y", "z"]
    assert await one.delete_folder("x") == 1
    assert await keys_of(other) == ["x/y"]


@pytest.mark.parametrize("key", ["../a-b/x/y", "/t/a-b/x/y", ""])
async def test_prefix__key_that_leads_out__is_refused(key: str) -> None:
    inner = MemoryObjectStore()
    await inner.put("t/a-b/x/y", b"1")
    store = PrefixObjectStore(inner, "t/a")
    with pytest.raises(InvalidValue):
        await content(store, key)
    with pytest.raises(InvalidValue):
        await store.delete_folder(key)


@pytest.mark.parametrize("folder", ["", "a/", "../a"])
def test_prefix__folder_is_none__is_refused(folder: str) -> None:
    with pytest.raises(InvalidValue):
        PrefixObjectStore(MemoryObjectStore(), folder)


# -- count


async def test_count__each_operation__counts_calls_failures_and_bytes() -> None:
    store = CountObjectStore(MemoryObjectStore())
    await store.put("a", b"12345")
    await store.put("b", stream_of([b"12", b"3"]))
    with pytest.raises(AlreadyExists):
        await store.put("a", b"1", if_absent=True)
    assert await content(store, "a", start=1, length=2) == b"23"
    with pytest.raises(NotFound):
        await content(store, "c")
    await store.head("a")
    await store.list("")
    await store.delete("a")
    await store.delete_folder("f")
    assert store.counts == ObjectCounts(
        head=OperationCount(calls=1),
        read=OperationCount(calls=2, failures=1, size_bytes=2),
        list=OperationCount(calls=1),
        put=OperationCount(calls=3, failures=1, size_bytes=9),
        delete=OperationCount(calls=1),
        delete_folder=OperationCount(calls=1),
    )


async def test_count__read_left_early__is_no_failure() -> None:
    store = CountObjectStore(MemoryObjectStore())
    await store.put("a", bytes(3_000_000))
    chunks = store.read("a")
    await anext(chunks)
    await chunks.aclose()  # type: ignore[attr-defined]
    assert store.counts.read == OperationCount(calls=1, size_bytes=1024 * 1024)


# -- fault


async def test_fault__nth_call_of_an_operation__fails_once() -> None:
    store = FaultObjectStore(MemoryObjectStore(), Fault(AWAY, call=2, operation=Operation.PUT))
    await store.put("a", b"1")
    await store.list("")
    with pytest.raises(StoreUnavailable) as caught:
        await store.put("b", b"2")
    assert caught.value is AWAY
    await store.put("b", b"3")
    assert store.calls == (Operation.PUT, Operation.LIST, Operation.PUT, Operation.PUT)


async def test_fault__nth_call_of_any__is_counted_from_its_planting() -> None:
    store = FaultObjectStore(MemoryObjectStore())
    await store.put("a", b"1")
    store.plant(Fault(AWAY, call=2))
    await store.head("a")
    with pytest.raises(StoreUnavailable):
        await store.delete("a")
    assert await keys_of(store) == ["a"]


async def test_fault__before_or_after__has_no_effect_or_has() -> None:
    for moment, expected in ((Moment.BEFORE, []), (Moment.AFTER, ["a"])):
        store = FaultObjectStore(MemoryObjectStore(), Fault(AWAY, moment=moment))
        with pytest.raises(StoreUnavailable):
            await store.put("a", b"1")
        assert await keys_of(store) == expected


async def test_fault__midstream__lets_some_bytes_through() -> None:
    store = FaultObjectStore(MemoryObjectStore())
    await store.put("a", bytes(2_500_000))
    store.plant(Fault(AWAY, moment=Moment.MIDSTREAM, after_bytes=2_000_000))
    chunks = store.read("a")
    assert len(await anext(chunks)) == 1024 * 1024
    with pytest.raises(StoreUnavailable):
        await anext(chunks)
    store.plant(Fault(AWAY, moment=Moment.MIDSTREAM, after_bytes=3))
    with pytest.raises(StoreUnavailable):
        await store.put("b", stream_of([b"123", b"4"]))
    assert await keys_of(store) == ["a"]


async def test_fault__midstream_of_fewer_bytes__comes_at_the_end() -> None:
    store = FaultObjectStore(
        MemoryObjectStore(), Fault(AWAY, moment=Moment.MIDSTREAM, after_bytes=100)
    )
    with pytest.raises(StoreUnavailable):
        await store.put("a", b"1")


def test_fault__call_zero__is_refused() -> None:
    with pytest.raises(InvalidValue):
        Fault(AWAY, call=0)


# -- retry


@pytest.mark.parametrize("operation", [Operation.HEAD, Operation.READ, Operation.LIST])
async def test_retry__store_comes_back__the_caller_does_not_notice(operation: Operation) -> None:
    store, inner, sleeps = retrying(Fault(AWAY, 1, operation), Fault(AWAY, 2, operation))
    await store.put("a", b"1")
    await store.head("a")
    assert await content(store, "a") == b"1"
    assert await keys_of(store) == ["a"]
    assert inner.calls.count(operation) == 3
    assert sleeps.asked_s == [0.1, 0.2]


async def test_retry__store_stays_away__raises_its_last_error() -> None:
    errors = [StoreUnavailable(f"away {number}") for number in range(1, 7)]
    policy = RetryPolicy(attempts_max=6, delay_first_s=1.0, delay_max_s=5.0)
    faults = [Fault(error, call) for call, error in enumerate(errors, 1)]
    store, inner, sleeps = retrying(*faults, policy=policy)
    with pytest.raises(StoreUnavailable, match="away 6"):
        await store.head("a")
    assert len(inner.calls) == 6
    assert sleeps.asked_s == [1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("error", [StoreFull("full"), StoreCorrupt("rotten"), NotFound("none")])
async def test_retry__error_that_stays__is_raised_at_once(error: Exception) -> None:
    store, inner, sleeps = retrying(Fault(error))  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        await store.put("a", b"1")
    assert len(inner.calls) == 1
    assert sleeps.asked_s == []


def test_delay__dice_and_what_the_store_asks__are_bounded() -> None:
    policy = RetryPolicy(delay_first_s=1.0, delay_max_s=5.0)
    assert policy.delay_s(1, asked_s=None, dice=0.25) == 0.25
    assert policy.delay_s(3, asked_s=None, dice=0.5) == 2.0
    assert policy.delay_s(1, asked_s=3.0, dice=0.25) == 3.0
    assert policy.delay_s(60, asked_s=3600.0, dice=1.0) == 5.0


async def test_retry__read_fails_after_its_first_chunk__is_not_begun_again() -> None:
    store, inner, _ = retrying()
    await store.put("a", bytes(2_500_000))
    inner.plant(Fault(AWAY, moment=Moment.MIDSTREAM, after_bytes=2_000_000))
    with pytest.raises(StoreUnavailable):
        await content(store, "a")
    assert inner.calls.count(Operation.READ) == 1


async def test_retry__put_of_bytes_or_replayable_stream__is_sent_again_whole() -> None:
    for body in (b"123456", Chunks(b"123", b"456")):
        store, inner, _ = retrying(Fault(AWAY, moment=Moment.MIDSTREAM, after_bytes=4))
        await store.put("a", body)
        assert inner.calls == (Operation.PUT, Operation.PUT)
        assert await content(store, "a") == b"123456"


async def test_retry__put_of_a_stream_that_was_begun__is_not_sent_again() -> None:
    store, inner, sleeps = retrying(Fault(AWAY, moment=Moment.MIDSTREAM, after_bytes=4))
    with pytest.raises(StoreUnavailable) as caught:
        await store.put("a", stream_of([b"123", b"456"]))
    assert caught.value is AWAY
    assert inner.calls == (Operation.PUT,)
    assert sleeps.asked_s == []
    assert await keys_of(store) == []


async def test_retry__put_of_a_stream_that_was_not_begun__is_sent_again() -> None:
    store, _, _ = retrying(Fault(AWAY))
    await store.put("a", stream_of([b"123", b"456"]))
    assert await content(store, "a") == b"123456"


async def test_retry__stream_itself_raises__passes_through() -> None:
    """What is copied from another store may fail with the very errors that a store raises."""
    store, inner, _ = retrying()
    with pytest.raises(StoreUnavailable) as caught:
        await store.put("a", broken_stream([b"1"], AWAY))
    assert caught.value is AWAY
    assert len(inner.calls) == 1


async def test_retry__created_but_the_answer_was_lost__says_that_it_is_unknown() -> None:
    store, inner, _ = retrying(Fault(AWAY, moment=Moment.AFTER))
    with pytest.raises(StoreUnavailable, match="unknown who created"):
        await store.put("a", b"1", if_absent=True)
    assert len(inner.calls) == 2
    with pytest.raises(AlreadyExists):
        await store.put("a", b"1", if_absent=True)
