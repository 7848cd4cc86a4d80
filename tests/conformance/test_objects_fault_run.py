"""The fault run: one piece of work on every store, with a fault at every call in turn.

A fault comes before its call, in the middle of its bytes, or after its effect. Whoever repeats what
failed ends with the same objects as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.services._service import Service

from object_worlds import KINDS, fresh_objects
from seafloor.domain.errors import AlreadyExists, StoreUnavailable
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.prefix import PrefixObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore, RetryPolicy
from seafloor.testing.object_cases import content, keys_of
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment

AWAY = StoreUnavailable("away")
AT_ONCE = RetryPolicy(delay_first_s=0.0)
LARGE = bytes(range(256)) * 1024
LEFT = {"a": b"new", "copies/ö #1.txt": b"new", "large": LARGE, "only/once": b"first"}

Call = Callable[[], Awaitable[object]]


async def repeated(call: Call) -> None:
    """Do what a careful caller does: repeat what may be cured, and take "is there" for done."""
    for _ in range(4):
        try:
            await call()
        except StoreUnavailable:
            continue
        except AlreadyExists:
            return
        else:
            return
    raise AssertionError("a fault that came once was not cured by repeating")


async def work(store: ObjectStore) -> None:
    """Every operation, ending with LEFT."""

    async def read_large() -> None:
        assert await content(store, "large") == LARGE
        assert await content(store, "large", start=1000, length=10) == LARGE[1000:1010]

    async def listed() -> None:
        assert await keys_of(store, "gone", limit=2) == ["gone/1", "gone/2", "gone/3"]

    calls: list[Call] = [
        lambda: store.put("a", b"old"),
        lambda: store.put("large", LARGE),
        lambda: store.put("only/once", b"first", if_absent=True),
        lambda: store.put("a", b"new"),
        *(lambda number=number: store.put(f"gone/{number}", b"") for number in (1, 2, 3)),
        lambda: store.copy("a", "copies/ö #1.txt"),
        read_large,
        lambda: store.head("a"),
        listed,
        lambda: store.delete("gone/1"),
        lambda: store.delete_many(["gone/2", "gone/none"]),
        lambda: store.delete_folder("gone"),
    ]
    if store.capabilities.append:
        calls += [
            lambda: store.append("log", offset=0, data=b"12"),
            lambda: store.append("log", offset=2, data=b"34"),
        ]
    for call in calls:
        await repeated(call)


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("kind", KINDS)
async def test_fault__at_every_call_in_turn__the_same_is_left(
    kind: str, moment: Moment, service: Callable[[str], Service]
) -> None:
    async with fresh_objects(kind, service) as real:
        counted = FaultObjectStore(PrefixObjectStore(real, "0"))
        await work(counted)
        wanted = LEFT | ({"log": b"1234"} if real.capabilities.append else {})
        for number in range(1, len(counted.calls) + 1):
            place = PrefixObjectStore(real, str(number))
            faulty = FaultObjectStore(place, Fault(AWAY, call=number, moment=moment))
            await work(RetryObjectStore(faulty, AT_ONCE))
            assert len(faulty.calls) > len(counted.calls)
            found = {key: await content(place, key) for key in await keys_of(place)}
            assert found == wanted, number
