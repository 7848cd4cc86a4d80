"""The index of a segment: which bytes hold which points, and the blocks of long series.

The bytes are described in ``docs/formats/metric-segment.md``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from seafloor.domain.errors import LimitExceeded, StoreCorrupt
from seafloor.stores.metrics.pyramid import Blocks, Ints, Words, bits_of_ranks, ranks_of_bits
from seafloor.stores.metrics.window import ALL, Place, Reach, Window

MAGIC = b"SFMI"
VERSION = 1
SMALL_BYTES = 64 * 1024
"""A file up to this size is read whole: its footer is not in the index."""

_HEAD = struct.Struct("<4sBI")  # magic, version, CRC-32 of both and the body
_HEAD_SUMMED = 5
_BODY_BYTES_MAX = 256 * 1024 * 1024
_BLOCK_INTS = (
    "attempt",
    "points",
    "nans",
    "step_first",
    "step_last",
    "time_first",
    "time_last",
    "time_min",
    "time_max",
    "min_step",
    "max_step",
)
_BLOCK_VALUES = ("first", "last", "min", "max")

REACH = tuple(field.name for field in fields(Reach))
"""The bounds of a key, in the order of their columns."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes of the data file."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class KeyRange:
    """What a segment has of one key: its first row, how many points, and how far they reach."""

    row: int
    points: int
    reach: Reach


@dataclass(frozen=True, slots=True)
class Plan:
    """What to fetch for some points of one key, and how to take them out of it.

    Args:
        ranges: What to fetch of the data file, in order; empty when there are no points.
        groups: The row groups in them.
        rows: Spans of rows, (first, behind the last), in order.
    """

    ranges: tuple[ByteRange, ...]
    groups: tuple[int, ...]
    rows: tuple[tuple[int, int], ...]
    after: Place | None = None
    window: Window = ALL
    limit: int | None = None


class IndexBody(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The body of an index, as MessagePack; columns as ``pack_column`` makes them.

    Args:
        data_bytes, data_crc: Size and CRC-32 of the data file.
        footer: The end of the data file from behind the last row group; empty in a small one.
        keys: Names, in order of their UTF-8.
        key_columns: Points, and the bounds of ``Reach`` in the order of its fields.
        group_columns: Of each row group its rows, first byte, bytes and CRC-32.
        block_counts: Of each key, how many blocks.
        blocks: Of all blocks the columns of ``Blocks``, integers first, then values as bits.
    """

    data_bytes: int
    data_crc: int
    footer: bytes
    keys: tuple[str, ...]
    key_columns: tuple[bytes, ...]
    group_columns: tuple[bytes, ...]
    block_counts: bytes
    blocks: tuple[bytes, ...]


def pack_column(column: Ints) -> bytes:
    """Differences (the first to 0, wrapping at 64 bits), all lowest bytes first."""
    steps = np.diff(column.view(np.uint64), prepend=np.uint64(0)).astype("<u8")
    return steps.view(np.uint8).reshape(-1, 8).T.tobytes()


def unpack_column(packed: bytes) -> Ints:
    """Undo ``pack_column``."""
    rows = np.frombuffer(packed, np.uint8).reshape(8, -1).T
    words = np.ascontiguousarray(rows).view("<u8").reshape(-1)
    return np.cumsum(words, dtype=np.uint64).view(np.int64)


def encode_index(body: IndexBody) -> bytes:
    """Encode an index.

    Raises:
        LimitExceeded: it is larger than a reader takes: the keys are too many.
    """
    plain = msgspec.msgpack.encode(body)
    if len(plain) > _BODY_BYTES_MAX:
        raise LimitExceeded("These are too many metrics for one segment.")
    packed = zstandard.ZstdCompressor(level=9).compress(plain)
    summed = MAGIC + bytes((VERSION,))
    return _HEAD.pack(MAGIC, VERSION, zlib.crc32(packed, zlib.crc32(summed))) + packed


def pack_blocks(blocks: Blocks) -> tuple[bytes, ...]:
    """The columns of blocks, packed."""
    ints = [pack_column(getattr(blocks, name)) for name in _BLOCK_INTS]
    ranks: list[Words] = [getattr(blocks, name) for name in _BLOCK_VALUES]
    return (*ints, *(pack_column(bits_of_ranks(column).view(np.int64)) for column in ranks))


def _unpack_blocks(packed: Sequence[bytes]) -> Blocks:
    columns = [unpack_column(one) for one in packed]
    count = len(_BLOCK_INTS)
    values = [ranks_of_bits(column.view(np.uint64)) for column in columns[count:]]
    ints = dict(zip(_BLOCK_INTS, columns[:count], strict=True))
    return Blocks(**ints, **dict(zip(_BLOCK_VALUES, values, strict=True)))


class SegmentIndex:
    """What is known of a segment without its data file."""

    def __init__(self, body: IndexBody) -> None:
        columns = [unpack_column(column) for column in body.key_columns]
        starts = np.cumsum(columns[0]) - columns[0]
        rows = zip(starts.tolist(), *(column.tolist() for column in columns), strict=True)
        self.keys = {
            key: KeyRange(row, points, Reach(**dict(zip(REACH, reach, strict=True))))
            for key, (row, points, *reach) in zip(body.keys, rows, strict=True)
        }
        self.data_bytes = body.data_bytes
        self.data_crc = body.data_crc
        self.footer = body.footer
        sizes, offsets, lengths, sums = (unpack_column(one) for one in body.group_columns)
        self.group_ends = np.cumsum(sizes)
        self.group_offsets: list[int] = offsets.tolist()
        self.group_bytes: list[int] = lengths.tolist()
        self.group_crcs: list[int] = sums.tolist()
        self._block_ends = np.cumsum(unpack_column(body.block_counts))
        self._key_places = {key: place for place, key in enumerate(body.keys)}
        self._blocks = _unpack_blocks(body.blocks)

    @staticmethod
    def decode(data: bytes) -> SegmentIndex:
        """Read an index.

        Raises:
            StoreCorrupt: it is cut off or changed, or of a version that this server cannot read.
        """
        if len(data) < _HEAD.size:
            raise StoreCorrupt("The index of a metric segment is cut off.")
        magic, version, checksum = _HEAD.unpack_from(data)
        if magic != MAGIC:
            raise StoreCorrupt("This is no index of a metric segment.")
        if version != VERSION:
            raise StoreCorrupt(
                f"An index of a metric segment is of version {version}, which this server "
                "cannot read."
            )
        packed = data[_HEAD.size :]
        if zlib.crc32(packed, zlib.crc32(data[:_HEAD_SUMMED])) != checksum:
            raise StoreCorrupt("The checksum of the index of a metric segment is wrong.")
        try:
            # A frame that says its size is unpacked whole, whatever max_output_size says.
            if zstandard.frame_content_size(packed) > _BODY_BYTES_MAX:
                raise StoreCorrupt("The index of a metric segment is larger than any is written.")
            plain = zstandard.ZstdDecompressor().decompress(packed, max_output_size=_BODY_BYTES_MAX)
            return SegmentIndex(msgspec.msgpack.decode(plain, type=IndexBody))
        except (zstandard.ZstdError, msgspec.DecodeError, ValueError) as error:
            raise StoreCorrupt(
                "The index of a metric segment cannot be read.", detail=str(error)
            ) from error

    @property
    def points(self) -> int:
        """How many points the segment has."""
        return int(self.group_ends[-1])

    def blocks(self, key: str) -> Blocks | None:
        """The blocks of a key, in order; None when it has too few points for any."""
        place = self._key_places[key]
        stop = int(self._block_ends[place])
        start = int(self._block_ends[place - 1]) if place else 0
        return self._blocks.where(np.arange(start, stop)) if stop > start else None

    def plan(
        self,
        key: str,
        *,
        after: Place | None = None,
        window: Window = ALL,
        limit: int | None = None,
    ) -> Plan:
        """Say what to fetch for the points of a key, in order of (attempt, step, time, value).

        Args:
            key: A missing one has no points.
            after: Only points behind this place.
            window: Only points within.
            limit: At most so many points, the first ones.

        Cost: no bytes of a row group without candidates; with a limit not more row groups than
        hold that many points and a block.
        """
        found = self.keys.get(key)
        spans: list[tuple[int, int]] = []
        if found is not None:
            blocks = self.blocks(key)
            if blocks is not None:
                spans = _block_spans(found.row, blocks, after, window, limit)
            elif window.meets(found.reach):
                spans = [(found.row, found.row + found.points)]
        return Plan(*self._ranges(spans), tuple(spans), after, window, limit)

    def group_of(self, row: int) -> tuple[int, int]:
        """The first row and the one behind the last of the row group that a row is in."""
        group = int(np.searchsorted(self.group_ends, row, side="right"))
        first = int(self.group_ends[group - 1]) if group else 0
        return first, int(self.group_ends[group])

    def plan_of_rows(self, first: int, stop: int) -> Plan:
        """Say what to fetch for some rows, whatever their keys."""
        return Plan(*self._ranges([(first, stop)]), ((first, stop),))

    def chart_plan(
        self, key: str, *, buckets: int, window: Window = ALL
    ) -> tuple[Blocks | None, Plan | None]:
        """Say which blocks are wholly in a chart, and what to fetch for its other points.

        Where there are fewer such blocks than buckets, there are none: the points are fetched.

        Args:
            key: A missing one has no points.
            buckets: How many of the chart's buckets fall to this segment by its share of the
                points; at least 1.
            window: Only points within.
        """
        blocks = self.blocks(key) if key in self.keys else None
        if blocks is not None:
            within, some = _within(blocks, window)
            if int(within.sum()) >= buckets:
                spans = _spans(self.keys[key].row, blocks, some & ~within)
                plan = Plan(*self._ranges(spans), tuple(spans), None, window)
                return blocks.where(within), plan if spans else None
        plan = self.plan(key, window=window)
        return None, plan if plan.rows else None

    def _ranges(
        self, spans: Sequence[tuple[int, int]]
    ) -> tuple[tuple[ByteRange, ...], tuple[int, ...]]:
        groups: list[int] = []
        for start, stop in spans:
            first = int(np.searchsorted(self.group_ends, start, side="right"))
            last = int(np.searchsorted(self.group_ends, stop - 1, side="right"))
            groups.extend(range(max(first, groups[-1] + 1 if groups else 0), last + 1))
        if not groups:
            return (), ()
        if not self.footer:
            return (ByteRange(0, self.data_bytes),), tuple(groups)
        ranges: list[ByteRange] = []
        for group in groups:
            offset, size = self.group_offsets[group], self.group_bytes[group]
            if ranges and ranges[-1].offset + ranges[-1].size == offset:
                offset, size = ranges[-1].offset, ranges.pop().size + size
            ranges.append(ByteRange(offset, size))
        return tuple(ranges), tuple(groups)


def _within(blocks: Blocks, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which blocks lie wholly within, and which with a point at least perhaps."""
    within = np.ones(len(blocks), np.bool_)
    some = within.copy()
    if window.step_min is not None:
        within &= blocks.step_first >= window.step_min
        some &= blocks.step_last >= window.step_min
    if window.step_max is not None:
        within &= blocks.step_last <= window.step_max
        some &= blocks.step_first <= window.step_max
    if window.time_ms_min is not None:
        within &= blocks.time_min >= window.time_ms_min
        some &= blocks.time_max >= window.time_ms_min
    if window.time_ms_max is not None:
        within &= blocks.time_max <= window.time_ms_max
        some &= blocks.time_min <= window.time_ms_max
    if window.attempt is not None:
        some &= blocks.attempt == window.attempt
    return within & some, some


def _block_spans(
    row: int, blocks: Blocks, after: Place | None, window: Window, limit: int | None
) -> list[tuple[int, int]]:
    within, some = _within(blocks, window)
    if after is not None:
        same = blocks.attempt == after.attempt
        later = blocks.attempt > after.attempt
        within &= later | (same & (blocks.step_first > after.step))
        some &= later | (same & (blocks.step_last >= after.step))
    if limit is not None:
        sure = np.cumsum(np.where(within & some, blocks.points, 0))
        enough = int(np.searchsorted(sure, limit))
        some[enough + 1 :] = False
    return _spans(row, blocks, some)


def _spans(row: int, blocks: Blocks, mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    ends = np.cumsum(blocks.points) + row
    starts = ends - blocks.points
    spans: list[tuple[int, int]] = []
    for place in np.flatnonzero(mask).tolist():
        start, stop = int(starts[place]), int(ends[place])
        if spans and spans[-1][1] == start:
            start = spans.pop()[0]
        spans.append((start, stop))
    return spans
