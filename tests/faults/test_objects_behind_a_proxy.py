"""Object stores whose network misbehaves: what is acknowledged is there, what is read is right."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest
from tests.services._service import Service

from gcs_front import Front
from seafloor.domain.errors import StoreCorrupt, StoreUnavailable
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore, RetryPolicy
from seafloor.testing.fault_proxy import (
    Answer,
    Cut,
    CutRequest,
    Delay,
    Fault,
    FaultProxy,
    Truncate,
)

KINDS = ("s3", "azure", "gcs")
SMALL = b"small content"
LARGE = os.urandom(20 * 1024 * 1024)
PATIENCE = RetryPolicy(attempts_max=5, delay_first_s=0.01, delay_max_s=0.02)

FAULTS: dict[str, Fault] = {
    "cut": Cut(),
    "cut in the head": Cut(60),
    "request cut": CutRequest(120),
    "truncated": Truncate(90),
    "500": Answer(500),
    "503": Answer(503, (("Retry-After", "0"),)),
    "429": Answer(429, (("Retry-After", "0"),)),
    "delay": Delay(0.3),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which store."""
    return request.param


@asynccontextmanager
async def behind(
    kind: str, service: Callable[[str], Service]
) -> AsyncIterator[tuple[ObjectStore, ObjectStore, FaultProxy]]:
    """A store through a proxy with retries, the same place directly, and the proxy."""
    real = service(kind)
    port = next(part for value in real.env.values() for part in _ports(value))
    with ExitStack() as stack:
        behind_port = port
        if kind == "gcs":
            # The server makes an object of whatever it has when it is asked how much that is;
            # the front answers this as the service does.
            front = stack.enter_context(Front(real.env["STORAGE_EMULATOR_HOST"]).running())
            behind_port = urlsplit(front.url).port or 0
        proxy = stack.enter_context(FaultProxy(behind_port))
        env = {k: v.replace(f":{port}", f":{proxy.port}") for k, v in real.env.items()}
        url = f"{real.url}/{os.urandom(8).hex()}"
        through, direct = open_objects(url, env), open_objects(url, real.env)
        try:
            yield RetryObjectStore(through, PATIENCE), direct, proxy
        finally:
            await through.close()
            await direct.close()


def _ports(value: str) -> list[int]:
    after = value.rpartition(":")[2].split("/")[0]
    return [int(after)] if "://" in value and after.isdigit() else []


async def _read(store: ObjectStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in store.read(key)])


async def _stream(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 1024 * 1024):
        yield content[at : at + 1024 * 1024]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_that_passes_is_not_noticed(
    kind: str, fault: Fault, service: Callable[[str], Service]
) -> None:
    async with behind(kind, service) as (store, direct, proxy):
        await direct.put("a/there", SMALL)

        proxy.plan(fault)
        await store.put("a/new", SMALL)
        assert await _read(direct, "a/new") == SMALL

        proxy.plan(fault)
        assert await _read(store, "a/there") == SMALL

        proxy.plan(fault)
        assert (await store.head("a/there")).size_bytes == len(SMALL)

        proxy.plan(fault)
        assert [info.key for info in (await store.list("a")).objects] == ["a/new", "a/there"]

        proxy.plan(fault)
        assert (await store.copy("a/there", "b/copied")).size_bytes == len(SMALL)

        proxy.plan(fault)
        await store.delete("a/new")
        assert [info.key for info in (await direct.list("a")).objects] == ["a/there"]
        proxy.plan(fault)
        await store.delete_many(["a/there", "b/copied", "b/none"])
        assert (await direct.list("")).objects == ()


@pytest.mark.parametrize(
    "fault",
    [Cut(5_000_000), Truncate(5_000_000), Cut(1_000)],
    ids=["cut", "truncated", "cut early"],
)
async def test_a_read_that_breaks_off_never_gives_wrong_bytes(
    kind: str, fault: Fault, service: Callable[[str], Service]
) -> None:
    async with behind(kind, service) as (store, direct, proxy):
        await direct.put("large", LARGE)
        proxy.plan(fault)
        got = bytearray()
        try:
            async for chunk in store.read("large"):
                got += chunk
        except (StoreUnavailable, StoreCorrupt):
            assert LARGE.startswith(bytes(got))
        else:
            assert bytes(got) == LARGE
        assert await _read(store, "large") == LARGE


@pytest.mark.parametrize("after_bytes", [2_000, 6_000_000, 12_000_000])
async def test_a_put_that_breaks_off_leaves_the_old_object_or_the_new(
    kind: str, after_bytes: int, service: Callable[[str], Service]
) -> None:
    async with behind(kind, service) as (store, direct, proxy):
        await direct.put("large", SMALL)
        proxy.plan(CutRequest(after_bytes), connections=20)
        try:
            await store.put("large", _stream(LARGE))
        except StoreUnavailable:
            assert await _read(direct, "large") in (SMALL, LARGE)
        else:
            assert await _read(direct, "large") == LARGE
        proxy.forget()
        await store.put("large", _stream(LARGE))
        assert await _read(direct, "large") == LARGE


async def test_a_store_that_is_away_is_told_as_unavailable_and_comes_back(
    kind: str, service: Callable[[str], Service]
) -> None:
    async with behind(kind, service) as (store, _, proxy):
        await store.put("a", SMALL)
        proxy.go_down()
        with pytest.raises(StoreUnavailable) as told:
            await store.head("a")
        assert told.value.retry_after_s
        for doing in (store.put("b", SMALL), store.list(""), store.delete("a"), _read(store, "a")):
            with pytest.raises(StoreUnavailable):
                await doing
        proxy.come_up()
        assert await _read(store, "a") == SMALL


async def test_of_creators_that_repeat_one_at_most_is_told_that_it_created(
    kind: str, service: Callable[[str], Service]
) -> None:
    """A create whose answer was lost may have taken effect: then nobody is told that he did it."""
    async with behind(kind, service) as (store, direct, proxy):
        created = 0
        for _ in range(2):
            proxy.plan(Cut())
            try:
                await store.put("only", SMALL, if_absent=True)
                created += 1
            except StoreUnavailable:
                proxy.forget()
        assert created <= 1
        assert await _read(direct, "only") == SMALL
