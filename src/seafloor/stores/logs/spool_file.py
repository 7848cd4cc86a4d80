"""One log on disk: ``<task>.log``, its index ``<task>.idx`` and the mark ``<task>.done``.

Blocking code; ``spool.py`` calls it from threads. Writers take the lock of the log; readers take
a snapshot and descriptors of their own, so a reader never waits for an fsync.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from seafloor.domain.errors import Closed, OutOfOrder, StoreCorrupt
from seafloor.stores.append_file import AppendFile, disk_error, make_folder, sync_folder
from seafloor.stores.logs.line_index import IndexDamaged, LineIndex
from seafloor.stores.logs.page import PageQuery, PageRead, read_page
from seafloor.stores.logs.record import STREAMS, BadRecord, Scan, Tally, read_records, scan

LOG_SUFFIX, INDEX_SUFFIX, DONE_SUFFIX = ".log", ".idx", ".done"

_SCAN_BLOCK_BYTES = 1024 * 1024
_RAW_CHUNK_BYTES = 256 * 1024
_log = logging.getLogger(__name__)


class Snapshot(msgspec.Struct, frozen=True):
    """A log as it stands between two appends.

    Args:
        tally: Of its whole records.
        size_bytes: Accepted bytes.
        finished: Whether it takes no more.
        damage: What is wrong with the record at ``tally.offset``. Only a finished log keeps
            damage: any other is cut back there, and its agent sends the rest again.
    """

    tally: Tally = Tally()
    size_bytes: int = 0
    finished: bool = False
    damage: str | None = None

    @property
    def complete(self) -> bool:
        """Whether what can be read is all there ever will be."""
        return self.finished and self.damage is None

    def refuse_damage(self, path: Path) -> None:
        """Raise StoreCorrupt when there are bytes that cannot be read."""
        if self.damage is not None:
            raise StoreCorrupt(
                f"The log is damaged after line {self.tally.expected - 1:,}: {self.damage}.",
                detail=str(path),
            )


@dataclass
class _Opened:
    """What the writer of a log holds: its descriptors, and how the log stands."""

    file: AppendFile
    index: LineIndex
    snapshot: Snapshot
    unwritten: list[Tally] = field(default_factory=list[Tally])

    def mark(self, marks: tuple[Tally, ...]) -> None:
        """Write marks of durable bytes; what the disk refuses waits for the next time."""
        self.unwritten.extend(marks)
        before = len(self.index)
        try:
            self.index.extend(self.unwritten)
        except OSError as exc:
            _log.warning("line index not written, pages of this log are slower: %s", exc)
        del self.unwritten[: len(self.index) - before]

    def close(self) -> None:
        self.file.close()
        self.index.close()


class SpoolFile:
    """One log on disk. Thread-safe; opened when first used, closed and opened again at will.

    Args:
        stem: The path of the log without its suffix.
    """

    def __init__(self, stem: Path) -> None:
        self.path = stem.with_name(stem.name + LOG_SUFFIX)
        self._index_path = stem.with_name(stem.name + INDEX_SUFFIX)
        self._done_path = stem.with_name(stem.name + DONE_SUFFIX)
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    def append(self, offset: int, data: bytes) -> int:
        """Append; the contract of ``LogStore.append``."""
        with self._lock:
            opened = self._open()
            before = opened.snapshot
            if offset > before.size_bytes:
                raise OutOfOrder(
                    f"The log has {before.size_bytes:,} bytes; go on from there.",
                    next_offset=before.size_bytes,
                    field="offset",
                )
            fresh = data[before.size_bytes - offset :]
            if not fresh:
                return before.size_bytes
            if before.finished:
                raise Closed("This log is finished and takes no more.")
            return self._append(opened, fresh)

    def _append(self, opened: _Opened, fresh: bytes) -> int:
        file, before = opened.file, opened.snapshot
        try:
            torn = file.read_at(before.tally.offset, before.size_bytes - before.tally.offset)
            found = scan(torn + fresh, before.tally)
            size_bytes = before.size_bytes + len(fresh)
            if found.problem is not None:
                size_bytes = found.tally.offset
                file.truncate(size_bytes)  # the bad record may have begun in an earlier append
            file.append(fresh[: max(0, size_bytes - before.size_bytes)])
        except OSError as exc:
            self._release()  # whatever is on disk now is looked at anew
            raise disk_error(exc, "keep the log") from exc
        opened.snapshot = Snapshot(found.tally, size_bytes)
        opened.mark(found.marks)
        if found.problem is not None:
            raise StoreCorrupt(
                f"{found.problem}. The log was kept up to there.", detail=str(self.path)
            ) from found.problem
        return size_bytes

    def finish(self) -> None:
        """Take no more; durable."""
        with self._lock:
            opened = self._open()
            if opened.snapshot.finished:
                return
            try:
                make_folder(self.path.parent)
                self._done_path.write_text(f"{opened.snapshot.size_bytes}\n")
                sync_folder(self.path.parent)
            except OSError as exc:
                raise disk_error(exc, "finish the log") from exc
            opened.snapshot = msgspec.structs.replace(opened.snapshot, finished=True)

    def delete(self) -> int:
        """Delete the log; return its bytes. It can be written anew."""
        with self._lock:
            freed_bytes = self._open().snapshot.size_bytes
            self._release()
            try:
                # The log itself goes last: as long as it is there, a crash leaves a log to delete.
                for path in (self._index_path, self._done_path, self.path):
                    path.unlink(missing_ok=True)
            except OSError as exc:
                raise disk_error(exc, "delete the log") from exc
            return freed_bytes

    def close(self) -> None:
        """Give descriptors back; the next use opens again."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> _Opened:
        """Open and check the log, unless it is open; the lock is held."""
        if self._opened is not None:
            return self._opened
        with ExitStack() as held:
            try:
                file = held.enter_context(closing(AppendFile(self.path)))
                index = held.enter_context(closing(LineIndex(self._index_path, file.read_at)))
                opened = _Opened(file, index, Snapshot())
                self._check(opened, done=_read_done(self._done_path))
            except OSError as exc:
                raise disk_error(exc, "open the log") from exc
            held.pop_all()
        self._opened = opened
        return opened

    def _check(self, opened: _Opened, *, done: int | None) -> None:
        """Count what is there, from the last mark on when the index can be believed.

        Args:
            done: See ``_read_done``.
        """
        file, finished = opened.file, done is not None
        found = self._count_from_index(opened)
        if found is None:
            opened.index.clear()
            found = _count(file, Tally())
        opened.mark(found.marks)
        if found.problem is not None and not finished:
            _log.warning("%s is cut back to its last good record: %s", self.path, found.problem)
            file.truncate(found.tally.offset)
        damage = str(found.problem) if found.problem is not None and finished else None
        if damage is None and done is not None and file.size_bytes < done:
            damage = f"{done - file.size_bytes:,} of its {done:,} bytes are gone"
        opened.snapshot = Snapshot(found.tally, file.size_bytes, finished, damage)

    def _count_from_index(self, opened: _Opened) -> Scan | None:
        """Count from the last mark on; None when the index does not fit the log.

        Only durable bytes have marks, so the record at a mark is good unless the index is wrong.
        """
        if len(opened.index) == 0:
            return None
        try:
            mark = opened.index.mark(len(opened.index) - 1)
        except IndexDamaged:
            mark = Tally()
        if 0 < mark.offset < opened.file.size_bytes:
            found = _count(opened.file, mark)
            if found.tally.offset > mark.offset:
                return found
        _log.warning("line index of %s does not fit it and is made again", self.path)
        return None

    def _rebuild_index(self) -> None:
        with self._lock:
            try:
                self._release()
                self._index_path.unlink(missing_ok=True)
            except OSError as exc:
                raise disk_error(exc, "read the log") from exc
            self._open()

    def snapshot(self) -> Snapshot:
        """See how the log stands; the first time, open and check it."""
        opened = self._opened
        if opened is not None:
            return opened.snapshot
        with self._lock:
            return self._open().snapshot

    def page(self, query: PageQuery) -> tuple[PageRead, Snapshot]:
        """Read lines, with the log as it stood; an index found wrong is made again once."""
        try:
            return self._page(query)
        except (IndexDamaged, BadRecord) as exc:
            _log.warning("line index of %s is made again: %s", self.path, exc)
            self._rebuild_index()
        try:
            return self._page(query)
        except (IndexDamaged, BadRecord) as exc:
            raise StoreCorrupt(f"The log is damaged: {exc}.", detail=str(self.path)) from exc

    def _page(self, query: PageQuery) -> tuple[PageRead, Snapshot]:
        seen = self.snapshot()
        try:
            with (
                closing(AppendFile(self.path)) as file,
                closing(LineIndex(self._index_path, file.read_at)) as index,
            ):
                found = read_page(file.read_at, index, seen.tally, query)
        except OSError as exc:
            raise disk_error(exc, "read the log") from exc
        if found.at_end and not found.lines:
            seen.refuse_damage(self.path)
        return found, seen

    def printed(self, stream: str | None) -> Generator[bytes]:
        """Yield what the task printed, in chunks of about 256 KiB; constant memory.

        Args:
            stream: Only of this one; None: ``out`` and ``err``, which are what a task prints.
        """
        wanted = (0, 1) if stream is None else (STREAMS.index(stream),)
        seen = self.snapshot()
        chunk: list[bytes] = []
        size_bytes = 0
        try:
            with closing(AppendFile(self.path)) as file:
                for record, _ in read_records(file.read_at, start=0, end=seen.tally.offset):
                    if record.stream in wanted:
                        chunk.append(record.printed)
                        size_bytes += len(chunk[-1])
                    if size_bytes >= _RAW_CHUNK_BYTES:
                        yield b"".join(chunk)
                        chunk, size_bytes = [], 0
        except OSError as exc:
            raise disk_error(exc, "read the log") from exc
        except BadRecord as exc:
            raise StoreCorrupt(f"The log is damaged: {exc}.", detail=str(self.path)) from exc
        if chunk:
            yield b"".join(chunk)
        seen.refuse_damage(self.path)

    def content(self, start: int) -> Generator[bytes]:
        """Yield the accepted bytes from an offset on; constant memory."""
        end = self.snapshot().size_bytes
        try:
            with closing(AppendFile(self.path)) as file:
                for at in range(start, end, _SCAN_BLOCK_BYTES):
                    yield file.read_at(at, min(_SCAN_BLOCK_BYTES, end - at))
        except OSError as exc:
            raise disk_error(exc, "read the log") from exc


def _read_done(path: Path) -> int | None:
    """How many bytes a finished log had, 0 when that was not noted; None: it is not finished.

    Older versions noted nothing, and a crash may have lost the note, of which nobody waits for the
    disk: it is there to say what is lacking of a log, and nothing is lost without it.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _count(file: AppendFile, start: Tally) -> Scan:
    """Scan from a mark to the end of the file in blocks."""
    marks: list[Tally] = []
    tally, at, torn = start, start.offset, b""
    while at < file.size_bytes:
        block = file.read_at(at, _SCAN_BLOCK_BYTES)
        if not block:
            raise OSError("the log became shorter while it was read")
        at += len(block)
        data = torn + block
        found = scan(data, tally)
        marks.extend(found.marks)
        if found.problem is not None:
            return Scan(found.tally, tuple(marks), found.problem)
        torn = data[found.tally.offset - tally.offset :]
        tally = found.tally
    return Scan(tally, tuple(marks))


def stems(folder: Path) -> set[str]:
    """The names of the logs in a folder, be they only finished."""
    found: set[str] = set()
    if not folder.is_dir():
        return found
    with os.scandir(folder) as entries:
        for entry in entries:
            for suffix in (LOG_SUFFIX, DONE_SUFFIX):
                if entry.name.endswith(suffix):
                    found.add(entry.name.removesuffix(suffix))
    return found
