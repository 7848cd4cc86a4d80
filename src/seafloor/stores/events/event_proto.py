"""Reading the protocol buffers of tf.events: ``Event``, ``Summary`` and scalar ``TensorProto``.

Only what a scalar needs is read; fields that are not known are skipped.

Source: tensorboard/compat/proto/{event,summary,tensor,types}.proto.
"""

from __future__ import annotations

import struct

import msgspec

from seafloor.wire.protobuf import BadMessage, fields, signed, text_of, varint

_BYTES = 2

# numbers of types.proto: DataType → how one element of ``tensor_content`` is packed
_CONTENT = {
    1: "<f",
    2: "<d",
    3: "<i",
    4: "<B",
    5: "<h",
    6: "<b",
    9: "<q",
    10: "<?",
    17: "<H",
    19: "<e",
    22: "<I",
    23: "<Q",
}
_BFLOAT16 = 14
_HALF = 19
# field of tensor.proto that holds the elements, when ``tensor_content`` does not
_FLOAT_VAL, _DOUBLE_VAL, _INT_VAL, _INT64_VAL, _BOOL_VAL, _HALF_VAL = 5, 6, 7, 10, 11, 13
_UINT32_VAL, _UINT64_VAL = 16, 17
_SIGNED_VALS = frozenset({_INT_VAL, _INT64_VAL})
_VARINT_VALS = frozenset({_INT_VAL, _INT64_VAL, _BOOL_VAL, _UINT32_VAL, _UINT64_VAL, _HALF_VAL})
_SCALARS_PLUGIN = ("", "scalars")


class Scalar(msgspec.Struct, frozen=True):
    """One scalar of a summary."""

    tag: str
    value: float


class ScalarEvent(msgspec.Struct, frozen=True):
    """What an event says, as far as scalars go.

    Args:
        wall_time_s: Seconds since 1970, as the writer's clock said.
        step: int64.
        file_version: ``brain.Event:2`` in the first event of a file, else None.
        scalars: May be empty.
        others: Count of values that are no scalars (histograms, images, texts).
    """

    wall_time_s: float
    step: int
    file_version: str | None
    scalars: tuple[Scalar, ...]
    others: int


def decode_event(data: bytes) -> ScalarEvent:
    """Decode an event.

    Raises:
        BadMessage: it is none.
    """
    wall_time_s, step, version = 0.0, 0, None
    scalars: list[Scalar] = []
    others = 0
    for field, wire, value in fields(data):
        match (field, wire, value):
            case (1, 1, bytes()):
                wall_time_s = struct.unpack("<d", value)[0]
            case (2, 0, int()):
                step = signed(value)
            case (3, 2, bytes()):
                version = text_of(value)
            case (5, 2, bytes()):
                found, count = _summary(value)
                scalars.extend(found)
                others += count - len(found)
            case _:
                continue
    return ScalarEvent(wall_time_s, step, version, tuple(scalars), others)


def _summary(data: bytes) -> tuple[list[Scalar], int]:
    """The scalars of a summary, and how many values it has."""
    scalars: list[Scalar] = []
    count = 0
    for field, wire, value in fields(data):
        if field == 1 and wire == _BYTES and isinstance(value, bytes):
            count += 1
            found = _value(value)
            if found is not None:
                scalars.append(found)
    return scalars, count


def _value(data: bytes) -> Scalar | None:
    tag, plugin = "", ""
    number: float | None = None
    for field, wire, value in fields(data):
        match (field, wire, value):
            case (1, 2, bytes()):
                tag = text_of(value)
            case (2, 5, bytes()):
                number = struct.unpack("<f", value)[0]
            case (8, 2, bytes()):
                number = _tensor(value)
            case (9, 2, bytes()):
                plugin = plugin_of(value)
            case _:
                continue
    if number is None or plugin not in _SCALARS_PLUGIN:
        return None
    return Scalar(tag, number)


def plugin_of(metadata: bytes) -> str:
    """Which plugin of TensorBoard a value is for, by its metadata."""
    for field, _, value in fields(metadata):
        if field == 1 and isinstance(value, bytes):
            for inner, _, name in fields(value):
                if inner == 1 and isinstance(name, bytes):
                    return text_of(name)
    return ""


def _tensor(data: bytes) -> float | None:
    """The value of a tensor of one number; None for any other tensor."""
    dtype = 0
    content = b""
    listed: list[tuple[int, int, int | bytes]] = []
    for field, wire, value in fields(data):
        if field == 1 and isinstance(value, int):
            dtype = value
        elif field == 2 and isinstance(value, bytes):
            if _elements(value) != 1:
                return None
        elif field == 4 and isinstance(value, bytes):
            content = value
        else:
            listed.append((field, wire, value))
    if content:
        return _from_content(dtype, content)
    numbers = [number for entry in listed for number in _from_list(dtype, *entry)]
    return numbers[0] if len(numbers) == 1 else None


def _elements(shape: bytes) -> int:
    count = 1
    for field, _, dimension in fields(shape):
        if field == 2 and isinstance(dimension, bytes):
            sizes = [value for inner, _, value in fields(dimension) if inner == 1]
            count *= signed(sizes[-1]) if sizes and isinstance(sizes[-1], int) else 0
    return count


def _from_content(dtype: int, content: bytes) -> float | None:
    if dtype == _BFLOAT16 and len(content) == 2:
        return struct.unpack("<f", b"\0\0" + content)[0]
    layout = _CONTENT.get(dtype)
    if layout is None or struct.calcsize(layout) != len(content):
        return None
    return float(struct.unpack(layout, content)[0])


def _from_list(dtype: int, field: int, wire: int, value: int | bytes) -> list[float]:
    """The numbers of a repeated field, packed or not."""
    if field in (_FLOAT_VAL, _DOUBLE_VAL) and isinstance(value, bytes):
        layout, size = ("<f", 4) if field == _FLOAT_VAL else ("<d", 8)
        if len(value) % size:
            raise BadMessage("a list of numbers is cut off")
        return [number for (number,) in struct.iter_unpack(layout, value)]
    if field not in _VARINT_VALS:
        return []
    found: list[int] = []
    if isinstance(value, int):
        found.append(value)
    elif wire == _BYTES:
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            found.append(number)
    return [_number(dtype, field, number) for number in found]


def _number(dtype: int, field: int, value: int) -> float:
    if field == _HALF_VAL:
        bits = struct.pack("<H", value & 0xFFFF)
        if dtype == _HALF:
            return struct.unpack("<e", bits)[0]
        return struct.unpack("<f", b"\0\0" + bits)[0]
    return float(signed(value) if field in _SIGNED_VALS else value)
