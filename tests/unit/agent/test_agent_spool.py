"""The spool: what is in it, what a crash leaves of it, and that the server reads it the same."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.agent.records import AGENT, ERR, LF, LOSS, MAGIC, NOTHING, OUT, pack, pack_loss
from seafloor.agent.spool import Spool, survey
from seafloor.stores.logs.record import Record, RecordDecoder, encode_record


def write(path: Path, *lines: bytes) -> Spool:
    """A spool with some lines."""
    spool = Spool(str(path))
    spool.add(OUT, 1, [(line, LF, 0) for line in lines])
    spool.commit()
    spool.close()
    return spool


def records(path: Path) -> list[Record]:
    """As the server reads them."""
    return list(RecordDecoder().feed(path.read_bytes()))


def found(path: Path) -> tuple[int, int, int, int, bool]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return survey(fd)
    finally:
        os.close(fd)


@given(
    st.integers(1, 2**63),
    st.integers(0, 2**63),
    st.binary(max_size=300),
    st.sampled_from([OUT, ERR, AGENT]),
    st.integers(0, 3),
    st.integers(0, 1),
)
def test_pack__any_record__as_the_server_encodes_it(
    number: int, time_ns: int, payload: bytes, stream: int, end: int, flags: int
) -> None:
    packed = b"".join(pack(stream, number, time_ns, [(payload, end, flags)]))
    assert packed == encode_record(Record(number, time_ns, payload, stream, end, flags))


def test_pack_loss__count__as_the_server_reads_it() -> None:
    (record,) = RecordDecoder(1).feed(pack_loss(5, 42, 7))
    assert record.is_loss
    assert (record.number, record.payload) == (5, b"42")


def test_open__new__empty_file_until_something_is_said(tmp_path: Path) -> None:
    with closing(Spool(str(tmp_path / "log.spool"))) as spool:
        assert (tmp_path / "log.spool").read_bytes() == b""
        spool.say("hello")
    assert (tmp_path / "log.spool").read_bytes().startswith(MAGIC)
    (record,) = records(tmp_path / "log.spool")
    assert (record.number, record.stream, record.payload) == (1, AGENT, b"hello")


def test_commit__lines__numbered_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    spool = write(path, b"a", b"", b"c")
    assert [record.number for record in records(path)] == [1, 2, 3]
    assert (spool.lines, spool.lines_lost, spool.size_bytes) == (3, 0, path.stat().st_size)
    assert spool.commit() is False


def test_close__many_one_after_another__no_file_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        write(tmp_path / "log.spool", b"a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_open__again__numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    write(path, b"a", b"b")
    write(path, b"c")
    assert [(r.number, r.payload) for r in records(path)] == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_open__torn_anywhere__whole_records_stay_and_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    write(path, b"first", b"second", b"third")
    whole = path.read_bytes()
    for size_bytes in range(len(whole)):
        path.write_bytes(whole[:size_bytes])
        kept = [r.payload for r in RecordDecoder().feed(whole[:size_bytes])]
        spool = write(path, b"next")
        assert spool.damaged_bytes == 0
        read = records(path)
        assert [r.payload for r in read] == [*kept, b"next"]
        assert [r.number for r in read] == list(range(1, len(kept) + 2))


# Not its size: a record that claims more bytes than there are is a torn write by definition.
@pytest.mark.parametrize("at", [8, 16, 24, 30, 35, 40])
def test_open__damaged_record__cut_off_and_counted(tmp_path: Path, at: int) -> None:
    path = tmp_path / "log.spool"
    write(path, b"first", b"second")
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(bytes(data))
    spool = write(path, b"next")
    assert spool.damaged_bytes == len(data) - len(MAGIC)
    assert [r.payload for r in records(path)] == [b"next"]


def test_open__not_a_spool__begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    path.write_bytes(b"something else altogether")
    spool = write(path, b"x")
    assert spool.damaged_bytes == 25
    assert [r.payload for r in records(path)] == [b"x"]


def test_survey__losses__counted_and_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    made = MAGIC + b"".join(pack(OUT, 1, 1, [(b"a", LF, 0)])) + pack_loss(2, 10, 1)
    made += b"".join(pack(OUT, 12, 1, [(b"b", LF, 0)]))
    path.write_bytes(made)
    assert found(path) == (len(made), 2, 10, 13, False)


def test_survey__longer_than_a_block__read_through(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    with closing(Spool(str(path))) as spool:
        for number in range(300):
            spool.add(OUT, number, [(os.urandom(20_000), LF, 0)])
            spool.commit()
    assert found(path) == (path.stat().st_size, 300, 0, 301, False)


@given(st.binary(max_size=200))
def test_survey__any_bytes__never_fails(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "log.spool"
    path.write_bytes(MAGIC + data)
    assert found(path)[0] >= len(MAGIC)


def test_survey__loss_that_is_no_number__damaged(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    path.write_bytes(MAGIC + b"".join(pack(AGENT, 1, 1, [(b"many", NOTHING, LOSS)])))
    assert found(path) == (len(MAGIC), 0, 0, 1, True)


def test_say__longer_than_a_record__cut(tmp_path: Path) -> None:
    path = tmp_path / "log.spool"
    with closing(Spool(str(path))) as spool:
        spool.say("ü" * 50_000)
    assert len(records(path)[0].payload) == 65536


def test_read_at__beyond_what_is_whole__nothing(tmp_path: Path) -> None:
    write(tmp_path / "log.spool", b"a")
    with closing(Spool(str(tmp_path / "log.spool"))) as spool:
        assert spool.read_at(0, 8) == MAGIC
        assert len(spool.read_at(0, 1 << 20)) == spool.size_bytes
        assert spool.read_at(spool.size_bytes, 10) == b""


def test_sync__written__nothing_left_unsynced(tmp_path: Path) -> None:
    with closing(Spool(str(tmp_path / "log.spool"))) as spool:
        spool.say("a")
        assert spool.unsynced_bytes == spool.size_bytes
        spool.sync()
        assert spool.unsynced_bytes == 0
