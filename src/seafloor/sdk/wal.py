"""The write-ahead file: what a process logged, before anybody was told.

The bytes are described in ``docs/formats/write-ahead-file.md``. A file belongs to one writer; a
record that is damaged costs itself and nothing behind it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from seafloor.domain.errors import NotSupported, StoreCorrupt
from seafloor.domain.media import MediaRecord
from seafloor.domain.metrics import Point
from seafloor.wire.runs import RunCreate

MAGIC: Final = b"SFWAL\x00\x00\x01"
MARKER: Final = b"\xa5SW\x5a"
_HEADER: Final = struct.Struct("<4sIIQ")
_CHECKED: Final = struct.Struct("<IQ")
RECORD_BYTES_MAX: Final = 4 * 1024 * 1024
_WINDOW_BYTES: Final = 1024 * 1024


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """The first record of every file: which run, and who writes.

    Args:
        run: As it is created, the same in every file of the run.
        owner: Whether the end of this writer is the end of the run.
        launched: Whether Seafloor started the run, so that it exists and ends without us.
        resumed: Whether the run had ended and goes on.
        pid, host: The process.
        adopted: Address of the server on which another API made the run, so that it exists and
            ends only when an ``end`` says so; None: it is made by this record.
    """

    run: RunCreate
    owner: bool
    launched: bool
    resumed: bool
    pid: int
    host: str
    adopted: str | None = None

    @property
    def creates(self) -> bool:
        """Whether whoever brings the records makes the run."""
        return not self.launched and self.adopted is None


class Points(msgspec.Struct, frozen=True, array_like=True, tag="points"):
    """Points, in the order in which they were logged."""

    points: list[Point]


class Params(msgspec.Struct, frozen=True, array_like=True, tag="params"):
    """Params; one never changes its value."""

    params: dict[str, str]


class Tags(msgspec.Struct, frozen=True, array_like=True, tag="tags"):
    """Tags; the last value stays."""

    tags: dict[str, str]


class LoggedFile(msgspec.Struct, frozen=True, array_like=True, tag="file"):
    """A file that was logged.

    Args:
        path: What it is called among the run's artifacts.
        source: Name of its copy in the folder ``files`` of the spool, or an absolute path.
        copied: Which of the two.
        size_bytes, mtime_ns: Of a file that was not copied, to know it again.
    """

    path: str
    source: str
    copied: bool
    size_bytes: int
    mtime_ns: int


class LoggedMedia(msgspec.Struct, frozen=True, array_like=True, tag="media"):
    """A histogram, image, table, text or sound that was logged.

    Args:
        record: What is small of it.
        data: The bytes of its blob; None when it has none, or they are in a file.
        source: Name of that file in the folder ``files`` of the spool; None when there is none.
    """

    record: MediaRecord
    data: bytes | None
    source: str | None


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag="dropped"):
    """That records could not be kept: how many, and how many points were in them."""

    records: int
    points: int


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The last record of a writer that ended by itself.

    Args:
        state: Of the run, if the writer owns it: ``succeeded``, ``failed`` or ``stopped``.
        reason: One sentence.
        ended_ns: UTC.
    """

    state: Literal["succeeded", "failed", "stopped"]
    reason: str
    ended_ns: int


Record = Begin | Points | Params | Tags | LoggedFile | LoggedMedia | Dropped | End

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Record)
_SMALL: Final = (b"\xa7dropped", b"\xa3end")


def encode(record: Record) -> bytes:
    """Make the payload of a record."""
    return _ENCODER.encode(record)


def is_small(payload: bytes) -> bool:
    """Whether it is one that is kept whatever room there is: an end, or a count of loss.

    >>> is_small(encode(Dropped(1, 1))), is_small(encode(Tags({"end": "dropped"})))
    (True, False)
    """
    return payload.startswith(_SMALL, 1)  # behind the byte that says how many fields there are


def frame(payload: bytes, number: int) -> bytes:
    """Put a header before a payload.

    Args:
        payload: At most RECORD_BYTES_MAX bytes.
        number: Of the record in its file, from 1.
    """
    checked = _CHECKED.pack(len(payload), number)
    crc = zlib.crc32(payload, zlib.crc32(checked))
    return b"".join((MARKER, crc.to_bytes(4, "little"), checked, payload))


class FoundRecord(msgspec.Struct, frozen=True):
    """A record that is whole.

    Args:
        record: What it says.
        number: Of the record in its file.
        end: Offset behind it.
        lost: How many records before it, and after the one read before, are not readable.
    """

    record: Record
    number: int
    end: int
    lost: int


class WalReader:
    """Reads a write-ahead file from an offset on, over what is damaged.

    Args:
        file: Opened for reading; kept by the caller.
        offset: Where a record begins, or 0.
        number: Of the last record before ``offset``.
        limit: Where reading ends though the file may go on; None: at its end.

    After ``records`` has ended, ``torn_bytes`` says how many bytes at the end belong to no whole
    record, and ``skipped_bytes`` how many before that were damaged.
    """

    def __init__(
        self, file: BinaryIO, *, offset: int = 0, number: int = 0, limit: int | None = None
    ) -> None:
        self._file = file
        self._limit = limit
        self._number = number
        self._window = b""
        self._start = offset
        self._at = 0
        self.torn_bytes = 0
        self.skipped_bytes = 0

    def records(self) -> Generator[FoundRecord]:
        """Read every whole record.

        Raises:
            NotSupported: the file is of a later format.
        """
        if self._start == 0:
            self._read_magic()
        while True:
            found = self._take()
            if found is None:
                return
            yield found

    def _read_magic(self) -> None:
        self._fill(len(MAGIC))
        start = self._window[: len(MAGIC)]
        if start == MAGIC:
            self._at = len(MAGIC)
        elif len(start) == len(MAGIC) and start[:7] == MAGIC[:7]:
            raise NotSupported(
                f"It is of format {start[7]}; this version of Seafloor reads format 1. "
                "Upgrade seafloor and sync again."
            )
        # Anything else is a damaged beginning: the records behind it are looked for.

    def _take(self) -> FoundRecord | None:
        """Read the next whole record, looking for it where it should be and then behind that."""
        began = self._position
        if not self._fill(1):
            return None
        while True:
            taken = self._parse()
            if taken is not None:
                payload, number = taken
                begin = self._position
                self._at += _HEADER.size + len(payload)
                self.skipped_bytes += begin - began
                lost = max(0, number - self._number - 1)
                self._number = number
                record = _decode(payload)
                return FoundRecord(record, number, self._position, lost)
            if not self._seek_marker():
                self.torn_bytes = self._end() - began
                return None

    def _parse(self) -> tuple[bytes, int] | None:
        self._fill(_HEADER.size)
        if len(self._window) - self._at < _HEADER.size:
            return None
        marker, crc, size, number = _HEADER.unpack_from(self._window, self._at)
        if marker != MARKER or size > RECORD_BYTES_MAX:
            return None
        self._fill(_HEADER.size + size)
        start = self._at + _HEADER.size
        payload = self._window[start : start + size]
        if len(payload) < size:
            return None
        if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(size, number))) != crc:
            return None
        return payload, number

    def _seek_marker(self) -> bool:
        """Go to the next marker behind here; False when there is none."""
        self._at += 1
        while True:
            at = self._window.find(MARKER, self._at)
            if at >= 0:
                self._at = at
                return True
            # A marker may be cut by the end of the window.
            self._at = max(self._at, len(self._window) - len(MARKER) + 1)
            if not self._fill(len(MARKER)):
                return False

    @property
    def _position(self) -> int:
        return self._start + self._at

    def _end(self) -> int:
        return self._start + len(self._window)

    def _fill(self, size: int) -> bool:
        """Have ``size`` bytes behind here in the window if the file has them; say if it has."""
        missing = self._at + size - len(self._window)
        if missing <= 0:
            return True
        self._start += self._at
        self._window = self._window[self._at :]
        self._at = 0
        offset = self._start + len(self._window)
        wanted = max(missing, _WINDOW_BYTES)
        if self._limit is not None:
            wanted = min(wanted, max(0, self._limit - offset))
        self._file.seek(offset)
        self._window += self._file.read(wanted)
        return len(self._window) >= size


def _decode(payload: bytes) -> Record:
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorrupt(
            "A record is whole but not understood: it was written by another version of "
            f"Seafloor. Sync with that version. ({error})"
        ) from error


def read_begin(path: Path) -> Begin | None:
    """Read the first record that says who writes; None when it is not readable."""
    with path.open("rb") as file:
        for found in WalReader(file).records():
            if isinstance(found.record, Begin):
                return found.record
    return None
