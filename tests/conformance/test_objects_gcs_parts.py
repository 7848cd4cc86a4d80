"""Large objects go to Google Cloud Storage in parts, of which nobody sees anything."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.services._service import Service

from gcs_front import Answer, Asked, ChangeAnswer, Fault, Front, LoseAnswer, LoseRequest, Said
from gcs_world import endpoint_of, fresh_bucket
from seafloor.domain.errors import AlreadyExists, InvalidValue, StoreUnavailable
from seafloor.stores.objects.gcs.auth import Anonymous
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES, Chunk
from seafloor.stores.objects.gcs.client import GcsClient
from seafloor.stores.objects.gcs.parts import LEFT_AFTER, PARTS_AT_ONCE, PARTS_FOLDER, sweep
from seafloor.stores.objects.gcs.store import GcsObjectStore
from seafloor.stores.objects.wrap.retry import RetryPolicy
from seafloor.testing.object_cases import broken_stream, content, keys_of, stream_of

AT_ONCE = RetryPolicy(attempts_max=4, delay_first_s=0.0, delay_max_s=0.0)
LARGE = b"".join(number.to_bytes(4) for number in range((6 * CHUNK_BYTES + 4000) // 4))


class _BrokenSource(Exception):
    """What the stream of a caller raises."""


def part(asked: Asked) -> bool:
    """Match a part that is sent."""
    return asked.query.get("uploadType") == "multipart" and PARTS_FOLDER in asked.query["name"]


def compose(asked: Asked) -> bool:
    """Match a composition."""
    return "/compose?" in asked.target


def rewrite(asked: Asked) -> bool:
    """Match the request that makes an object visible."""
    return "/rewriteTo/" in asked.target


def batch(asked: Asked) -> bool:
    """Match deletions."""
    return "/batch/" in asked.target


@pytest.fixture
def front(service: Callable[[str], Service]) -> Iterator[Front]:
    with Front(endpoint_of(service)).running() as front:
        yield front
        assert front.planned == 0, "a fault did not happen"


@pytest.fixture
async def store(front: Front, service: Callable[[str], Service]) -> AsyncIterator[GcsObjectStore]:
    client = GcsClient(fresh_bucket(endpoint_of(service)), Anonymous(), endpoint=front.url)
    store = GcsObjectStore(client, resume=AT_ONCE)
    yield store
    await store.close()


def in_bucket(front: Front, store: GcsObjectStore) -> list[str]:
    """Every name that the service has, parts too."""
    url = f"{front.url}/storage/v1/b/{store._client.bucket}/o"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return [item["name"] for item in json.load(answer).get("items", ())]


async def test_put__large__is_whole_and_leaves_no_parts(
    front: Front, store: GcsObjectStore
) -> None:
    info = await store.put("a/b", stream_of([LARGE]), if_absent=True)
    assert info == await store.head("a/b")
    assert info.size_bytes == len(LARGE)
    assert await content(store, "a/b") == LARGE
    assert in_bucket(front, store) == ["a/b"]
    assert sum(part(asked) for asked in front.asked) == 7
    with pytest.raises(AlreadyExists):
        await store.put("a/b", LARGE, if_absent=True)


@pytest.mark.parametrize("match", [part, compose, rewrite, batch])
@pytest.mark.parametrize(
    "fault", [Answer(503), LoseRequest(), LoseAnswer()], ids=["503", "lost", "answer lost"]
)
async def test_put__large_and_a_request_fails__is_repeated(
    front: Front, store: GcsObjectStore, match: Callable[[Asked], bool], fault: Fault
) -> None:
    front.plan(match, fault)
    await store.put("a", LARGE, if_absent=True)
    assert await content(store, "a") == LARGE
    assert in_bucket(front, store) == ["a"]


async def test_put__composed_differs__old_object_stays(front: Front, store: GcsObjectStore) -> None:
    def wrong(said: Said) -> Said:
        said.body = re.sub(rb'"crc32c": ?"[^"]*"', b'"crc32c":"AAAAAA=="', said.body)
        return said

    await store.put("a", b"old")
    front.plan(compose, ChangeAnswer(wrong))
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.put("a", LARGE)
    assert await content(store, "a") == b"old"
    assert in_bucket(front, store) == ["a"]


async def test_put__large_and_another_creates_it_meanwhile__is_refused(
    front: Front, store: GcsObjectStore
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE
        await store.put("a", b"theirs")

    with pytest.raises(AlreadyExists):
        await store.put("a", pieces(), if_absent=True)
    assert await content(store, "a") == b"theirs"
    assert in_bucket(front, store) == ["a"]


@pytest.mark.parametrize("end", ["raises", "is cancelled"])
async def test_put__large_and_ends_early__leaves_nothing(
    front: Front, store: GcsObjectStore, end: str
) -> None:
    if end == "raises":
        with pytest.raises(_BrokenSource):
            await store.put("a", broken_stream([LARGE], _BrokenSource()))
    else:
        begun = asyncio.Event()

        async def stuck() -> AsyncIterator[bytes]:
            yield LARGE
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(store.put("a", stuck()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sum(part(asked) for asked in front.asked) > 1
    # A part whose request was given up may arrive after it was deleted: swept later.
    assert await keys_of(store) == []
    assert "a" not in in_bucket(front, store)


async def test_put__many_parts__few_at_once_and_composed_in_levels(
    store: GcsObjectStore, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seafloor.stores.objects.gcs.parts.SOURCES_MAX", 3)
    running = most = 0
    call = store._client.call

    async def counted(asked: object) -> object:
        nonlocal running, most
        is_part = "uploadType=multipart" in asked.url  # type: ignore[attr-defined]
        running += is_part
        most = max(most, running)
        try:
            return await call(asked)  # type: ignore[arg-type]
        finally:
            running -= is_part

    monkeypatch.setattr(store._client, "call", counted)
    await store.put("a", LARGE)
    assert most == PARTS_AT_ONCE
    assert await content(store, "a") == LARGE
    assert in_bucket(front, store) == ["a"]


@pytest.mark.parametrize("reason", ["retentionPolicyNotMet", "forbidden"])
async def test_put__parts_cannot_be_deleted__says_so_once_and_does_without(
    front: Front, store: GcsObjectStore, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    front.plan(batch, Answer(403, {"error": {"errors": [{"reason": reason}]}}))
    with caplog.at_level(logging.WARNING):
        for key in ("a", "b"):
            await store.put(key, LARGE)
            assert await content(store, key) == LARGE
    assert await keys_of(store) == ["a", "b"]
    assert len([record for record in caplog.records if "in one stream" in record.message]) == 1
    assert sum(part(asked) for asked in front.asked) == 7


async def test_put__parts_cannot_be_written__goes_in_one_stream(
    front: Front, store: GcsObjectStore
) -> None:
    front.plan(part, Answer(403))
    await store.put("a", stream_of([LARGE]))
    assert await content(store, "a") == LARGE
    assert in_bucket(front, store) == ["a"]


async def test_list__parts_are_there__shows_none(front: Front, store: GcsObjectStore) -> None:
    for number in range(5):
        await store._put_whole(
            f"{PARTS_FOLDER}/x/{number}", Chunk(memoryview(b""), 0, is_last=True), 0, if_absent=True
        )
    await store.put("z/a", b"")
    assert await keys_of(store) == ["z/a"]
    page = await store.list("", recursive=False, limit=1)
    assert (page.folders, page.next) == (("z",), None)
    with pytest.raises(InvalidValue):
        await store.put(f"{PARTS_FOLDER}/x/9", b"")


async def test_sweep__process_was_killed__only_what_was_left_is_deleted(
    front: Front, store: GcsObjectStore
) -> None:
    bucket = store._client.bucket
    program = f"""
import asyncio
from seafloor.stores.objects.gcs.store import from_url
async def pieces():
    for _ in range(7):
        yield bytes({CHUNK_BYTES})
    print("sent", flush=True)
    await asyncio.Event().wait()
asyncio.run(
    from_url("gs://{bucket}", {{"STORAGE_EMULATOR_HOST": "{front.url}"}}).put("a", pieces())
)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        await asyncio.to_thread(process.stdout.readline)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    left = in_bucket(front, store)
    assert left
    assert all(name.startswith(f"{PARTS_FOLDER}/") for name in left)
    assert await keys_of(store) == []
    now = datetime.now(UTC)
    assert await sweep(store._client, now) == 0
    later = now + LEFT_AFTER + timedelta(hours=1)
    count = await sweep(store._client, later)
    assert count >= len(left)
    async with asyncio.timeout(30):
        # What the service had taken when the process died arrives late.
        while in_bucket(front, store):
            count += await sweep(store._client, later)
    assert count <= 7
