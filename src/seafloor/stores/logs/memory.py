"""The log store in memory: the model that every other one is compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from seafloor.domain.errors import Closed, OutOfOrder, StoreCorrupt
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.stores.logs.page import PageQuery, check_stream, follow_query
from seafloor.stores.logs.protocol import LogKey, LogPage, LogState
from seafloor.stores.logs.record import STREAMS, BadRecord, Record, RecordDecoder
from seafloor.stores.logs.signals import FOLLOW_QUIET_S, Signals, quiet
from seafloor.stores.logs.spool import check_append, check_log_key


@dataclass
class _Log:
    data: bytearray = field(default_factory=bytearray)
    records: list[Record] = field(default_factory=list[Record])
    finished: bool = False

    def lines(self, stream: str | None) -> list[Record]:
        lines = [record for record in self.records if not record.is_loss]
        return lines if stream is None else [line for line in lines if line.line.stream == stream]

    def missing(self) -> int:
        """Numbers up to the last one that no line has."""
        return self.expected() - 1 - len(self.lines(None))

    def expected(self) -> int:
        if not self.records:
            return 1
        last = self.records[-1]
        return last.number + (int(last.payload) if last.is_loss else 1)


def _decode(data: bytes) -> tuple[list[Record], BadRecord | None]:
    """Decode all of a log; say what is wrong and where."""
    found: list[Record] = []
    try:
        found.extend(RecordDecoder().feed(data))
    except BadRecord as exc:
        good, _ = _decode(data[: exc.offset])
        return good, exc
    return found, None


class MemoryLogStore:
    """Logs in memory; the contract is ``LogStore``, durability aside."""

    def __init__(self, *, quiet_s: float = FOLLOW_QUIET_S) -> None:
        self._logs: dict[LogKey, _Log] = {}
        self._quiet_s = quiet_s
        self._signals = Signals[LogPage]()
        self._closed = False

    async def append(self, key: LogKey, *, offset: int, data: bytes) -> int:
        """Append record bytes."""
        check_append(key, offset, data)
        log = self._logs.get(key, _Log())
        size_bytes = len(log.data)
        if offset > size_bytes:
            raise OutOfOrder(f"The log has {size_bytes} bytes.", next_offset=size_bytes)
        fresh = data[size_bytes - offset :]
        if not fresh:
            return size_bytes
        if log.finished:
            raise Closed("This log is finished and takes no more.")
        self._logs[key] = log
        log.data += fresh
        log.records, problem = _decode(bytes(log.data))
        self._signals.ring(key)
        if problem is not None:
            del log.data[problem.offset :]
            raise StoreCorrupt(f"{problem}. The log was kept up to there.")
        return len(log.data)

    async def finish(self, key: LogKey) -> None:
        """Take no more. Repeatable."""
        self._logs.setdefault(check_log_key(key), _Log()).finished = True
        self._signals.ring(key)

    async def state(self, key: LogKey) -> LogState:
        """Describe a log; one never written is empty."""
        log = self._logs.get(check_log_key(key), _Log())
        lines = log.lines(None)
        return LogState(
            size_bytes=len(log.data),
            lines=len(lines),
            lines_missing=log.missing(),
            first_time_ns=lines[0].time_ns if lines else None,
            last_time_ns=lines[-1].time_ns if lines else None,
            finished=log.finished,
        )

    async def keys(self, workload_id: WorkloadId) -> tuple[LogKey, ...]:
        """The logs of a workload by attempt and stem."""
        parse_workload_id(workload_id)
        found = [key for key in self._logs if key.workload_id == workload_id]
        return tuple(sorted(found, key=lambda key: (key.attempt, key.stem)))

    async def page(
        self, key: LogKey, *, from_line: int, limit: int, stream: str | None = None
    ) -> LogPage:
        """Read lines from a number on."""
        check_log_key(key)
        return self._page(key, PageQuery(from_line, limit, stream).checked())

    def _page(self, key: LogKey, query: PageQuery) -> LogPage:
        log = self._logs.get(key, _Log())
        lines = log.lines(query.stream)
        from_line = query.from_line
        if from_line < 0:
            wanted = lines[from_line:]
        else:
            wanted = [line for line in lines if line.number >= from_line]
        shown, text_bytes = 0, 0
        for line in wanted[: query.limit]:
            text_bytes += len(line.payload)
            if text_bytes > query.text_bytes_max and shown:
                break
            shown += 1
        at_end = shown == len(wanted)
        next_line = max(log.expected(), from_line) if at_end else wanted[shown - 1].number + 1
        return LogPage(
            lines=tuple(record.line for record in wanted[:shown]),
            next_line=next_line,
            total_lines=len(log.lines(None)),
            finished=log.finished and at_end,
            lines_missing=log.missing(),
        )

    async def follow(self, key: LogKey, *, from_line: int) -> AsyncIterator[LogPage]:
        """Yield pages as lines arrive, an empty page at least every 15 s, until finished."""
        query = follow_query(from_line)
        with self._signals.listen(check_log_key(key)) as follower:
            while not self._closed:
                follower.changed.clear()
                page = self._page(key, query)
                query = query.after(page.next_line)
                if page.lines or page.finished:
                    yield page
                if page.finished:
                    return
                if not page.lines and await quiet(follower.changed, self._quiet_s):
                    yield page

    async def raw(self, key: LogKey, *, stream: str | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes the task printed, terminators included."""
        check_stream(stream)
        wanted = ("out", "err") if stream is None else (stream,)
        for record in list(self._logs.get(check_log_key(key), _Log()).records):
            if STREAMS[record.stream] in wanted and record.printed:
                yield record.printed

    async def records(self, key: LogKey, *, start: int = 0) -> AsyncIterator[bytes]:
        """Stream the accepted bytes themselves."""
        data = bytes(self._logs.get(check_log_key(key), _Log()).data[start:])
        if data:
            yield data

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete all logs of a workload; return the bytes freed. Repeatable."""
        freed_bytes = 0
        for key in await self.keys(workload_id):
            freed_bytes += len(self._logs.pop(key).data)
            self._signals.ring(key)
        return freed_bytes

    async def close(self) -> None:
        """Wake all followers, so that they end."""
        self._closed = True
        self._signals.ring_all()
