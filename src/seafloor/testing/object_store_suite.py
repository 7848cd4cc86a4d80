"""What every object store must do. Subclass ``ObjectStoreSuite`` and give ``make_store``.

Stores that outlive their process and stream in constant memory subclass
``DurableObjectStoreSuite``. The state machine is in ``object_store_machine``.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import pytest

from seafloor.domain.errors import (
    AlreadyExists,
    CallerError,
    Conflict,
    InvalidValue,
    NotFound,
    NotSupported,
    OutOfOrder,
)
from seafloor.domain.names import PATH_BYTES_MAX
from seafloor.stores.objects.protocol import (
    LIST_LIMIT_MAX,
    PRESIGN_EXPIRES_S_MAX,
    READ_CHUNK_BYTES,
    ObjectInfo,
    ObjectStore,
)
from seafloor.testing.object_cases import (
    BAD_KEYS,
    ODD_KEYS,
    SIBLINGS,
    broken_stream,
    bytes_of,
    content,
    deepest_key,
    keys_of,
    listed,
    outcomes,
    put_all,
    stream_of,
)

MIB = 1024 * 1024
SIZES = (0, 1, READ_CHUNK_BYTES - 1, READ_CHUNK_BYTES, READ_CHUNK_BYTES + 1, 3 * MIB + 7)


class _BrokenSource(Exception):
    """What the stream of a caller raises."""


def told_alike(
    store: ObjectStore, listed_: Sequence[ObjectInfo], expected: Sequence[ObjectInfo]
) -> bool:
    """Say whether a listing tells what ``head`` does, as exactly as the store claims."""
    if store.capabilities.exact_listing:
        return list(listed_) == list(expected)
    pairs = list(zip(listed_, expected, strict=True))
    # Its clock is the store's: it may be another machine's, and tells seconds.
    assert all(abs(one.modified_ns - other.modified_ns) < 60e9 for one, other in pairs)
    return [(one.key, one.size_bytes, one.etag) for one, _ in pairs] == [
        (other.key, other.size_bytes, other.etag) for _, other in pairs
    ]


class ObjectStoreSuite(ABC):
    """True of every object store.

    Set ``key_bytes_max`` where keys are shorter than paths may be, ``folders_max`` where they
    are less deep, ``deletes_are_shared`` where several who delete one object at once may each be
    told that there was one, ``folders_block_creation`` where the server keeps folders and so
    refuses to create an object of a folder's name, ``presigned_put_headers`` to what a PUT by URL
    must send, and ``stream_bytes`` and ``stream_memory_bytes_max`` where streams take more.
    """

    key_bytes_max: ClassVar[int] = PATH_BYTES_MAX
    folders_max: ClassVar[int] = PATH_BYTES_MAX
    deletes_are_shared: ClassVar[bool] = False
    folders_block_creation: ClassVar[bool] = False
    presigned_put_headers: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def make_store(self, folder: Path) -> AbstractAsyncContextManager[ObjectStore]:
        """Make an empty store, closed at the end.

        Args:
            folder: Of the test's own; it does not exist yet. The same folder gives the same
                store again, where stores outlive their process.
        """

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        async with self.make_store(tmp_path / "objects") as store:
            yield store

    # -- one object

    @pytest.mark.parametrize("key", ODD_KEYS)
    async def test_put__odd_key__is_the_same_everywhere(self, store: ObjectStore, key: str) -> None:
        put = await store.put(key, b"content")
        assert put.key == key
        assert put.size_bytes == 7
        assert await store.head(key) == put
        assert await content(store, key) == b"content"
        assert told_alike(store, (await listed(store))[0], [put])
        top, below, _ = key.partition("/")
        assert (await listed(store, recursive=False))[1] == ([top] if below else [])
        assert await store.delete(key) is True
        assert await listed(store, recursive=False) == ([], [])

    async def test_put__odd_keys_together__none_is_another(self, store: ObjectStore) -> None:
        await put_all(store, ODD_KEYS)
        assert await keys_of(store, limit=3) == sorted(ODD_KEYS)
        for key in ODD_KEYS:
            assert await content(store, key) == key.encode()
        for folder in {key.partition("/")[0] for key in ODD_KEYS if "/" in key}:
            count = sum(key.startswith(f"{folder}/") for key in ODD_KEYS)
            assert await store.delete_folder(folder) == count
        assert await keys_of(store) == sorted(key for key in ODD_KEYS if "/" not in key)

    async def test_put__deepest_key__is_like_any_other(self, store: ObjectStore) -> None:
        key = deepest_key(self.key_bytes_max, folders_max=self.folders_max)
        assert len(key) == self.key_bytes_max
        await put_all(store, [key, "d/e"])
        assert await content(store, key) == key.encode()
        assert await keys_of(store) == [key, "d/e"]
        assert (await listed(store, "d", recursive=False))[1] == ["d/d"]
        if not store.capabilities.nested_keys:
            with pytest.raises(Conflict):
                await store.put(key.rpartition("/")[0], b"")
        assert await store.delete_folder("d/d") == 1
        assert await keys_of(store) == ["d/e"]
        with pytest.raises(CallerError):
            await store.put(f"{key}d", b"")

    @pytest.mark.parametrize("key", BAD_KEYS)
    async def test_any_call__bad_key__is_refused(self, store: ObjectStore, key: str) -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.head(key),
            lambda: content(store, key),
            lambda: store.put(key, b""),
            lambda: store.put(key, b"", if_absent=True),
            lambda: store.append(key, offset=0, data=b""),
            lambda: store.copy(key, "b"),
            lambda: store.copy("b", key),
            lambda: store.presign(key, method="GET", expires_s=60),
            lambda: store.delete(key),
            lambda: store.delete_many(["b", key]),
            lambda: store.delete_folder(key),
        ]
        if key:
            calls.append(lambda: store.list(key))
        for call in calls:
            with pytest.raises(CallerError) as caught:
                await call()
            assert caught.value.code in {"invalid_value", "limit_exceeded"}
        assert await listed(store) == ([], [])

    @pytest.mark.parametrize("key", ["missing", "folder", "folder/missing", "folder/a/below", "f"])
    async def test_missing_object__any_call__says_so(self, store: ObjectStore, key: str) -> None:
        await store.put("folder/a", b"1")
        with pytest.raises(NotFound):
            await store.head(key)
        with pytest.raises(NotFound):
            await content(store, key)
        with pytest.raises(NotFound):
            await store.copy(key, "elsewhere")
        assert await store.delete(key) is False
        await store.delete_many([key, key])
        assert await keys_of(store) == ["folder/a"]

    @pytest.mark.parametrize("size_bytes", SIZES)
    async def test_put__bytes_or_stream__read_gives_them_back(
        self, store: ObjectStore, size_bytes: int
    ) -> None:
        data = bytes_of(size_bytes)
        pieces = [data[at : at + 70_001] for at in range(0, size_bytes, 70_001)]
        for body in (data, stream_of([data]), stream_of([b"", *pieces, b""])):
            info = await store.put("a/b", body)
            assert info.size_bytes == size_bytes
            assert await content(store, "a/b") == data

    async def test_read__large__comes_in_bounded_chunks(self, store: ObjectStore) -> None:
        await store.put("a", bytes_of(3 * MIB + 7))
        sizes = [len(chunk) async for chunk in store.read("a")]
        assert sum(sizes) == 3 * MIB + 7
        assert min(sizes) > 0
        assert max(sizes) <= READ_CHUNK_BYTES

    async def test_read__range__is_that_of_the_bytes(self, store: ObjectStore) -> None:
        data = bytes_of(2 * MIB + 5)
        await store.put("a", data)
        for start in (0, 1, MIB - 1, MIB, 2 * MIB + 4, 2 * MIB + 5, 9 * MIB):
            for length in (None, 0, 1, MIB, MIB + 1, 9 * MIB):
                end = None if length is None else start + length
                got = await content(store, "a", start=start, length=length)
                assert got == data[start:end], (start, length)

    @pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1), (-1, 5)])
    async def test_read__negative_range__is_refused(
        self, store: ObjectStore, start: int, length: int | None
    ) -> None:
        await store.put("a", b"123")
        with pytest.raises(InvalidValue):
            await content(store, "a", start=start, length=length)

    async def test_put__again__replaces_and_has_another_etag(self, store: ObjectStore) -> None:
        seen: list[ObjectInfo] = []
        for number in range(20):
            seen.append(await store.put("a/b", b"%02d" % number))
            assert await store.head("a/b") == seen[-1]
        assert len({info.etag for info in seen}) == len(seen)
        times = [info.modified_ns for info in seen]
        assert times == sorted(times)
        assert len(set(times)) == len(times), "two puts cannot be told apart by their times"
        assert await content(store, "a/b") == b"19"

    async def test_local_path__by_capability__is_the_file_or_refused(
        self, store: ObjectStore
    ) -> None:
        await store.put("a/b c", b"content")
        if store.capabilities.local_files:
            assert (await store.local_path("a/b c")).read_bytes() == b"content"
            for missing in ("a", "a/b", "c"):
                with pytest.raises(NotFound):
                    await store.local_path(missing)
        else:
            with pytest.raises(NotSupported):
                await store.local_path("a/b c")

    # -- objects below objects

    async def test_put__key_is_a_folder__by_capability(self, store: ObjectStore) -> None:
        await store.put("a/b/c", b"1")
        await store.put("x", b"source")
        for key in ("a", "a/b"):
            await self._write_beside(store, key, is_folder=True)
        beside = ["a", "a/b"] if store.capabilities.nested_keys else []
        assert await keys_of(store) == sorted([*beside, "a/b/c", "x"])
        assert await content(store, "a/b/c") == b"1"

    async def test_put__part_is_an_object__by_capability(self, store: ObjectStore) -> None:
        await store.put("a/b", b"1")
        await store.put("x", b"source")
        for key in ("a/b/c", "a/b/c/d"):
            await self._write_beside(store, key, is_folder=False)
        below = ["a/b/c", "a/b/c/d"] if store.capabilities.nested_keys else []
        assert await keys_of(store) == ["a/b", *below, "x"]
        assert await content(store, "a/b") == b"1"

    async def _write_beside(self, store: ObjectStore, key: str, *, is_folder: bool) -> None:
        """Write by every way where an object meets a folder: all work, or none does."""
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.put(key, b"2", if_absent=True),
            lambda: store.put(key, b"3"),
            lambda: store.put(key, stream_of([b"4"])),
            lambda: store.copy("x", key),
        ]
        if store.capabilities.append:
            writes.append(lambda: store.append(key, offset=0, data=b"source+5"))
        if store.capabilities.nested_keys:
            if self.folders_block_creation and is_folder:
                with pytest.raises(Conflict):
                    await writes.pop(0)()
            for write in writes:
                await write()
            grown = b"source+5" if store.capabilities.append else b"source"
            assert await content(store, key) == grown
            return
        for write in [*writes, lambda: store.copy("x", key, if_absent=True)]:
            with pytest.raises(Conflict):
                await write()

    async def test_nested_keys__object_beside_its_folder__are_two_things(
        self, store: ObjectStore
    ) -> None:
        if not store.capabilities.nested_keys:
            return  # that such keys are refused stands above
        await put_all(store, ["a", "a/b", "a/b/c", "a-b", "ab"])
        assert await keys_of(store) == ["a", "a-b", "a/b", "a/b/c", "ab"]
        objects, folders = await listed(store, recursive=False)
        assert ([info.key for info in objects], folders) == (["a", "a-b", "ab"], ["a"])
        assert await listed(store, recursive=False, limit=1) == (objects, folders)
        assert await keys_of(store, "a") == ["a/b", "a/b/c"]
        assert await store.delete("a/b") is True
        assert await keys_of(store, "a") == ["a/b/c"]
        assert await store.delete_folder("a") == 1
        assert await keys_of(store) == ["a", "a-b", "ab"]

    # -- appending, copying, presigning

    async def test_append__by_capability__adds_or_is_refused(self, store: ObjectStore) -> None:
        if not store.capabilities.append:
            await store.put("a/b", b"1")
            for key in ("a/b", "new"):
                with pytest.raises(NotSupported):
                    await store.append(key, offset=0, data=b"23")
            assert await keys_of(store) == ["a/b"]
            assert await content(store, "a/b") == b"1"
            return
        assert await store.append("a/b", offset=0, data=b"one") == 3
        assert await store.append("a/b", offset=3, data=b"two") == 6
        assert await store.append("a/b", offset=3, data=b"two") == 6, "a repeat is harmless"
        assert await store.append("a/b", offset=3, data=b"twothree") == 11
        assert await store.append("a/b", offset=11, data=b"") == 11
        assert await store.append("a/b", offset=0, data=b"") == 11
        assert await content(store, "a/b") == b"onetwothree"
        assert (await store.head("a/b")).size_bytes == 11
        for key, size_bytes in (("a/b", 11), ("missing", 0)):
            with pytest.raises(OutOfOrder) as caught:
                await store.append(key, offset=12, data=b"x")
            assert caught.value.next_offset == size_bytes
        with pytest.raises(InvalidValue):
            await store.append("a/b", offset=-1, data=b"x")
        assert await store.append("empty", offset=0, data=b"") == 0
        assert await keys_of(store) == ["a/b", "empty"]

    async def test_append__to_what_was_put__goes_on_with_it(self, store: ObjectStore) -> None:
        if not store.capabilities.append:
            return  # that it is refused stands above
        before = await store.put("a", stream_of([bytes(MIB), b"1"]))
        assert await store.append("a", offset=MIB + 1, data=b"23") == MIB + 3
        after = await store.head("a")
        assert after.etag != before.etag
        assert after.modified_ns > before.modified_ns
        assert await content(store, "a", start=MIB) == b"123"
        await store.put("a", b"new")
        assert await store.append("a", offset=3, data=b"er") == 5
        assert await content(store, "a") == b"newer"

    async def test_append__a_reader_beside__sees_a_beginning(self, store: ObjectStore) -> None:
        if not store.capabilities.append:
            return  # that it is refused stands above
        whole = bytes_of(200_000)
        await store.append("a", offset=0, data=b"")

        async def write() -> None:
            for offset in range(0, len(whole), 20_000):
                await store.append("a", offset=offset, data=whole[offset : offset + 20_000])

        task = asyncio.create_task(write())
        seen_bytes = 0
        while not task.done():
            got = await content(store, "a")
            assert whole.startswith(got)
            assert len(got) >= seen_bytes, "what was read is no longer there"
            seen_bytes = len(got)
            await asyncio.sleep(0)
        await task
        assert await content(store, "a") == whole

    async def test_copy__any_object__is_a_second_one(self, store: ObjectStore) -> None:
        for number, size_bytes in enumerate((0, 1, 3 * MIB + 7)):
            data = bytes_of(size_bytes)
            source, target = f"from {number}/a#b", f"to/{number}/%é"
            await store.put(source, data)
            copied = await store.copy(source, target)
            assert (copied.key, copied.size_bytes) == (target, size_bytes)
            assert await store.head(target) == copied
            await store.delete(source)
            assert await content(store, target) == data

    async def test_copy__target_exists__replaces_or_is_refused(self, store: ObjectStore) -> None:
        await put_all(store, ["a", "b", "c"])
        with pytest.raises(AlreadyExists):
            await store.copy("a", "b", if_absent=True)
        assert await content(store, "b") == b"b"
        before = await store.head("b")
        after = await store.copy("a", "b")
        assert await content(store, "b") == b"a"
        assert after.etag != before.etag
        assert after.modified_ns != before.modified_ns
        await store.copy("a", "new/d", if_absent=True)
        assert await keys_of(store) == ["a", "b", "c", "new/d"]

    async def test_copy__if_absent_by_many__exactly_one_succeeds(self, store: ObjectStore) -> None:
        sources = [f"source/{number}" for number in range(6)]
        await put_all(store, sources)
        for round_ in range(3):
            target = f"race/{round_}"
            ends = await outcomes(store.copy(source, target, if_absent=True) for source in sources)
            winners = [at for at, end in enumerate(ends) if isinstance(end, ObjectInfo)]
            assert len(winners) == 1
            assert sum(isinstance(end, AlreadyExists) for end in ends) == 5
            assert await content(store, target) == sources[winners[0]].encode()

    async def test_presign__by_capability__works_or_is_refused(self, store: ObjectStore) -> None:
        await store.put("a b/#1", b"content")
        methods: tuple[Literal["GET", "PUT"], ...] = ("GET", "PUT")
        if not store.capabilities.presign:
            for method in methods:
                with pytest.raises(NotSupported):
                    await store.presign("a b/#1", method=method, expires_s=60)
            return
        for expires_s in (0, -1, PRESIGN_EXPIRES_S_MAX + 1):
            with pytest.raises(InvalidValue):
                await store.presign("a b/#1", method="GET", expires_s=expires_s)
        get = await store.presign("a b/#1", method="GET", expires_s=60)
        put = await store.presign("new/%é", method="PUT", expires_s=60)
        assert await self.requested("GET", get, b"") == b"content"
        with pytest.raises(NotFound):
            await store.head("new/%é")
        await self.requested("PUT", put, b"by another")
        assert await content(store, "new/%é") == b"by another"

    async def requested(self, method: str, url: str, body: bytes) -> bytes:
        """Use a presigned URL as anybody would; override where a plain request needs more."""
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection

        def request() -> bytes:
            connection = kind(parts.netloc, timeout=30)
            try:
                headers = dict(self.presigned_put_headers) if method == "PUT" else {}
                connection.request(method, f"{parts.path}?{parts.query}", body or None, headers)
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status < 300, (answer.status, said)
                return said
            finally:
                connection.close()

        return await asyncio.to_thread(request)

    # -- what must not be

    async def test_put__folder_was_emptied__the_key_is_free(self, store: ObjectStore) -> None:
        await store.put("a/b/c", b"1")
        await store.delete("a/b/c")
        await store.put("a", b"2")
        await store.delete("a")
        await store.put("a/b", b"3")
        assert await keys_of(store) == ["a/b"]

    async def test_put__stream_raises__passes_through_and_leaves_nothing(
        self, store: ObjectStore
    ) -> None:
        await store.put("there", b"old")
        chunks = [bytes_of(700_000)] * 3
        for key in ("there", "new/one"):
            for count in range(4):
                with pytest.raises(_BrokenSource):
                    await store.put(key, broken_stream(chunks[:count], _BrokenSource()))
        assert await content(store, "there") == b"old"
        objects, folders = await listed(store, recursive=False)
        assert told_alike(store, objects, [await store.head("there")])
        assert folders == []

    async def test_put__cancelled__leaves_nothing(self, store: ObjectStore) -> None:
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(300_000)
                begun.set()
                await asyncio.sleep(0)

        for _ in range(5):
            begun.clear()
            task = asyncio.create_task(store.put("a/b", endless()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await listed(store, recursive=False) == ([], [])

    async def test_put__if_absent__creates_only(self, store: ObjectStore) -> None:
        first = await store.put("a/b", b"first", if_absent=True)
        for body in (b"second", stream_of([b"second"])):
            with pytest.raises(AlreadyExists):
                await store.put("a/b", body, if_absent=True)
        assert await store.head("a/b") == first
        assert await content(store, "a/b") == b"first"
        await store.delete("a/b")
        await store.put("a/b", b"third", if_absent=True)

    # -- listing

    async def test_list__siblings__folder_is_not_a_prefix(self, store: ObjectStore) -> None:
        await put_all(store, SIBLINGS)
        assert await keys_of(store) == list(SIBLINGS)
        assert await keys_of(store, "a") == ["a/b", "a/b-c", "a/bc/d", "a/z"]
        assert await keys_of(store, "a/b") == []
        assert await keys_of(store, "a/bc") == ["a/bc/d"]
        for nothing in ("missing", "a-b", "a0/x", "ab"):
            assert await listed(store, nothing) == ([], [])

    async def test_list__one_level__shows_objects_and_folders(self, store: ObjectStore) -> None:
        await put_all(store, SIBLINGS)
        objects, folders = await listed(store, recursive=False)
        assert [info.key for info in objects] == ["a-b", "a0", "ab", "b"]
        assert folders == ["a-b2", "a.b", "a"]
        objects, folders = await listed(store, "a", recursive=False)
        assert [info.key for info in objects] == ["a/b", "a/b-c", "a/z"]
        assert folders == ["a/bc"]

    @pytest.mark.parametrize("recursive", [True, False])
    @pytest.mark.parametrize("folder", ["", "a"])
    async def test_list__any_page_size__gives_the_same(
        self, store: ObjectStore, folder: str, *, recursive: bool
    ) -> None:
        await put_all(store, SIBLINGS)
        whole = await listed(store, folder, recursive=recursive)
        for limit in range(1, len(SIBLINGS) + 2):
            assert await listed(store, folder, recursive=recursive, limit=limit) == whole

    async def test_list__last_page_is_full__says_that_it_was_the_last(
        self, store: ObjectStore
    ) -> None:
        await put_all(store, SIBLINGS)
        assert (await store.list("", limit=len(SIBLINGS))).next is None
        assert (await store.list("", limit=len(SIBLINGS) - 1)).next is not None

    async def test_list__more_than_a_page__misses_and_repeats_nothing(
        self, store: ObjectStore
    ) -> None:
        keys = [f"many/{number % 7}/{number:04}" for number in range(LIST_LIMIT_MAX + 100)]
        await put_all(store, keys)
        assert await keys_of(store, "many") == sorted(keys)
        assert await keys_of(store, "many", limit=333) == sorted(keys)

    async def test_list__objects_come_and_go__others_are_listed_once(
        self, store: ObjectStore
    ) -> None:
        stay = [f"f/{number:03}" for number in range(0, 60, 2)]
        await put_all(store, [*stay, "f/001", "f/031", "f/059"])
        cursor: str | None = None
        seen: list[str] = []
        for step in range(100):
            page = await store.list("f", limit=4, cursor=cursor)
            seen += [info.key for info in page.objects]
            cursor = page.next
            if cursor is None:
                break
            # The very object that the cursor may name goes away; others come before and after.
            await store.delete(["f/001", "f/031", "f/059"][step % 3])
            await store.put(f"f/{step:03}x", b"")
        assert [key for key in seen if key in stay] == stay
        assert len(seen) == len(set(seen))

    @pytest.mark.parametrize("limit", [0, -1, LIST_LIMIT_MAX + 1])
    async def test_list__limit_out_of_bounds__is_refused(
        self, store: ObjectStore, limit: int
    ) -> None:
        with pytest.raises(InvalidValue):
            await store.list("", limit=limit)

    async def test_list__cursor_of_elsewhere__is_refused(self, store: ObjectStore) -> None:
        await put_all(store, SIBLINGS)
        elsewhere = (await store.list("", limit=len(SIBLINGS) - 1)).next
        assert elsewhere is not None
        for cursor in (elsewhere, ""):
            with pytest.raises(InvalidValue):
                await store.list("a/bc", cursor=cursor)

    # -- deleting

    async def test_delete__last_object__takes_its_folders_along(self, store: ObjectStore) -> None:
        await put_all(store, ["a/b/c/d", "a/x"])
        assert await store.delete("a/b/c/d") is True
        assert await store.delete("a/b/c/d") is False
        objects, folders = await listed(store, "a", recursive=False)
        assert told_alike(store, objects, [await store.head("a/x")])
        assert folders == []

    async def test_delete_many__some_missing__the_others_go(self, store: ObjectStore) -> None:
        await put_all(store, SIBLINGS)
        await store.delete_many([])
        await store.delete_many(["a/b", "missing", "a/b", "a", "a-b", "f/missing"])
        left = [key for key in SIBLINGS if key not in {"a/b", "a-b"}]
        assert await keys_of(store) == left
        await store.delete_many(left)
        assert await listed(store, recursive=False) == ([], [])

    async def test_delete_many__one_bad_key__nothing_is_deleted(self, store: ObjectStore) -> None:
        await put_all(store, ["a", "b"])
        with pytest.raises(InvalidValue):
            await store.delete_many(["a", "..", "b"])
        assert await keys_of(store) == ["a", "b"]

    async def test_delete_many__more_than_one_request__all_go(self, store: ObjectStore) -> None:
        keys = [f"f/{number:04} #%+é" for number in range(LIST_LIMIT_MAX + 50)]
        await put_all(store, [*keys, "g"])
        await store.delete_many(keys)
        assert await keys_of(store) == ["g"]

    async def test_delete_folder__siblings__only_what_is_below(self, store: ObjectStore) -> None:
        await put_all(store, SIBLINGS)
        assert await store.delete_folder("a/b") == 0
        assert await store.delete_folder("a") == 4
        assert await store.delete_folder("a") == 0
        assert await store.delete_folder("ab") == 0
        assert await keys_of(store) == [key for key in SIBLINGS if not key.startswith("a/")]
        assert await store.delete_folder("a.b/c") == 1
        assert (await listed(store, recursive=False))[1] == ["a-b2"]

    async def test_delete_folder__many__counts_all(self, store: ObjectStore) -> None:
        keys = [f"f/{number % 3}/{number % 5}/{number}" for number in range(600)]
        await put_all(store, [*keys, "g"])
        assert await store.delete_folder("f") == 600
        assert await keys_of(store) == ["g"]

    # -- several at once

    async def test_put__if_absent_by_many__exactly_one_succeeds(self, store: ObjectStore) -> None:
        for round_ in range(10):
            key = f"race/{round_}"
            ends = await outcomes(
                store.put(key, b"%d" % number, if_absent=True) for number in range(8)
            )
            winners = [number for number, end in enumerate(ends) if isinstance(end, ObjectInfo)]
            assert len(winners) == 1
            assert sum(isinstance(end, AlreadyExists) for end in ends) == 7
            assert await content(store, key) == b"%d" % winners[0]
            assert await store.head(key) == ends[winners[0]]

    async def test_put__replaced_while_read__every_reader_sees_one_version(
        self, store: ObjectStore
    ) -> None:
        versions = [bytes([number]) * (MIB + number * 1000) for number in range(6)]
        await store.put("a/b", versions[0])
        done = asyncio.Event()

        async def write() -> None:
            for version in versions[1:] * 3:
                await store.put("a/b", stream_of([version[:MIB], version[MIB:]]))
            done.set()

        async def read() -> int:
            count = 0
            while not done.is_set():
                assert await content(store, "a/b") in versions, "a reader saw a mixture"
                count += 1
                await asyncio.sleep(0)
            return count

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            readers = [group.create_task(read()) for _ in range(3)]
        assert all(reader.result() for reader in readers)

    @pytest.mark.parametrize("end", ["replaced", "deleted"])
    async def test_read__object_changes_meanwhile__the_stream_goes_on(
        self, store: ObjectStore, end: str
    ) -> None:
        data = bytes_of(3 * MIB)
        await store.put("a", data)
        chunks = store.read("a")
        got = await anext(chunks)
        await (store.delete("a") if end == "deleted" else store.put("a", b"new"))
        async for chunk in chunks:
            got += chunk
        assert got == data

    async def test_put_and_delete__in_one_folder_at_once__nobody_fails(
        self, store: ObjectStore
    ) -> None:
        async def change(name: str) -> None:
            for _ in range(25):
                await store.put(f"f/g/{name}", name.encode())
                assert await content(store, f"f/g/{name}") == name.encode()
                assert await store.delete(f"f/g/{name}") is True

        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(change(name))
        assert await listed(store, recursive=False) == ([], [])

    async def test_put__object_and_folder_of_one_key_at_once__one_is_refused(
        self, store: ObjectStore
    ) -> None:
        for _ in range(20):
            ends = await outcomes([store.put("a", b"1"), store.put("a/b", b"2")])
            wins = 2 if store.capabilities.nested_keys else 1
            assert sum(isinstance(end, ObjectInfo) for end in ends) == wins, ends
            assert sum(isinstance(end, Conflict) for end in ends) == 2 - wins, ends
            assert len(await keys_of(store)) == wins
            await store.delete("a")
            await store.delete("a/b")

    async def test_delete__by_many__one_was_it(self, store: ObjectStore) -> None:
        for _ in range(10):
            await store.put("a/b", b"1")
            ends = await outcomes(store.delete("a/b") for _ in range(4))
            assert set(ends) <= {True, False}
            assert sum(end is True for end in ends) == 1 or (
                self.deletes_are_shared and any(end is True for end in ends)
            )

    async def test_close__twice__is_harmless(self, tmp_path: Path) -> None:
        async with self.make_store(tmp_path / "other") as store:
            await store.put("a", b"1")
            await store.close()
            await store.close()


class DurableObjectStoreSuite(ObjectStoreSuite):
    """True of stores that outlive their process, and whose streams have no end in memory."""

    stream_bytes: ClassVar[int] = 64 * MIB
    stream_memory_bytes_max: ClassVar[int] = 8 * MIB

    async def test_put__store_opened_again__is_there(self, tmp_path: Path) -> None:
        async with self.make_store(tmp_path / "objects") as store:
            await put_all(store, SIBLINGS)
            before = await listed(store)
        async with self.make_store(tmp_path / "objects") as store:
            assert await listed(store) == before
            assert await content(store, "a/bc/d") == b"a/bc/d"

    async def test_put_and_read__long_stream__memory_stays_small(self, store: ObjectStore) -> None:
        piece = bytes_of(MIB)

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(self.stream_bytes * 16 // MIB):
                yield bytes(memoryview(piece)[: MIB // 16])

        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await store.put("large", pieces())
            size_bytes = 0
            async for chunk in store.read("large"):
                size_bytes += len(chunk)
            grown_bytes = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert size_bytes == self.stream_bytes
        assert grown_bytes < self.stream_memory_bytes_max, grown_bytes
