"""A container's log as the cluster gives it, read again and again: each line is there once."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime

import pytest

from seafloor.agent.records import AGENT, HEADER, MAGIC, OUT, walk
from seafloor.domain.errors import ClusterUnavailable, StoreCorrupt
from seafloor.launch.kubernetes.container_log import LINE_BYTES_MAX, Entry, EntryReader, Tail

BEGIN_NS = 1_790_000_000 * 10**9
SEEDS = range(60)


def stamp(time_ns: int) -> bytes:
    """As a kubelet writes it."""
    seconds, fraction = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z".encode()


def given(lines: list[tuple[int, bytes]], *, since_s: int | None = None) -> bytes:
    """What the cluster answers."""
    return b"".join(
        stamp(time_ns) + b" " + text + b"\n"
        for time_ns, text in lines
        if since_s is None or time_ns >= since_s * 10**9
    )


def read(log: bytes) -> list[tuple[int, int, int, bytes]]:
    """Number, time, stream and text of every record; all bytes are whole records."""
    assert log[: len(MAGIC)] == MAGIC
    made: list[tuple[int, int, int, bytes]] = []
    body, begin = log[len(MAGIC) :], 0
    for end, number, _, _, payload in walk(body):
        _, _, _, time_ns, stream, _, _ = HEADER.unpack_from(body, begin)
        made.append((number, time_ns, stream, payload))
        begin = end
    assert begin == len(body)
    return made


def tail_of(log: bytes, chance: random.Random, *, keep_since_s: int | None = None) -> Tail:
    tail = Tail(keep_since_s)
    for chunk in chunks(log, chance):
        tail.read(chunk)
    return tail


def chunks(data: bytes, chance: random.Random) -> list[bytes]:
    made: list[bytes] = []
    while data:
        size = chance.choice([1, 3, 50, 1000])
        made.append(data[:size])
        data = data[size:]
    return made


def read_again_and_again(lines: list[tuple[int, bytes]], chance: random.Random) -> bytes:
    """The log as it is after it broke off anywhere seven times."""
    kept = b""
    for attempt in range(8):
        tail = tail_of(kept, chance)
        assert tail.knows_since
        since_s = tail.since_s
        tail.begin()
        reader = EntryReader()
        upto = len(lines) if attempt == 7 else chance.randint(0, len(lines))
        for chunk in chunks(given(lines[:upto], since_s=since_s), chance):
            for entry in reader.feed(chunk):
                offset = tail.size_bytes
                made = tail.add(entry)
                # The store skips what it has: a torn end is completed by the same bytes.
                assert not made or kept[offset:] == made[: len(kept) - offset]
                kept = kept[:offset] + made if made else kept
        if attempt < 7:
            # Killed: what was written last may be torn.
            cut = chance.choice([0, 0, 1, 20, 300])
            kept = kept[: max(0, len(kept) - cut)]
    return kept


STEPS = {
    "one thread": [0, 0, 1, 10**6, 7 * 10**8],
    "two threads": [0, 1, 5 * 10**7, 5 * 10**7, -4 * 10**7, 7 * 10**8],
}
"""How much younger a line is than the one before."""


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_log__broken_off_anywhere_and_read_again__has_each_line_once(
    steps: list[int], seed: int
) -> None:
    chance = random.Random(seed)
    time_ns, lines = BEGIN_NS, list[tuple[int, bytes]]()
    for number in range(chance.randint(1, 60)):
        time_ns += chance.choice(steps)
        lines.append((time_ns, b"same" if chance.random() < 0.3 else b"line %d\rx" % number))
    records = read(read_again_and_again(lines, chance))
    assert [number for number, *_ in records] == list(range(1, len(records) + 1))
    wanted = [(when, part) for when, text in lines for part in text.split(b"\r")]
    assert [(when, text) for _, when, stream, text in records if stream == OUT] == wanted
    assert all(stream == OUT for _, _, stream, _ in records)


def test_log__clock_of_the_node_set_back_while_it_is_read__has_each_line_once() -> None:
    seconds = [*range(30), *range(10, 15)]
    lines = [(BEGIN_NS + at * 10**9, b"line %d" % n) for n, at in enumerate(seconds)]
    tail = Tail()
    tail.begin()
    kept = b"".join(tail.add(Entry(time_ns, text)) for time_ns, text in lines)
    assert not tail.knows_since  # it would take lines of before the step for new ones

    tail = tail_of(kept, random.Random(2), keep_since_s=tail.since_s)

    assert tail.knows_since
    since_s = tail.since_s
    tail.begin()
    lines.append((lines[-1][0] + 1, b"next"))
    for entry in EntryReader().feed(given(lines, since_s=since_s)):
        kept += tail.add(entry)
    assert [text for *_, text in read(kept)] == [text for _, text in lines]


def test_tail__many_lines__remembers_the_times_of_the_last_seconds_only() -> None:
    tail = Tail()
    tail.begin()
    for number in range(10_000):
        tail.add(Entry(BEGIN_NS + number * 10**7, b"x"))
    assert tail.knows_since
    assert sys.getsizeof(tail._times_ns) < 8 * 1000  # pyright: ignore[reportPrivateUsage]


def test_log__began_anew_while_nobody_read__says_that_lines_may_be_missing() -> None:
    chance = random.Random(1)
    tail = Tail()
    tail.begin()
    reader = EntryReader()
    first = [(BEGIN_NS, b"one"), (BEGIN_NS + 5, b"two")]
    kept = b"".join(tail.add(entry) for entry in reader.feed(given(first)))
    tail = tail_of(kept, chance)
    tail.begin()
    later = EntryReader().feed(given([(BEGIN_NS + 10, b"nine")]))
    kept += b"".join(tail.add(entry) for entry in later)
    said = read(kept)
    assert [text for *_, text in said[:2]] == [b"one", b"two"]
    assert said[2][2] == AGENT
    assert b"may be missing" in said[2][3]
    assert said[3][3] == b"nine"


def test_entry__time_with_an_offset_or_less_exact__is_the_same_moment() -> None:
    lines = b"2026-09-21T16:13:20Z a\n2026-09-21T18:13:20.5+02:00 b\n2026-09-21T11:43:20-04:30 c\n"
    found = [(entry.time_ns, entry.text) for entry in EntryReader().feed(lines)]
    noon_ns = int(datetime(2026, 9, 21, 16, 13, 20, tzinfo=UTC).timestamp()) * 10**9
    assert found == [(noon_ns, b"a"), (noon_ns + 5 * 10**8, b"b"), (noon_ns, b"c")]


def test_entry__long_line_with_times_in_its_middle__is_one_line() -> None:
    long = bytes(range(97, 123)) * 2000
    parts = [long[at : at + 16384] for at in range(0, len(long), 16384)]
    line = b"".join(stamp(BEGIN_NS + at) + b" " + part for at, part in enumerate(parts))
    (entry,) = EntryReader().feed(line + b"\n")
    assert entry.text == long
    (whole,) = EntryReader().feed(stamp(BEGIN_NS) + b" " + long + b"\n")
    assert whole.text == long


def test_entry__line_without_an_end__is_cut_and_the_next_is_whole() -> None:
    reader = EntryReader()
    found = reader.feed(stamp(BEGIN_NS) + b" ")
    for _ in range(LINE_BYTES_MAX // (1 << 20) + 3):
        found += reader.feed(b"x" * (1 << 20))
    found += reader.feed(b"x\n" + given([(BEGIN_NS + 1, b"next")]))
    cut, following = found
    assert cut.text.endswith(b"is cut)")
    assert following.text == b"next"
    assert len(cut.text) < LINE_BYTES_MAX + 100


def test_entry__last_one_without_an_end__is_held_back_until_the_log_is_over() -> None:
    reader = EntryReader()
    assert reader.feed(stamp(BEGIN_NS) + b" no end") == []
    (entry,) = reader.finish()
    (piece,) = entry.pieces()
    assert piece == (b"no end", 0, 0)


def test_entry__words_of_the_kubelet__are_a_problem() -> None:
    with pytest.raises(ClusterUnavailable, match="unable to retrieve container logs"):
        EntryReader().feed(b"unable to retrieve container logs for containerd://1\n")


def test_tail__damaged_log__is_not_gone_on_with() -> None:
    tail = Tail()
    tail.begin()
    made = bytearray(tail.add(EntryReader().feed(given([(BEGIN_NS, b"one")]))[0]))
    made[-1] ^= 1
    with pytest.raises(StoreCorrupt):
        Tail().read(bytes(made))
