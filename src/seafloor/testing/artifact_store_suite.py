"""What every artifact store must do. Subclass ``ArtifactStoreSuite`` and give ``make_store``."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums
from seafloor.domain.errors import CallerError, Conflict, InvalidValue, NotFound, StoreUnavailable
from seafloor.domain.ids import Sha256
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.testing.manifest_store_suite import MODEL, OTHER, OWNER
from seafloor.testing.object_cases import BAD_KEYS, ODD_KEYS, SIBLINGS, broken_stream, stream_of

MIB = 1024 * 1024
PATHS_BAD = tuple(key for key in BAD_KEYS if not key.startswith(".seafloor-tmp"))


class _BrokenSource(Exception):
    """What the stream of a caller raises."""


def sha256_of(data: bytes) -> Sha256:
    """The digest of bytes."""
    return Sha256(hashlib.sha256(data).hexdigest())


async def put_bytes(
    store: ArtifactStore, path: str, data: bytes, *, owner: str = OWNER
) -> ArtifactFile:
    """Put bytes in pieces."""
    pieces = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    return await store.put(owner, path, stream_of(pieces))


async def file_bytes(
    store: ArtifactStore,
    path: str,
    *,
    owner: str = OWNER,
    start: int = 0,
    length: int | None = None,
) -> bytes:
    """Read a file or a range of it."""
    chunks = store.read(owner, path, start=start, length=length)
    return b"".join([chunk async for chunk in chunks])


async def assert_true_to_its_digest(store: ArtifactStore, path: str) -> bytes | None:
    """Look at a file, if it is there: its row must be of its bytes."""
    try:
        row = await store.head(OWNER, path)
    except NotFound:
        with pytest.raises(NotFound):
            await file_bytes(store, path)
        return None
    data = await file_bytes(store, path)
    assert (row.size_bytes, row.sha256) == (len(data), sha256_of(data))
    return data


class ArtifactStoreSuite(ABC):
    """True of every artifact store."""

    @abstractmethod
    def make_store(self, folder: Path) -> AbstractAsyncContextManager[ArtifactStore]:
        """Make a store that has the owners OWNER, OTHER and MODEL, if it has to know them.

        Args:
            folder: Of the test's own.
        """

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ArtifactStore]:
        async with self.make_store(tmp_path) as store:
            yield store

    async def test_put__odd_path__is_the_same_everywhere(self, store: ArtifactStore) -> None:
        for path in (*ODD_KEYS, "manifest.json", ".seafloor-tmp/x"):
            put = await put_bytes(store, path, b"content")
            assert (put.path, put.size_bytes, put.sha256) == (path, 7, sha256_of(b"content"))
            assert await store.head(OWNER, path) == put
            assert await file_bytes(store, path) == b"content"
            assert await store.list(OWNER) == (put,)
            assert await store.delete(OWNER, path) == 1, path
            assert await store.list(OWNER) == ()

    async def test_any_call__bad_path__is_refused(self, store: ArtifactStore) -> None:
        for path in PATHS_BAD:
            calls: list[Callable[[], Awaitable[object]]] = [
                partial(put_bytes, store, path, b""),
                partial(store.head, OWNER, path),
                partial(file_bytes, store, path),
                partial(store.delete, OWNER, path),
            ]
            if path:
                calls += [partial(store.children, OWNER, path), partial(store.list, OWNER, path)]
            for call in calls:
                with pytest.raises(CallerError) as caught:
                    await call()
                assert caught.value.code in {"invalid_value", "limit_exceeded"}, path

    async def test_any_call__bad_owner__is_refused(self, store: ArtifactStore) -> None:
        for owner in ("", "x", OWNER[:-1], OWNER.upper(), "../" + OWNER, "m-1"):
            calls: list[Callable[[], Awaitable[object]]] = [
                partial(put_bytes, store, "a", b"", owner=owner),
                partial(store.head, owner, "a"),
                partial(file_bytes, store, "a", owner=owner),
                partial(store.children, owner),
                partial(store.list, owner),
                partial(store.delete, owner, "a"),
                partial(store.seal, owner),
            ]
            for call in calls:
                with pytest.raises(InvalidValue):
                    await call()

    @pytest.mark.parametrize("size_bytes", [0, 1, MIB, 3 * MIB + 7])
    async def test_read__any_size__gives_the_bytes_back(
        self, store: ArtifactStore, size_bytes: int
    ) -> None:
        data = bytes(number % 251 for number in range(1000)) * (size_bytes // 1000 + 1)
        data = data[:size_bytes]
        assert (await put_bytes(store, "a/b", data)).sha256 == sha256_of(data)
        assert await file_bytes(store, "a/b") == data
        for start, length in ((0, 0), (0, 10), (1, None), (size_bytes // 2, 5), (size_bytes, 1)):
            end = None if length is None else start + length
            assert await file_bytes(store, "a/b", start=start, length=length) == data[start:end]

    async def test_read__replaced_since_its_digest_was_told__gives_no_other_whole_file(
        self, store: ArtifactStore
    ) -> None:
        before = await put_bytes(store, "a/b", b"before")
        chunks = store.read(OWNER, "a/b", sha256=before.sha256)
        assert b"".join([chunk async for chunk in chunks]) == b"before"
        await put_bytes(store, "a/b", b"behind")  # as long
        for start in (0, 1):
            with pytest.raises(StoreUnavailable, match="was replaced"):
                async for _ in store.read(OWNER, "a/b", start=start, sha256=before.sha256):
                    pass

    @pytest.mark.parametrize("path", ["missing", "folder", "folder/a/b", "fold"])
    async def test_missing_file__any_call__says_so(self, store: ArtifactStore, path: str) -> None:
        await put_bytes(store, "folder/a", b"1")
        with pytest.raises(NotFound):
            await store.head(OWNER, path)
        with pytest.raises(NotFound):
            await file_bytes(store, path)
        with pytest.raises(NotFound):
            await store.head(OTHER, "folder/a")

    async def test_put__again__replaces(self, store: ArtifactStore) -> None:
        for data in (b"one", b"two", b"", b"two", b"two"):
            put = await put_bytes(store, "a/b", data)
            assert await store.list(OWNER) == (put,)
            assert await assert_true_to_its_digest(store, "a/b") == data

    async def test_put__as_announced__is_taken(self, store: ArtifactStore) -> None:
        for data in (b"", b"12345"):
            put = await store.put(
                OWNER, "a", stream_of([data]), sha256=sha256_of(data), size_bytes=len(data)
            )
            assert put.size_bytes == len(data)

    @pytest.mark.parametrize("there", [None, b"old"])
    @pytest.mark.parametrize(
        ("sha256", "size_bytes", "field"),
        [
            (sha256_of(b"other"), None, "sha256"),
            (None, 4, "size_bytes"),
            (None, 6, "size_bytes"),
            (None, 0, "size_bytes"),
            (sha256_of(b"12345"), 4, "size_bytes"),
            (sha256_of(b"other"), 5, "sha256"),
        ],
    )
    async def test_put__not_as_announced__changes_nothing(
        self,
        store: ArtifactStore,
        there: bytes | None,
        sha256: Sha256 | None,
        size_bytes: int | None,
        field: str,
    ) -> None:
        if there is not None:
            await put_bytes(store, "a", there)
        with pytest.raises(InvalidValue) as caught:
            await store.put(
                OWNER, "a", stream_of([b"123", b"45"]), sha256=sha256, size_bytes=size_bytes
            )
        assert caught.value.field == field
        assert await assert_true_to_its_digest(store, "a") == there

    @pytest.mark.parametrize("there", [None, b"old"])
    async def test_put__stream_raises__changes_nothing(
        self, store: ArtifactStore, there: bytes | None
    ) -> None:
        if there is not None:
            await put_bytes(store, "a", there)
        for count in range(3):
            with pytest.raises(_BrokenSource):
                await store.put(OWNER, "a", broken_stream([bytes(MIB)] * count, _BrokenSource()))
        assert await assert_true_to_its_digest(store, "a") == there

    async def test_put__file_and_folder_of_one_path__are_refused_both_ways(
        self, store: ArtifactStore
    ) -> None:
        await put_bytes(store, "a/b/c", b"1")
        for path in ("a", "a/b", "a/b/c/d", "a/b/c/d/e"):
            with pytest.raises(Conflict) as caught:
                await put_bytes(store, path, b"2")
            assert path in caught.value.message
        assert [row.path for row in await store.list(OWNER)] == ["a/b/c"]
        assert await assert_true_to_its_digest(store, "a/b/c") == b"1"

    async def test_owners__of_any_kind__do_not_meet(self, store: ArtifactStore) -> None:
        for owner in (OWNER, OTHER, MODEL):
            await put_bytes(store, "a/b", owner.encode(), owner=owner)
        assert await store.delete(OWNER, "a") == 1
        for owner in (OTHER, MODEL):
            assert await file_bytes(store, "a/b", owner=owner) == owner.encode()

    async def test_list_and_children__siblings__folder_is_not_a_prefix(
        self, store: ArtifactStore
    ) -> None:
        for path in SIBLINGS:
            await put_bytes(store, path, path.encode())
        below = ["a/b", "a/b-c", "a/bc/d", "a/z"]
        assert [row.path for row in await store.list(OWNER, "a")] == below
        children = await store.children(OWNER)
        assert children[3] == ArtifactEntry(
            path="a", is_folder=True, size_bytes=sum(map(len, below)), files=4
        )
        assert [entry.path for entry in children] == ["a-b", "a-b2", "a.b", "a", "a0", "ab", "b"]
        assert await store.children(OWNER, limit=3, after="a-b2/") == children[2:5]
        assert await store.sums(OWNER, "a") == ArtifactSums(4, sum(map(len, below)))
        assert await store.children(OWNER, "a/b") == ()
        assert await store.children(OWNER, "missing") == ()
        paged: list[str] = []
        while page := await store.list(OWNER, limit=3, after=paged[-1] if paged else None):
            paged += [row.path for row in page]
        assert paged == list(SIBLINGS)
        with pytest.raises(InvalidValue):
            await store.list(OWNER, limit=0)

    async def test_delete__file_or_folder__not_its_siblings(self, store: ArtifactStore) -> None:
        for path in SIBLINGS:
            await put_bytes(store, path, b"1")
        assert await store.delete(OWNER, "a/b") == 1
        assert await store.delete(OWNER, "a") == 3
        assert await store.delete(OWNER, "a") == 0
        left = [path for path in SIBLINGS if not path.startswith("a/")]
        assert [row.path for row in await store.list(OWNER)] == left
        for path in left:
            assert await file_bytes(store, path) == b"1"
        await put_bytes(store, "a", b"now a file")

    async def test_delete_all__nothing_is_left_and_no_other_owner_loses(
        self, store: ArtifactStore
    ) -> None:
        for path in SIBLINGS:
            await put_bytes(store, path, b"22")
            await put_bytes(store, path, b"1", owner=MODEL)
        await store.seal(OWNER)
        assert await store.delete_all(OWNER) == 2 * len(SIBLINGS)
        assert await store.delete_all(OWNER) == 0
        assert await store.list(OWNER) == ()
        for path in SIBLINGS:
            assert await file_bytes(store, path, owner=MODEL) == b"1"
        await put_bytes(store, "a", b"now a file")
        assert [row.path for row in await store.list(OWNER)] == ["a"]

    async def test_seal__any_number_of_files__counts_them(self, store: ArtifactStore) -> None:
        assert await store.seal(OWNER) == 0
        await put_bytes(store, "a/b", b"1")
        await put_bytes(store, "c", b"")
        assert await store.seal(OWNER) == 2
        assert await store.seal(OWNER) == 2

    async def test_put__one_path_by_many__is_one_of_them(self, store: ArtifactStore) -> None:
        versions = [bytes([number]) * (number * 50_000 + 1) for number in range(6)]
        await asyncio.gather(*(put_bytes(store, "a/b", data) for data in versions))
        assert await assert_true_to_its_digest(store, "a/b") in versions

    async def test_put__replaced_while_read__every_reader_sees_one_version(
        self, store: ArtifactStore
    ) -> None:
        versions = [bytes([number]) * (MIB + number) for number in range(4)]
        await put_bytes(store, "a/b", versions[0])
        done = asyncio.Event()

        async def write() -> None:
            for data in versions[1:] * 2:
                await put_bytes(store, "a/b", data)
            done.set()

        async def read() -> None:
            while not done.is_set():
                try:
                    data = await file_bytes(store, "a/b")
                except StoreUnavailable:
                    continue  # replaced after its first bytes were given: it is read again
                assert data in versions, "a reader saw a mixture"
                row = await store.head(OWNER, "a/b")
                assert row.sha256 in {sha256_of(data) for data in versions}
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(2):
                group.create_task(read())
        assert await file_bytes(store, "a/b") == versions[-1]

    async def test_put__deleted_at_the_same_time__is_there_whole_or_not_at_all(
        self, store: ArtifactStore
    ) -> None:
        for _ in range(20):
            await asyncio.gather(
                put_bytes(store, "a/b", b"1"),
                store.delete(OWNER, "a"),
                put_bytes(store, "a/c", b"2"),
            )
            for path in ("a/b", "a/c"):
                await assert_true_to_its_digest(store, path)
            listed = await store.list(OWNER)
            assert await store.delete(OWNER, "a") == len(listed)
