"""The log store on disk: the suite, the state machine, and what is its own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from seafloor.domain.errors import StoreCorrupt
from seafloor.stores.logs.line_index import HEAD_BYTES
from seafloor.stores.logs.protocol import LogStore
from seafloor.stores.logs.record import Record, encode_record
from seafloor.stores.logs.spool import SpoolLogStore
from seafloor.testing.log_spools import line, log_key, numbered, spool
from seafloor.testing.log_store_machine import LogStoreMachine
from seafloor.testing.log_store_suite import OnDiskLogStoreSuite, append_all, numbers_of, raw_of
from seafloor.testing.process_facts import bytes_read, open_files_below

KEY = log_key()


class TestSpoolLogStore(OnDiskLogStoreSuite):
    factory = "seafloor.stores.logs.spool:SpoolLogStore"

    def make_store(self, folder: Path, *, quiet_s: float = 15.0) -> LogStore:
        return SpoolLogStore(folder, quiet_s=quiet_s)


class SpoolLogStoreMachine(LogStoreMachine):
    make_store = staticmethod(lambda folder: SpoolLogStore(folder, open_logs_max=2))


SpoolLogStoreMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSpoolLogStoreMachine = SpoolLogStoreMachine.TestCase


def files_of(root: Path) -> tuple[Path, Path]:
    """The log and the index of KEY."""
    folder = root / KEY.workload_id / "1"
    return folder / "main.log", folder / "main.idx"


async def written(root: Path, data: bytes, *, finish: bool = False) -> None:
    store = SpoolLogStore(root)
    await append_all(store, KEY, data, pieces_bytes=50_000)
    if finish:
        await store.finish(KEY)
    await store.close()


async def test_append__a_spool__is_on_disk_byte_for_byte(tmp_path: Path) -> None:
    data = numbered(5_000)
    await written(tmp_path, data)
    assert files_of(tmp_path)[0].read_bytes() == data


@pytest.mark.parametrize("damage", ["gone", "empty", "torn", "flipped", "foreign", "zeroes"])
async def test_open__index_damaged__is_made_again(tmp_path: Path, damage: str) -> None:
    await written(tmp_path, numbered(30_000))
    _, index = files_of(tmp_path)
    good = index.read_bytes()
    if damage == "gone":
        index.unlink()
    elif damage == "foreign":
        await written(tmp_path / "other", numbered(30_000, width=33))
        index.write_bytes(files_of(tmp_path / "other")[1].read_bytes())
    else:
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        index.write_bytes(
            {
                "empty": b"",
                "torn": good[:-5],
                "flipped": bytes(flipped),
                "zeroes": bytes(len(good)),
            }[damage]
        )
    store = SpoolLogStore(tmp_path)
    assert (await store.state(KEY)).lines == 30_000
    for start in range(1, 30_000, 1_111):
        assert await numbers_of(store, KEY, from_line=start, limit=2) == [start, start + 1]
    assert await numbers_of(store, KEY, from_line=-1, stream="err") == [30_000]
    await store.close()
    if damage != "torn":
        assert index.read_bytes() == good


@pytest.mark.parametrize("last_mark_good", [True, False])
async def test_open__marks_name_wrong_places__are_made_again(
    tmp_path: Path, last_mark_good: bool
) -> None:
    """Every checksum of the index is right, and what it says is not."""
    data = numbered(30_000)
    await written(tmp_path, data)
    log, index = files_of(tmp_path)
    good = index.read_bytes()
    await written(tmp_path / "other", numbered(30_000, width=33))
    other = files_of(tmp_path / "other")[1].read_bytes()
    if last_mark_good:
        index.write_bytes(good[:HEAD_BYTES] + other[HEAD_BYTES : len(good) - 72] + good[-72:])
    else:
        index.write_bytes(good[:HEAD_BYTES] + other[HEAD_BYTES : HEAD_BYTES + 72 * 5])
    store = SpoolLogStore(tmp_path)
    assert await numbers_of(store, KEY, from_line=9_000, limit=2) == [9_000, 9_001]
    assert (await store.state(KEY)).size_bytes == len(data)
    await store.close()
    assert index.read_bytes() == good
    assert log.read_bytes() == data


async def test_open__index_of_a_log_of_the_same_shape__is_made_again(tmp_path: Path) -> None:
    """The places are right; only the counts by stream are another log's."""
    lines = [line(number, b"%020d" % number) for number in range(1, 30_001)]
    await written(tmp_path / "other", spool(lines))
    lines = [line(number, b"%020d" % number, stream=number % 2) for number in range(2, 30_002)]
    await written(tmp_path, spool(lines))
    files_of(tmp_path)[1].write_bytes(files_of(tmp_path / "other")[1].read_bytes())
    store = SpoolLogStore(tmp_path)
    assert await numbers_of(store, KEY, from_line=-1, stream="err") == [30_001]
    assert await numbers_of(store, KEY, from_line=20_000, limit=1, stream="err") == [20_001]
    await store.close()


@pytest.mark.parametrize("keep_index", [True, False])
async def test_open__page_torn_by_power_loss__goes_back_to_the_last_good_record(
    tmp_path: Path, keep_index: bool
) -> None:
    data = numbered(10_000)
    await written(tmp_path, data)
    log, index = files_of(tmp_path)
    with log.open("r+b") as file:
        file.seek(len(data) - 4096)
        file.write(bytes(512))
    if not keep_index:
        index.unlink()
    store = SpoolLogStore(tmp_path)
    kept = await store.state(KEY)
    assert 0 < len(data) - 4096 - kept.size_bytes < 48 + 48
    assert await store.append(KEY, offset=kept.size_bytes, data=data[kept.size_bytes :]) == len(
        data
    )
    await store.close()
    assert log.read_bytes() == data


async def test_open__server_killed_inside_a_record__takes_the_rest(tmp_path: Path) -> None:
    data = numbered(100)
    await written(tmp_path, data[:-7])
    store = SpoolLogStore(tmp_path)
    assert (await store.state(KEY)).size_bytes == len(data) - 7
    assert await store.append(KEY, offset=len(data) - 7, data=data[-7:]) == len(data)
    assert (await store.state(KEY)).lines == 100
    await store.close()


async def test_page__finished_log_has_rotten_bytes__shows_what_is_good_and_tells(
    tmp_path: Path,
) -> None:
    data = numbered(10_000)
    await written(tmp_path, data, finish=True)
    log, index = files_of(tmp_path)
    rotten = bytearray(data)
    rotten[8 + 48 * 4_000 + 30] ^= 1
    log.write_bytes(rotten)
    index.unlink()
    store = SpoolLogStore(tmp_path)
    assert await numbers_of(store, KEY, from_line=3_999) == [3_999, 4_000]
    page = await store.page(KEY, from_line=3_999, limit=10)
    assert not page.finished
    with pytest.raises(StoreCorrupt, match="after line 4,000"):
        await store.page(KEY, from_line=page.next_line, limit=10)
    with pytest.raises(StoreCorrupt):
        await raw_of(store, KEY)
    shown: list[int] = []

    async def follow() -> None:
        async for part in store.follow(KEY, from_line=3_990):
            shown.extend(found.number for found in part.lines)

    with pytest.raises(StoreCorrupt):
        await follow()
    assert shown == list(range(3_990, 4_001))
    await store.close()
    assert log.read_bytes() == rotten


@pytest.mark.parametrize("left", [0, 4_000, 9_999])
async def test_open__finished_log_lost_its_end__shows_what_is_there_and_tells(
    tmp_path: Path, left: int
) -> None:
    """Whole records are there and no more: nothing else tells it from a shorter log."""
    data = numbered(10_000)
    await written(tmp_path, data, finish=True)
    log, _ = files_of(tmp_path)
    if left == 0:
        log.unlink()
    else:
        log.write_bytes(data[: 8 + 48 * left])
    store = SpoolLogStore(tmp_path)
    if left:
        assert await numbers_of(store, KEY, from_line=left) == [left]
    lacking = len(data) - (8 + 48 * left if left else 0)
    with pytest.raises(StoreCorrupt, match=f"after line {left:,}: {lacking:,} of its .* are gone"):
        await store.page(KEY, from_line=left + 1, limit=10)
    with pytest.raises(StoreCorrupt):
        await raw_of(store, KEY)
    await store.close()


@pytest.mark.parametrize("noted", [b"", bytes(6), "١٢".encode(), b"9" * 30, b"-1"])
async def test_open__of_the_end_of_a_log_nothing_is_noted__it_is_as_it_is(
    tmp_path: Path, noted: bytes
) -> None:
    """As older versions finished a log, or a power cut leaves the note."""
    await written(tmp_path, numbered(10), finish=True)
    log, _ = files_of(tmp_path)
    log.with_suffix(".done").write_bytes(noted)
    store = SpoolLogStore(tmp_path)
    page = await store.page(KEY, from_line=1, limit=100)
    assert page.finished
    assert len(page.lines) == 10
    await store.close()


async def test_page__bytes_rot_while_open__tells(tmp_path: Path) -> None:
    data = numbered(10_000)
    store = SpoolLogStore(tmp_path)
    await append_all(store, KEY, data, pieces_bytes=1 << 20)
    await store.finish(KEY)
    with files_of(tmp_path)[0].open("r+b") as file:
        file.seek(8 + 48 * 4_000 + 30)
        file.write(b"\xff")
    with pytest.raises(StoreCorrupt):
        await store.page(KEY, from_line=4_001, limit=10)
    assert await numbers_of(store, KEY, from_line=1, limit=3) == [1, 2, 3]
    await store.close()


async def test_append__many_logs__keeps_few_files_open(tmp_path: Path) -> None:
    store = SpoolLogStore(tmp_path, open_logs_max=4)
    keys = [log_key(number) for number in range(1, 41)]
    data = numbered(3_000, width=40)
    for at in range(0, len(data), 60_000):
        await asyncio.gather(
            *(store.append(key, offset=at, data=data[at : at + 60_000]) for key in keys)
        )
    assert len(open_files_below(tmp_path)) <= 8
    for key in keys:
        assert (await store.state(key)).lines == 3_000
    await store.close()


async def test_close__after_use__leaves_no_file_and_no_thread(tmp_path: Path) -> None:
    store = SpoolLogStore(tmp_path)
    await append_all(store, KEY, numbered(5_000), pieces_bytes=30_000)
    await store.page(KEY, from_line=100, limit=5)
    await store.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("logs")]
    assert open_files_below(tmp_path) == []


@pytest.mark.slow
async def test_page__in_the_middle_of_200_mb__reads_less_than_a_mebibyte(tmp_path: Path) -> None:
    store = SpoolLogStore(tmp_path)
    text = b"x" * 972
    data = spool(line(number, text) for number in range(1, 201))
    at, number = await store.append(KEY, offset=0, data=data), 201
    while at < 200_000_000:
        data = b"".join(
            encode_record(Record(later, 0, text, stream=later % 10_000 == 0))
            for later in range(number, number + 4_000)
        )
        at, number = await store.append(KEY, offset=at, data=data), number + 4_000
    queries = [
        {"from_line": number // 2, "limit": 100},
        {"from_line": -10, "limit": 10},
        {"from_line": 1, "limit": 10},
        {"from_line": -3, "limit": 3, "stream": "err"},
        {"from_line": number // 2, "limit": 3, "stream": "err"},
    ]
    for query in queries:
        before = bytes_read()
        assert (await store.page(KEY, **query)).lines  # type: ignore[arg-type]
        assert bytes_read() - before < 1 << 20
    await store.close()
    store = SpoolLogStore(tmp_path)
    before = bytes_read()
    assert (await store.state(KEY)).lines == number - 1
    assert bytes_read() - before < 1 << 20
    await store.close()


async def test_follow__by_many__reads_a_line_once(tmp_path: Path) -> None:
    """A line that five hundred wait for opened the log and its index five hundred times."""
    store = SpoolLogStore(tmp_path, quiet_s=1000)
    data = numbered(200)
    await store.append(KEY, offset=0, data=data)
    followers = [aiter(store.follow(KEY, from_line=1)) for _ in range(50)]
    for follower in followers:
        assert len((await anext(follower)).lines) == 200
    waiting = [asyncio.ensure_future(anext(follower)) for follower in followers]
    await asyncio.sleep(0)  # each waits for the next line now
    before = bytes_read()
    await store.append(KEY, offset=len(data), data=encode_record(line(201)))
    async with asyncio.timeout(30):
        pages = await asyncio.gather(*waiting)
    read_bytes = bytes_read() - before
    assert [page.lines[0].number for page in pages] == [201] * 50
    assert read_bytes < 5 * len(data)
    await store.close()
