"""The log spool on disk: lines are numbered and kept here before they go anywhere else."""

from __future__ import annotations

import os
import threading
import time
from typing import List, NamedTuple, Optional

from .records import (
    AGENT,
    HEADER,
    LF,
    LOSS,
    MAGIC,
    PAYLOAD_BYTES_MAX,
    Damaged,
    Piece,
    pack,
    pack_loss,
    walk,
)

SYNC_INTERVAL_S = 0.2
SYNC_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 20


class Survey(NamedTuple):
    """What a spool holds.

    Args:
        size_bytes: Of its good part.
        lines: Whole records that are lines.
        lines_lost: Numbers that were skipped or reported lost.
        next_number: Of the next line.
        damaged: Whether more than a torn write follows the good part.
    """

    size_bytes: int
    lines: int
    lines_lost: int
    next_number: int
    damaged: bool


def survey(fd: int) -> Survey:
    """Read a spool through and check every record.

    Cost: one read of the file, some microseconds per line; memory of one block.
    """
    if os.pread(fd, len(MAGIC), 0) != MAGIC:
        # Fewer bytes than the magic are a torn first write.
        return Survey(0, 0, 0, 1, os.fstat(fd).st_size >= len(MAGIC))
    at, lines, lost, expected = len(MAGIC), 0, 0, 1
    while True:
        block = os.pread(fd, _BLOCK_BYTES, at)
        begin = at
        try:
            for end, number, _, flags, payload in walk(block):
                is_loss = bool(flags & LOSS)
                count = int(payload) if is_loss else 1
                lost += number - expected + (count if is_loss else 0)
                lines += not is_loss
                expected = number + count
                at = begin + end
        except (Damaged, ValueError):
            return Survey(at, lines, lost, expected, True)
        if len(block) < HEADER.size + PAYLOAD_BYTES_MAX:
            # Less than a record can have was left: what follows the last whole one is torn.
            return Survey(at, lines, lost, expected, False)


class Spool:
    """An open spool. One thread at a time writes; any thread may read ``size_bytes``.

    A write that fails (a full disk) never stops the caller: the lines are counted, and the next
    write that succeeds begins with the record of their loss.

    Args:
        path: Its file; opened again, what a torn write left is cut off and numbers go on.

    Attributes:
        size_bytes: Bytes that are whole records on disk; what may be shipped.
        lines: Lines in it.
        lines_lost: Lines that could not be kept.
        damaged_bytes: What was cut off at opening and was more than a torn write.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        found = survey(self._fd)
        self.damaged_bytes = os.fstat(self._fd).st_size - found.size_bytes if found.damaged else 0
        os.ftruncate(self._fd, found.size_bytes)
        self.size_bytes = found.size_bytes
        self.lines = found.lines
        self.lines_lost = found.lines_lost
        self._next_number = found.next_number
        self._parts: List[bytes] = []
        self._parts_lines = 0
        self._unwritten = 0
        self._synced_bytes = self.size_bytes

    def close(self) -> None:
        """Give its file back; nothing may be asked of it afterwards."""
        os.close(self._fd)

    def add(self, stream: int, time_ns: int, pieces: List[Piece]) -> None:
        """Number some lines; ``commit`` writes them."""
        if pieces:
            self._parts += pack(stream, self._next_number, time_ns, pieces)
            self._next_number += len(pieces)
            self._parts_lines += len(pieces)

    def say(self, text: str) -> None:
        """Add and write a line of the agent's own."""
        payload = text.encode("utf-8", "backslashreplace")[:PAYLOAD_BYTES_MAX]
        self.add(AGENT, time.time_ns(), [(payload, LF, 0)])
        self.commit()

    def commit(self) -> bool:
        """Write what was added since the last commit, whole or not at all.

        Returns:
            Whether something was written.
        """
        if not self._parts and not self._unwritten:
            return False
        count = self._parts_lines
        data = self._prefix() + b"".join(self._parts)
        self._parts, self._parts_lines = [], 0
        try:
            self._write(data)
        except OSError:  # counted, told by a loss record and by the report of the ending
            self._unwritten += count
            self.lines_lost += count
            os.ftruncate(self._fd, self.size_bytes)
            return False
        self._unwritten = 0
        self.lines += count
        self.size_bytes += len(data)
        return True

    def _prefix(self) -> bytes:
        """The magic before the first record, and the record of a loss."""
        made = MAGIC if self.size_bytes == 0 else b""
        if self._unwritten:
            first = self._next_number - self._parts_lines - self._unwritten
            made += pack_loss(first, self._unwritten, time.time_ns())
        return made

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        at = self.size_bytes
        while view:
            written = os.pwrite(self._fd, view, at)
            at += written
            view = view[written:]

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Read bytes of whole records."""
        return os.pread(self._fd, min(size_bytes, self.size_bytes - offset), offset)

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that a crash of the machine could take."""
        return self.size_bytes - self._synced_bytes

    def sync(self) -> None:
        """Bring what was written to the disk.

        Raises:
            OSError: the disk fails.
        """
        size_bytes = self.size_bytes
        if size_bytes > self._synced_bytes:
            os.fdatasync(self._fd)
            self._synced_bytes = size_bytes


class Syncer:
    """Syncs a spool in a thread of its own, so that a slow disk does not hold up the command."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._stopping = False
        self._dirty = threading.Event()
        self._urgent = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self.problem: Optional[str] = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def written(self) -> None:
        """Be told of a commit."""
        self._dirty.set()
        if self._spool.unsynced_bytes >= SYNC_BYTES:
            self._urgent.set()

    def stop(self) -> None:
        """Sync the rest and end."""
        self._stopping = True
        self._dirty.set()
        self._urgent.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._dirty.wait()
            self._dirty.clear()
            self._urgent.clear()
            self._sync()
            self._urgent.wait(SYNC_INTERVAL_S)
        self._sync()

    def _sync(self) -> None:
        try:
            self._spool.sync()
        except OSError as error:
            self.problem = "The log could not be brought to the disk: {}.".format(error.strerror)
