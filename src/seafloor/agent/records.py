"""Records of the log spool, version 1: docs/formats/log-spool.md."""

from __future__ import annotations

import struct
import zlib
from typing import Iterator, List, Tuple

MAGIC = b"SFLOG\x00\x00\x01"
HEADER = struct.Struct("<IIQQBBH")
PAYLOAD_BYTES_MAX = 65536

OUT, ERR, AGENT = 0, 1, 2
NOTHING, LF, CR, CRLF = 0, 1, 2, 3
CONTINUED, LOSS = 1, 2

Piece = Tuple[bytes, int, int]
"""Payload, what ended it (NOTHING … CRLF), flags."""

_BODY = struct.Struct("<IQQBBH")
_CRC = struct.Struct("<I")


def pack(stream: int, first_number: int, time_ns: int, pieces: List[Piece]) -> List[bytes]:
    """Make the records of some pieces of one stream, numbered from first_number.

    Returns:
        Bytes to be joined. Cost: about a microsecond a piece.
    """
    parts: List[bytes] = []
    append, body, crc, crc32 = parts.append, _BODY.pack, _CRC.pack, zlib.crc32
    number = first_number
    for payload, end, flags in pieces:
        head = body(len(payload), number, time_ns, stream, end, flags)
        append(crc(crc32(payload, crc32(head))))
        append(head)
        append(payload)
        number += 1
    return parts


def pack_loss(first_number: int, count: int, time_ns: int) -> bytes:
    """Make the record that says that lines were lost."""
    return b"".join(pack(AGENT, first_number, time_ns, [(b"%d" % count, NOTHING, LOSS)]))


class Damaged(Exception):
    """A record has all its bytes and a wrong checksum, or is none at all."""


def walk(data: bytes) -> Iterator[Tuple[int, int, int, int, bytes]]:
    """Yield (end offset, number, stream, flags, payload) of the whole records at the start of data.

    Raises:
        Damaged: after the good ones, a record is wrong.
    """
    at, limit = 0, len(data)
    while limit - at >= HEADER.size:
        crc, size, number, _, stream, _, flags = HEADER.unpack_from(data, at)
        end = at + HEADER.size + size
        if size > PAYLOAD_BYTES_MAX:
            raise Damaged()
        if end > limit:
            return
        if zlib.crc32(data[at + 4 : end]) != crc:
            raise Damaged()
        yield end, number, stream, flags, data[at + HEADER.size : end]
        at = end
