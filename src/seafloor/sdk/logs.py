"""Logs over HTTP: pages, and following live."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from seafloor.domain.errors import SeafloorError, StoreCorrupt, StoreUnavailable
from seafloor.sdk.transport import Query, Request, Transport, quote
from seafloor.wire.errors import ErrorBody
from seafloor.wire.logs import LogView, SetupLogs

if TYPE_CHECKING:
    import urllib3

_PIECE_BYTES: Final = 64 * 1024
_EVENT_BYTES_MAX: Final = 64 * 1024 * 1024
_BACK_OFF_FIRST_S: Final = 0.2
_BACK_OFF_MAX_S: Final = 5.0


@dataclass(frozen=True)
class LogQuery:
    """Which lines of which log.

    Args:
        attempt: None: the newest.
        task: Which of several; None: the only one, or the first.
        setup: Of what prepared the task, as ``git-localize``; None: the task's own.
        stream: ``out``, ``err`` or ``agent``; None: all.
        from_line: The first one, from 1; negative: that many from the end.
    """

    attempt: int | None = None
    task: str | None = None
    stream: str | None = None
    from_line: int = 1
    setup: str | None = None

    def pairs(self) -> Query:
        """The parameters of its URL, without the first line."""
        which = [("attempt", self.attempt), ("task", self.task), ("setup", self.setup)]
        return [*which, ("stream", self.stream)]


_WHOLE = LogQuery()


class Logs:
    """``/api/v1/runs/{run}/logs`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def page(self, run_id: str, query: LogQuery = _WHOLE, *, limit: int = 1000) -> LogView:
        """Read lines; go on with ``next_line`` as ``from_line``.

        Raises:
            NotFound: no such run, attempt or task.
        """
        pairs = [*query.pairs(), ("from_line", query.from_line), ("limit", limit)]
        return self._transport.call(Request("GET", _path(run_id), query=pairs), LogView)

    def setups(
        self, run_id: str, *, attempt: int | None = None, task: str | None = None
    ) -> SetupLogs:
        """The logs of what prepared a task, in the order in which they began.

        Raises:
            NotFound: no such run or task.
        """
        pairs: Query = [("attempt", attempt), ("task", task)]
        return self._transport.call(
            Request("GET", f"{_path(run_id)}/setups", query=pairs), SetupLogs
        )

    def iterate(
        self, run_id: str, query: LogQuery = _WHOLE, *, limit: int = 1000
    ) -> Generator[LogView]:
        """Read what there is now, page by page of ``limit`` lines."""
        while True:
            view = self.page(run_id, query, limit=limit)
            yield view
            # Lines that are missing have numbers: of how many there are these say nothing. A page
            # of one stream may be empty in the middle.
            if view.finished or view.next_line <= query.from_line:
                return
            query = replace(query, attempt=view.attempt, from_line=view.next_line)

    def follow(
        self, run_id: str, query: LogQuery = _WHOLE, *, patience_s: float = 300.0
    ) -> Generator[LogView]:
        """Read lines as they come, until the log is finished.

        A connection that is cut is made again and goes on at the next line: no line is left out
        and none comes twice.

        Args:
            run_id: Which run.
            query: Where to begin; ``stream`` is kept by the server where it can.
            patience_s: How long the server may be away.

        Raises:
            NotFound: no such run, attempt or task.
            StoreUnavailable: the server was away for longer than ``patience_s``.
        """
        away_since_s: float | None = None
        wait_s = _BACK_OFF_FIRST_S
        while True:
            try:
                for view in self._follow_once(run_id, query):
                    away_since_s, wait_s = None, _BACK_OFF_FIRST_S
                    query = replace(query, attempt=view.attempt, from_line=view.next_line)
                    yield view
                    if view.finished:
                        return
            except StoreUnavailable:
                now_s = time.monotonic()
                away_since_s = now_s if away_since_s is None else away_since_s
                if now_s + wait_s - away_since_s > patience_s:
                    raise
            # Cut, or ended before the log did: as when the server is restarted.
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, _BACK_OFF_MAX_S)

    def raw(self, run_id: str, target: BinaryIO, query: LogQuery = _WHOLE) -> int:
        """Write the bytes that a task printed to a file, and say how many."""
        import urllib3

        request = Request("GET", f"{_path(run_id)}/raw", query=query.pairs())
        size_bytes = 0
        with self._transport.open(request) as response:
            try:
                for piece in response.stream(_PIECE_BYTES):
                    target.write(piece)
                    size_bytes += len(piece)
            except urllib3.exceptions.HTTPError as error:
                raise StoreUnavailable(
                    f"The log was cut after {size_bytes} bytes: the connection broke.",
                    detail=repr(error),
                ) from error
        return size_bytes

    def _follow_once(self, run_id: str, query: LogQuery) -> Generator[LogView]:
        request = Request(
            "GET",
            f"{_path(run_id)}/follow",
            query=[*query.pairs(), ("from_line", query.from_line)],
            headers={"Accept": "text/event-stream"},
            # The caller has the patience; one connection is tried once.
            repeatable=False,
        )
        with self._transport.open(request) as response:
            for name, data in read_events(_pieces(response)):
                if name == "error":
                    raise _said(data)
                try:
                    yield msgspec.json.decode(data, type=LogView)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise StoreCorrupt(
                        f"A log event of {self._transport.url} is not understood: {error}"
                    ) from error


def read_events(pieces: Iterable[bytes]) -> Generator[tuple[str, bytes]]:
    r"""Read server-sent events: (name, data), ``message`` when an event has no name.

    An event that is not ended by a blank line is left out: it was cut.

    >>> list(read_events([b"data: {}\n\n: still here\n\ndata: a\nda", b"ta: b\n\ndata: cut"]))
    [('message', b'{}'), ('message', b'a\nb')]
    """
    name, data = "message", list[bytes]()
    for line in _lines(pieces):
        if not line:
            if data:
                yield name, b"\n".join(data)
            name, data = "message", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")


def _lines(pieces: Iterable[bytes]) -> Generator[bytes]:
    rest: list[bytes] = []
    size_bytes = 0
    for piece in pieces:
        *whole, tail = piece.split(b"\n")
        for line in whole:
            yield (b"".join(rest) + line).removesuffix(b"\r")
            rest, size_bytes = [], 0
        rest.append(tail)
        size_bytes += len(tail)
        if size_bytes > _EVENT_BYTES_MAX:
            raise StoreCorrupt("A log event has no end: is this a Seafloor server?")


def _pieces(response: urllib3.BaseHTTPResponse) -> Generator[bytes]:
    import urllib3

    try:
        while piece := response.read1(_PIECE_BYTES):
            yield piece
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(
            "The connection broke while the log was followed.", detail=repr(error)
        ) from error


def _said(data: bytes) -> SeafloorError:
    try:
        body = msgspec.json.decode(data, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return StoreUnavailable("The server ended the log with an error.")
    return StoreUnavailable(body.message)


def _path(run_id: str) -> str:
    return f"/api/v1/runs/{quote(run_id)}/logs"
