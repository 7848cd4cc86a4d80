"""Histograms, images, texts and audio of tf.events, as ``SummaryWriter`` of any make writes them.

Older ones have fields of their own in ``Summary.Value``; TensorFlow 2 puts all into tensors, told
apart by their plugin.

Source: tensorboard/compat/proto/{summary,tensor}.proto; tensorboard/plugins/*/metadata.py.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

import msgspec

from seafloor.domain.media import (
    BINS_MAX,
    TEXT_INLINE_BYTES_MAX,
    Audio,
    BlobFormat,
    Content,
    Histogram,
    Image,
    Text,
    image_format,
)
from seafloor.stores.events.event_proto import plugin_of
from seafloor.wire.protobuf import BadMessage, fields, signed, text_of

_DOUBLE, _FLOAT, _STRING = 2, 1, 7
_CONTENT, _FLOAT_VAL, _DOUBLE_VAL, _STRING_VAL = 4, 5, 6, 8


class Thing(msgspec.Struct, frozen=True):
    """Something of a summary that is no number.

    Args:
        content: What is small of it.
        format: Of ``data``.
        data: The bulk; None when there is none.
        place: Among those of one value.
    """

    content: Content
    format: BlobFormat | None = None
    data: bytes | None = None
    place: int = 0


class MediaEvent(msgspec.Struct, frozen=True):
    """What an event says, as far as media go: (tag, thing) each."""

    wall_time_s: float
    step: int
    things: tuple[tuple[str, Thing], ...]


def decode_media(data: bytes) -> MediaEvent:
    """Decode an event.

    Raises:
        BadMessage: it is none.
    """
    wall_time_s, step = 0.0, 0
    things: list[tuple[str, Thing]] = []
    for field, wire, value in fields(data):
        match (field, wire, value):
            case (1, 1, bytes()):
                wall_time_s = struct.unpack("<d", value)[0]
            case (2, 0, int()):
                step = signed(value)
            case (5, 2, bytes()):
                for inner, _, one in fields(value):
                    if inner == 1 and isinstance(one, bytes):
                        things.extend(_things(one))
            case _:
                continue
    return MediaEvent(wall_time_s, step, tuple(things))


def _things(data: bytes) -> Iterator[tuple[str, Thing]]:
    tag, plugin = "", ""
    tensor = b""
    found: list[Thing] = []
    for field, wire, value in fields(data):
        match (field, wire, value):
            case (2, 5, bytes()):
                return  # a scalar
            case (1, 2, bytes()):
                tag = text_of(value)
            case (4 | 5 | 6, 2, bytes()):
                found.extend(_FIELDS[field](value))
            case (8, 2, bytes()):
                tensor = value
            case (9, 2, bytes()):
                plugin = plugin_of(value)
            case _:
                continue
    if tensor and plugin in _PLUGINS:
        found.extend(_PLUGINS[plugin](tensor))
    for thing in found:
        yield tag, thing


def _image(data: bytes) -> Iterator[Thing]:
    height = width = 0
    content = b""
    for field, _, value in fields(data):
        if field == 1 and isinstance(value, int):
            height = value
        elif field == 2 and isinstance(value, int):
            width = value
        elif field == 4 and isinstance(value, bytes):
            content = value
    yield from _picture(content, width, height, 0)


def _picture(content: bytes, width: int, height: int, place: int) -> Iterator[Thing]:
    format_ = image_format(content)
    if format_ is not None:
        sizes = (size if 0 < size < 1 << 31 else None for size in (width, height))
        yield Thing(Image(*sizes), format_, content, place)


def _histogram(data: bytes) -> Iterator[Thing]:
    low, high = 0.0, 0.0
    limits: list[float] = []
    counts: list[float] = []
    for field, wire, value in fields(data):
        if not isinstance(value, bytes):
            continue
        match (field, wire):
            case (1, 1):
                low = struct.unpack("<d", value)[0]
            case (2, 1):
                high = struct.unpack("<d", value)[0]
            case (6, 1 | 2):
                limits += _numbers(value, "<d")
            case (7, 1 | 2):
                counts += _numbers(value, "<d")
            case _:
                continue
    if not counts or len(limits) != len(counts):
        return
    # The limits are right edges. Some writers begin with an empty bucket below all values.
    while len(counts) > 1 and counts[0] == 0 and limits[0] <= low:
        del limits[0], counts[0]
    # The first bucket begins, and the last ends, with the values.
    edges = [min(low, limits[0]), *limits[:-1], max(min(high, limits[-1]), *limits[-2:-1], low)]
    yield from _bins(edges, counts)


def _bins(edges: list[float], counts: list[float]) -> Iterator[Thing]:
    """A histogram, its bins joined two by two until they are few enough."""
    while len(counts) > BINS_MAX:
        pairs = range(0, len(counts), 2)
        counts = [sum(counts[at : at + 2]) for at in pairs]
        edges = [*(edges[at] for at in pairs), edges[-1]]
    found = Histogram(tuple(edges), tuple(counts))
    if all(map(math.isfinite, (*edges, *counts))):
        yield Thing(found)


def _audio(data: bytes) -> Iterator[Thing]:
    rate, channels, frames, content = 0.0, 0, 0, b""
    for field, wire, value in fields(data):
        match (field, wire, value):
            case (1, 5, bytes()):
                rate = struct.unpack("<f", value)[0]
            case (2, 0, int()):
                channels = value
            case (3, 0, int()):
                frames = value
            case (4, 2, bytes()):
                content = value
            case _:
                continue
    if content[:4] == b"RIFF":
        known = math.isfinite(rate) and 1 <= rate < 1 << 31
        duration_ms = int(frames * 1000 / rate) if known and frames < 1 << 50 else None
        said = Audio(
            int(rate) if known else None, channels if 0 < channels < 1 << 16 else None, duration_ms
        )
        yield Thing(said, "wav", content)


class _Tensor(msgspec.Struct, frozen=True):
    kind: int
    strings: list[bytes]
    numbers: list[float]


def _tensor(data: bytes) -> _Tensor:
    """A tensor of texts, or of floats."""
    kind, content = 0, b""
    strings: list[bytes] = []
    floats: list[float] = []
    for field, wire, value in fields(data):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == _STRING_VAL and isinstance(value, bytes):
            strings.append(value)
        elif field == _CONTENT and wire == 2 and isinstance(value, bytes):
            content = value
        elif field == _FLOAT_VAL and isinstance(value, bytes):
            floats += _numbers(value, "<f")
        elif field == _DOUBLE_VAL and isinstance(value, bytes):
            floats += _numbers(value, "<d")
    if content and kind in (_FLOAT, _DOUBLE):
        floats = _numbers(content, "<f" if kind == _FLOAT else "<d")
    return _Tensor(kind, strings, floats)


def _numbers(data: bytes, layout: str) -> list[float]:
    if len(data) % struct.calcsize(layout):
        raise BadMessage("a list of numbers is cut off")
    return [number for (number,) in struct.iter_unpack(layout, data)]


def _images_of(data: bytes) -> Iterator[Thing]:
    """Width and height, and then the pictures."""
    strings = _tensor(data).strings
    if len(strings) < 3:
        return
    width, height = (int(size) if size.isdigit() and len(size) < 10 else 0 for size in strings[:2])
    for place, content in enumerate(strings[2:]):
        yield from _picture(content, width, height, place)


def _histograms_of(data: bytes) -> Iterator[Thing]:
    """Rows of left edge, right edge, count."""
    numbers = _tensor(data).numbers
    if not numbers or len(numbers) % 3:
        return
    lefts, rights, counts = numbers[::3], numbers[1::3], numbers[2::3]
    yield from _bins([*lefts, rights[-1]], counts)


def _texts_of(data: bytes) -> Iterator[Thing]:
    found = "\n".join(text_of(one) for one in _tensor(data).strings)
    content = found.encode()
    if len(content) <= TEXT_INLINE_BYTES_MAX:
        yield Thing(Text(found))
    else:
        yield Thing(Text(), "txt", content)


def _sounds_of(data: bytes) -> Iterator[Thing]:
    """Pairs of a sound and its label."""
    sounds: Sequence[bytes] = [one for one in _tensor(data).strings if one[:4] == b"RIFF"]
    for place, content in enumerate(sounds):
        yield Thing(Audio(), "wav", content, place)


_FIELDS = {4: _image, 5: _histogram, 6: _audio}
_PLUGINS = {
    "images": _images_of,
    "histograms": _histograms_of,
    "text": _texts_of,
    "audio": _sounds_of,
}
