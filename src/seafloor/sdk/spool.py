"""The spool: the folder in which what was logged waits to be sent, and its writer.

<home>/spool/<run id>/<writer>.<segment>.wal    records (docs/formats/write-ahead-file.md)
                      <writer>.<segment>.sent   how far they were accepted
                      files/<name>              copies of logged files
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import LimitExceeded
from seafloor.sdk.wal import (
    MAGIC,
    RECORD_BYTES_MAX,
    Begin,
    Dropped,
    Points,
    Record,
    encode,
    frame,
)

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""What is kept in memory while the disk takes nothing."""
_MAKE_TRIES: Final = 10

_NAME = re.compile(r"(?P<writer>\d{13}-\d+-[0-9a-f]{6})\.(?P<segment>\d{4,})\.wal\Z")


@dataclass(frozen=True, order=True)
class Segment:
    """One write-ahead file."""

    folder: Path
    writer: str
    number: int

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.folder / f"{self.writer}.{self.number:04d}.wal"

    @property
    def sent_path(self) -> Path:
        """Of the note how far it was sent."""
        return self.path.with_suffix(".sent")

    @property
    def fresh_sent_path(self) -> Path:
        """Of the note while it is written."""
        return self.path.with_suffix(".sent.new")

    @property
    def next(self) -> Segment:
        """The one its writer goes on with."""
        return Segment(self.folder, self.writer, self.number + 1)


class Sent(msgspec.Struct, frozen=True):
    """How far a segment was sent; see the format page."""

    offset: int = 0
    number: int = 0
    format_version: int = 1


def list_segments(folder: Path) -> list[Segment]:
    """Read which segments a run has, in the order of their writers' starts."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = (_NAME.match(name) for name in names)
    return sorted(
        Segment(folder, match["writer"], int(match["segment"])) for match in matches if match
    )


def read_sent(segment: Segment) -> Sent:
    """Read how far a segment was sent; a note that is not readable means from its beginning."""
    try:
        return msgspec.json.decode(segment.sent_path.read_bytes(), type=Sent)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Sent()


def write_sent(segment: Segment, sent: Sent) -> None:
    """Note how far a segment was sent, in one step.

    Raises:
        OSError: it could not be noted; the old note stands.
    """
    fresh = segment.fresh_sent_path
    fresh.write_bytes(msgspec.json.encode(sent))
    fresh.replace(segment.sent_path)


def remove_segment(segment: Segment) -> None:
    """Remove a segment that was sent, and its note.

    Raises:
        OSError: it could not be removed.
    """
    # The note goes last: without it the file would be sent again, which is harmless.
    for path in (segment.path, segment.fresh_sent_path, segment.sent_path):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def lock_segment(segment: Segment) -> int | None:
    """Take a segment from a writer that is gone.

    Returns:
        A descriptor that holds the lock until it is closed; None when the writer lives, another
        process is sending it, or it is gone.
    """
    try:
        descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if _is_removed(descriptor):  # by whoever had the lock at this moment, and sent it
        os.close(descriptor)
        return None
    return descriptor


def _is_removed(descriptor: int) -> bool:
    return os.fstat(descriptor).st_nlink == 0


def make_writer_name(*, time_ms: int, pid: int) -> str:
    """Make the name of a writer; no two are alike."""
    return f"{time_ms:013d}-{pid}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class UnsyncedCopy:
    """A descriptor of a segment that has bytes which are not on the disk yet."""

    descriptor: int
    segment: Segment
    size_bytes: int


def sync_copy(copy: UnsyncedCopy | None) -> UnsyncedCopy | OSError | None:
    """Bring a segment to the disk; gives it back, or what the disk said."""
    if copy is None:
        return None
    try:
        os.fdatasync(copy.descriptor)
    except OSError as error:
        return error
    finally:
        os.close(copy.descriptor)
    return copy


class SpoolWriter:
    """Writes one writer's segments. The caller holds a lock around every method.

    No method raises because of the disk: what it does not take is kept in memory up to
    PENDING_BYTES_MAX, and counted when that is full.

    Args:
        folder: Of the run; made when it is not there.
        begin: Begins every segment.
        pending_bytes_max: Bound of what is kept in memory.
    """

    def __init__(
        self, folder: Path, begin: Begin, *, pending_bytes_max: int = PENDING_BYTES_MAX
    ) -> None:
        writer = make_writer_name(time_ms=time.time_ns() // 1_000_000, pid=begin.pid)
        self.segment = Segment(folder, writer, 1)
        self.size_bytes = 0
        self.problem: OSError | None = None
        self.pending: deque[bytes] = deque()
        self.dropped = Dropped(0, 0)
        self.begin = begin
        self._number = 0
        self._pending_bytes = 0
        self._pending_bytes_max = pending_bytes_max
        self._descriptor: int | None = None
        self._before: int | None = None
        self._closed = False
        self._synced_bytes = 0
        self._dropped_noted = self.dropped

    @property
    def name(self) -> str:
        """Of the writer."""
        return self.segment.writer

    def open(self) -> None:
        """Make the segment and write its beginning, if the disk takes it."""
        if self._descriptor is None and not self._closed:
            self._open()

    @property
    def holds_back(self) -> bool:
        """Whether something was logged that is not in the files."""
        return bool(self.pending) or self.dropped != self._dropped_noted

    def append(self, record: Record) -> None:
        """Write a record, or keep it.

        Raises:
            LimitExceeded: it is larger than a reader takes. Nothing was written.
        """
        payload = encode(record)
        if len(payload) > RECORD_BYTES_MAX:
            raise LimitExceeded(
                f"This would be a record of {len(payload)} bytes; {RECORD_BYTES_MAX} are the "
                "most. Log it in parts, or keep it as an artifact."
            )
        if not self.pending and self._write(payload):
            if self.size_bytes >= SEGMENT_BYTES_MAX:
                self._begin_next_segment()
            return
        if self._pending_bytes + len(payload) > self._pending_bytes_max:
            points = len(record.points) if isinstance(record, Points) else 0
            self.dropped = Dropped(self.dropped.records + 1, self.dropped.points + points)
            return
        self.pending.append(payload)
        self._pending_bytes += len(payload)

    def drop(self) -> None:
        """Count a record that cannot be kept."""
        self.dropped = Dropped(self.dropped.records + 1, self.dropped.points)

    def retry(self, *, records_max: int | None = None) -> bool:
        """Write what was kept; say whether all is written.

        Args:
            records_max: So that the caller's lock is not held for long; None: no bound.
        """
        left = len(self.pending) if records_max is None else records_max
        while self.pending:
            if left <= 0 or not self._write(self.pending[0]):
                return False
            self.forget_pending(1)
            left -= 1
        if self.dropped != self._dropped_noted:
            noted, self._dropped_noted = self._dropped_noted, self.dropped
            records, points = (
                self.dropped.records - noted.records,
                self.dropped.points - noted.points,
            )
            self.append(Dropped(records, points))
        return True

    def forget_pending(self, count: int) -> None:
        """Drop records that were kept and have got where they belong."""
        for _ in range(count):
            self._pending_bytes -= len(self.pending.popleft())

    def sync(self) -> None:
        """Have what is written survive the machine. Slow."""
        self.synced(sync_copy(self.unsynced_copy()))

    def unsynced_copy(self) -> UnsyncedCopy | None:
        """Give what ``sync_copy`` needs, so that it can work without the caller's lock."""
        if self._descriptor is None or self._synced_bytes == self.size_bytes:
            return None
        return UnsyncedCopy(os.dup(self._descriptor), self.segment, self.size_bytes)

    def synced(self, copy: UnsyncedCopy | OSError | None) -> None:
        """Take note of what ``sync_copy`` did."""
        if isinstance(copy, OSError):
            self.problem = copy
        elif copy is not None and copy.segment == self.segment:
            self._synced_bytes = copy.size_bytes

    def close(self) -> None:
        """Sync, and let go of the lock. Nothing is written after it."""
        self.sync()
        self.abandon()
        self._closed = True

    def abandon(self) -> None:
        """Let go of the file without touching it: in a process that was forked."""
        for descriptor in (self._descriptor, self._before):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._before = None

    def _write(self, payload: bytes) -> bool:
        # A closed segment may be another's by now: it is never opened again.
        if self._closed:
            return False
        if self._descriptor is None and not self._open():
            return False
        descriptor = self._descriptor
        if descriptor is None:
            return False
        content = frame(payload, self._number + 1)
        try:
            written = os.write(descriptor, content)
        except OSError as error:
            self.problem = error
            return False
        if written < len(content):
            self._cut_back(descriptor)
            return False
        self._number += 1
        self.size_bytes += written
        return True

    def _cut_back(self, descriptor: int) -> None:
        """Take back the part of a record that the disk had room for."""
        self.problem = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.ftruncate(descriptor, self.size_bytes)
        except OSError as error:
            # The part stays: readers go over it, and its number is used again.
            self.problem = error
            self.size_bytes = os.fstat(descriptor).st_size

    def _open(self) -> bool:
        try:
            descriptor = self._make()
        except BlockingIOError:
            return False  # another process took it for one whose writer is gone, and will remove it
        except OSError as error:
            self.problem = error
            return False
        start = MAGIC + frame(encode(self.begin), 1)
        try:
            os.ftruncate(descriptor, 0)
            written = os.write(descriptor, start)
        except OSError as error:
            self.problem = error
            os.close(descriptor)
            return False
        if written < len(start):
            os.close(descriptor)
            self.problem = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return False
        self._descriptor, self._number, self.size_bytes = descriptor, 1, written
        self._synced_bytes = 0
        if self._before is not None:
            os.close(self._before)
            self._before = None
        return True

    def _make(self) -> int:
        """Make the file and lock it.

        Other processes of the run remove its folder when they find it empty, and a file that
        nobody has locked yet: then it is made again.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        for _ in range(_MAKE_TRIES):
            self.segment.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                descriptor = os.open(self.segment.path, flags, 0o600)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            if not _is_removed(descriptor):
                return descriptor
            os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.segment.path))

    def _begin_next_segment(self) -> None:
        self.sync()
        # Its lock says that the writer lives, until the next one is there and locked.
        self._before, self._descriptor = self._descriptor, None
        self.segment = self.segment.next
        self.size_bytes = 0
        self._open()
