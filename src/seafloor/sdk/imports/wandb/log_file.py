"""The file of a run, ``run-ID.wandb``: LevelDB's log format with a head of its own.

Seven bytes of head (``:W&B``, 0xBEE1, version), counted as part of the first block; then blocks of
32 KiB, each with chunks: CRC-32 of type and data (u32), length (u16), type (u8: 1 whole, 2 first,
3 middle, 4 last), data, all little-endian. A record is one whole chunk, or several one after the
other; fewer than seven bytes at the end of a block are nothing.

Source: "LevelDB Log format", https://github.com/google/leveldb/blob/main/doc/log_format.md; the
head and the CRC (zlib's, not LevelDB's masked CRC-32C) as wandb writes them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import SourceError

BLOCK_BYTES: Final = 32 * 1024
VERSION: Final = 0
_FILE_HEAD: Final = struct.Struct("<4sHB")
_MARK: Final = (b":W&B", 0xBEE1)
_CHUNK_HEAD: Final = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_TYPE_CRC: Final = tuple(zlib.crc32(bytes([number])) for number in range(5))


class Damage(msgspec.Struct, frozen=True):
    """A place where the file cannot be read.

    Args:
        offset: Where in the file, in bytes.
        reason: What is wrong.
        is_end: The file ends there within a record, as when its writer was killed; nothing that
            was written whole is missing.
    """

    offset: int
    reason: str
    is_end: bool = False


class _Chunk(msgspec.Struct, frozen=True):
    kind: int
    data: bytes


def read_records(path: Path, told: Callable[[Damage], None]) -> Iterator[bytes]:
    """Read the records that are whole.

    After a place that cannot be read it goes on with the next block, as LevelDB does.

    Args:
        path: The file.
        told: Of each such place.

    Raises:
        SourceError: it is no such file, or cannot be read at all.

    Cost: memory of a block and a record.
    """
    parts: list[bytes] = []
    begun_at: int | None = None
    for offset, chunk in _chunks(path):
        if isinstance(chunk, Damage):
            told(chunk)
            parts, begun_at = [], None
            if chunk.is_end:
                return
            continue
        if chunk.kind in (_WHOLE, _FIRST):
            if begun_at is not None:
                told(Damage(begun_at, "a record has no end"))
            begun_at, parts = offset, []
        elif begun_at is None:
            continue  # the rest of what began in a place that was told of
        parts.append(chunk.data)
        if chunk.kind in (_WHOLE, _LAST):
            yield b"".join(parts)
            begun_at, parts = None, []
    if begun_at is not None:
        told(Damage(begun_at, "the file ends within a record", is_end=True))


def _chunks(path: Path) -> Iterator[tuple[int, _Chunk | Damage]]:
    try:
        with path.open("rb") as file:
            block = file.read(BLOCK_BYTES)
            _check_head(path, block)
            at, offset = _FILE_HEAD.size, 0
            while block:
                following = file.read(BLOCK_BYTES)
                yield from _chunks_of(block, at, offset, is_last=not following)
                offset += len(block)
                block, at = following, 0
    except OSError as error:
        raise SourceError(f'"{path}" cannot be read: {error.strerror or error}.') from error


def _check_head(path: Path, block: bytes) -> None:
    if len(block) < _FILE_HEAD.size:
        raise SourceError(f'"{path}" is no file of a wandb run: it has {len(block)} bytes.')
    *mark, version = _FILE_HEAD.unpack_from(block)
    if tuple(mark) != _MARK:
        raise SourceError(f'"{path}" is no file of a wandb run: it does not begin as one.')
    if version != VERSION:
        raise SourceError(
            f'"{path}" is of version {version}, written by a newer wandb than is known here '
            f"(version {VERSION}): update Seafloor."
        )


def _chunks_of(
    block: bytes, at: int, offset: int, *, is_last: bool
) -> Iterator[tuple[int, _Chunk | Damage]]:
    """The chunks of a block; a damage ends it, as does a stretch of zeros."""
    while len(block) - at >= _CHUNK_HEAD.size:
        crc, length, kind = _CHUNK_HEAD.unpack_from(block, at)
        if crc == length == kind == 0:
            return
        here, data_at = offset + at, at + _CHUNK_HEAD.size
        at = data_at + length
        if at > len(block):
            is_end = is_last and len(block) < BLOCK_BYTES
            yield here, Damage(here, "a record is cut off", is_end)
            return
        data = block[data_at:at]
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or zlib.crc32(data, _TYPE_CRC[kind]) != crc:
            yield here, Damage(here, "a checksum is wrong")
            return
        yield here, _Chunk(kind, data)
    if is_last and any(block[at:]):
        yield offset + at, Damage(offset + at, "a record is cut off", is_end=True)
