"""What every media store must do. Subclass ``MediaStoreSuite`` and give ``make_world``.

Stores that outlive their process subclass ``DurableMediaStoreSuite``.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound
from seafloor.domain.ids import Sha256
from seafloor.domain.media import (
    MEDIA_PER_APPEND_MAX,
    Audio,
    Blob,
    BlobFormat,
    BlobName,
    Histogram,
    Image,
    MediaRecord,
    MediaSeries,
    Table,
    Text,
)
from seafloor.domain.metrics import TIME_MS_MAX
from seafloor.stores.media.pages import MEDIA_PAGE_MAX
from seafloor.stores.media.protocol import MediaQuery, MediaReceipt, MediaStore
from seafloor.testing.media_worlds import MediaWorld
from seafloor.testing.metric_worlds import workload_id

ONE, TWO, NOBODY = (workload_id(number) for number in (1, 2, 99))
T0_MS = 1_700_000_000_000


def name_of(content: bytes, format_: BlobFormat = "png") -> BlobName:
    """What a blob of these bytes is called."""
    return BlobName(Sha256(hashlib.sha256(content).hexdigest()), format_)


def blob_of(content: bytes, format_: BlobFormat = "png") -> Blob:
    """The blob of these bytes."""
    return Blob(name_of(content, format_).sha256, format_, len(content))


async def streamed(*chunks: bytes) -> AsyncIterator[bytes]:
    """Bytes as they come from a client."""
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def put(store: MediaStore, content: bytes, format_: BlobFormat = "png") -> Blob:
    """Keep a blob of workload 1."""
    blob, _ = await store.blob_put(ONE, name_of(content, format_), streamed(content))
    return blob


def text(step: int, said: str = "hello", *, key: str = "note", time_ms: int = T0_MS) -> MediaRecord:
    """Make a record; what it says is in it."""
    return MediaRecord(key, step, time_ms, Text(said))


def image(step: int, blob: Blob, *, key: str = "sample", place: int = 0) -> MediaRecord:
    """Make a record with a blob."""
    return MediaRecord(key, step, T0_MS, Image(2, 3), blob, place)


async def all_of(
    store: MediaStore, query: MediaQuery, *, limit: int = MEDIA_PAGE_MAX
) -> list[MediaRecord]:
    """Read records of workload 1 page by page."""
    found: list[MediaRecord] = []
    cursor: str | None = None
    while True:
        asked = msgspec.structs.replace(query, limit=limit, cursor=cursor)
        page = await store.records(ONE, asked)
        found += page.records
        if page.next is None:
            return found
        assert len(page.records) == limit
        cursor = page.next


async def bytes_of(store: MediaStore, name: BlobName, **part: int) -> bytes:
    """Read a blob of workload 1."""
    return b"".join([chunk async for chunk in store.blob_read(ONE, name, **part)])


class MediaStoreSuite(ABC):
    """True of every media store."""

    @abstractmethod
    def make_world(self, folder: Path) -> MediaWorld:
        """Make a store and its workloads in a folder."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[MediaWorld]:
        world = self.make_world(tmp_path)
        await world.open()
        yield world
        await world.close()

    @pytest.fixture
    def store(self, world: MediaWorld) -> MediaStore:
        return world.store

    async def test_append__every_kind__is_read_back_as_it_was(self, store: MediaStore) -> None:
        png, wav = await put(store, b"picture"), await put(store, b"sound", "wav")
        table, long = await put(store, b"{}", "json"), await put(store, b"long" * 9, "txt")
        records = [
            MediaRecord("all", 0, T0_MS, Histogram((-1.5, 0.0, 1e308), (3.0, 0.5), odd=2)),
            MediaRecord("all", 1, T0_MS, Image(640, 480), png, place=3),
            MediaRecord("all", 2, T0_MS, Image(), png),
            MediaRecord("all", 3, T0_MS, Table(("a", "ü\n"), 7), table),
            MediaRecord("all", 4, T0_MS, Text("a\0b\r\n\U0001f600")),
            MediaRecord("all", 5, T0_MS, Text(), long),
            MediaRecord("all", 6, T0_MS, Audio(44_100, 2, 1_500), wav),
            MediaRecord("all", INT64_MAX, TIME_MS_MAX, Text("")),
        ]
        assert await store.append(ONE, records) == MediaReceipt(len(records), 0)
        assert await all_of(store, MediaQuery("all")) == records

    async def test_append__a_repeat__is_counted_and_stored_once(self, store: MediaStore) -> None:
        records = [text(step) for step in range(5)]
        assert await store.append(ONE, records) == MediaReceipt(5, 0)
        assert await store.append(ONE, [*records, text(9), text(9)]) == MediaReceipt(1, 6)
        assert await store.append(ONE, records, attempt=2) == MediaReceipt(0, 5)
        assert await all_of(store, MediaQuery("note")) == [*records, text(9)]
        (series,) = (await store.series(ONE)).series
        assert series == MediaSeries("note", "text", 6, 0, 9)

    async def test_append__anything_differs__is_another_record(self, store: MediaStore) -> None:
        blob, other = await put(store, b"one"), await put(store, b"other")
        records = [
            image(1, blob),
            image(1, other),
            image(1, blob, place=1),
            image(2, blob),
            image(1, blob, key="sample2"),
            MediaRecord("sample", 1, T0_MS + 1, Image(2, 3), blob),
            MediaRecord("sample", 1, T0_MS, Image(3, 2), blob),
        ]
        assert await store.append(ONE, records) == MediaReceipt(len(records), 0)
        assert await store.append(TWO, [text(1)]) == MediaReceipt(1, 0)

    async def test_append__a_blob_is_not_here__nothing_is_written(self, store: MediaStore) -> None:
        here = await put(store, b"here")
        never = [
            blob_of(b"never"),
            Blob(here.sha256, "jpeg", here.size_bytes),
            Blob(here.sha256, here.format, here.size_bytes + 1),
        ]
        for blob in never:
            with pytest.raises(InvalidValue):
                await store.append(ONE, [image(1, here), image(2, blob)])
        with pytest.raises(InvalidValue):
            await store.append(TWO, [image(1, here)])  # it is another run's
        assert await all_of(store, MediaQuery("sample")) == []
        assert (await store.series(ONE)).series == ()

    @pytest.mark.parametrize(
        "bad",
        [
            text(0, key=""),
            text(0, key="a//b"),
            text(0, key="k" * 251),
            text(0, "long" * 10_000),
            MediaRecord("k", 0, T0_MS, Text()),
            MediaRecord("k", 0, T0_MS, Text("both"), blob_of(b"x", "txt")),
            MediaRecord("k", 0, T0_MS, Text("half \ud800")),
            MediaRecord("k", 0, T0_MS, Image(1, 1)),
            MediaRecord("k", 0, T0_MS, Audio()),
            MediaRecord("k", 0, T0_MS, Image(), blob_of(b"x", "wav")),
            MediaRecord("k", 0, T0_MS, Image(), Blob(Sha256("../../x"), "png", 1)),
            MediaRecord("k", 0, T0_MS, Table(("c",) * 1_001, 1), blob_of(b"x", "json")),
            MediaRecord("k", 0, T0_MS, Table(("c" * 40_000,), 1), blob_of(b"x", "json")),
            MediaRecord("k", 0, T0_MS, Histogram((), ())),
            MediaRecord("k", 0, T0_MS, Histogram((0.0, 1.0), (1.0, 1.0))),
            MediaRecord("k", 0, T0_MS, Histogram((1.0, 0.0), (1.0,))),
            MediaRecord("k", 0, T0_MS, Histogram((0.0, math.nan), (1.0,))),
            MediaRecord("k", 0, T0_MS, Histogram((0.0, math.inf), (1.0,))),
            MediaRecord("k", 0, T0_MS, Histogram((0.0, 1.0), (-1.0,))),
            MediaRecord("k", 0, T0_MS, Histogram((0.0,) * 514, (0.0,) * 513)),
            MediaRecord("k", 0, T0_MS, Histogram((0.0, 1.0), (1.0,)), blob_of(b"x")),
        ],
        ids=repr,
    )
    async def test_append__a_bad_record__nothing_is_written(
        self, store: MediaStore, bad: MediaRecord
    ) -> None:
        with pytest.raises((InvalidValue, LimitExceeded)):
            await store.append(ONE, [text(1), bad])
        assert (await store.series(ONE)).series == ()

    async def test_append__none_or_too_many__is_refused(self, store: MediaStore) -> None:
        with pytest.raises(InvalidValue):
            await store.append(ONE, [])
        with pytest.raises(LimitExceeded):
            await store.append(ONE, [text(step) for step in range(MEDIA_PER_APPEND_MAX + 1)])
        full = [text(step) for step in range(MEDIA_PER_APPEND_MAX)]
        assert await store.append(ONE, full) == MediaReceipt(MEDIA_PER_APPEND_MAX, 0)

    async def test_write__no_or_a_deleted_workload__is_refused(
        self, world: MediaWorld, store: MediaStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.append(NOBODY, [text(1)])
        with pytest.raises(NotFound):
            await store.blob_put(NOBODY, name_of(b"x"), streamed(b"x"))
        await world.workload_set_deleted(2)
        with pytest.raises(Conflict):
            await store.append(TWO, [text(1)])
        with pytest.raises(Conflict):
            await store.blob_put(TWO, name_of(b"x"), streamed(b"x"))

    async def test_append__concurrent_repeats__each_record_is_there_once(
        self, store: MediaStore
    ) -> None:
        blob = await put(store, b"shared")
        batches = [[image(step, blob), text(step)] for step in range(10)]
        receipts = await asyncio.gather(
            *(store.append(ONE, batch) for batch in batches for _ in range(3))
        )
        assert sum(receipt.records_written for receipt in receipts) == 20
        assert [made.step for made in await all_of(store, MediaQuery("sample"))] == [*range(10)]
        series = (await store.series(ONE)).series
        assert [one.records for one in series] == [10, 10]

    async def test_records__pages__come_in_order_each_once(self, store: MediaStore) -> None:
        steps = [3, 1, 2, -7, INT64_MIN, INT64_MAX, 0]
        records = [
            MediaRecord("k", step, time_ms, Text(f"{place}"), place=place)
            for step in steps
            for time_ms in (0, T0_MS)
            for place in (0, 1, 9)
        ]
        random.Random(4).shuffle(records)
        for at in range(0, len(records), 5):
            await store.append(ONE, records[at : at + 5])
        await store.append(ONE, [text(5, key="k2"), text(5, key="j")])
        await store.append(TWO, [text(5, key="k")])
        ordered = sorted(records, key=lambda made: (made.step, made.time_ms, made.place))
        for limit in (1, 2, 7, 41, 42, 43):
            assert await all_of(store, MediaQuery("k"), limit=limit) == ordered
            against = await all_of(store, MediaQuery("k", backwards=True), limit=limit)
            assert against == ordered[::-1]

    async def test_records__kind_and_steps__narrow_them(self, store: MediaStore) -> None:
        blob = await put(store, b"b")
        await store.append(ONE, [text(step, key="k") for step in range(10)])
        await store.append(ONE, [image(step, blob, key="k") for step in range(10)])
        assert len(await all_of(store, MediaQuery("k"), limit=3)) == 20
        only = await all_of(store, MediaQuery("k", "image", 3, 5), limit=2)
        assert [(made.kind, made.step) for made in only] == [("image", step) for step in (3, 4, 5)]
        assert len(await all_of(store, MediaQuery("k", None, 8), limit=3)) == 4
        assert await all_of(store, MediaQuery("k", None, 5, 4)) == []
        last = await store.records(ONE, MediaQuery("k", "text", None, 6, limit=1, backwards=True))
        assert [(made.kind, made.step) for made in last.records] == [("text", 6)]
        assert await all_of(store, MediaQuery("nothing")) == []

    async def test_series__pages__are_in_order_of_key_and_kind(self, store: MediaStore) -> None:
        blob = await put(store, b"b")
        keys = ["a", "a/b", "a-b", "B", "é", "z"]
        await store.append(ONE, [text(2, key=key) for key in keys])
        await store.append(ONE, [image(step, blob, key="a") for step in (9, -1)])
        found: list[MediaSeries] = []
        cursor: str | None = None
        while True:
            page = await store.series(ONE, limit=2, cursor=cursor)
            found += page.series
            cursor = page.next
            if cursor is None:
                break
        expected = [MediaSeries(key, "text", 1, 2, 2) for key in keys]
        expected.append(MediaSeries("a", "image", 2, -1, 9))
        assert found == sorted(expected, key=lambda one: (one.key, one.kind))
        assert (await store.series(TWO)).series == ()

    async def test_read__a_bad_page__is_refused(self, store: MediaStore) -> None:
        await store.append(ONE, [text(step) for step in range(3)])
        cursor = (await store.records(ONE, MediaQuery("note", limit=1))).next
        assert cursor is not None
        for query in (
            MediaQuery("note", limit=0),
            MediaQuery("note", limit=MEDIA_PAGE_MAX + 1),
            MediaQuery("note", cursor="é"),
            MediaQuery("note", cursor="AAAA"),
            MediaQuery("other", cursor=cursor),
            MediaQuery("note", "image", cursor=cursor),
            MediaQuery("note", cursor=cursor, backwards=True),
        ):
            with pytest.raises(InvalidValue):
                await store.records(ONE, query)
        with pytest.raises(InvalidValue):
            await store.records(TWO, MediaQuery("note", cursor=cursor))
        with pytest.raises(InvalidValue):
            await store.series(ONE, cursor=cursor)
        with pytest.raises(InvalidValue):
            await store.series(ONE, limit=0)

    async def test_blob__put__is_read_whole_and_in_parts(self, store: MediaStore) -> None:
        content = bytes(range(256)) * 10_000
        name = name_of(content)
        chunks = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
        blob, created = await store.blob_put(ONE, name, streamed(*chunks), size_bytes=len(content))
        assert (blob, created) == (blob_of(content), True)
        assert await store.blob_get(ONE, name) == blob
        assert await bytes_of(store, name) == content
        assert await bytes_of(store, name, start=100, length=7) == content[100:107]
        again, created = await store.blob_put(ONE, name, streamed(content))
        assert (again, created) == (blob, False)
        with pytest.raises(NotFound):
            await store.blob_get(TWO, name)
        with pytest.raises(NotFound):
            await store.blob_get(ONE, BlobName(name.sha256, "gif"))

    async def test_blob__other_bytes_than_announced__is_not_kept(self, store: MediaStore) -> None:
        name = name_of(b"announced")
        with pytest.raises(InvalidValue):
            await store.blob_put(ONE, name, streamed(b"others"))
        with pytest.raises(InvalidValue):
            await store.blob_put(ONE, name, streamed(b"announced"), size_bytes=3)
        with pytest.raises(NotFound):
            await store.blob_get(ONE, name)
        with pytest.raises(NotFound):
            await bytes_of(store, name)

    async def test_blob__its_sender_goes_away__is_not_kept(self, store: MediaStore) -> None:
        async def cut() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await store.blob_put(ONE, name_of(b"half of it"), cut())
        with pytest.raises(NotFound):
            await store.blob_get(ONE, name_of(b"half of it"))

    async def test_blob__concurrent_puts__all_succeed(self, store: MediaStore) -> None:
        content = b"same" * 50_000
        made = await asyncio.gather(
            *(store.blob_put(ONE, name_of(content), streamed(content)) for _ in range(8))
        )
        assert {blob for blob, _ in made} == {blob_of(content)}
        assert await bytes_of(store, name_of(content)) == content

    async def test_delete__a_workload__leaves_nothing_of_it(
        self, world: MediaWorld, store: MediaStore
    ) -> None:
        blob = await put(store, b"twelve bytes")
        await store.append(ONE, [image(1, blob), text(1)])
        await store.append(TWO, [text(1)])
        await world.workload_set_deleted(1)
        assert await store.delete(ONE) == 12
        assert await store.delete(ONE) == 0
        assert await all_of(store, MediaQuery("sample")) == []
        assert (await store.series(ONE)).series == ()
        with pytest.raises(NotFound):
            await store.blob_get(ONE, blob.name)
        assert len((await store.series(TWO)).series) == 1


class DurableMediaStoreSuite(MediaStoreSuite):
    """True of those that outlive their process."""

    async def test_reopen__all_is_there(self, tmp_path: Path) -> None:
        world = self.make_world(tmp_path)
        await world.open()
        blob = await put(world.store, b"kept")
        await world.store.append(ONE, [image(1, blob), text(2)])
        await world.close()
        again = self.make_world(tmp_path)
        await again.open()
        assert await all_of(again.store, MediaQuery("sample")) == [image(1, blob)]
        assert await bytes_of(again.store, blob.name) == b"kept"
        await again.close()
