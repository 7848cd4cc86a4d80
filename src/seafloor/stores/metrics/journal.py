"""The payload of a journal row: the points of one append, by key and in order.

The bytes are described in ``docs/formats/metric-journal.md``.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import zstandard
from numpy.typing import NDArray

from seafloor.domain.errors import StoreCorrupt
from seafloor.stores.metrics.columns import SeriesColumns
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
        return version, zstandard.decompress(body)
    return version, body


def decode_key(payload: bytes, key: str) -> list[Triple]:
    """Decode the points of one key, in order; none when the row does not have it.

    Raises:
        StoreCorrupt: the checksum is wrong, or the version unknown.

    Cost: of the points of the other keys only the packing is undone.
    """
    version, body = _body(payload)
    read = _columns if version == VERSION else _differences
    columns_at, first, count = _find(body, key)
    return read(body, columns_at, first, count) if count else []


def decode_series(payload: bytes, key: str, *, attempt: int) -> SeriesColumns:
    """Decode the points of one key as columns; see ``decode_key``.

    Args:
        attempt: Of the row.
    """
    version, body = _body(payload)
    columns_at, first, count = _find(body, key)
    return _series(_arrays(version, body, columns_at), first, first + count, attempt)


def decode_row(payload: bytes, *, attempt: int) -> dict[str, SeriesColumns]:
    """Decode all points, by key in the order of the row; see ``decode_key``."""
    version, body = _body(payload)
    table, columns_at = _table(body)
    arrays = _arrays(version, body, columns_at)
    found: dict[str, SeriesColumns] = {}
    first = 0
    for name, count in table:
        found[name.decode()] = _series(arrays, first, first + count, attempt)
        first += count
    return found


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


def _find(body: bytes, key: str) -> tuple[int, int, int]:
    """Where the columns of a row begin, the first point of a key, and how many it has."""
    table, columns_at = _table(body)
    wanted = key.encode()
    first = 0
    for name, count in table:
        if name == wanted:
            return columns_at, first, count
        first += count
    return columns_at, first, 0


_Arrays = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


def _arrays(version: int, body: bytes, columns_at: int) -> _Arrays:
    """The columns of a whole row: step, time, bits."""
    points = (len(body) - columns_at) // _POINT_BYTES
    column_bytes = points * 8
    step = np.frombuffer(body, "<i8", points, columns_at)
    time_ms = np.frombuffer(body, "<i8", points, columns_at + column_bytes)
    values_at = columns_at + 2 * column_bytes
    if version == VERSION:
        return step, time_ms, np.frombuffer(body, "<u8", points, values_at)
    side_by_side = np.frombuffer(body, np.uint8, column_bytes, values_at)
    bits = side_by_side.reshape(8, -1).T.copy().view("<u8").ravel()
    # Whole numbers of numpy wrap around, as the differences did.
    return step.cumsum(), time_ms.cumsum(), bits


def _series(arrays: _Arrays, first: int, stop: int, attempt: int) -> SeriesColumns:
    step, time_ms, bits = arrays
    return SeriesColumns(
        np.full(stop - first, attempt, np.int32),
        step[first:stop],
        time_ms[first:stop],
        bits[first:stop],
    )


def _columns(body: bytes, columns_at: int, first: int, count: int) -> list[Triple]:
    column_bytes = (len(body) - columns_at) // _POINT_BYTES * 8
    at = columns_at + first * 8
    steps = struct.unpack_from(f"<{count}q", body, at)
    times = struct.unpack_from(f"<{count}q", body, at + column_bytes)
    values = struct.unpack_from(f"<{count}Q", body, at + 2 * column_bytes)
    return list(zip(steps, times, map(rank_of_bits, values), strict=True))


def _differences(body: bytes, columns_at: int, first: int, count: int) -> list[Triple]:
    """The same of version 2."""
    points = (len(body) - columns_at) // _POINT_BYTES
    end = first + count
    column_bytes = points * 8
    # Whole numbers of numpy wrap around, as the differences did.
    steps = np.frombuffer(body, "<i8", end, columns_at).cumsum()[first:]
    times = np.frombuffer(body, "<i8", end, columns_at + column_bytes).cumsum()[first:]
    side_by_side = np.frombuffer(body, np.uint8, column_bytes, columns_at + 2 * column_bytes)
    values = side_by_side.reshape(8, -1)[:, first:end].T.copy().view("<u8").ravel()
    return list(
        zip(steps.tolist(), times.tolist(), map(rank_of_bits, values.tolist()), strict=True)
    )
