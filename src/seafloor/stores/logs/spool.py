"""The log store on a local disk.

A log is the file ``<root>/<workload>/<attempt>/<stem>.log``: the very bytes of the agent's spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.domain.names import check_slug
from seafloor.stores.append_file import disk_error
from seafloor.stores.logs.page import PageQuery, PageRead, check_stream, follow_query
from seafloor.stores.logs.protocol import LogKey, LogPage, LogState, log_key_of
from seafloor.stores.logs.signals import FOLLOW_QUIET_S, Signals, quiet
from seafloor.stores.logs.spool_file import Snapshot, SpoolFile, stems
from seafloor.stores.open_files import OpenFiles

APPEND_BYTES_MAX = 8 * 1024 * 1024
OPEN_LOGS_MAX = 128
_THREADS = 8  # enough for fsyncs of several logs to wait side by side

T = TypeVar("T")


def check_log_key(key: LogKey) -> LogKey:
    """Refuse a key that names no log; what passes is safe as a path."""
    parse_workload_id(key.workload_id, field="workload_id")
    if key.attempt < 0:
        raise InvalidValue("Attempts are counted from 0.", field="attempt")
    check_slug(key.task, field="task")
    if key.setup:
        check_slug(key.setup, field="setup")
    return key


def check_append(key: LogKey, offset: int, data: bytes) -> None:
    """Refuse an append that no store takes."""
    check_log_key(key)
    if offset < 0:
        raise InvalidValue("An offset is not negative.", field="offset")
    if len(data) > APPEND_BYTES_MAX:
        raise LimitExceeded(
            f"An append has at most {APPEND_BYTES_MAX:,} bytes; this one has {len(data):,}.",
            field="data",
        )


def describe(seen: Snapshot) -> LogState:
    """Turn a snapshot into what callers see."""
    tally = seen.tally
    empty = tally.lines() == 0
    return LogState(
        size_bytes=seen.size_bytes,
        lines=tally.lines(),
        lines_missing=tally.missing,
        first_time_ns=None if empty else tally.first_time_ns,
        last_time_ns=None if empty else tally.last_time_ns,
        finished=seen.finished,
    )


class SpoolLogStore:
    """Logs as files of one folder; the contract is ``LogStore``.

    Appends to one log follow one another; appends to several wait for the disk side by side. The
    memory of a log that is open is a few hundred bytes, whatever its length, and at most
    ``open_logs_max`` logs are open.

    Args:
        root: The folder; made when needed. One process at a time may use it.
        open_logs_max: How many logs keep two descriptors each.
        quiet_s: How long a follower hears nothing before it gets an empty page.
    """

    def __init__(
        self,
        root: Path,
        *,
        open_logs_max: int = OPEN_LOGS_MAX,
        quiet_s: float = FOLLOW_QUIET_S,
    ) -> None:
        self._root = root
        self._quiet_s = quiet_s
        self._files: OpenFiles[LogKey, SpoolFile] = OpenFiles(self._make, open_max=open_logs_max)
        self._signals = Signals[tuple[PageRead, Snapshot]]()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="logs")
        self._closed = False

    def _make(self, key: LogKey) -> SpoolFile:
        return SpoolFile(self._root / key.workload_id / str(key.attempt) / key.stem)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _change(self, key: LogKey, change: Callable[[SpoolFile], T]) -> T:
        """Change a log in a thread and wake its followers, also when the caller went away."""
        loop = asyncio.get_running_loop()

        def work() -> T:
            try:
                with self._files.use(key) as file:
                    return change(file)
            finally:
                loop.call_soon_threadsafe(self._signals.ring, key)

        return await self._run(work)

    async def append(self, key: LogKey, *, offset: int, data: bytes) -> int:
        """Append record bytes; durable when it returns."""
        check_append(key, offset, data)
        return await self._change(key, lambda file: file.append(offset, data))

    async def finish(self, key: LogKey) -> None:
        """Take no more. Repeatable."""
        check_log_key(key)
        await self._change(key, SpoolFile.finish)

    async def state(self, key: LogKey) -> LogState:
        """Describe a log; one never written is empty."""
        check_log_key(key)

        def work() -> LogState:
            with self._files.use(key) as file:
                return describe(file.snapshot())

        return await self._run(work)

    async def keys(self, workload_id: WorkloadId) -> tuple[LogKey, ...]:
        """The logs of a workload by attempt and stem."""
        parse_workload_id(workload_id)
        return await self._run(lambda: self._keys(workload_id))

    def _keys(self, workload_id: WorkloadId) -> tuple[LogKey, ...]:
        folder = self._root / workload_id
        try:
            attempts = [path.name for path in folder.iterdir() if path.name.isdigit()]
            found = [
                (int(attempt), stem) for attempt in attempts for stem in stems(folder / attempt)
            ]
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise disk_error(exc, "list the logs") from exc
        return tuple(log_key_of(workload_id, attempt, stem) for attempt, stem in sorted(found))

    async def page(
        self, key: LogKey, *, from_line: int, limit: int, stream: str | None = None
    ) -> LogPage:
        """Read lines from a number on."""
        check_log_key(key)
        read, seen = await self._page(key, PageQuery(from_line, limit, stream).checked())
        return read.page(finished=seen.complete)

    async def _page(self, key: LogKey, query: PageQuery) -> tuple[PageRead, Snapshot]:
        def work() -> tuple[PageRead, Snapshot]:
            with self._files.use(key) as file:
                return file.page(query)

        return await self._run(work)

    async def follow(self, key: LogKey, *, from_line: int) -> AsyncIterator[LogPage]:
        """Yield pages as lines arrive, an empty page at least every 15 s, until finished.

        Ends also when the store closes. A log that is deleted meanwhile begins anew.
        """
        check_log_key(key)
        query = follow_query(from_line)
        with self._signals.listen(key) as follower:
            while not self._closed:
                follower.changed.clear()
                read, seen = await follower.read(query, partial(self._page, key, query))
                page = read.page(finished=seen.complete)
                query = query.after(page.next_line)
                if page.lines or page.finished:
                    yield page
                if page.finished:
                    return
                at_rest = read.at_end and seen.damage is None
                if at_rest and await quiet(follower.changed, self._quiet_s):
                    yield msgspec.structs.replace(page, lines=())

    async def raw(self, key: LogKey, *, stream: str | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes the task printed, terminators included, in constant memory.

        Args:
            stream: Only of this one; None: ``out`` and ``err`` together.
        """
        check_log_key(key)
        check_stream(stream)
        with self._files.use(key) as file:
            chunks = file.printed(stream)
            try:
                while chunk := await self._run(lambda: next(chunks, b"")):
                    yield chunk
            finally:
                await self._run(chunks.close)

    async def records(self, key: LogKey, *, start: int = 0) -> AsyncIterator[bytes]:
        """Stream the accepted bytes themselves, as ``append`` takes them, in constant memory."""
        check_log_key(key)
        with self._files.use(key) as file:
            chunks = file.content(start)
            try:
                while chunk := await self._run(lambda: next(chunks, b"")):
                    yield chunk
            finally:
                await self._run(chunks.close)

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete all logs of a workload; return the bytes freed. Repeatable."""
        freed_bytes = 0
        for key in await self.keys(workload_id):
            freed_bytes += await self._change(key, SpoolFile.delete)
        await self._run(lambda: self._remove_folders(workload_id))
        return freed_bytes

    def _remove_folders(self, workload_id: WorkloadId) -> None:
        """Remove the empty folders; one that is being written to again stays."""
        folder = self._root / workload_id
        try:
            inner = sorted(folder.iterdir()) if folder.is_dir() else []
            for path in (*inner, folder):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        except OSError as exc:
            raise disk_error(exc, "delete the logs") from exc

    async def close(self) -> None:
        """Give back what the store holds. Safe to repeat."""
        self._closed = True
        self._signals.ring_all()
        await asyncio.to_thread(self._threads.shutdown)
        self._files.close()
