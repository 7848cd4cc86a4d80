"""The sparse index of a log: a mark about every 64 KiB, in a file beside the log.

It only saves reading: each mark has a checksum, marks are written after the bytes they speak of
are durable, and whoever finds it wrong throws it away and makes it again from the log. So it is
never synced and may lag behind. The layout is in ``docs/formats/log-spool.md``.
"""

from __future__ import annotations

import bisect
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from seafloor.stores.logs.record import HEADER_BYTES, Tally
from seafloor.stores.logs.record import MAGIC as LOG_MAGIC

MAGIC = b"SFLIX\x00\x00\x01"
HEAD_BYTES = len(MAGIC) + 8
_MARK = struct.Struct("<8Q")
_LOG_HEAD_BYTES = len(LOG_MAGIC) + HEADER_BYTES  # up to the header of the first record
MARK_ENTRY_BYTES = _MARK.size + 8
"""A mark and its checksum; the other four bytes are zero."""


class IndexDamaged(Exception):
    """The index is not what was written, or speaks of another file."""


def _encode(mark: Tally) -> bytes:
    body = _MARK.pack(*msgspec.structs.astuple(mark))
    return body + struct.pack("<II", zlib.crc32(body), 0)


def _decode(entry: bytes) -> Tally:
    body = entry[: _MARK.size]
    if len(entry) != MARK_ENTRY_BYTES or entry[_MARK.size :] != struct.pack(
        "<II", zlib.crc32(body), 0
    ):
        raise IndexDamaged("a mark of the line index has a wrong checksum")
    return Tally(*_MARK.unpack(body))


class LineIndex:
    """The marks of one log, for one reader or the one writer.

    Args:
        path: Of the index; a missing file, or one of another log, is an index without marks.
        read_at: Reads (offset, length) of the log.
    """

    def __init__(self, path: Path, read_at: Callable[[int, int], bytes]) -> None:
        self._path = path
        self._read_at = read_at
        self._fd: int | None = None
        self._count = 0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        size_bytes = os.fstat(self._fd).st_size
        if size_bytes >= HEAD_BYTES and os.pread(self._fd, HEAD_BYTES, 0) == self._head():
            self._count = (size_bytes - HEAD_BYTES) // MARK_ENTRY_BYTES

    def _head(self) -> bytes:
        """What the index of this very log begins with."""
        return MAGIC + struct.pack("<II", zlib.crc32(self._read_at(0, _LOG_HEAD_BYTES)), 0)

    def __len__(self) -> int:
        return self._count

    def mark(self, number: int) -> Tally:
        """Read a mark, counted from 0.

        Raises:
            IndexDamaged: its checksum is wrong.
        """
        if self._fd is None:
            raise IndexDamaged("the line index is gone")
        at = HEAD_BYTES + number * MARK_ENTRY_BYTES
        return _decode(os.pread(self._fd, MARK_ENTRY_BYTES, at))

    def last(self, measure: Callable[[Tally], int], value: int) -> Tally:
        """Find the last mark with ``measure(mark) <= value``; the beginning when there is none.

        Args:
            measure: Must not fall from mark to mark.

        Cost: one small read per halving.
        """
        found = bisect.bisect_right(
            range(self._count), value, key=lambda number: measure(self.mark(number))
        )
        return self.mark(found - 1) if found else Tally()

    def extend(self, marks: Sequence[Tally]) -> None:
        """Add marks; the file is created by the first. OSError: none was added that counts."""
        if not marks:
            return
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if self._count == 0:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, self._head(), 0)
        data = b"".join(_encode(mark) for mark in marks)
        written = os.pwrite(self._fd, data, HEAD_BYTES + self._count * MARK_ENTRY_BYTES)
        self._count += written // MARK_ENTRY_BYTES

    def clear(self) -> None:
        """Forget all marks."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
        self._count = 0

    def close(self) -> None:
        """Give the descriptor back. Safe to repeat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
