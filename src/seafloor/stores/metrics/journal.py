"""The payload of a journal row: the points of one append, by key and in order.

The bytes are described in ``docs/formats/metric-journal.md``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

from seafloor.domain.errors import StoreCorrupt
from seafloor.stores.metrics.points import Triple, bits_of_rank, rank_of_bits

VERSION = 1
PLAIN, DEFLATED = 0, 1
_HEAD = struct.Struct("<BBI")  # version, packing, CRC-32 of both and what follows
_TABLE = struct.Struct("<II")  # count of keys, bytes of the key table
_KEY = struct.Struct("<HI")  # bytes of the key, points of the key
_POINT_BYTES = 24
_DEFLATE_POINTS_MIN = 16  # a smaller row is not worth the time


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


def _checksum(version: int, packing: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(bytes((version, packing))))


def _body(payload: bytes) -> bytes:
    if len(payload) < _HEAD.size:
        raise StoreCorrupt("A row of the metric journal is cut off.")
    version, packing, checksum = _HEAD.unpack_from(payload)
    body = payload[_HEAD.size :]
    if version != VERSION or packing not in (PLAIN, DEFLATED):
        raise StoreCorrupt(
            f"A row of the metric journal is of version {version}, which this server cannot read.",
        )
    if _checksum(version, packing, body) != checksum:
        raise StoreCorrupt("The checksum of a row of the metric journal is wrong.")
    return zlib.decompress(body) if packing == DEFLATED else body


def decode_key(payload: bytes, key: str) -> list[Triple]:
    """Decode the points of one key, in order; none when the row does not have it.

    Raises:
        StoreCorrupt: the checksum is wrong, or the version unknown.

    Cost: of the points of the other keys only the packing is undone.
    """
    body = _body(payload)
    wanted = key.encode()
    keys, table_bytes = _TABLE.unpack_from(body)
    at, first = _TABLE.size, 0
    columns_at = at + table_bytes
    for _ in range(keys):
        name_bytes, count = _KEY.unpack_from(body, at)
        at += _KEY.size
        if name_bytes == len(wanted) and body.startswith(wanted, at):
            return _columns(body, columns_at, first, count)
        at += name_bytes
        first += count
    return []


def _columns(body: bytes, columns_at: int, first: int, count: int) -> list[Triple]:
    column_bytes = (len(body) - columns_at) // _POINT_BYTES * 8
    at = columns_at + first * 8
    steps = struct.unpack_from(f"<{count}q", body, at)
    times = struct.unpack_from(f"<{count}q", body, at + column_bytes)
    values = struct.unpack_from(f"<{count}Q", body, at + 2 * column_bytes)
    return list(zip(steps, times, map(rank_of_bits, values), strict=True))
