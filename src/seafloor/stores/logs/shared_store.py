"""The log store that several servers share: recent bytes in the database, older ones in objects.

What one server acknowledged can be read from, and appended to through, every other at once, also
when the first one never comes back. ``docs/design`` has the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.stores.logs.page import (
    PageCollector,
    PageQuery,
    PageRead,
    check_stream,
    follow_query,
)
from seafloor.stores.logs.protocol import LogKey, LogPage, LogState, log_key_of
from seafloor.stores.logs.record import STREAMS, BadRecord, RecordDecoder, Tally
from seafloor.stores.logs.shared_kind import LogKind, tally_of, tally_of_mark
from seafloor.stores.logs.shared_watch import POLL_S, Watch
from seafloor.stores.logs.signals import FOLLOW_QUIET_S, quiet
from seafloor.stores.logs.spool import check_append, check_log_key
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams.reading import StreamGone
from seafloor.stores.streams.records import Stream
from seafloor.stores.streams.streams import SealLimits, SharedStreams

_WINDOW_BYTES = 256 * 1024  # holds the longest record, so a window always moves on
_READ_BYTES_MAX = 32 * 1024 * 1024
_RAW_CHUNK_BYTES = 256 * 1024
_NEVER = 1 << 63

Measure = Callable[[Tally], int]


class SharedLogStore:
    """Logs in the metadata database and the object store; the contract is ``LogStore``.

    Args:
        database: Migrated; not closed with the store.
        objects: Where what is sealed goes; not closed with the store.
        limits: When a log that still grows is sealed.
        quiet_s: How long a follower hears nothing before it gets an empty page.
        poll_s: How often other servers' appends are looked for while somebody follows.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        *,
        limits: SealLimits | None = None,
        quiet_s: float = FOLLOW_QUIET_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._streams = SharedStreams(database, objects, LogKind(), limits=limits)
        self._watch = Watch(self._streams, poll_s=poll_s)
        self._quiet_s = quiet_s
        self._closed = False

    async def append(self, key: LogKey, *, offset: int, data: bytes) -> int:
        """Append record bytes; durable when it returns, for every server."""
        check_append(key, offset, data)
        try:
            return await self._streams.append(
                key.workload_id, key.attempt, key.stem, offset=offset, data=data
            )
        finally:
            self._watch.ring(key)

    async def finish(self, key: LogKey) -> None:
        """Take no more. Repeatable."""
        check_log_key(key)
        await self._streams.finish(key.workload_id, key.attempt, key.stem)
        self._watch.ring(key)

    async def state(self, key: LogKey) -> LogState:
        """Describe a log; one never written is empty."""
        stream = await self._find(key)
        tally = tally_of(stream)
        empty = tally.lines() == 0
        return LogState(
            size_bytes=0 if stream is None else stream.size_bytes,
            lines=tally.lines(),
            lines_missing=tally.missing,
            first_time_ns=None if empty else tally.first_time_ns,
            last_time_ns=None if empty else tally.last_time_ns,
            finished=stream is not None and stream.finished,
        )

    async def _find(self, key: LogKey) -> Stream | None:
        check_log_key(key)
        return await self._streams.find(key.workload_id, key.attempt, key.stem)

    async def keys(self, workload_id: WorkloadId) -> tuple[LogKey, ...]:
        """The logs of a workload by attempt and stem."""
        found = await self._streams.list(parse_workload_id(workload_id))
        return tuple(log_key_of(workload_id, one.key.attempt, one.key.name) for one in found)

    async def page(
        self, key: LogKey, *, from_line: int, limit: int, stream: str | None = None
    ) -> LogPage:
        """Read lines from a number on.

        Cost: a few index seeks, and the rows or frames that hold the lines; with a stream,
        those without a line of it are left out.
        """
        check_log_key(key)
        return await self._page(key, PageQuery(from_line, limit, stream).checked())

    async def _page(self, key: LogKey, query: PageQuery) -> LogPage:
        while True:
            stream = await self._find(key)
            finished = stream is not None and stream.finished
            try:
                read = await self._read(stream, query)
            except StreamGone:
                continue  # deleted meanwhile: look at what there is now
            return read.page(finished=finished)

    async def _read(self, stream: Stream | None, query: PageQuery) -> PageRead:
        end = tally_of(stream)
        total = end.lines(query.stream)
        if stream is None or total == 0 or query.from_line >= end.expected:
            return PageRead((), max(query.from_line, end.expected), end, at_end=True)
        try:
            return await _PageReader(self._streams, stream, query).read()
        except BadRecord as exc:
            raise StoreCorrupt(f"The log is damaged: {exc}.", detail=str(stream.key)) from exc

    async def follow(self, key: LogKey, *, from_line: int) -> AsyncIterator[LogPage]:
        """Yield pages as lines arrive, an empty page at least every 15 s, until finished.

        Ends also when the store closes. A log that is deleted meanwhile begins anew.
        """
        check_log_key(key)
        query = follow_query(from_line)
        loop = asyncio.get_running_loop()
        with self._watch.listen(key) as follower:
            heard_s = loop.time()
            while not self._closed:
                follower.changed.clear()
                page = await follower.read(query, partial(self._page, key, query))
                query = query.after(page.next_line)
                if page.lines or page.finished:
                    yield page
                    heard_s = loop.time()
                if page.finished:
                    return
                left_s = heard_s + self._quiet_s - loop.time()
                if not page.lines and await quiet(follower.changed, left_s):
                    yield page
                    heard_s = loop.time()

    async def raw(self, key: LogKey, *, stream: str | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes the task printed, terminators included, in constant memory.

        Args:
            stream: Only of this one; None: ``out`` and ``err`` together.
        """
        check_stream(stream)
        found = await self._find(key)
        if found is None:
            return
        wanted = (0, 1) if stream is None else (STREAMS.index(stream),)
        decoder = RecordDecoder()
        try:
            async for data in self._streams.reader.content(found, 0, tally_of(found).offset):
                printed = [one.printed for one in decoder.feed(data) if one.stream in wanted]
                chunk = b"".join(printed)
                for at in range(0, len(chunk), _RAW_CHUNK_BYTES):
                    yield chunk[at : at + _RAW_CHUNK_BYTES]
        except BadRecord as exc:
            raise StoreCorrupt(f"The log is damaged: {exc}.", detail=str(found.key)) from exc

    async def records(self, key: LogKey, *, start: int = 0) -> AsyncIterator[bytes]:
        """Stream the accepted bytes themselves, as ``append`` takes them, in constant memory."""
        found = await self._find(key)
        if found is None:
            return
        async for data in self._streams.reader.content(found, start, found.size_bytes):
            yield data

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete all logs of a workload; return the bytes freed. Repeatable."""
        found = await self._streams.delete(parse_workload_id(workload_id))
        for stream in found:
            self._watch.ring(log_key_of(workload_id, stream.key.attempt, stream.key.name))
        return sum(stream.size_bytes for stream in found)

    async def seal_due(self) -> int:
        """Move what is due from the database to objects; return how many bytes."""
        return await self._streams.seal_due()

    async def close(self) -> None:
        """Wake all followers, so that they end, and finish what was begun. Safe to repeat."""
        self._closed = True
        await self._watch.close()
        await self._streams.close()


class _PageReader:
    """Reads one page of a log as it stood at one moment.

    Its whole records up to there never change, so each step may look for itself where they are.
    """

    def __init__(self, streams: SharedStreams, stream: Stream, query: PageQuery) -> None:
        self._reader = streams.reader
        self._stream = stream
        self._query = query
        self._end = tally_of(stream)

    async def read(self) -> PageRead:
        """Read it.

        Raises:
            StreamGone: the log was deleted meanwhile.
            BadRecord: a record is wrong.
            StoreCorrupt: marks and records contradict each other.
        """
        query, end = self._query, self._end
        total = end.lines(query.stream)
        skip_to = 0 if query.from_line > 0 else max(0, total + query.from_line)
        if query.from_line > 0:
            start = await self._find(lambda mark: mark.expected, query.from_line)
        else:
            start = await self._find(self._lines_before, skip_to)
        found = PageCollector(query, seen=self._lines_before(start), skip_to=skip_to)
        at, read_bytes = start.offset, 0
        while at < end.offset and found.seen < total and not found.full:
            if read_bytes >= _READ_BYTES_MAX:
                return PageRead(tuple(found.lines), found.next_line, end, at_end=False)
            if query.stream is not None:
                at = max(at, (await self._find(self._lines_before, found.seen)).offset)
            after = await self._take(found, at)
            read_bytes += after - at
            at = after
        if not found.full and found.seen != total:
            raise StoreCorrupt(
                "The log is damaged: its marks count other lines than it has.",
                detail=str(self._stream.key),
            )
        at_end = found.seen == total
        next_line = max(found.next_line, end.expected) if at_end else found.next_line
        return PageRead(tuple(found.lines), next_line, end, at_end)

    def _lines_before(self, mark: Tally) -> int:
        return mark.lines(self._query.stream)

    async def _find(self, measure: Measure, value: int) -> Tally:
        """The last mark with ``measure(mark) <= value``."""

        def within(mark: bytes) -> int:
            tally = tally_of_mark(mark)
            return measure(tally) if tally.offset <= self._end.offset else _NEVER

        mark = await self._reader.last_mark(self._stream, within, value)
        return Tally() if mark is None else tally_of_mark(mark)

    async def _take(self, found: PageCollector, at: int) -> int:
        """Take the records of one window; return where it stopped.

        A window that ends where a chunk does holds at least one whole record as a rule; when it
        does not, the next bytes are added.
        """
        wanted = min(_WINDOW_BYTES, self._end.offset - at)
        data = b""
        while len(data) < wanted:
            data += await self._reader.read_at(self._stream, at + len(data), wanted - len(data))
            after = found.take_from(_reading(data, at), at, at + len(data))
            if after > at:
                return after
        raise StoreCorrupt(
            "The log is damaged: a mark names a place where no record begins.",
            detail=str(self._stream.key),
        )


def _reading(data: bytes, at: int) -> Callable[[int, int], bytes]:
    """A function that reads (offset, length) of bytes that begin at an offset."""
    return lambda start, length: data[start - at :][:length]
