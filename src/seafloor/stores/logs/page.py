"""Reading a page of a log: which blocks to read, and which lines of them to show."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from seafloor.domain.errors import InvalidValue, nearest
from seafloor.domain.logs import LogLine
from seafloor.stores.logs.line_index import IndexDamaged, LineIndex
from seafloor.stores.logs.protocol import LogPage
from seafloor.stores.logs.record import STREAMS, Record, Tally, read_records

PAGE_LINES_MAX = 10_000
FOLLOW_LINES_MAX = 1_000
PAGE_TEXT_BYTES_MAX = 1024 * 1024
FOLLOW_TEXT_BYTES_MAX = 128 * 1024
"""Of one page to a follower. There may be thousands of them, and each that reads slowly keeps one,
which is six times as much as JSON when all of it is NUL bytes."""
_WINDOW_BYTES = 128 * 1024  # holds the longest record, so a window always moves on
_READ_BYTES_MAX = 32 * 1024 * 1024
_NEVER = 1 << 63


class PageQuery(msgspec.Struct, frozen=True):
    """Which lines: the parameters of ``LogStore.page``.

    Args:
        text_bytes_max: The page ends before the line that would have more, unless it is the first.
    """

    from_line: int
    limit: int
    stream: str | None = None
    text_bytes_max: int = PAGE_TEXT_BYTES_MAX

    def checked(self) -> PageQuery:
        """Return it when it can be answered, else raise InvalidValue."""
        if self.from_line == 0:
            raise InvalidValue(
                "Lines are counted from 1; a negative number counts from the end.",
                field="from_line",
            )
        if not 1 <= self.limit <= PAGE_LINES_MAX:
            raise InvalidValue(f"Ask for 1 to {PAGE_LINES_MAX:,} lines.", field="limit")
        check_stream(self.stream)
        return self

    def after(self, next_line: int) -> PageQuery:
        """The same query for the next page."""
        return msgspec.structs.replace(self, from_line=next_line)


def follow_query(from_line: int) -> PageQuery:
    """The query for the first page of a follower."""
    query = PageQuery(from_line, FOLLOW_LINES_MAX, text_bytes_max=FOLLOW_TEXT_BYTES_MAX)
    return query.checked()


def check_stream(stream: str | None) -> None:
    """Refuse a stream that logs do not have."""
    if stream is not None and stream not in STREAMS:
        raise InvalidValue(
            f'There is no stream "{stream}".{nearest(stream, STREAMS)}', field="stream"
        )


class PageRead(msgspec.Struct, frozen=True):
    """Lines, and whether they reach the end of what the query asks for.

    Args:
        end: The log as it stood when they were read.
    """

    lines: tuple[LogLine, ...]
    next_line: int
    end: Tally
    at_end: bool

    def page(self, *, finished: bool) -> LogPage:
        """Show it to a caller."""
        return LogPage(
            self.lines,
            self.next_line,
            self.end.lines(),
            finished=finished and self.at_end,
            lines_missing=self.end.missing,
        )


class PageCollector:
    """Takes the records that a query asks for, until it has enough.

    Args:
        seen: Lines of the query's stream before the place where the reader stands.
        skip_to: How many lines of it are not shown; 0 when the query names a number.
    """

    def __init__(self, query: PageQuery, *, seen: int, skip_to: int) -> None:
        self.query = query
        self.lines: list[LogLine] = []
        self.next_line = max(query.from_line, 1)
        self.seen = seen
        self.full = False
        self._skip_to = skip_to
        self._text_bytes = 0
        self._stream = None if query.stream is None else STREAMS.index(query.stream)

    def take_from(self, read_at: Callable[[int, int], bytes], start: int, end: int) -> int:
        """Take the records that stand whole between two offsets; return where it stopped."""
        at = start
        for record, at in read_records(read_at, start=start, end=end):  # noqa: B007
            self._take(record)
            if self.full:
                break
        return at

    def _take(self, record: Record) -> None:
        if record.is_loss:
            return
        if self._stream is None or record.stream == self._stream:
            if self.seen >= self._skip_to and record.number >= self.query.from_line:
                self._text_bytes += len(record.payload)
                if self._text_bytes > self.query.text_bytes_max and self.lines:
                    self.full = True
                    return
                self.lines.append(record.line)
                self.full = len(self.lines) == self.query.limit
            self.seen += 1
        self.next_line = max(self.next_line, record.number + 1)


def read_page(
    read_at: Callable[[int, int], bytes], index: LineIndex, end: Tally, query: PageQuery
) -> PageRead:
    """Read the lines of a query from a log.

    Args:
        read_at: Reads (offset, length) of the log.
        index: Its marks; may know less, or more, than ``end``.
        end: Where the reader stops: the log as it stood at some moment.

    Raises:
        IndexDamaged: index and log contradict each other.
        BadRecord: a record is wrong, or the index names a place where none begins.

    Cost: the blocks that hold the lines and one before them; with a stream, blocks without a
    line of it are left out; never more than 32 MiB (the page is then shorter).
    """
    total = end.lines(query.stream)

    def find(measure: Callable[[Tally], int], value: int) -> Tally:
        return index.last(
            lambda mark: measure(mark) if mark.offset <= end.offset else _NEVER, value
        )

    def lines_before(mark: Tally) -> int:
        return mark.lines(query.stream)

    skip_to = 0 if query.from_line > 0 else max(0, total + query.from_line)
    if query.from_line > 0:
        start = find(lambda mark: mark.expected, query.from_line)
    else:
        start = find(lines_before, skip_to)
    found = PageCollector(query, seen=lines_before(start), skip_to=skip_to)
    at, read_bytes = start.offset, 0
    while at < end.offset and found.seen < total and not found.full:
        if read_bytes >= _READ_BYTES_MAX:
            return PageRead(tuple(found.lines), found.next_line, end, at_end=False)
        if query.stream is not None:
            at = max(at, find(lines_before, found.seen).offset)
        after = found.take_from(read_at, at, min(end.offset, at + _WINDOW_BYTES))
        if after == at:
            raise IndexDamaged("the index names a place where no record begins")
        read_bytes += after - at
        at = after
    if not found.full and found.seen != total:
        raise IndexDamaged("the index counts other lines than the log has")
    at_end = found.seen == total
    next_line = max(found.next_line, end.expected) if at_end else found.next_line
    return PageRead(tuple(found.lines), next_line, end, at_end)
