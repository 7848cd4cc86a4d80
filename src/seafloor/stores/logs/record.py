"""Records of a log spool: the format of ``docs/formats/log-spool.md`` as pure functions.

``encode_record`` writes one, ``read_records`` and ``RecordDecoder`` read them, and ``scan`` walks
over freshly arrived bytes without making an object per line: it checks every record and counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Generator

import msgspec

from seafloor.domain.logs import LINE_BYTES_MAX, LogLine

MAGIC = b"SFLOG\x00\x00\x01"
HEADER_BYTES = 28
RECORD_BYTES_MAX = HEADER_BYTES + LINE_BYTES_MAX
MARK_BYTES = 64 * 1024
"""How far apart the marks of a sparse index stand."""

STREAMS = ("out", "err", "agent")
ENDS = ("", "\n", "\r", "\r\n")
FLAG_CONTINUED = 1
FLAG_LOSS = 2

_HEADER = struct.Struct("<IIQQI")  # crc, size, number, time, then stream | end << 8 | flags << 16
_BODY = struct.Struct("<IQQI")
_LOSS_BIT = FLAG_LOSS << 16
_STREAM_OF = {
    stream | end << 8 | flags << 16: stream
    for stream in range(len(STREAMS))
    for end in range(len(ENDS))
    for flags in range(4)
}
_ENDS_BYTES = tuple(end.encode() for end in ENDS)
_BLOCK_BYTES = 128 * 1024


class BadRecord(Exception):
    """Bytes that are no record of this format.

    Args:
        offset: Where the record begins; everything before it is good.
        reason: What is wrong, for the user.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason} (byte {offset:,})")
        self.offset = offset
        self.reason = reason


class Record(msgspec.Struct, frozen=True):
    """One record.

    Args:
        number: Of the line; of the first lost one in a loss.
        time_ns: UTC.
        payload: Bytes as printed; the decimal count of lost lines in a loss.
        stream: Index into STREAMS.
        end: Index into ENDS.
        flags: FLAG_CONTINUED, FLAG_LOSS.
    """

    number: int
    time_ns: int
    payload: bytes
    stream: int = 0
    end: int = 1
    flags: int = 0

    @property
    def is_loss(self) -> bool:
        """Whether it tells of lost lines and is none itself."""
        return bool(self.flags & FLAG_LOSS)

    @property
    def printed(self) -> bytes:
        """Payload and terminator: what the task wrote; nothing for a loss."""
        return b"" if self.is_loss else self.payload + _ENDS_BYTES[self.end]

    @property
    def line(self) -> LogLine:
        """The line as readers see it."""
        return LogLine(
            number=self.number,
            time_ns=self.time_ns,
            stream=STREAMS[self.stream],
            text=self.payload.decode("utf-8", "replace"),
            end=ENDS[self.end],
            continued=bool(self.flags & FLAG_CONTINUED),
        )


class Tally(msgspec.Struct, frozen=True):
    """What the records before an offset amount to; also a mark of the sparse index.

    Args:
        offset: Where the next record begins; 0: not even the magic was read.
        expected: The number the next line has when none is lost.
        missing: Lost lines: jumps of the number and counts of loss records.
        out, err, agent: Lines by stream.
        first_time_ns, last_time_ns: Of the first and last line; 0 while there is none.
    """

    offset: int = 0
    expected: int = 1
    missing: int = 0
    out: int = 0
    err: int = 0
    agent: int = 0
    first_time_ns: int = 0
    last_time_ns: int = 0

    def lines(self, stream: str | None = None) -> int:
        """Count lines, of one stream or of all."""
        if stream is None:
            return self.out + self.err + self.agent
        return (self.out, self.err, self.agent)[STREAMS.index(stream)]


class Scan(msgspec.Struct, frozen=True):
    """What a scan found.

    Args:
        tally: After the last whole good record.
        marks: Tallies at the records that begin a new MARK_BYTES of the file.
        problem: The first bad record, None when all are good (the last may be torn).
    """

    tally: Tally
    marks: tuple[Tally, ...]
    problem: BadRecord | None = None


def encode_record(record: Record) -> bytes:
    """Encode one record."""
    kind = record.stream | record.end << 8 | record.flags << 16
    body = _BODY.pack(len(record.payload), record.number, record.time_ns, kind) + record.payload
    return zlib.crc32(body).to_bytes(4, "little") + body


def _walk(data: bytes, base: int, expected: int) -> Generator[tuple[int, int, int, int, int, int]]:
    """Yield (begin, end, number, time_ns, kind, expected next) of the whole records in data.

    Args:
        data: Begins at a record, or with the magic when base is 0; may end inside a record.
        base: Offset of data in the file.
        expected: The least number that the first record may have.

    Raises:
        BadRecord: a record is wrong.
    """
    at = 0
    if base == 0:
        if data[: len(MAGIC)] != MAGIC[: len(data)]:
            raise BadRecord(0, "These bytes do not begin like a log spool of version 1")
        at = len(MAGIC)
    unpack, crc32, streams = _HEADER.unpack_from, zlib.crc32, _STREAM_OF
    limit = len(data)
    while limit - at >= HEADER_BYTES:
        crc, size, number, time_ns, kind = unpack(data, at)
        end = at + HEADER_BYTES + size
        if end > limit:
            if size > LINE_BYTES_MAX:
                raise BadRecord(base + at, "A log record claims more bytes than one may have")
            return
        if crc32(data[at + 4 : end]) != crc:
            raise BadRecord(base + at, "The checksum of a log record is wrong")
        if kind not in streams or size > LINE_BYTES_MAX:
            raise BadRecord(base + at, "A log record is of a kind that version 1 does not have")
        if number < expected:
            raise BadRecord(base + at, "The number of a log line does not rise")
        expected = number + 1
        if kind & _LOSS_BIT:
            expected = number + _lost(data[at + HEADER_BYTES : end], base + at)
        yield at, end, number, time_ns, kind, expected
        at = end


def _lost(payload: bytes, offset: int) -> int:
    if not payload.isdigit() or len(payload) > 18:
        raise BadRecord(offset, "A loss record does not say how many lines were lost")
    return int(payload)


def scan(data: bytes, start: Tally) -> Scan:
    """Check and count the whole records in data.

    Args:
        data: The bytes of the file from ``start.offset`` on; may end inside a record.
        start: What was counted before them.

    Cost: about a microsecond per record; no object per record.
    """
    base = done = start.offset
    expected, missing = start.expected, start.missing
    counts = [start.out, start.err, start.agent]
    first_ns, last_ns, any_line = start.first_time_ns, start.last_time_ns, start.lines() > 0
    next_mark = (base // MARK_BYTES + 1) * MARK_BYTES
    marks: list[Tally] = []
    problem: BadRecord | None = None

    def tally() -> Tally:
        out, err, agent = counts
        return Tally(done, expected, missing, out, err, agent, first_ns, last_ns)

    if base == 0 and data.startswith(MAGIC):
        done = len(MAGIC)
    try:
        for at, end, number, time_ns, kind, following in _walk(data, base, expected):
            if base + at >= next_mark:
                marks.append(tally())
                next_mark = ((base + at) // MARK_BYTES + 1) * MARK_BYTES
            missing += number - expected
            if kind & _LOSS_BIT:
                missing += following - number
            else:
                counts[_STREAM_OF[kind]] += 1
                last_ns = time_ns
                if not any_line:
                    first_ns, any_line = time_ns, True
            expected = following
            done = base + end
    except BadRecord as exc:
        problem = exc
    return Scan(tally(), tuple(marks), problem)


class RecordDecoder:
    """Decodes records from bytes that arrive in pieces of any size.

    Args:
        offset: Where in the file the first piece begins: 0, or at a record.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self._expected = 0
        self._tail: bytes = b""

    def feed(self, data: bytes) -> Generator[Record]:
        """Yield the records that data completes; ``offset`` rises to the end of each.

        Must be drained before the next call.

        Raises:
            BadRecord: a record is wrong; those before it were yielded.
        """
        data = self._tail + data if self._tail else data
        base = self.offset
        if base == 0 and data.startswith(MAGIC):
            self.offset = len(MAGIC)
        for at, end, number, time_ns, kind, following in _walk(data, base, self._expected):
            self.offset, self._expected = base + end, following
            payload = data[at + HEADER_BYTES : end]
            yield Record(number, time_ns, payload, kind & 255, kind >> 8 & 255, kind >> 16)
        self._tail = data[self.offset - base :]


def read_records(
    read_at: Callable[[int, int], bytes], *, start: int, end: int
) -> Generator[tuple[Record, int]]:
    """Read the records of a file in blocks, each with the offset after it.

    Args:
        read_at: Reads (offset, length) of the file.
        start: 0, or where a record begins.
        end: Where to stop; bytes after it are not read.

    Raises:
        BadRecord: a record is wrong.

    Cost: memory of one block and one record.
    """
    decoder = RecordDecoder(start)
    at = start
    while at < end:
        block = read_at(at, min(_BLOCK_BYTES, end - at))
        if not block:
            return
        at += len(block)
        for record in decoder.feed(block):
            yield record, decoder.offset
