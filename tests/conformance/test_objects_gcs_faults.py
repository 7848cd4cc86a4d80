"""Networks that break and a service that is busy, in front of Google Cloud Storage."""

from __future__ import annotations

import asyncio
import base64
import gc
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.utils import formatdate

import google_crc32c
import pytest
from tests.services._service import Service, free_port

from gcs_front import (
    GRAIN_BYTES,
    Answer,
    Asked,
    ChangeAnswer,
    CutAnswer,
    CutRequest,
    Fault,
    Front,
    KeepPart,
    LoseAnswer,
    LoseRequest,
    Said,
)
from gcs_world import endpoint_of, fresh_bucket
from seafloor.domain.errors import (
    Conflict,
    NotFound,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.stores.objects.gcs import chunks as chunks_module
from seafloor.stores.objects.gcs import resumable as resumable_module
from seafloor.stores.objects.gcs.auth import Anonymous
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES
from seafloor.stores.objects.gcs.client import READ_AHEAD_BYTES, GcsClient
from seafloor.stores.objects.gcs.sender import Sending
from seafloor.stores.objects.gcs.store import GcsObjectStore
from seafloor.stores.objects.protocol import READ_CHUNK_BYTES
from seafloor.stores.objects.wrap.retry import RetryObjectStore, RetryPolicy
from seafloor.testing.object_cases import broken_stream, bytes_of, content, keys_of, stream_of

AT_ONCE = RetryPolicy(attempts_max=4, delay_first_s=0.0, delay_max_s=0.0)
THREE_CHUNKS = bytes_of(2 * CHUNK_BYTES + 4000)
MIB = 1024 * 1024


class _BrokenSource(Exception):
    """What the stream of a caller raises."""


def anything(_: Asked) -> bool:
    """Match every request."""
    return True


def chunk(number: int) -> Callable[[Asked], bool]:
    """Match the chunk of that number, from 0, at its beginning."""
    return lambda asked: asked.span.startswith(f"bytes {number * CHUNK_BYTES}-")


def question(asked: Asked) -> bool:
    """Match a question after an upload's state."""
    return asked.span == "bytes */*"


def download(asked: Asked) -> bool:
    """Match a reading."""
    return asked.query.get("alt") == "media"


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


def spans(front: Front) -> list[str]:
    """Which bytes the chunks of an upload held, in order."""
    return [asked.span for asked in front.asked if asked.is_chunk()]


# -- a chunk that failed


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    "fault",
    [
        Answer(503, headers={"Retry-After": "0"}),
        Answer(429),
        Answer(500),
        LoseRequest(),
        LoseAnswer(),
        KeepPart(3 * GRAIN_BYTES),
    ],
    ids=["503", "429", "500", "lost", "answer lost", "cut"],
)
async def test_put__chunk_fails__goes_on_from_what_arrived(
    front: Front, store: GcsObjectStore, fault: Fault, number: int
) -> None:
    if isinstance(fault, KeepPart) and number == 2:
        fault = LoseRequest()  # it is shorter than a grain
    front.plan(chunk(number), fault)
    info = await store.put("a/b", stream_of([THREE_CHUNKS]), if_absent=True)
    assert info.size_bytes == len(THREE_CHUNKS)
    assert await content(store, "a/b") == THREE_CHUNKS
    assert await store.head("a/b") == info
    assert sum(question(asked) for asked in front.asked) == 1
    if isinstance(fault, KeepPart):
        start, end = number * CHUNK_BYTES + 3 * GRAIN_BYTES, (number + 1) * CHUNK_BYTES - 1
        assert spans(front)[number + 1] == f"bytes {start}-{end}/*", "it was sent again"
    elif isinstance(fault, LoseAnswer):
        assert len(spans(front)) == 3, "what had arrived was sent again"
    else:
        assert len(spans(front)) == 4
        assert spans(front)[number] == spans(front)[number + 1]


async def test_put__service_keeps_less_than_a_chunk__the_rest_is_sent(
    front: Front, store: GcsObjectStore
) -> None:
    # A question that is answered shows what was kept; the connection is lost several times.
    front.plan(chunk(0), KeepPart(GRAIN_BYTES))
    front.plan(lambda asked: asked.span.startswith(f"bytes {GRAIN_BYTES}-"), KeepPart(GRAIN_BYTES))
    front.plan(question, LoseRequest(), Answer(503))
    await store.put("a", THREE_CHUNKS)
    assert await content(store, "a") == THREE_CHUNKS


@pytest.mark.parametrize("piece_bytes", [100_000, 3 * MIB + 1, len(THREE_CHUNKS)])
async def test_put__cut_while_sending__goes_on_within_a_piece(
    front: Front, store: GcsObjectStore, piece_bytes: int
) -> None:
    pieces = [
        THREE_CHUNKS[at : at + piece_bytes] for at in range(0, len(THREE_CHUNKS), piece_bytes)
    ]
    end = 2 * CHUNK_BYTES
    front.plan(chunk(1), CutRequest(5 * MIB + 7))
    at = CHUNK_BYTES + 5 * MIB
    front.plan(lambda asked: asked.span == f"bytes {at}-{end - 1}/*", CutRequest(MIB - 1))
    await store.put("a", stream_of(pieces), if_absent=True)
    assert await content(store, "a") == THREE_CHUNKS
    at += MIB - GRAIN_BYTES
    assert spans(front) == [
        f"bytes 0-{CHUNK_BYTES - 1}/*",
        f"bytes {CHUNK_BYTES}-{end - 1}/*",
        f"bytes {CHUNK_BYTES + 5 * MIB}-{end - 1}/*",
        f"bytes {at}-{end - 1}/*",
        f"bytes {end}-{len(THREE_CHUNKS) - 1}/{len(THREE_CHUNKS)}",
    ]
    assert front.open_uploads == 0


def cut_into(chunk_bytes: int, near_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have uploads in other chunks."""
    for module in (chunks_module, resumable_module):
        monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(resumable_module, "NEAR_CHUNK_BYTES", near_bytes)


@pytest.mark.parametrize("is_near", [True, False])
async def test_put__in_chunks__has_smaller_ones_when_the_service_is_near(
    front: Front, store: GcsObjectStore, monkeypatch: pytest.MonkeyPatch, *, is_near: bool
) -> None:
    cut_into(4 * GRAIN_BYTES, GRAIN_BYTES, monkeypatch)
    monkeypatch.setattr(resumable_module, "NEAR_S", math.inf if is_near else 0.0)
    data = THREE_CHUNKS[: 11 * GRAIN_BYTES + 1]
    await store.put("a", stream_of([data]))
    assert await content(store, "a") == data
    ends = [int(span.partition("-")[2].partition("/")[0]) + 1 for span in spans(front)]
    # The second is made while the first is sent.
    grains = [4, 8, 9, 10, 11] if is_near else [4, 8]
    assert ends == [*(each * GRAIN_BYTES for each in grains), len(data)]


async def test_put__in_many_chunks__those_that_were_sent_are_forgotten(
    store: GcsObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_into(GRAIN_BYTES, GRAIN_BYTES, monkeypatch)
    alive: list[int] = []

    def sendings() -> int:
        return sum(isinstance(one, Sending) for one in gc.get_objects())

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(24):
            yield bytes([number]) * GRAIN_BYTES
            alive.append(sendings())

    gc.collect()
    before = sendings()  # of tests that ended with an error, which a report keeps
    await store.put("a", pieces())
    assert (await store.head("a")).size_bytes == 24 * GRAIN_BYTES
    assert max(alive) <= before + 4, (before, alive)


async def test_put__cut_for_ever_while_sending__is_unavailable_and_cancelled(
    front: Front, store: GcsObjectStore
) -> None:
    # Less than a grain gets through each time; the question after it counts as a failure too.
    front.plan(chunk(0), *[CutRequest(GRAIN_BYTES - 1)] * (AT_ONCE.attempts_max - 1))
    with pytest.raises(StoreUnavailable):
        await store.put("a", THREE_CHUNKS)
    assert front.open_uploads == 0
    assert await keys_of(store) == []


async def test_put__chunk_fails_for_ever__is_unavailable_and_cancelled(
    front: Front, store: GcsObjectStore
) -> None:
    front.plan(lambda asked: "bytes" in asked.span, *[Answer(503)] * AT_ONCE.attempts_max)
    with pytest.raises(StoreUnavailable):
        await store.put("a", THREE_CHUNKS)
    assert front.open_uploads == 0
    assert await keys_of(store) == []


async def test_put__service_takes_no_byte__ends(front: Front, store: GcsObjectStore) -> None:
    front.plan(chunk(0), *[Answer(308)] * 5)
    with pytest.raises(StoreUnavailable, match="takes no more"):
        await store.put("a", THREE_CHUNKS)
    assert front.open_uploads == 0


@pytest.mark.parametrize(
    "answer",
    [Answer(410), Answer(404), Answer(308, headers={"Range": "bytes=0-262143"}), Answer(308)],
    ids=["gone", "unknown", "went back", "nothing"],
)
async def test_put__session_is_lost__is_unavailable_not_wrong(
    front: Front, store: GcsObjectStore, answer: Answer
) -> None:
    front.plan(chunk(1), answer)
    with pytest.raises(StoreUnavailable, match="from its beginning"):
        await store.put("a", THREE_CHUNKS)
    assert await keys_of(store) == []
    assert front.open_uploads == 0


async def test_put__in_chunks__the_last_says_the_checksum_of_all(
    front: Front, store: GcsObjectStore
) -> None:
    await store.put("a", stream_of([THREE_CHUNKS[:5], THREE_CHUNKS[5:]]))
    told = [asked.headers.get("x-goog-hash") for asked in front.asked if asked.is_chunk()]
    value = google_crc32c.value(THREE_CHUNKS)
    assert told == [None, None, f"crc32c={base64.b64encode(value.to_bytes(4)).decode()}"]


@pytest.mark.parametrize("header", ["Content-Length", "X-Goog-Generation"])
async def test_read__answer_does_not_say_of_what__is_unavailable(
    front: Front, store: GcsObjectStore, header: str
) -> None:
    def without(said: Said) -> Said:
        said.headers = {name: text for name, text in said.headers.items() if name.title() != header}
        said.is_sized = header != "Content-Length"
        return said

    await store.put("a", b"content")
    front.plan(download, ChangeAnswer(without))
    with pytest.raises(StoreUnavailable, match="which bytes"):
        await content(store, "a")


async def test_put__stream_raises_after_chunks__upload_is_cancelled(
    front: Front, store: GcsObjectStore
) -> None:
    with pytest.raises(_BrokenSource):
        await store.put("a", broken_stream([THREE_CHUNKS], _BrokenSource()))
    assert front.open_uploads == 0
    assert await keys_of(store) == []


async def test_put__cancelled_between_chunks__upload_is_cancelled(
    front: Front, store: GcsObjectStore
) -> None:
    begun = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield THREE_CHUNKS
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put("a", stuck()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert front.open_uploads == 0
    assert await keys_of(store) == []


async def test_put__session_cannot_be_cancelled__the_callers_error_is_told(
    front: Front, store: GcsObjectStore
) -> None:
    front.plan(lambda asked: asked.method == "DELETE", LoseRequest())
    with pytest.raises(_BrokenSource):
        await store.put("a", broken_stream([THREE_CHUNKS], _BrokenSource()))


async def test_put__answer_of_a_create_is_lost__nobody_claims_it_was_there(
    front: Front, store: GcsObjectStore
) -> None:
    front.plan(lambda asked: asked.query.get("uploadType") == "multipart", LoseAnswer())
    retrying = RetryObjectStore(store, AT_ONCE)
    with pytest.raises(StoreUnavailable, match="unknown who created"):
        await retrying.put("a", b"1", if_absent=True)
    assert await content(store, "a") == b"1"


def _with_wrong_crc32c(said: Said) -> Said:
    said.body = re.sub(rb'"crc32c":"[^"]*"', b'"crc32c":"AAAAAA=="', said.body)
    return said


@pytest.mark.parametrize("data", [b"small", THREE_CHUNKS], ids=["at once", "in chunks"])
async def test_put__arrived_damaged__is_taken_back(
    front: Front, store: GcsObjectStore, data: bytes
) -> None:
    front.plan(
        lambda asked: (
            asked.query.get("uploadType") == "multipart" or asked.span.endswith(f"/{len(data)}")
        ),
        ChangeAnswer(_with_wrong_crc32c),
    )
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.put("a", data)
    assert await keys_of(store) == []


# -- a download that breaks


@pytest.mark.parametrize(("start", "length"), [(0, None), (1000, None), (7, 3 * MIB)])
async def test_read__cut_in_the_middle__goes_on_from_there(
    front: Front, store: GcsObjectStore, start: int, length: int | None
) -> None:
    await store.put("a", THREE_CHUNKS)
    expected = THREE_CHUNKS[start:][:length]
    front.plan(download, CutAnswer(2 * MIB + 5), CutAnswer(100), Answer(503))
    front.asked.clear()
    assert await content(store, "a", start=start, length=length) == expected
    generation = (await store.head("a")).etag
    asked = [asked for asked in front.asked if download(asked)]
    assert len(asked) == 4
    assert {each.query["generation"] for each in asked[1:]} == {generation}
    began = {int(each.headers["range"].removeprefix("bytes=").split("-")[0]) for each in asked[1:]}
    # What was read ahead when the connection broke may be lost with it.
    assert len(began) == 1
    assert start + 2 * MIB - READ_AHEAD_BYTES <= min(began) <= start + 2 * MIB


@pytest.mark.parametrize("end", ["replaced", "deleted"])
async def test_read__cut_and_replaced__is_corrupt_never_a_mixture(
    front: Front, store: GcsObjectStore, end: str
) -> None:
    await store.put("a", THREE_CHUNKS)
    front.plan(download, CutAnswer(3 * MIB))
    chunks = store.read("a")
    got = bytearray(await anext(chunks))
    await (store.put("a", bytes(len(THREE_CHUNKS))) if end == "replaced" else store.delete("a"))

    async def finish() -> None:
        async for piece in chunks:
            got.extend(piece)

    with pytest.raises(StoreCorrupt, match="while it was read"):
        await finish()
    assert THREE_CHUNKS.startswith(got)


async def test_read__cut_for_ever__is_unavailable(front: Front, store: GcsObjectStore) -> None:
    await store.put("a", THREE_CHUNKS)
    # The first gives something; no other one does.
    cuts = [CutAnswer(READ_AHEAD_BYTES + 5), *[CutAnswer(100)] * (AT_ONCE.attempts_max - 1)]
    front.plan(download, *cuts)
    with pytest.raises(StoreUnavailable):
        await content(store, "a")


async def test_read__cut_at_its_beginning__can_be_repeated(
    front: Front, store: GcsObjectStore
) -> None:
    await store.put("a", THREE_CHUNKS)
    front.plan(download, CutAnswer(5), CutAnswer(5))
    with pytest.raises(StoreUnavailable):
        await content(store, "a")
    assert await content(RetryObjectStore(store, AT_ONCE), "a") == THREE_CHUNKS


def _flipped(said: Said) -> Said:
    said.body = said.body[:-1] + bytes([said.body[-1] ^ 1])
    return said


def _short(said: Said) -> Said:
    said.body = said.body[:-1]
    return said


async def test_read__damaged_on_its_way__is_corrupt(front: Front, store: GcsObjectStore) -> None:
    await store.put("a", b"content")
    front.plan(download, ChangeAnswer(_flipped))
    with pytest.raises(StoreCorrupt, match="damaged"):
        await content(store, "a")
    front.plan(download, ChangeAnswer(_short))
    with pytest.raises(StoreCorrupt):
        await content(store, "a")
    assert await content(store, "a") == b"content"


async def test_read__ranged_answer_is_short_for_ever__is_corrupt(
    front: Front, store: GcsObjectStore
) -> None:
    await store.put("a", bytes(2 * READ_CHUNK_BYTES))
    front.plan(download, ChangeAnswer(_short), *[ChangeAnswer(lambda _: Said(416))] * 3)
    with pytest.raises(StoreCorrupt, match="ended early"):
        await content(store, "a", start=1)


# -- what the service says


def _error(status: int, reason: str) -> Answer:
    return Answer(status, {"error": {"code": status, "errors": [{"reason": reason}]}})


REFUSALS: list[tuple[Answer, type[SeafloorError], str]] = [
    (Answer(503), StoreUnavailable, "repeat"),
    (Answer(500), StoreUnavailable, "repeat"),
    (Answer(408), StoreUnavailable, "repeat"),
    (_error(429, "rateLimitExceeded"), StoreUnavailable, "repeat"),
    (_error(403, "userRateLimitExceeded"), StoreUnavailable, "repeat"),
    (_error(403, "quotaExceeded"), StoreFull, "quota"),
    (Answer(507), StoreFull, "quota"),
    (_error(403, "retentionPolicyNotMet"), Conflict, "retention"),
    (_error(403, "forbidden"), StoreError, r"give their account storage\.objects\."),
    (Answer(403, b"<html>"), StoreError, "roles/storage.objectUser"),
    (Answer(401), StoreError, "does not accept the credentials"),
    (Answer(400), StoreError, "status 400"),
    (Answer(301), StoreError, "status 301"),
    (LoseRequest(), StoreUnavailable, "does not answer"),  # type: ignore[list-item]
]


def calls_of(store: GcsObjectStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every call that asks the service."""
    return {
        "head": lambda: store.head("a"),
        "read": lambda: content(store, "a"),
        "list": lambda: store.list(""),
        "put": lambda: store.put("a", b"1"),
        "put in chunks": lambda: store.put("a", THREE_CHUNKS),
        "copy": lambda: store.copy("a", "b"),
        "delete": lambda: store.delete("a"),
        "delete_many": lambda: store.delete_many(["a"]),
        "delete_folder": lambda: store.delete_folder("f"),
    }


@pytest.mark.parametrize(("answer", "kind", "words"), REFUSALS)
async def test_any_call__refused__is_an_error_of_ours(
    front: Front, store: GcsObjectStore, answer: Fault, kind: type[SeafloorError], words: str
) -> None:
    await store.put("a", b"1")
    for name, call in calls_of(store).items():
        front.plan(anything, answer)
        with pytest.raises(kind, match=words) as caught:
            await call()
        assert type(caught.value) is kind, name
        assert store._client.bucket in caught.value.message, name


@pytest.mark.parametrize(("text", "expected_s"), [("7", 7.0), ("0", 0.0), ("soon", None)])
async def test_any_call__told_to_wait__says_how_long(
    front: Front, store: GcsObjectStore, text: str, expected_s: float | None
) -> None:
    for call in calls_of(store).values():
        front.plan(anything, Answer(503, headers={"Retry-After": text}))
        with pytest.raises(StoreUnavailable) as caught:
            await call()
        assert caught.value.retry_after_s == expected_s


async def test_any_call__told_to_wait_until__says_how_long(
    front: Front, store: GcsObjectStore
) -> None:
    moment = formatdate(time.time() + 100, usegmt=True)
    front.plan(anything, Answer(429, headers={"Retry-After": moment}))
    with pytest.raises(StoreUnavailable) as caught:
        await store.head("a")
    assert caught.value.retry_after_s is not None
    assert 60 < caught.value.retry_after_s <= 100


async def test_any_call__nobody_listens__is_unavailable_at_once() -> None:
    client = GcsClient("bucket", Anonymous(), endpoint=f"http://127.0.0.1:{free_port()}")
    store = GcsObjectStore(client, resume=AT_ONCE)
    for call in calls_of(store).values():
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await call()
    await store.close()


async def test_any_call__something_else_answers__is_unavailable(
    front: Front, store: GcsObjectStore
) -> None:
    for name, call in calls_of(store).items():
        if name not in ("read", "put in chunks", "delete"):
            front.plan(anything, Answer(200, b"<html>welcome to the hotel</html>"))
            with pytest.raises(StoreUnavailable):
                await call()


# -- answers in parts


async def test_delete_many__one_of_a_batch_is_busy__is_unavailable_and_can_be_repeated(
    front: Front, store: GcsObjectStore
) -> None:
    keys = [f"f/{number}" for number in range(5)]
    for key in keys:
        await store.put(key, b"")

    def busy(said: Said) -> Said:
        first, status, rest = said.body.partition(b"HTTP/1.1 200 OK\r\n")
        assert status
        said.body = first + b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n" + rest
        return said

    front.plan(lambda asked: "/batch/" in asked.target, ChangeAnswer(busy))
    with pytest.raises(StoreUnavailable) as caught:
        await store.delete_many(keys)
    assert caught.value.retry_after_s == 3.0
    front.plan(lambda asked: "/batch/" in asked.target, LoseAnswer())
    with pytest.raises(StoreUnavailable):
        await store.delete_many(keys)
    await store.delete_many(keys)
    assert await keys_of(store) == []


async def test_copy__in_several_steps__goes_on_with_the_token(
    front: Front, store: GcsObjectStore
) -> None:
    await store.put("a", b"1")
    steps = [Answer(200, {"done": False, "rewriteToken": f"token {n}&"}) for n in (1, 2)]
    front.plan(lambda asked: "/rewriteTo/" in asked.target, *steps)
    assert (await store.copy("a", "b", if_absent=True)).size_bytes == 1
    asked = [asked.query for asked in front.asked if "/rewriteTo/" in asked.target]
    assert [query.get("rewriteToken") for query in asked] == [None, "token 1&", "token 2&"]
    assert {query["ifGenerationMatch"] for query in asked} == {"0"}
    assert await content(store, "b") == b"1"
    with pytest.raises(NotFound):
        await store.copy("missing", "c")
