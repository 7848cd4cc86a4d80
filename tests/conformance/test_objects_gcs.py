"""Google Cloud Storage passes the suite of object stores, over fake-gcs-server."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.services._service import Service

from gcs_front import Front
from gcs_world import endpoint_of, fresh_bucket, key_file
from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import AlreadyExists, InvalidValue, NotFound, NotSupported
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES
from seafloor.stores.objects.gcs.store import from_url
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore
from seafloor.testing.object_cases import (
    SIBLINGS,
    content,
    deepest_key,
    keys_of,
    listed,
    outcomes,
    put_all,
    stream_of,
)
from seafloor.testing.object_store_machine import ObjectStoreMachine
from seafloor.testing.object_store_suite import DurableObjectStoreSuite

Services = Callable[[str], Service]


class TestGcsObjectStore(DurableObjectStoreSuite):
    # fake-gcs-server looks for an object and deletes it in two steps; Google's does in one.
    deletes_are_shared = True
    # Two chunks: one is made while one is sent.
    stream_memory_bytes_max = 2 * CHUNK_BYTES + 4 * 1024 * 1024

    @pytest.fixture(autouse=True)
    def _server(self, service: Services, tmp_path: Path) -> None:
        self.endpoint = endpoint_of(service)
        self.key = key_file(tmp_path / "credentials")
        self.buckets: dict[Path, str] = {}

    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        if folder not in self.buckets:
            self.buckets[folder] = fresh_bucket(self.endpoint)
        store = from_url(
            f"gs://{self.buckets[folder]}",
            {
                "STORAGE_EMULATOR_HOST": self.endpoint,
                "GOOGLE_APPLICATION_CREDENTIALS": str(self.key),
            },
        )
        try:
            yield store
        finally:
            await store.close()

    async def test_copy__if_absent_by_many__exactly_one_succeeds(self, store: ObjectStore) -> None:
        """With the condition that fake-gcs-server lacks."""
        with Front(self.endpoint).running() as front:
            bucket = fresh_bucket(self.endpoint)
            other = from_url(f"gs://{bucket}", {"STORAGE_EMULATOR_HOST": front.url})
            await super().test_copy__if_absent_by_many__exactly_one_succeeds(other)
            await other.close()

    async def test_read__range__is_that_of_the_bytes(self, store: ObjectStore) -> None:
        """Past fake-gcs-server's habit to drop, unsaid, the connection of a range past the end."""
        with Front(self.endpoint).running() as front:
            bucket = fresh_bucket(self.endpoint)
            other = from_url(f"gs://{bucket}", {"STORAGE_EMULATOR_HOST": front.url})
            await super().test_read__range__is_that_of_the_bytes(other)
            await other.close()


def test_any_calls__over_http__are_those_of_the_model(service: Services) -> None:
    # It drops the connection of a range past the end, and does not say so.
    with Front(endpoint_of(service)).running() as front:
        _run_machine(endpoint_of(service), front.url)


def _run_machine(server: str, endpoint: str) -> None:
    buckets: dict[Path, str] = {}

    @asynccontextmanager
    async def make_store(folder: Path) -> AsyncIterator[ObjectStore]:
        if folder not in buckets:
            buckets[folder] = fresh_bucket(server)
        store = from_url(f"gs://{buckets[folder]}", {"STORAGE_EMULATOR_HOST": endpoint})
        yield store
        await store.close()

    class Machine(ObjectStoreMachine):
        pass

    Machine.make_store = staticmethod(make_store)  # type: ignore[assignment]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=12, stateful_step_count=25, deadline=None)
    )


@asynccontextmanager
async def store_at(endpoint: str, bucket: str) -> AsyncIterator[ObjectStore]:
    """A bucket without credentials."""
    store = from_url(f"gs://{bucket}", {"STORAGE_EMULATOR_HOST": endpoint})
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(service: Services) -> AsyncIterator[ObjectStore]:
    endpoint = endpoint_of(service)
    async with store_at(endpoint, fresh_bucket(endpoint)) as store:
        yield store


@pytest.mark.parametrize("size_bytes", [9, CHUNK_BYTES + 1], ids=["at once", "in chunks"])
async def test_put__if_absent_by_sixteen__exactly_one_succeeds(
    service: Services, size_bytes: int
) -> None:
    endpoint = endpoint_of(service)
    with Front(endpoint).running() as front:
        async with store_at(front.url, fresh_bucket(endpoint)) as store:
            ends = await outcomes(
                store.put("race", stream_of([bytes([number]) * size_bytes]), if_absent=True)
                for number in range(16)
            )
            winners = [number for number, end in enumerate(ends) if isinstance(end, ObjectInfo)]
            assert len(winners) == 1
            assert sum(isinstance(end, AlreadyExists) for end in ends) == 15, ends
            assert await content(store, "race") == bytes([winners[0]]) * size_bytes
            assert front.open_uploads == 0


@pytest.mark.parametrize(
    "size_bytes", [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 15_000_001]
)
async def test_put__around_a_chunk__is_what_was_sent(store: ObjectStore, size_bytes: int) -> None:
    data = bytes(itertools.islice(itertools.cycle(range(251)), size_bytes))
    pieces = [data[at : at + 1_000_003] for at in range(0, size_bytes, 1_000_003)]
    for body in (data, stream_of(pieces)):
        info = await store.put("a/b", body)
        assert info.size_bytes == size_bytes
        assert await content(store, "a/b") == data
        assert await store.head("a/b") == info


async def test_put__if_absent_in_chunks__is_refused_before_it_is_sent(store: ObjectStore) -> None:
    await store.put("a", b"1")
    with pytest.raises(AlreadyExists):
        await store.put("a", bytes(CHUNK_BYTES + 1), if_absent=True)
    assert await content(store, "a") == b"1"


async def test_put__twice_back_to_back__another_time(store: ObjectStore) -> None:
    infos = [await store.put("a", b"same") for _ in range(50)]
    assert len({info.modified_ns for info in infos}) == 50
    assert [info.modified_ns for info in infos] == sorted(info.modified_ns for info in infos)
    assert len({info.etag for info in infos}) == 50
    assert (await store.list("")).objects == (infos[-1],)


async def test_any_call__no_such_bucket__is_told_from_no_such_object(service: Services) -> None:
    async with store_at(endpoint_of(service), "nowhere") as store:
        calls = [
            lambda: store.head("a"),
            lambda: content(store, "a"),
            lambda: store.list(""),
            lambda: store.put("a", b"1"),
            lambda: store.put("a", bytes(CHUNK_BYTES + 1)),
            lambda: store.copy("a", "b"),
            lambda: store.delete("a"),
            lambda: store.delete_many(["a"]),
            lambda: store.delete_folder("a"),
        ]
        for call in calls:
            with pytest.raises(InvalidValue, match='no bucket "nowhere"'):
                await call()


async def test_read__nothing_of_a_missing_object__says_so(store: ObjectStore) -> None:
    with pytest.raises(NotFound):
        await content(store, "missing", length=0)


async def test_copy__nothing_there_and_target_exists__says_that_nothing_is_there(
    store: ObjectStore,
) -> None:
    await store.put("b", b"1")
    with pytest.raises(NotFound):
        await store.copy("a", "b", if_absent=True)


async def test_append__before_the_beginning__is_refused_as_by_other_stores(
    store: ObjectStore,
) -> None:
    with pytest.raises(InvalidValue, match="byte 0"):
        await store.append("a", offset=-1, data=b"")


async def test_presign__no_key__says_what_to_do(store: ObjectStore) -> None:
    assert not store.capabilities.presign
    with pytest.raises(NotSupported, match="GOOGLE_APPLICATION_CREDENTIALS"):
        await store.presign("a", method="GET", expires_s=60)


async def test_list__marks_of_folders__are_not_objects_and_go_with_the_folder(
    service: Services,
) -> None:
    endpoint = endpoint_of(service)
    bucket = fresh_bucket(endpoint)
    async with store_at(endpoint, bucket) as store, httpx.AsyncClient(timeout=120) as http:
        await store.put("a/b/c", b"1")
        for name in ("a/", "a/b/", "a/empty/"):
            await _put_raw(http, endpoint, bucket, name)
        assert await keys_of(store) == ["a/b/c"]
        assert await keys_of(store, limit=1) == ["a/b/c"]
        assert (await listed(store, "a", recursive=False)) == ([], ["a/b", "a/empty"])
        await store.delete_folder("a")
        assert (await http.get(f"{endpoint}/storage/v1/b/{bucket}/o")).json().get("items", []) == []


async def _put_raw(http: httpx.AsyncClient, endpoint: str, bucket: str, name: str) -> None:
    url = f"{endpoint}/upload/storage/v1/b/{bucket}/o"
    answer = await http.post(url, params={"uploadType": "media", "name": name}, content=b"")
    assert answer.status_code == 200


def _as_documented(keys: list[str]) -> Callable[[Asked], Answer]:
    """Answer listings as Google documents them and fake-gcs-server does not.

    Objects and folders count together, a page may be short or empty though others follow, and
    a token is of its own making.
    """

    def answer(asked: Asked) -> Answer:
        query = {name: text[0] for name, text in parse_qs(urlsplit(asked.path).query).items()}
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        start = max(prefix, query.get("startOffset", ""))
        if "pageToken" in query:
            start = bytes.fromhex(query["pageToken"]).decode()
        room = min(int(query.get("maxResults", "1000")), 1000)
        items: list[str] = []
        prefixes: list[str] = []
        place = bisect.bisect_left(keys, start)
        # Every third page is short.
        room = room // 2 if len(asked.path) % 3 == 0 else room
        while place < len(keys) and keys[place].startswith(prefix):
            if len(items) + len(prefixes) >= room:
                token = keys[place].encode().hex()
                return Answer(200, _page(items, prefixes) | {"nextPageToken": token})
            cut = keys[place].find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                items.append(keys[place])
                place += 1
            else:
                prefixes.append(keys[place][: cut + 1])
                place = bisect.bisect_left(keys, keys[place][:cut] + "0")
        return Answer(200, _page(items, prefixes))

    return answer


def _page(items: list[str], prefixes: list[str]) -> dict[str, object]:
    made = {"generation": "1767225600000123", "timeCreated": "2026-01-01T00:00:00.000Z"}
    found = [{"name": name, "size": "0", **made} for name in items]
    return {"kind": "storage#objects", "items": found, "prefixes": prefixes}


@pytest.mark.parametrize(
    ("count", "limits"), [(25_000, (1000,)), (16, (1, 3, 12))], ids=["many", "pages"]
)
async def test_list__as_google_documents_it__is_that_of_the_model(
    count: int, limits: tuple[int, ...]
) -> None:
    model = MemoryObjectStore(nested_keys=True)
    keys = [f"runs/{number % 7:02}/f {number % 13}/ü{number:05}" for number in range(count)]
    keys += [*SIBLINGS, "runs/05", "runs/05/f 3", deepest_key(1024), "z" * 255]
    await put_all(model, keys)
    server = ScriptedServer()
    server.answer = _as_documented(sorted(keys))
    with server.running():
        async with store_at(server.url, "big") as store:
            assert await keys_of(store) == sorted(keys)
            for folder, limit, recursive in itertools.product(
                ("", "runs", "runs/05", "runs/05/f 3", "a", "a/b", "missing"), limits, (True, False)
            ):
                assert await names(store, folder, recursive=recursive, limit=limit) == (
                    await names(model, folder, recursive=recursive, limit=limit)
                ), (folder, limit, recursive)


async def names(
    store: ObjectStore, folder: str, *, recursive: bool, limit: int
) -> list[tuple[list[str], tuple[str, ...]]]:
    """The pages of a listing."""
    cursor: str | None = None
    found: list[tuple[list[str], tuple[str, ...]]] = []
    while True:
        page = await store.list(folder, recursive=recursive, limit=limit, cursor=cursor)
        found.append(([info.key for info in page.objects], page.folders))
        cursor = page.next
        if cursor is None:
            return found


async def test_store__many_streams_half_read__others_go_on(store: ObjectStore) -> None:
    await store.put("large", bytes(4 * 1024 * 1024))
    streams = [store.read("large") for _ in range(20)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    assert (await store.head("large")).size_bytes == 4 * 1024 * 1024
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]
