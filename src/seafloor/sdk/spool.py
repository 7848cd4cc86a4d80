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
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import Closed, LimitExceeded
from seafloor.sdk.spool_room import SpoolRoom
from seafloor.sdk.wal import (
    MAGIC,
    RECORD_BYTES_MAX,
    Begin,
    Dropped,
    End,
    Points,
    Record,
    encode,
    frame,
    is_small,
)

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""What is kept in memory while the disk takes nothing."""
_MAKE_TRIES: Final = 10
_ENDED: Final = "The run has ended: it takes no more."

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


def sync_copy(copy: UnsyncedCopy) -> UnsyncedCopy | OSError:
    """Bring a segment to the disk; gives it back, or what the disk said."""
    try:
        os.fdatasync(copy.descriptor)
    except OSError as error:
        return error
    finally:
        os.close(copy.descriptor)
    return copy


class _OpenSegment:
    """A segment that is being written: a handle of its file, and what is known of it.

    A signal may come between any two steps of a call: its handler may log too, or raise, so that
    the call never goes on. Therefore what is known is one tuple that is replaced in one step,
    ``attempt_bytes`` says that a write may have been made since, and who finds it said goes on
    with a handle of his own after he has closed this one: a call that was stopped before its
    write, and goes on later, writes nothing.
    """

    __slots__ = (
        "attempt_bytes",
        "before",
        "file",
        "followers",
        "known",
        "segment",
        "synced_bytes",
    )

    def __init__(
        self,
        segment: Segment,
        file: FileIO,
        known: tuple[int, int],
        before: _OpenSegment | None = None,
    ) -> None:
        self.segment = segment
        self.before = before
        """The full one before it, until that is synced."""
        self.file = file
        self.followers: list[_OpenSegment] = []
        """The first is what the writer has gone on with; the others came too late for that."""
        self.known = known
        """The number of the last record, and the size with it."""
        self.attempt_bytes = 0
        """Size of a record that is being written or was when its call was stopped; else 0."""
        self.synced_bytes = 0

    @property
    def size_bytes(self) -> int:
        """What is known to be written."""
        return self.known[1]

    def with_own_handle(self) -> _OpenSegment:
        """The same by another handle, which has the same lock.

        Raises:
            ValueError: this one is closed.
        """
        # In one call: a descriptor that a signal keeps from being known would hold the lock.
        file = next(map(FileIO, map(os.dup, (self.file.fileno(),)), ("ab",)))
        fresh = _OpenSegment(self.segment, file, self.known, self.before)
        fresh.attempt_bytes, fresh.synced_bytes = self.attempt_bytes, self.synced_bytes
        return fresh

    def settle(self) -> None:
        """Find out what became of the attempt; take back what there is of half a record.

        Raises:
            ValueError: this handle is closed.
        """
        number, size_bytes = self.known
        found_bytes = os.fstat(self.file.fileno()).st_size
        if found_bytes == size_bytes + self.attempt_bytes:
            self.known = number + 1, found_bytes
        elif found_bytes > size_bytes:
            try:
                self.file.truncate(size_bytes)
            except OSError:
                # The part stays: readers go over it, and its number is used again.
                self.known = number, found_bytes
        self.attempt_bytes = 0


class SpoolWriter:
    """Writes one writer's segments. The caller holds a lock around every method.

    No method raises because of the disk: what it does not take, or the spool has no room for, is
    kept in memory up to PENDING_BYTES_MAX, and counted when that is full. How the writer begins
    and ends and what it could not keep is written whatever room the spool has.

    A call that an exception of a signal's handler stopped (Ctrl-C) leaves everything as if it had
    been made or not. A handler may call any method in the middle of another one, in the same
    thread: its record comes first then.

    Args:
        folder: Of the run; made when it is not there.
        begin: Begins every segment.
        room: Of the spool; None: as much as the disk has.
        pending_bytes_max: Bound of what is kept in memory.
    """

    def __init__(
        self,
        folder: Path,
        begin: Begin,
        *,
        room: SpoolRoom | None = None,
        pending_bytes_max: int = PENDING_BYTES_MAX,
    ) -> None:
        writer = make_writer_name(time_ms=time.time_ns() // 1_000_000, pid=begin.pid)
        self.problem: OSError | None = None
        self.pending: deque[bytes] = deque()
        self.begin = begin
        self._first = Segment(folder, writer, 1)
        self._followers: list[_OpenSegment] = []
        self._pending_bytes = 0
        self._pending_bytes_max = pending_bytes_max
        self._closed = False
        self._ended = False
        self.room = room
        self._dropped_records = 0
        self._dropped_points = 0
        self._dropped_noted = Dropped(0, 0)

    @property
    def name(self) -> str:
        """Of the writer."""
        return self._first.writer

    @property
    def segment(self) -> Segment:
        """The one that is written, or was last."""
        opened = self._opened
        return self._first if opened is None else opened.segment

    @property
    def _opened(self) -> _OpenSegment | None:
        opened, followers = None, self._followers
        while followers:
            opened = followers[0]
            followers = opened.followers
        return opened

    @property
    def size_bytes(self) -> int:
        """Of the segment, up to its last whole record."""
        try:
            opened = self._settled()
        except OSError as error:
            self.problem, opened = error, self._opened
        return 0 if opened is None else opened.size_bytes

    @property
    def dropped(self) -> Dropped:
        """What could not be kept."""
        return Dropped(self._dropped_records, self._dropped_points)

    def open(self) -> None:
        """Make the segment and write its beginning, if the disk takes it."""
        if self._opened is None and not self._closed:
            self._open(self._first)

    @property
    def holds_back(self) -> bool:
        """Whether something was logged that is not in the files."""
        return bool(self.pending) or self.dropped != self._dropped_noted

    def append(self, record: Record) -> None:
        """Write a record, or keep it.

        Raises:
            LimitExceeded: it is larger than a reader takes. Nothing was written.
            Closed: the end was written, maybe by a signal's handler meanwhile. Nothing was written.
        """
        payload = encode(record)
        if len(payload) > RECORD_BYTES_MAX:
            raise LimitExceeded(
                f"This would be a record of {len(payload)} bytes; {RECORD_BYTES_MAX} are the "
                "most. Log it in parts, or keep it as an artifact."
            )
        if isinstance(record, End):
            self._note_dropped()  # behind the end nobody reads on
        written, ended = None, False
        while written is None:
            ended = self._ended
            if ended and not isinstance(record, End | Dropped):
                raise Closed(_ENDED)
            written = False if self.pending else self._write(payload, ended=ended)
        if not written:
            self._keep(payload, record, ended=ended)
        if isinstance(record, End):
            self._ended = True
        if written:
            self._go_on_if_full()

    def _keep(self, payload: bytes, record: Record, *, ended: bool) -> None:
        size_bytes = len(payload)
        has_room = self._pending_bytes + size_bytes <= self._pending_bytes_max
        if not has_room and not is_small(payload):
            self._drop(record)
            return
        self.pending.append(payload)
        self._pending_bytes += size_bytes
        if self._ended is not ended and self.pending[-1] is payload:
            # A handler wrote the end before this was kept: nobody reads on behind that.
            self.pending.pop()
            self._pending_bytes -= size_bytes
            raise Closed(_ENDED)

    def _drop(self, record: Record) -> None:
        self._dropped_records += 1
        if isinstance(record, Points):
            self._dropped_points += len(record.points)

    def drop(self) -> None:
        """Count a record that cannot be kept."""
        self._dropped_records += 1

    def retry(self, *, records_max: int | None = None) -> bool:
        """Write what was kept; say whether all is written.

        Args:
            records_max: So that the caller's lock is not held for long; None: no bound.
        """
        left = len(self.pending) if records_max is None else records_max
        while self.pending:
            if left <= 0:
                return False
            payload = self.pending[0]
            written = self._write(payload, ended=self._ended)
            if written is None:
                continue
            if not written:
                return False
            self.forget_pending([payload])
            left -= 1
        self._note_dropped()
        return True

    def _note_dropped(self) -> None:
        """Have the files say what could not be kept since they did last."""
        noted, dropped = self._dropped_noted, self.dropped
        if dropped != noted:
            self._dropped_noted = dropped
            self.append(Dropped(dropped.records - noted.records, dropped.points - noted.points))

    def finish(self) -> int:
        """Write what there is room for, count what there is none for, and close.

        Returns:
            How many records are lost, those that were counted before too.
        """
        if not self.retry():
            self._give_up_pending()
        self.close()
        return self._dropped_records

    def _give_up_pending(self) -> None:
        """Count what is kept in memory as lost; the files say so, and how the writer ended."""
        records = points = 0
        ends: list[bytes] = []
        while self.pending:
            payload = self.pending[0]
            match msgspec.msgpack.decode(payload, type=Record):
                case End():
                    ends.append(payload)
                case Dropped() as noted:
                    records, points = records + noted.records, points + noted.points
                case record:
                    self._drop(record)
            self.forget_pending([payload])
        since = self._dropped_noted
        self._dropped_noted = self.dropped
        records += self._dropped_records - since.records
        points += self._dropped_points - since.points
        for payload in (encode(Dropped(records, points)), *ends):
            while self._write(payload, ended=self._ended) is None:
                pass

    def forget_pending(self, payloads: list[bytes]) -> None:
        """Drop the first records that were kept and have got where they belong.

        One that somebody else dropped meanwhile is not dropped twice.
        """
        for payload in payloads:
            if self.pending and self.pending[0] is payload:
                self.pending.popleft()
                self._pending_bytes -= len(payload)

    def sync(self) -> None:
        """Have what is written survive the machine. Slow."""
        for copy in self.unsynced_copies():
            self.synced(sync_copy(copy))

    def unsynced_copies(self) -> list[UnsyncedCopy]:
        """Give what ``sync_copy`` needs of each segment, so that it can work without the lock."""
        copies: list[UnsyncedCopy] = []
        size_bytes, opened = self.size_bytes, self._opened
        while opened is not None and not opened.file.closed:
            if opened.synced_bytes != size_bytes:
                try:
                    descriptor = os.dup(opened.file.fileno())
                except OSError as error:
                    self.problem = error
                    break
                copies.append(UnsyncedCopy(descriptor, opened.segment, size_bytes))
            opened = opened.before
            size_bytes = 0 if opened is None else opened.size_bytes
        return copies

    def synced(self, copy: UnsyncedCopy | OSError) -> None:
        """Take note of what ``sync_copy`` did."""
        if isinstance(copy, OSError):
            self.problem = copy
            return
        later, opened = None, self._opened
        while opened is not None and opened.segment != copy.segment:
            later, opened = opened, opened.before
        if opened is None:
            return
        opened.synced_bytes = copy.size_bytes
        if later is not None:  # nothing is written there any more
            later.before = opened.before
            opened.file.close()

    def close(self) -> None:
        """Sync, and let go of the lock. Nothing is written after it."""
        self.sync()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file without touching it: in a process that was forked."""
        self._closed = True
        opened = self._opened
        while opened is not None:
            opened.file.close()
            opened = opened.before

    def _settled(self) -> _OpenSegment | None:
        """The segment that is open, without a write of which nobody knows what became.

        Raises:
            OSError: that cannot be found out now.
        """
        while True:
            opened = self._opened
            if opened is None or not opened.attempt_bytes or self._closed:
                return opened
            try:
                fresh = opened.with_own_handle()
                if self._follow(opened.followers, fresh):
                    opened.file.close()
                    fresh.settle()
                else:
                    fresh.file.close()
            except ValueError:
                continue  # a call that came between has gone on by a handle of its own

    def _follow(self, followers: list[_OpenSegment], fresh: _OpenSegment) -> bool:
        """Go on with something else, unless a call that came between has gone on already.

        Which of two it is, is settled in one step.
        """
        followers.append(fresh)
        if followers[0] is not fresh:
            return False
        self._followers = followers  # what was before is not looked at any more
        return True

    def _write(self, payload: bytes, *, ended: bool) -> bool | None:
        """Write a record; say whether it is written.

        None: it is not, since the handler of a signal came between. The caller is to look anew
        what there is to do.

        Args:
            payload: Of the record.
            ended: Whether the end was there when the caller looked.
        """
        # A closed segment may be another's by now: it is never opened again.
        if self._closed:
            return False
        try:
            if self._settled() is None:
                self._open(self._first)
            opened = self._settled()
        except OSError as error:
            self.problem = error
            return False
        if opened is None:
            return False
        known = opened.known
        content = frame(payload, known[0] + 1)
        if self.room is not None and not is_small(payload) and not self.room.take(len(content)):
            self.problem = self.room.problem
            return False
        opened.attempt_bytes = len(content)
        # Who came between before this has made what is known old; who comes later closes the file.
        if opened.followers or opened.known is not known or self._ended is not ended:
            return None
        try:
            written = opened.file.write(content)
        except ValueError:
            return None
        except OSError as error:
            opened.attempt_bytes = 0
            self.problem = error
            return False
        if written != len(content):
            self.problem = _no_space()
            with contextlib.suppress(OSError):
                self._settled()  # takes the part back that the disk had room for
            return False
        opened.known = known[0] + 1, known[1] + written
        opened.attempt_bytes = 0
        return True

    def _open(self, segment: Segment) -> None:
        """Make a segment, and go on there if the disk takes its beginning.

        Other processes of the run remove its folder when they find it empty, and a file that
        nobody has locked yet: then it is made again.
        """
        try:
            for _ in range(_MAKE_TRIES):
                segment.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                try:
                    file = FileIO(segment.path, "ab", opener=partial(os.open, mode=0o600))
                except FileNotFoundError:
                    continue
                if self._begin_file(segment, file):
                    return
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(segment.path))
        except BlockingIOError:
            return  # another process took it for one whose writer is gone, and will remove it
        except OSError as error:
            self.problem = error

    def _begin_file(self, segment: Segment, file: FileIO) -> bool:
        """Lock a file, begin it, and go on there; False when somebody has removed it.

        Raises:
            OSError: the disk does not take it, or another process has it.
        """
        before = self._opened
        followers = self._followers if before is None else before.followers
        start = MAGIC + frame(encode(self.begin), 1)
        # The full one keeps its lock, which says that the writer lives, until this one is there
        # and locked, and its file, until the sender has synced it.
        fresh = _OpenSegment(segment, file, (1, len(start)), before)
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_removed(file.fileno()):
                return False
            if not followers and not self._closed:
                file.truncate(0)
                if file.write(start) != len(start):
                    raise _no_space()
                self._follow(followers, fresh)
        finally:
            if not followers or followers[0] is not fresh:
                if not followers and not self._closed:
                    # Unlocked, it would be for others as if the writer were gone.
                    _remove_unless_locked(segment.path, file)
                file.close()
        return True

    def _go_on_if_full(self) -> None:
        """Begin the next segment; where the disk has no room for one, this one grows on."""
        opened = self._opened
        if opened is not None and opened.size_bytes >= SEGMENT_BYTES_MAX:
            self._open(opened.segment.next)


def _remove_unless_locked(path: Path, file: FileIO) -> None:
    """Remove a file, unless another process has it locked."""
    with contextlib.suppress(OSError):
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_removed(file.fileno()):
            path.unlink()


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
