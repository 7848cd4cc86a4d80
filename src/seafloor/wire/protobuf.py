"""The wire format of protocol buffers: what is needed to read a few fields of a few messages.

A field that is not known is skipped by its wire type; what its bytes mean, the caller knows.

Source: "Encoding", https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WORD = (1 << 64) - 1


class BadMessage(Exception):
    """Bytes that are no protocol buffer of the kind that was looked for."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number at an offset; it and the offset of what follows.

    Raises:
        BadMessage: there is none.
    """
    value, shift = 0, 0
    while shift < 70:
        if at >= len(data):
            raise BadMessage("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _WORD, at
        shift += 7
    raise BadMessage("a number is too long")


def signed(value: int) -> int:
    """A number of a message as an int64."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield (field, wire type, value) of a message; fixed-size values as their bytes.

    Raises:
        BadMessage: it is none.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        field, wire = tag >> 3, tag & 7
        if field == 0:
            raise BadMessage("a field has no number")
        if wire == _VARINT:
            value, at = varint(data, at)
            yield field, wire, value
            continue
        if wire == _BYTES:
            size, at = varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise BadMessage("a field is of an unknown kind")
        if at + size > len(data):
            raise BadMessage("a field is cut off")
        yield field, wire, data[at : at + size]
        at += size


def text_of(value: bytes) -> str:
    """A text of a message; what is no UTF-8 is shown as such."""
    return value.decode("utf-8", "replace")
