"""Pictures: from arrays to PNG without any library, and what the bytes of a file say of itself."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any, Final

from seafloor.domain.errors import InvalidValue
from seafloor.domain.media import BlobFormat, Image, image_format
from seafloor.sdk.arrays import array_of

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_COLOURS: Final = {1: 0, 3: 2, 4: 6}
"""Channels to PNG's colour types: grey, red-green-blue, the same with opacity."""
_LEVEL: Final = 1
"""Of zlib: 6 takes four times as long for a tenth of the size."""
_SUB: Final = 1
_PLAIN_MODES: Final = ("1", "L", "LA", "P", "RGB", "RGBA")


def picture_of(image: object) -> tuple[Image, BlobFormat, bytes]:
    """Make the bytes of a picture.

    Args:
        image: Bytes of a PNG, JPEG, GIF, WebP or SVG; a PIL image; a matplotlib figure; an
            array, as ``Run.log_image`` says.

    Raises:
        InvalidValue: it is none of these.
    """
    if isinstance(image, bytes | bytearray):
        return _of_bytes(bytes(image))
    written = BytesIO()
    pil: Any = image
    if hasattr(image, "save") and hasattr(image, "mode"):
        (pil if pil.mode in _PLAIN_MODES else pil.convert("RGB")).save(written, format="PNG")
        return _of_bytes(written.getvalue())
    if hasattr(image, "savefig"):
        pil.savefig(written, format="png")
        return _of_bytes(written.getvalue())
    array = array_of(image)
    if array is None:
        raise InvalidValue(
            f"A {type(image).__name__} is no picture: give an array, a PIL image, a path or the "
            "bytes of a file.",
            field="image",
        )
    return _of_array(array)


def _of_bytes(content: bytes) -> tuple[Image, BlobFormat, bytes]:
    format_ = image_format(content)
    if format_ is None:
        raise InvalidValue(
            "These bytes are no PNG, JPEG, GIF, WebP or SVG: log other files as artifacts.",
            field="image",
        )
    width, height = _size_of(content, format_)
    return Image(width or None, height or None), format_, content


def _size_of(content: bytes, format_: BlobFormat) -> tuple[int, int]:
    """Width and height in pixels; zeros when they are not said."""
    if format_ == "png" and len(content) >= 24:
        width, height = struct.unpack_from(">II", content, 16)
        return width, height
    if format_ == "gif" and len(content) >= 10:
        width, height = struct.unpack_from("<HH", content, 6)
        return width, height
    if format_ == "jpeg":
        return _size_of_jpeg(content)
    if format_ == "webp" and len(content) >= 30:
        return _size_of_webp(content)
    return 0, 0


def _size_of_jpeg(content: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", content, at + 2)
        at += 2 + length
    return 0, 0


def _size_of_webp(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(content[24:27], "little") + 1
        return width, int.from_bytes(content[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def _of_array(array: Any) -> tuple[Image, BlobFormat, bytes]:
    import numpy as np

    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.size == 0:
        raise InvalidValue(
            f"An array of the shape {tuple(array.shape)} is no picture: it is (height, width), "
            "(height, width, channels) or (channels, height, width).",
            field="image",
        )
    if array.shape[2] not in _COLOURS and array.shape[0] in _COLOURS:
        array = np.moveaxis(array, 0, 2)
    if array.shape[2] not in _COLOURS:
        raise InvalidValue(
            f"A picture has 1, 3 or 4 channels, not {array.shape[2]}.", field="image"
        )
    height, width, channels = array.shape
    pixels = np.ascontiguousarray(_as_bytes(array)).reshape(height, width * channels)
    # Each byte less the one a pixel before it: neighbours are alike, so it packs better.
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _SUB
    rows[:, 1 : 1 + channels] = pixels[:, :channels]
    np.subtract(pixels[:, channels:], pixels[:, :-channels], out=rows[:, 1 + channels :])
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    packed = zlib.compress(rows.tobytes(), _LEVEL)
    content = b"".join((_PNG, _chunk(b"IHDR", head), _chunk(b"IDAT", packed), _chunk(b"IEND", b"")))
    return Image(width, height), "png", content


def _as_bytes(array: Any) -> Any:
    """Values of pixels, 0 to 255."""
    import numpy as np

    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind in "iu":
        if array.min() < 0 or array.max() > 255:
            raise InvalidValue("Whole numbers of a picture are 0 to 255.", field="image")
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        clean = np.nan_to_num(np.clip(array, 0.0, 1.0), nan=0.0)
        return (clean * 255.0 + 0.5).astype(np.uint8)
    raise InvalidValue(f"An array of {array.dtype} is no picture.", field="image")


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(name))
    return len(content).to_bytes(4, "big") + name + content + crc.to_bytes(4, "big")
