"""The payload of a journal row: the points of one append, by key and in order.

The bytes are described in ``docs/formats/metric-journal.md``.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import zstandard
from numpy.typing import NDArray

from seafloor.domain.errors import StoreCorrupt
from seafloor.stores.metrics.columns import SeriesColumns, no_points
from seafloor.stores.metrics.points import Triple, bits_of_rank, rank_of_bits

VERSION = 1
VERSION_COLUMNS = 2
PLAIN, DEFLATED, ZSTD = 0, 1, 2
_HEAD = struct.Struct("<BBI")  # version, packing, CRC-32 of both and what follows
_TABLE = struct.Struct("<II")  # count of keys, bytes of the key table
_KEY = struct.Struct("<HI")  # bytes of the key, points of the key
_POINT_BYTES = 24
_PACKINGS = {VERSION: (PLAIN, DEFLATED), VERSION_COLUMNS: (ZSTD,)}
_DEFLATE_POINTS_MIN = 16  # a smaller row is not worth the time
# Up to there zstd's level 3 is quicker than its level 1, and packs better by a tenth.
_SMALL_BYTES_MAX, _LEVEL_SMALL = 128 * 1024, 3
_LEVEL = 1
_AT_ONCE_BYTES = 1 << 21  # of rows that are decoded together: with more it is no quicker


def encode_points(points: Mapping[str, Sequence[Triple]]) -> bytes:
    """Encode points.

    Args:
        points: Of each key, in order.
    """
    names: list[bytes] = []
    steps: list[int] = []
    times: list[int] = []
    values: list[int] = []
    for key, triples in points.items():
        name = key.encode()
        names.append(_KEY.pack(len(name), len(triples)) + name)
        steps.extend(triple[0] for triple in triples)
        times.extend(triple[1] for triple in triples)
        values.extend(bits_of_rank(triple[2]) for triple in triples)
    count = len(steps)
    columns = struct.pack(f"<{2 * count}q{count}Q", *steps, *times, *values)
    table = b"".join(names)
    body, packing = _TABLE.pack(len(points), len(table)) + table + columns, PLAIN
    if count >= _DEFLATE_POINTS_MIN:
        body, packing = zlib.compress(body, 1), DEFLATED
    return _HEAD.pack(VERSION, packing, _checksum(VERSION, packing, body)) + body


def encode_columns(
    names: Sequence[str],
    counts: NDArray[np.intp],
    step: NDArray[np.int64],
    time_ms: NDArray[np.int64],
    bits: NDArray[np.uint64],
    *,
    level: int | None = None,
) -> bytes:
    """Encode many points, in order.

    Args:
        names, counts: Of each key its name, and how many points it has.
        step, time_ms, bits: Shape (n,); n is the sum of the counts.
        level: Of zstd; what is written once and kept deserves a higher one than None, the quickest.
    """
    encoded = [name.encode() for name in names]
    table = b"".join(
        _KEY.pack(len(name), count) + name
        for name, count in zip(encoded, counts.tolist(), strict=True)
    )
    # Differences and bytes side by side: packing finds what repeats in them, and is quick.
    body = b"".join(
        (
            _TABLE.pack(len(names), len(table)),
            table,
            _steps_of(step),
            _steps_of(time_ms),
            bits.view(np.uint8).reshape(-1, 8).T.tobytes(),
        )
    )
    if level is None:
        level = _LEVEL if len(body) > _SMALL_BYTES_MAX else _LEVEL_SMALL
    packed = _compressor(level, threading.get_ident()).compress(body)
    return _HEAD.pack(VERSION_COLUMNS, ZSTD, _checksum(VERSION_COLUMNS, ZSTD, packed)) + packed


def _steps_of(column: NDArray[np.int64]) -> bytes:
    """Of each number by how much it is above the one before, of the first above 0."""
    made = column.copy()
    made[1:] -= column[:-1]
    return made.tobytes()


@lru_cache(maxsize=32)
def _compressor(level: int, _thread: int) -> zstandard.ZstdCompressor:
    """One for each thread, and kept: its tables take longer to make than a small row to pack."""
    return zstandard.ZstdCompressor(level)


@lru_cache(maxsize=32)
def _decompressor(_thread: int) -> zstandard.ZstdDecompressor:
    """The same for what was packed."""
    return zstandard.ZstdDecompressor()


def _checksum(version: int, packing: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(bytes((version, packing))))


def _body(payload: bytes) -> tuple[int, bytes]:
    """The version of a row and what it holds."""
    if len(payload) < _HEAD.size:
        raise StoreCorrupt("A row of the metric journal is cut off.")
    version, packing, checksum = _HEAD.unpack_from(payload)
    body = payload[_HEAD.size :]
    if packing not in _PACKINGS.get(version, ()):
        raise StoreCorrupt(
            f"A row of the metric journal is of version {version}, which this server cannot read.",
        )
    if _checksum(version, packing, body) != checksum:
        raise StoreCorrupt("The checksum of a row of the metric journal is wrong.")
    if packing == DEFLATED:
        return version, zlib.decompress(body)
    if packing == ZSTD:
        return version, _decompressor(threading.get_ident()).decompress(body)
    return version, body


def decode_keys(payload: bytes, keys: Collection[str]) -> dict[str, list[Triple]]:
    """Decode the points of some keys, each in order; a key that the row does not have is left out.

    Raises:
        StoreCorrupt: the checksum is wrong, or the version unknown.

    Cost: the row is unpacked once, however many keys are asked for; of the points of other keys
    only the packing is undone.
    """
    version, body = _body(payload)
    spans, columns_at = _spans_of(body, keys)
    if not spans:
        return {}
    step, time_ms, bits = _arrays(version, body, columns_at)
    return {
        key: list(
            zip(
                step[first:stop].tolist(),
                time_ms[first:stop].tolist(),
                map(rank_of_bits, bits[first:stop].tolist()),
                strict=True,
            )
        )
        for key, (first, stop) in spans.items()
    }


def decode_series(payload: bytes, key: str, *, attempt: int) -> SeriesColumns:
    """Decode the points of one key as columns; see ``decode_keys``.

    Args:
        attempt: Of the row.
    """
    version, body = _body(payload)
    spans, columns_at = _spans_of(body, (key,))
    if not spans:
        return no_points()
    return _series(_arrays(version, body, columns_at), *spans[key], attempt)


def decode_rows(payloads: Iterable[bytes], *, attempt: int) -> Iterator[dict[str, SeriesColumns]]:
    """Decode all points of many rows, some rows at a time; see ``decode_keys``.

    Args:
        payloads: Any number.
        attempt: Of the rows.

    Yields:
        The points of each key as some rows have them, one row after the other by their first steps.

    Cost: about 25 ns a point; next to nothing is done for each key of each row. Memory of a few MB
    beside what is yielded.
    """
    bodies: dict[int, list[bytes]] = {version: [] for version in _PACKINGS}
    size_bytes = 0
    for payload in payloads:
        version, body = _body(payload)
        bodies[version].append(body)
        size_bytes += len(body)
        if size_bytes >= _AT_ONCE_BYTES:
            yield _decoded(bodies, attempt)
            bodies = {version: [] for version in _PACKINGS}
            size_bytes = 0
    if size_bytes:
        yield _decoded(bodies, attempt)


def _decoded(bodies: Mapping[int, Sequence[bytes]], attempt: int) -> dict[str, SeriesColumns]:
    spans = _Spans()
    pieces = [_joined(version, some, spans) for version, some in bodies.items() if some]
    step, time_ms, bits = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    names, counts, order = spans.by_key(step)
    arrays = step[order], time_ms[order], bits[order]
    ends = counts.cumsum()
    return {
        name: _series(arrays, start, stop, attempt)
        for name, start, stop in zip(names, (ends - counts).tolist(), ends.tolist(), strict=True)
    }


class _Spans:
    """Where the points of each key stand in rows that were put one after the other."""

    def __init__(self) -> None:
        self._place: dict[bytes, int] = {}  # in order of appearance
        self._keys: list[int] = []
        self._counts: list[int] = []
        self._known: dict[bytes, tuple[list[int], list[int]]] = {}

    def add(self, body: bytes) -> int:
        """Take the table of a row; return where its columns begin."""
        _, table_bytes = _TABLE.unpack_from(body)
        columns_at = _TABLE.size + table_bytes
        head = body[:columns_at]
        found = self._known.get(head)
        if found is None:  # rows of one training have the same keys
            table, _ = _table(head)
            keys = [self._place.setdefault(name, len(self._place)) for name, _ in table]
            found = self._known[head] = keys, [points for _, points in table]
        self._keys += found[0]
        self._counts += found[1]
        return columns_at

    def by_key(
        self, step: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.intp], NDArray[np.intp]]:
        """The keys, how many points each has, and where these stand, key after key.

        Args:
            step: Of all points.
        """
        key, counts = np.array(self._keys, np.intp), np.array(self._counts, np.intp)
        starts = counts.cumsum() - counts
        order = np.lexsort((step[starts], key))
        key, starts, counts = key[order], starts[order], counts[order]
        shifts = starts - (counts.cumsum() - counts)
        places = shifts.repeat(counts) + np.arange(len(step))
        firsts = np.searchsorted(key, np.arange(len(self._place)))
        names = [name.decode() for name in self._place]
        return names, np.add.reduceat(counts, firsts), places


def _table(body: bytes) -> tuple[list[tuple[bytes, int]], int]:
    """The names and counts of a row, and where its columns begin."""
    keys, table_bytes = _TABLE.unpack_from(body)
    at = _TABLE.size
    found: list[tuple[bytes, int]] = []
    for _ in range(keys):
        name_bytes, count = _KEY.unpack_from(body, at)
        at += _KEY.size
        found.append((body[at : at + name_bytes], count))
        at += name_bytes
    return found, _TABLE.size + table_bytes


def _spans_of(body: bytes, keys: Collection[str]) -> tuple[dict[str, tuple[int, int]], int]:
    """Where the points of some keys stand, (first, behind the last), and where columns begin."""
    _, table_bytes = _TABLE.unpack_from(body)
    columns_at = _TABLE.size + table_bytes
    there = _spans_in(body[:columns_at])
    found = ((key, there.get(key.encode())) for key in keys)
    return {key: span for key, span in found if span is not None}, columns_at


@lru_cache(maxsize=8)
def _spans_in(head: bytes) -> dict[bytes, tuple[int, int]]:
    """The same of every key of a table; kept, since rows of one training have the same keys."""
    spans: dict[bytes, tuple[int, int]] = {}
    first = 0
    for name, count in _table(head)[0]:
        spans[name] = first, first + count
        first += count
    return spans


_Arrays = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


def _arrays(version: int, body: bytes, columns_at: int) -> _Arrays:
    """The columns of a whole row: step, time, bits."""
    step, time_ms, values = _raw(body, columns_at)
    if version == VERSION:
        return step, time_ms, values.view("<u8")
    # Whole numbers of numpy wrap around, as the differences did.
    return step.cumsum(), time_ms.cumsum(), _words(values.reshape(8, -1))


def _joined(version: int, bodies: Sequence[bytes], spans: _Spans) -> _Arrays:
    """The columns of rows of one version, one row after the other."""
    rows = [_raw(body, spans.add(body)) for body in bodies]
    step = np.concatenate([row[0] for row in rows])
    time_ms = np.concatenate([row[1] for row in rows])
    if version == VERSION:
        return step, time_ms, np.concatenate([row[2] for row in rows]).view("<u8")
    counts = np.array([len(row[0]) for row in rows])
    starts = counts.cumsum() - counts
    values = np.concatenate([row[2].reshape(8, -1) for row in rows], axis=1)
    return _sums(step, starts), _sums(time_ms, starts), _words(values)


def _raw(
    body: bytes, columns_at: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """The columns of a row as they stand there."""
    points = (len(body) - columns_at) // _POINT_BYTES
    column_bytes = points * 8
    return (
        np.frombuffer(body, "<i8", points, columns_at),
        np.frombuffer(body, "<i8", points, columns_at + column_bytes),
        np.frombuffer(body, np.uint8, column_bytes, columns_at + 2 * column_bytes),
    )


def _sums(steps: NDArray[np.int64], starts: NDArray[np.intp]) -> NDArray[np.int64]:
    """Undo ``_steps_of`` of rows one after the other, given where each starts; overwrites them."""
    # Whole numbers of numpy wrap around, as the differences did.
    steps[starts[1:]] -= np.add.reduceat(steps, starts)[:-1]
    return steps.cumsum()


def _words(planes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The words of which the bytes stand in eight rows."""
    return planes.T.copy().view("<u8").ravel()


def _series(arrays: _Arrays, first: int, stop: int, attempt: int) -> SeriesColumns:
    step, time_ms, bits = arrays
    return SeriesColumns(
        np.full(stop - first, attempt, np.int32),
        step[first:stop],
        time_ms[first:stop],
        bits[first:stop],
    )
