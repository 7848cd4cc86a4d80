"""Segments: the sealed form of series, a Parquet file and an index beside it.

The bytes are described in ``docs/formats/metric-segment.md``. pyarrow, which is large, is loaded
when the first segment is written or read.
"""

from __future__ import annotations

import importlib
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seafloor.domain.errors import LimitExceeded, StoreCorrupt
from seafloor.stores.metrics.columns import SeriesColumns, no_points
from seafloor.stores.metrics.pyramid import (
    Blocks,
    Ints,
    block_starts,
    blocks_of,
    joined_blocks,
    joined_columns,
    ranks_of_bits,
)
from seafloor.stores.metrics.segment_index import (
    REACH,
    SMALL_BYTES,
    ByteRange,
    IndexBody,
    KeyRange,
    Plan,
    SegmentIndex,
    encode_index,
    pack_blocks,
    pack_column,
)
from seafloor.stores.metrics.window import Reach, behind, joined_reach, reach_of

if TYPE_CHECKING:
    from types import ModuleType

FORMAT_KEY, FORMAT = "seafloor.metric-segment", "1"
GROUP_POINTS = 65_536
BLOCKED_POINTS_MIN = 1_025
"""A key with fewer points has no blocks: its points are as quickly read."""
POINTS_MAX = 1 << 26
"""More row groups would make the footer slow to read."""

_POINT_COLUMNS = ["attempt", "step", "time", "value"]


def _arrow(module: str = "") -> ModuleType:
    return importlib.import_module(f"pyarrow{module}")


@dataclass(frozen=True, slots=True)
class SegmentReceipt:
    """What was written: the index, and how far the points reach."""

    index: bytes
    data_bytes: int
    points: int
    reach: Reach


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """A segment in memory."""

    data: bytes
    index: bytes
    receipt: SegmentReceipt

    @property
    def points(self) -> int:
        """How many points it has."""
        return self.receipt.points


class _Sink(io.RawIOBase):
    """Passes bytes on, and knows how many there were and their checksums."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out = out
        self.size = 0
        self.whole_crc = 0
        self.group_crc = 0
        self.tail: bytearray | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any, /) -> int:
        chunk = bytes(data)
        self._out.write(chunk)
        self.size += len(chunk)
        self.whole_crc = zlib.crc32(chunk, self.whole_crc)
        self.group_crc = zlib.crc32(chunk, self.group_crc)
        if self.tail is not None:
            self.tail += chunk
        return len(chunk)


class SegmentEncoder:
    """Writes a segment piece by piece.

    Memory: a few row groups of points, and for the index about 0.1 bytes a point and 1 KB a key.

    Args:
        out: Where the data file goes; it is neither closed nor sought.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._sink = _Sink(out)
        self._writer = _writer(self._sink)
        self._waiting: list[tuple[str, SeriesColumns]] = []
        self._waiting_points = 0
        self._ranges: dict[str, KeyRange] = {}
        self._rows = 0
        self._groups: list[tuple[int, int, int, int]] = []
        self._blocks: list[Blocks] = []
        self._block_counts: list[int] = []
        self._open: list[SeriesColumns] = []  # of the current key, what is in no block yet
        self._open_key: str | None = None
        self._open_points = 0
        self._open_blocks = 0  # of the current key, made already

    def add(self, key: str, columns: SeriesColumns) -> None:
        """Take points.

        Args:
            key: Not below the last one, in order of their UTF-8.
            columns: At least one point; of the same key behind those of the call before.

        Raises:
            ValueError: keys or points come out of order.
            LimitExceeded: there are too many points for one segment.
        """
        if not len(columns):
            raise ValueError("A segment takes at least one point of a key.")
        if self._rows + len(columns) > POINTS_MAX:
            raise LimitExceeded(f"A segment has at most {POINTS_MAX:,} points.")
        last = [self._open[-1].slice(-1, None)] if key == self._open_key else []
        if not _rises(joined_columns([*last, columns])):
            raise ValueError("The points of a key come in order, each once.")
        if key != self._open_key:
            if self._open_key is not None and key.encode() < self._open_key.encode():
                raise ValueError("The keys of a segment come in order.")
            self._close_key()
            self._open_key = key
        self._ranges[key] = _extended(self._ranges.get(key), self._rows, columns)
        self._rows += len(columns)
        self._open.append(columns)
        self._open_points += len(columns)
        if self._open_points >= GROUP_POINTS:
            self._sum_up_open()
        start = 0
        while start < len(columns):
            stop = min(len(columns), start + GROUP_POINTS - self._waiting_points)
            self._waiting.append((key, columns.slice(start, stop)))
            self._waiting_points += stop - start
            start = stop
            if self._waiting_points == GROUP_POINTS:
                self._write_group()

    def finish(self) -> SegmentReceipt:
        """Write what waits and the end of the file, and give the index.

        Raises:
            ValueError: nothing was added.
            LimitExceeded: the keys are too many for one index; the data file is without one.
        """
        if not self._ranges:
            raise ValueError("A segment has at least one point.")
        self._close_key()
        if self._waiting_points:
            self._write_group()
        self._sink.tail = bytearray()
        self._writer.close()
        sink, found = self._sink, list(self._ranges.values())
        body = IndexBody(
            data_bytes=sink.size,
            data_crc=sink.whole_crc,
            footer=bytes(sink.tail or b"") if sink.size > SMALL_BYTES else b"",
            keys=tuple(self._ranges),
            key_columns=tuple(
                pack_column(np.array(column, np.int64))
                for column in (
                    [one.points for one in found],
                    *([getattr(one.reach, name) for one in found] for name in REACH),
                )
            ),
            group_columns=tuple(
                pack_column(np.array(column, np.int64))
                for column in zip(*self._groups, strict=True)
            ),
            block_counts=pack_column(np.array(self._block_counts, np.int64)),
            blocks=pack_blocks(joined_blocks(self._blocks) if self._blocks else _no_blocks()),
        )
        return SegmentReceipt(
            index=encode_index(body),
            data_bytes=sink.size,
            points=self._rows,
            reach=joined_reach([one.reach for one in found]),
        )

    def close(self) -> None:
        """End the data file, which is of use only after ``finish``. Safe to repeat.

        Left open it is ended when it is collected, and the file may be closed by then.
        """
        self._writer.close()

    def _close_key(self) -> None:
        if self._open_key is None:
            return
        if self._ranges[self._open_key].points >= BLOCKED_POINTS_MIN:
            self._sum_up(joined_columns(self._open))
        self._block_counts.append(self._open_blocks)
        self._open, self._open_points, self._open_blocks = [], 0, 0

    def _sum_up_open(self) -> None:
        """Keep of a long key only the points that may share a block with what comes."""
        points = joined_columns(self._open)
        last = int(block_starts(points.attempt)[-1])
        self._sum_up(points.slice(0, last))
        self._open = [points.slice(last, len(points))]
        self._open_points = len(points) - last

    def _sum_up(self, points: SeriesColumns) -> None:
        blocks = blocks_of(points)
        self._blocks.append(blocks)
        self._open_blocks += len(blocks)

    def _write_group(self) -> None:
        keys = [key for key, _ in self._waiting]
        sizes = [len(columns) for _, columns in self._waiting]
        points = joined_columns([columns for _, columns in self._waiting])
        offset = self._sink.size
        self._sink.group_crc = 0
        self._writer.write_table(_table(keys, sizes, points), row_group_size=GROUP_POINTS)
        size = self._sink.size - offset
        self._groups.append((len(points), offset, size, self._sink.group_crc))
        self._waiting, self._waiting_points = [], 0


def _schema() -> Any:
    arrow = _arrow()
    return arrow.schema(
        [
            # In the file it is a text all the same: written so, its names are not hashed again.
            arrow.field("key", arrow.dictionary(arrow.int32(), arrow.string()), nullable=False),
            arrow.field("attempt", arrow.int32(), nullable=False),
            arrow.field("step", arrow.int64(), nullable=False),
            arrow.field("time", arrow.timestamp("ms", tz="UTC"), nullable=False),
            arrow.field("value", arrow.float64(), nullable=False),
        ]
    )


def _writer(sink: _Sink) -> Any:
    writer: Any = _arrow(".parquet").ParquetWriter(
        sink,
        _schema(),
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=["key", "attempt"],
        column_encoding={
            "step": "DELTA_BINARY_PACKED",
            "time": "DELTA_BINARY_PACKED",
            "value": "BYTE_STREAM_SPLIT",
        },
        write_statistics=["key", "step", "time"],
        store_schema=False,
    )
    writer.add_key_value_metadata({FORMAT_KEY: FORMAT})
    return writer


def _table(keys: Sequence[str], sizes: Sequence[int], points: SeriesColumns) -> Any:
    arrow = _arrow()
    names = list(dict.fromkeys(keys))
    place = {name: index for index, name in enumerate(names)}
    codes = np.repeat(np.array([place[key] for key in keys], np.int32), sizes)
    columns = [
        arrow.DictionaryArray.from_arrays(codes, arrow.array(names, arrow.string())),
        arrow.array(points.attempt, arrow.int32()),
        arrow.array(points.step),
        arrow.array(points.time_ms).view(arrow.timestamp("ms", tz="UTC")),
        arrow.array(points.bits.view(np.float64)),
    ]
    return arrow.table(columns, schema=_schema())


def _no_blocks() -> Blocks:
    none = np.empty(0, np.int64)
    words = none.view(np.uint64)
    return Blocks(
        none, none, none, none, none, none, none, none, none, words, words, words, words, none, none
    )


def _extended(before: KeyRange | None, row: int, columns: SeriesColumns) -> KeyRange:
    reach = reach_of(columns)
    if before is None:
        return KeyRange(row, len(columns), reach)
    return KeyRange(before.row, before.points + len(columns), joined_reach([before.reach, reach]))


def encode_segment(series: Mapping[str, SeriesColumns]) -> EncodedSegment:
    """Encode series, at least one, each with at least one point."""
    out = io.BytesIO()
    encoder = SegmentEncoder(out)
    for key in sorted(series, key=str.encode):
        encoder.add(key, series[key])
    receipt = encoder.finish()
    return EncodedSegment(out.getvalue(), receipt.index, receipt)


class _Sparse(io.RawIOBase):
    """A file of which only some ranges are there."""

    def __init__(self, size: int, parts: Sequence[tuple[int, bytes]]) -> None:
        super().__init__()
        self._size = size
        self._parts = parts
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = (0, self._at, self._size)[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        size = self._size - self._at if size < 0 else min(size, self._size - self._at)
        for offset, data in self._parts:
            if offset <= self._at and self._at + size <= offset + len(data):
                found = data[self._at - offset : self._at - offset + size]
                self._at += size
                return found
        raise StoreCorrupt("A metric segment reaches for bytes that its index does not name.")


def decode_plan(index: SegmentIndex, plan: Plan, fetched: Sequence[bytes]) -> SeriesColumns:
    """Take the points of a plan out of the bytes that it asked for.

    Args:
        index: The one that made the plan.
        fetched: The bytes of ``plan.ranges``, in their order.

    Raises:
        StoreCorrupt: the bytes are not what was written.

    Cost: about 15 ns a point (tests/bench/bench_segments.py).
    """
    _check(index, plan.ranges, fetched)
    if not plan.groups:
        return no_points()
    parts = [(one.offset, data) for one, data in zip(plan.ranges, fetched, strict=True)]
    table = _read(index, parts, plan.groups, _POINT_COLUMNS)
    columns = _columns(table)
    starts: dict[int, int] = {}
    at = 0
    for group in plan.groups:
        starts[group] = at
        at += _group_rows(index, group)
    pieces: list[SeriesColumns] = []
    for first, stop in plan.rows:
        group = int(np.searchsorted(index.group_ends, first, side="right"))
        begin = starts[group] + first - _group_start(index, group)
        pieces.append(columns.slice(begin, begin + stop - first))
    return _filtered(joined_columns(pieces), plan)


def _group_start(index: SegmentIndex, group: int) -> int:
    return int(index.group_ends[group - 1]) if group else 0


def _group_rows(index: SegmentIndex, group: int) -> int:
    return int(index.group_ends[group]) - _group_start(index, group)


def _check(index: SegmentIndex, ranges: Sequence[ByteRange], fetched: Sequence[bytes]) -> None:
    if [len(data) for data in fetched] != [one.size for one in ranges]:
        raise StoreCorrupt("A metric segment is cut off.")
    places = {offset: group for group, offset in enumerate(index.group_offsets)}
    for one, data in zip(ranges, fetched, strict=True):
        if one.offset == 0:
            sound = zlib.crc32(data) == index.data_crc
        else:
            sound = True
            at, view = one.offset, memoryview(data)
            while at < one.offset + one.size:
                group = places[at]
                begin, size = at - one.offset, index.group_bytes[group]
                sound &= zlib.crc32(view[begin : begin + size]) == index.group_crcs[group]
                at += size
        if not sound:
            raise StoreCorrupt("The checksum of a metric segment is wrong.")


def _read(
    index: SegmentIndex,
    parts: Sequence[tuple[int, bytes]],
    groups: Sequence[int],
    columns: list[str],
) -> Any:
    arrow, parquet = _arrow(), _arrow(".parquet")
    try:
        # Asked for the footer alone, Arrow would look for it in the last 64 KiB of the file.
        footer = parquet.read_metadata(io.BytesIO(index.footer)) if index.footer else None
        file = parquet.ParquetFile(
            _Sparse(index.data_bytes, parts), metadata=footer, pre_buffer=False
        )
        told: dict[bytes, bytes] | None = file.metadata.metadata
        version = (told or {}).get(FORMAT_KEY.encode(), b"").decode()
        if version != FORMAT:
            raise StoreCorrupt(
                f"A metric segment is of version {version}, which this server cannot read."
            )
        return file.read_row_groups(list(groups), columns=columns, use_threads=False)
    except (arrow.ArrowException, OSError) as error:
        raise StoreCorrupt("A metric segment cannot be read.", detail=str(error)) from error


def _columns(table: Any) -> SeriesColumns:
    arrow = _arrow()
    attempt: NDArray[np.int32] = table["attempt"].to_numpy()
    step: Ints = table["step"].to_numpy()
    time_ms: Ints = table["time"].cast(arrow.int64()).to_numpy()
    value: NDArray[np.float64] = table["value"].to_numpy()
    return SeriesColumns(attempt, step, time_ms, value.view(np.uint64))


def _filtered(points: SeriesColumns, plan: Plan) -> SeriesColumns:
    points = plan.window.take(points)
    if plan.after is not None:
        points = behind(points, plan.after)
    return points if plan.limit is None else points.slice(0, plan.limit)


def _rises(points: SeriesColumns) -> bool:
    """Whether every point is behind the one before it."""
    step, attempt = points.step, points.attempt
    if attempt[0] == attempt[-1] and (step[1:] > step[:-1]).all() and not np.diff(attempt).any():
        return True
    ranks = ranks_of_bits(points.bits)
    found = ranks[1:] > ranks[:-1]
    for column in (points.time_ms, step, attempt):
        found = (column[1:] > column[:-1]) | ((column[1:] == column[:-1]) & found)
    return bool(found.all())


class ArrowEncoder:
    """Makes an Arrow IPC stream of a series: columns attempt, step, time_ms and value.

    Cost: the columns are not copied before they are bytes.
    """

    def __init__(self) -> None:
        arrow, ipc = _arrow(), _arrow(".ipc")
        self._arrow = arrow
        self._schema = arrow.schema(
            [
                arrow.field("attempt", arrow.int32(), nullable=False),
                arrow.field("step", arrow.int64(), nullable=False),
                arrow.field("time_ms", arrow.int64(), nullable=False),
                arrow.field("value", arrow.float64(), nullable=False),
            ]
        )
        self._out = io.BytesIO()
        self._writer: Any = ipc.new_stream(self._out, self._schema)

    def add(self, points: SeriesColumns) -> bytes:
        """Encode the next points; none are fine."""
        arrays = [points.attempt, points.step, points.time_ms, points.bits.view(np.float64)]
        self._writer.write_batch(
            self._arrow.record_batch(
                [self._arrow.array(one) for one in arrays], schema=self._schema
            )
        )
        return self._taken()

    def finish(self) -> bytes:
        """Encode the end."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        made = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return made
