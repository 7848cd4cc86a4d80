"""What every log store must do. Subclass ``LogStoreSuite`` and give ``make_store``.

Stores that outlive their process subclass ``DurableLogStoreSuite``, those that do so in a folder
``OnDiskLogStoreSuite``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from seafloor.domain.errors import (
    Closed,
    InvalidValue,
    LimitExceeded,
    OutOfOrder,
    SeafloorError,
    StoreCorrupt,
    StoreFull,
)
from seafloor.domain.ids import WorkloadId
from seafloor.domain.logs import LINE_BYTES_MAX
from seafloor.stores.logs.protocol import LogKey, LogPage, LogState, LogStore
from seafloor.stores.logs.record import FLAG_CONTINUED, Record, encode_record
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.log_spools import AGENT, ERR, OUT, T0_NS, line, log_key, loss, numbered, spool
from seafloor.testing.small_disk import small_disk

KEY = log_key()
WAIT_S = 120.0


async def append_all(store: LogStore, key: LogKey, data: bytes, *, pieces_bytes: int) -> None:
    """Send a spool in pieces of a size."""
    for at in range(0, len(data), pieces_bytes):
        piece = data[at : at + pieces_bytes]
        assert await store.append(key, offset=at, data=piece) == at + len(piece)


async def raw_of(store: LogStore, key: LogKey, stream: str | None = None) -> bytes:
    """Read all that the task printed."""
    return b"".join([chunk async for chunk in store.raw(key, stream=stream)])


async def numbers_of(
    store: LogStore,
    key: LogKey,
    *,
    from_line: int = 1,
    limit: int = 1000,
    stream: str | None = None,
) -> list[int]:
    """Read one page; return the numbers of its lines."""
    page = await store.page(key, from_line=from_line, limit=limit, stream=stream)
    return [shown.number for shown in page.lines]


class LogStoreSuite(ABC):
    """True of every log store."""

    @abstractmethod
    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        """Make a store over a folder.

        Args:
            quiet_s: How long a follower hears nothing.
        """

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[LogStore]:
        store = self.make_store(tmp_path / "logs")
        yield store
        await store.close()

    async def test_state__never_written__is_empty(self, store: LogStore) -> None:
        assert await store.state(KEY) == LogState(0, 0, 0, None, None, finished=False)
        assert await store.page(KEY, from_line=1, limit=10) == LogPage((), 1, 0, finished=False)
        assert await store.keys(KEY.workload_id) == ()
        assert await raw_of(store, KEY) == b""

    async def test_append__a_spool__is_counted(self, store: LogStore) -> None:
        data = numbered(10)
        assert await store.append(KEY, offset=0, data=data) == len(data)
        assert await store.state(KEY) == LogState(
            len(data), 10, 0, T0_NS + 1000, T0_NS + 10_000, finished=False
        )

    async def test_append__cut_at_every_byte__is_the_same_log(self, store: LogStore) -> None:
        data = spool([line(1, "a"), line(2, "", stream=ERR), line(3, "cc")])
        for cut in range(len(data) + 1):
            key = log_key(cut + 1)
            await store.append(key, offset=0, data=data[:cut])
            assert await store.append(key, offset=cut, data=data[cut:]) == len(data)
            assert await numbers_of(store, key) == [1, 2, 3]
            assert await raw_of(store, key) == b"a\n\ncc\n"

    async def test_append__byte_by_byte__counts_only_whole_lines(self, store: LogStore) -> None:
        data = spool([line(1, "one"), line(2, "two")])
        lines: list[int] = []
        for at in range(len(data)):
            assert await store.append(KEY, offset=at, data=data[at : at + 1]) == at + 1
            lines.append((await store.state(KEY)).lines)
        assert lines == sorted(lines)
        assert lines.count(2) == 1

    async def test_append__repeated_and_overlapping__is_harmless(self, store: LogStore) -> None:
        data = numbered(20)
        await store.append(KEY, offset=0, data=data[:300])
        assert await store.append(KEY, offset=0, data=data[:300]) == 300
        assert await store.append(KEY, offset=100, data=data[100:200]) == 300
        assert await store.append(KEY, offset=200, data=data[200:]) == len(data)
        assert await store.append(KEY, offset=len(data), data=b"") == len(data)
        assert await numbers_of(store, KEY) == list(range(1, 21))

    async def test_append__a_gap__says_where_to_go_on(self, store: LogStore) -> None:
        data = numbered(3)
        with pytest.raises(OutOfOrder) as first:
            await store.append(KEY, offset=8, data=data[8:])
        assert first.value.next_offset == 0
        await store.append(KEY, offset=0, data=data[:50])
        with pytest.raises(OutOfOrder) as second:
            await store.append(KEY, offset=51, data=data[51:])
        assert second.value.next_offset == 50
        assert (await store.state(KEY)).size_bytes == 50

    async def test_records__from_any_offset__are_the_bytes_appended(self, store: LogStore) -> None:
        data = numbered(40_000)  # longer than one chunk of any store
        await append_all(store, KEY, data[:-7], pieces_bytes=700_001)
        for start in (0, 5, 1_000_000, len(data) - 8, len(data) - 7, len(data) + 1):
            chunks = [chunk async for chunk in store.records(KEY, start=start)]
            assert b"".join(chunks) == data[start:-7]
            assert all(chunks)
        await store.append(KEY, offset=len(data) - 7, data=data[-7:])
        assert b"".join([chunk async for chunk in store.records(KEY)]) == data
        assert [chunk async for chunk in store.records(log_key(2))] == []

    async def test_append__a_wrong_checksum__keeps_what_is_before(self, store: LogStore) -> None:
        good = spool([line(1, "one")])
        bad = bytearray(encode_record(line(2, "two")))
        bad[-1] ^= 1
        with pytest.raises(StoreCorrupt):
            await store.append(KEY, offset=0, data=good + bytes(bad))
        assert (await store.state(KEY)).size_bytes == len(good)
        rest = encode_record(line(2, "two")) + encode_record(line(3, "three"))
        assert await store.append(KEY, offset=len(good), data=rest) == len(good + rest)
        assert await numbers_of(store, KEY) == [1, 2, 3]

    async def test_append__a_bad_record_over_two_appends__goes_back(self, store: LogStore) -> None:
        good = spool([line(1, "one")])
        record = encode_record(line(2, "two"))
        await store.append(KEY, offset=0, data=good + record[:20])
        with pytest.raises(StoreCorrupt):
            await store.append(KEY, offset=len(good) + 20, data=b"\xff" * (len(record) - 20))
        assert (await store.state(KEY)).size_bytes == len(good)
        await store.append(KEY, offset=len(good), data=record)
        assert await numbers_of(store, KEY) == [1, 2]

    @pytest.mark.parametrize(
        "data",
        [
            b"GIF89a..",
            b"S\0",
            spool([line(2), line(1)]),
            spool([line(1), line(1)]),
            spool([Record(1, 0, b"x", stream=3)]),
            spool([Record(1, 0, b"x", end=4)]),
            spool([Record(1, 0, b"x", flags=4)]),
            spool([Record(1, 0, b"x" * (LINE_BYTES_MAX + 1))]),
            spool([Record(1, 0, b"x" * (LINE_BYTES_MAX + 1))])[:100],
            spool([Record(1, 0, b"many", flags=2)]),
        ],
    )
    async def test_append__not_this_format__is_refused(self, store: LogStore, data: bytes) -> None:
        with pytest.raises(StoreCorrupt):
            await store.append(KEY, offset=0, data=data)
        size_bytes = (await store.state(KEY)).size_bytes
        good = numbered(3)
        assert await store.append(KEY, offset=0, data=good[: max(8, size_bytes)])

    async def test_append__bad_arguments__are_refused(self, store: LogStore) -> None:
        with pytest.raises(InvalidValue):
            await store.append(KEY, offset=-1, data=b"")
        with pytest.raises(LimitExceeded):
            await store.append(KEY, offset=0, data=bytes(8 * 1024 * 1024 + 1))
        for task in ("../other", "", "a/b", ".", "Upper", "main@other"):
            with pytest.raises(InvalidValue):
                await store.append(log_key(task=task), offset=0, data=b"S")
        with pytest.raises(InvalidValue):
            await store.append(log_key(setup="../other"), offset=0, data=b"S")
        with pytest.raises(InvalidValue):
            await store.append(LogKey(WorkloadId("../../etc"), 1), offset=0, data=b"S")
        with pytest.raises(InvalidValue):
            await store.append(log_key(attempt=-1), offset=0, data=b"S")

    async def test_append__many_logs_at_once__do_not_mix(self, store: LogStore) -> None:
        keys = [
            *(log_key(1, 1, "main"), log_key(1, 1, "main-0"), log_key(1, 1, "main", "agent")),
            *(log_key(1, 2), log_key(2)),
        ]
        spools = [
            spool(line(number, f"{index}/{number}") for number in range(1, 200))
            for index, _ in enumerate(keys)
        ]
        await asyncio.gather(
            *(
                append_all(store, key, data, pieces_bytes=501)
                for key, data in zip(keys, spools, strict=True)
            )
        )
        for index, key in enumerate(keys):
            printed = b"".join(b"%d/%d\n" % (index, number) for number in range(1, 200))
            assert await raw_of(store, key) == printed
        assert await store.keys(keys[0].workload_id) == tuple(keys[:4])
        assert await store.keys(keys[4].workload_id) == (keys[4],)

    async def test_append__the_same_by_two_senders__is_one_log(self, store: LogStore) -> None:
        data = numbered(500)
        pieces = range(0, len(data), 1000)

        async def send() -> None:
            for at in pieces:
                await store.append(KEY, offset=at, data=data[at : at + 1000])

        await asyncio.gather(send(), send())
        assert (await store.state(KEY)).size_bytes == len(data)
        assert await numbers_of(store, KEY) == list(range(1, 501))

    async def test_state__jumps_and_losses__are_counted(self, store: LogStore) -> None:
        records = [line(3, "c"), line(4, "d"), loss(5, 10), line(15, "o"), line(17, "q")]
        await store.append(KEY, offset=0, data=spool(records))
        state = await store.state(KEY)
        assert (state.lines, state.lines_missing) == (4, 2 + 10 + 1)
        assert await numbers_of(store, KEY) == [3, 4, 15, 17]
        assert await numbers_of(store, KEY, from_line=5) == [15, 17]
        assert await numbers_of(store, KEY, from_line=-3) == [4, 15, 17]

    async def test_state__ends_with_a_loss__counts_it(self, store: LogStore) -> None:
        await store.append(KEY, offset=0, data=spool([line(1), loss(2, 7)]))
        assert (await store.state(KEY)).lines_missing == 7
        page = await store.page(KEY, from_line=2, limit=5)
        assert page == LogPage((), 9, 1, finished=False, lines_missing=7)

    async def test_page__any_number__goes_on_from_there(self, store: LogStore) -> None:
        await append_all(store, KEY, numbered(5_000), pieces_bytes=40_000)
        for start in (1, 2, 999, 2_500, 4_990, 5_000):
            page = await store.page(KEY, from_line=start, limit=20)
            last = min(5_000, start + 19)
            assert [shown.number for shown in page.lines] == list(range(start, last + 1))
            assert (page.next_line, page.total_lines) == (last + 1, 5_000)
        assert await store.page(KEY, from_line=7_000, limit=5) == LogPage((), 7_000, 5_000, False)

    async def test_page__negative__counts_from_the_end(self, store: LogStore) -> None:
        await append_all(store, KEY, numbered(5_000), pieces_bytes=40_000)
        assert await numbers_of(store, KEY, from_line=-3) == [4_998, 4_999, 5_000]
        assert await numbers_of(store, KEY, from_line=-3, limit=2) == [4_998, 4_999]
        assert (await numbers_of(store, KEY, from_line=-9_000, limit=2)) == [1, 2]
        assert await numbers_of(store, KEY, from_line=-2, stream="err") == [4_995, 5_000]

    async def test_page__of_a_stream__shows_only_it(self, store: LogStore) -> None:
        records = [
            line(number, stream=ERR if number in (2, 9_000) else OUT) for number in range(1, 9_500)
        ]
        await append_all(store, KEY, spool(records), pieces_bytes=100_000)
        assert await numbers_of(store, KEY, stream="err") == [2, 9_000]
        assert await numbers_of(store, KEY, stream="err", from_line=3) == [9_000]
        assert await numbers_of(store, KEY, stream="agent") == []
        page = await store.page(KEY, from_line=1, limit=1, stream="err")
        assert (page.next_line, page.total_lines) == (3, 9_499)
        page = await store.page(KEY, from_line=3, limit=1, stream="err")
        assert page.next_line == 9_500

    async def test_page__lines__are_as_printed(self, store: LogStore) -> None:
        records = [
            line(1, "żółw\t€ 🐢"),
            line(2, b"\xff\xfe binary \x00", stream=ERR),
            Record(3, T0_NS, b"50%", OUT, 2),
            Record(4, T0_NS, b"dos", OUT, 3),
            Record(5, T0_NS, b"begin of a long", OUT, 0, FLAG_CONTINUED),
            Record(6, T0_NS, b" line", OUT, 0),
            Record(7, T0_NS, b"said by the agent", AGENT, 1),
        ]
        await store.append(KEY, offset=0, data=spool(records))
        lines = (await store.page(KEY, from_line=1, limit=10)).lines
        assert [shown.text for shown in lines[:3]] == [
            "żółw\t€ 🐢",
            "\ufffd\ufffd binary \x00",
            "50%",
        ]
        assert [shown.end for shown in lines] == ["\n", "\n", "\r", "\r\n", "", "", "\n"]
        assert [shown.continued for shown in lines] == [False] * 4 + [True, False, False]
        assert [shown.stream for shown in lines] == [*("out", "err"), *["out"] * 4, "agent"]
        assert lines[0].time_ns == T0_NS + 1000

    async def test_page__bad_arguments__are_refused(self, store: LogStore) -> None:
        for from_line, limit in ((0, 1), (1, 0), (1, 10_001)):
            with pytest.raises(InvalidValue):
                await store.page(KEY, from_line=from_line, limit=limit)
        with pytest.raises(InvalidValue, match="out"):
            await store.page(KEY, from_line=1, limit=1, stream="stdout")

    async def test_page__huge_lines__stops_at_a_mebibyte(self, store: LogStore) -> None:
        data = spool(line(number, b"x" * LINE_BYTES_MAX) for number in range(1, 40))
        await append_all(store, KEY, data, pieces_bytes=4 * 1024 * 1024)
        page = await store.page(KEY, from_line=1, limit=10_000)
        assert len(page.lines) == 16
        assert page.next_line == 17

    async def test_raw__by_stream__gives_the_bytes_printed(self, store: LogStore) -> None:
        records = [
            Record(1, 0, b"a\xff", OUT, 3),
            Record(2, 0, b"warn", ERR, 1),
            Record(3, 0, b"agent", AGENT, 1),
            loss(4, 2),
            Record(6, 0, b"no end", OUT, 0),
        ]
        await store.append(KEY, offset=0, data=spool(records))
        assert await raw_of(store, KEY) == b"a\xff\r\nwarn\nno end"
        assert await raw_of(store, KEY, "out") == b"a\xff\r\nno end"
        assert await raw_of(store, KEY, "err") == b"warn\n"
        assert await raw_of(store, KEY, "agent") == b"agent\n"
        with pytest.raises(InvalidValue):
            await raw_of(store, KEY, "stdin")

    async def test_raw__left_early__gives_back_what_it_held(self, store: LogStore) -> None:
        await append_all(store, KEY, numbered(20_000, width=60), pieces_bytes=1 << 20)
        chunks = store.raw(KEY)
        assert await anext(chunks)
        assert isinstance(chunks, AsyncGenerator)
        await chunks.aclose()
        assert (await store.state(KEY)).lines == 20_000

    async def test_finish__then_append__is_closed(self, store: LogStore) -> None:
        data = numbered(3)
        await store.append(KEY, offset=0, data=data)
        await store.finish(KEY)
        await store.finish(KEY)
        assert (await store.state(KEY)).finished
        assert await store.append(KEY, offset=0, data=data) == len(data)
        with pytest.raises(Closed):
            await store.append(KEY, offset=len(data), data=b"\0")
        with pytest.raises(OutOfOrder):
            await store.append(KEY, offset=len(data) + 1, data=b"\0")
        page = await store.page(KEY, from_line=1, limit=2)
        assert not page.finished
        assert (await store.page(KEY, from_line=page.next_line, limit=2)).finished

    async def test_finish__never_written__is_an_empty_log(self, store: LogStore) -> None:
        await store.finish(KEY)
        assert await store.page(KEY, from_line=1, limit=1) == LogPage((), 1, 0, finished=True)
        assert await store.keys(KEY.workload_id) == (KEY,)

    async def test_follow__appends__arrive_in_order_once(self, store: LogStore) -> None:
        data = numbered(3_000)

        async def follow() -> list[int]:
            return [
                shown.number
                async for page in store.follow(KEY, from_line=1)
                for shown in page.lines
            ]

        async with asyncio.timeout(WAIT_S):
            followers = [asyncio.create_task(follow()) for _ in range(2)]
            await append_all(store, KEY, data, pieces_bytes=7_000)
            await store.finish(KEY)
            assert await asyncio.gather(*followers) == [list(range(1, 3_001))] * 2

    async def test_follow__by_many__each_gets_every_line(self, store: LogStore) -> None:
        """Some leave, one begins elsewhere, and lines come while they read."""
        count = 40
        data = spool(line(number) for number in range(1, count + 1))
        size_bytes = len(data) // count

        async def follow(from_line: int) -> list[int]:
            return [
                shown.number
                async for page in store.follow(KEY, from_line=from_line)
                for shown in page.lines
            ]

        async with asyncio.timeout(WAIT_S):
            followers = [asyncio.create_task(follow(1)) for _ in range(20)]
            followers.append(asyncio.create_task(follow(7)))
            leaving = [asyncio.create_task(follow(1)) for _ in range(20)]
            for at in range(0, len(data), size_bytes):
                await store.append(KEY, offset=at, data=data[at : at + size_bytes])
                if leaving:
                    leaving.pop().cancel()
            await store.finish(KEY)
            numbers = list(range(1, count + 1))
            assert await asyncio.gather(*followers) == [numbers] * 20 + [numbers[6:]]

    async def test_follow__huge_lines__come_in_small_pages(self, store: LogStore) -> None:
        """Each of thousands that read slowly keeps a page."""
        data = spool(line(number, b"x" * LINE_BYTES_MAX) for number in range(1, 40))
        await append_all(store, KEY, data, pieces_bytes=4 * 1024 * 1024)
        await store.finish(KEY)
        async with asyncio.timeout(WAIT_S):
            pages = [page.lines async for page in store.follow(KEY, from_line=1)]
        assert [shown.number for lines in pages for shown in lines] == list(range(1, 40))
        for lines in pages:
            assert sum(len(shown.text) for shown in lines) <= 128 * 1024

    async def test_follow__waiting__wakes_on_append(self, tmp_path: Path) -> None:
        """The append comes only after the follower waits, and nothing else wakes it in time."""
        store = self.make_store(tmp_path / "waiting", quiet_s=10 * WAIT_S)
        await store.append(KEY, offset=0, data=spool([line(1)]))
        pages = aiter(store.follow(KEY, from_line=1))
        async with asyncio.timeout(WAIT_S):
            assert [shown.number for shown in (await anext(pages)).lines] == [1]
            waiting = asyncio.ensure_future(anext(pages))
            await asyncio.sleep(0)
            size_bytes = (await store.state(KEY)).size_bytes
            await store.append(KEY, offset=size_bytes, data=encode_record(line(2)))
            assert [shown.number for shown in (await waiting).lines] == [2]
            waiting = asyncio.ensure_future(anext(pages))
            await asyncio.sleep(0)
            await store.finish(KEY)
            assert (await waiting) == LogPage((), 3, 2, finished=True)
            with pytest.raises(StopAsyncIteration):
                await anext(pages)
        await store.close()

    async def test_follow__nothing_happens__yields_an_empty_page(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path / "quiet", quiet_s=0.02)
        async with asyncio.timeout(WAIT_S):
            pages = aiter(store.follow(KEY, from_line=1))
            assert await anext(pages) == LogPage((), 1, 0, finished=False)
            assert await anext(pages) == LogPage((), 1, 0, finished=False)
            await store.close()
            assert [page async for page in pages] == []

    async def test_delete__a_workload__leaves_the_others(self, store: LogStore) -> None:
        data = numbered(50)
        keys = [log_key(1), log_key(1, 2, "worker-0"), log_key(2)]
        for key in keys:
            await store.append(key, offset=0, data=data)
        await store.finish(keys[0])
        assert await store.delete(keys[0].workload_id) == 2 * len(data)
        assert await store.delete(keys[0].workload_id) == 0
        assert await store.keys(keys[0].workload_id) == ()
        assert not (await store.state(keys[0])).finished
        assert (await store.state(keys[2])).lines == 50
        assert await store.append(keys[0], offset=0, data=data) == len(data)

    async def test_close__twice__is_harmless(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path / "other")
        await store.append(KEY, offset=0, data=numbered(2))
        await store.close()
        await store.close()


class DurableLogStoreSuite(LogStoreSuite):
    """True of every log store that outlives its process."""

    factory: ClassVar[str]
    """``module:name`` of what makes the store of a folder, for a process of its own."""

    def prepare(self, folder: Path) -> None:
        """See to what a new folder needs before anything is opened over it."""

    async def test_reopen__a_log__is_the_same(self, tmp_path: Path) -> None:
        data = spool([line(1, "a"), loss(2, 3), line(5, "b", stream=ERR)])
        store = self.make_store(tmp_path)
        await store.append(KEY, offset=0, data=data[:-3])
        await store.finish(log_key(2))
        before = await store.state(KEY)
        await store.close()
        store = self.make_store(tmp_path)
        assert await store.state(KEY) == before
        assert (await store.state(log_key(2))).finished
        assert await store.append(KEY, offset=len(data) - 3, data=data[-3:]) == len(data)
        assert await raw_of(store, KEY) == b"a\nb\n"
        await store.close()

    async def test_append__process_killed__keeps_what_was_acknowledged(
        self, tmp_path: Path
    ) -> None:
        for after_lines in (1, 7, 60):
            folder = tmp_path / str(after_lines)
            self.prepare(folder)
            said = await asyncio.to_thread(
                run_until_killed,
                "seafloor.testing.log_store_child",
                [self.factory, str(folder)],
                after_lines=after_lines,
            )
            store = self.make_store(folder)
            data = numbered(20_000)
            state = await store.state(KEY)
            assert state.size_bytes >= int(said[-1])
            assert await store.append(KEY, offset=state.size_bytes, data=data[state.size_bytes :])
            assert (await store.state(KEY)).lines == 20_000
            printed = b"".join(b"%020d\n" % number for number in range(1, 20_001))
            assert await raw_of(store, KEY) == printed
            await store.close()


class OnDiskLogStoreSuite(DurableLogStoreSuite):
    """True of every log store that keeps what it has in one folder."""

    disk_bytes: ClassVar[int] = 1 << 20
    """What a disk must have for 600,000 bytes of logs."""
    spare_bytes: ClassVar[int] = 64 * 1024
    """What may be left of it so that 500,000 more do not fit."""

    async def test_append__disk_full__is_refused_whole_and_goes_on(self, tmp_path: Path) -> None:
        data = numbered(30_000, width=60)
        with small_disk(tmp_path / "disk", size_bytes=self.disk_bytes) as disk:
            store = self.make_store(disk.path / "logs")
            disk.fill()
            with pytest.raises(StoreFull):
                await store.append(KEY, offset=0, data=data[:1000])
            disk.free()
            accepted = await store.append(KEY, offset=0, data=data[:100_000])
            disk.fill(leave_bytes=self.spare_bytes)
            with pytest.raises(StoreFull):
                await store.append(KEY, offset=accepted, data=data[accepted : accepted + 500_000])
            assert (await store.state(KEY)).size_bytes == accepted
            shown = (await store.page(KEY, from_line=-1, limit=1)).lines
            assert shown[0].number == (await store.state(KEY)).lines
            disk.free()
            accepted = await store.append(KEY, offset=accepted, data=data[accepted:600_000])
            assert accepted == 600_000
            await store.close()
            store = self.make_store(disk.path / "logs")
            state = await store.state(KEY)
            assert (state.size_bytes, state.lines_missing) == (600_000, 0)
            await store.close()

    async def test_errors__of_the_medium__are_ours(self, tmp_path: Path) -> None:
        (tmp_path / "logs").write_bytes(b"a file where the folder should be")
        store = self.make_store(tmp_path / "logs")
        with pytest.raises(SeafloorError):
            await store.append(KEY, offset=0, data=numbered(1))
        await store.close()
