"""Metrics over HTTP."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seafloor.domain.metrics import BatchId, Point
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.metric_batches import BatchIn, encode_batch, encode_columns
from seafloor.wire.metrics import (
    ChartOut,
    MetricList,
    PointIn,
    PointsAppend,
    PointsAppended,
    SeriesPageOut,
    SeriesPointOut,
)
from seafloor.wire.numbers import number_out

if TYPE_CHECKING:
    import urllib3


class Metrics:
    """``/api/v1/runs/{run}/metrics`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def append(self, run_id: str, points: Iterable[Point]) -> PointsAppended:
        """Append points, all or none; a repeat is harmless.

        Args:
            run_id: Which run.
            points: At most 50,000.

        Raises:
            InvalidValue, LimitExceeded: a point cannot be accepted. None was written.
            NotFound: there is no such run.
        """
        sent = [PointIn(p.key, number_out(p.value), p.step, p.time_ms) for p in points]
        request = Request("POST", _path(run_id), json=PointsAppend(sent), repeatable=True)
        return self._transport.call(request, PointsAppended)

    def append_batch(
        self, run_id: str, points: Sequence[Point], batch: BatchId | None = None
    ) -> PointsAppended:
        """Append points as columns, all or none; a repeat is harmless.

        Args:
            run_id: Which run, by its whole id.
            points: 1 to 50,000.
            batch: Which batch of whom it is: the server knows a repeat by it.

        Raises:
            InvalidValue, LimitExceeded: a point or the batch's name cannot be accepted. None was
                written.
            NotFound: there is no such run.
            Conflict: the run is deleted, or the writer's last batch had this number and other
                points. None was written.
        """
        return self._append(run_id, encode_batch(points, batch))

    def append_columns(self, run_id: str, columns: BatchIn) -> PointsAppended:
        """Append points that are columns already; see ``append_batch``.

        Raises:
            InvalidValue: a launched run has not had the attempt. None was written.
        """
        return self._append(run_id, encode_columns(columns))

    def _append(self, run_id: str, body: bytes) -> PointsAppended:
        request = Request("POST", f"{_path(run_id)}/batches", body=body, repeatable=True)
        return self._transport.call(request, PointsAppended)

    def list(self, run_id: str) -> MetricList:
        """Read every key of a run with its summary."""
        return self._transport.call(Request("GET", _path(run_id)), MetricList)

    def page(
        self,
        run_id: str,
        key: str,
        *,
        limit: int = 5000,
        cursor: str | None = None,
        step_min: int | None = None,
    ) -> SeriesPageOut:
        """Read one page of a series, by step; all of it, or what is from a step on."""
        query = [("key", key), ("limit", limit), ("cursor", cursor), ("step_min", step_min)]
        request = Request("GET", f"{_path(run_id)}/series", query=query)
        return self._transport.call(request, SeriesPageOut)

    def iterate(self, run_id: str, key: str) -> Generator[SeriesPointOut]:
        """Read a whole series, page by page."""
        cursor = None
        while True:
            page = self.page(run_id, key, cursor=cursor)
            yield from page.points
            cursor = page.next
            if cursor is None:
                return

    @contextmanager
    def open_arrow(
        self, run_id: str, key: str, *, step_min: int | None = None, step_max: int | None = None
    ) -> Generator[urllib3.BaseHTTPResponse]:
        """Read a series, or some steps of it, as an Arrow stream: attempt, step, time_ms, value."""
        query = [("key", key), ("step_min", step_min), ("step_max", step_max)]
        request = Request("GET", f"{_path(run_id)}/arrow", query=query)
        with self._transport.open(request) as response:
            yield response

    def chart(self, run_id: str, key: str, *, buckets: int) -> ChartOut:
        """Read a series in buckets with exact extremes."""
        query = [("key", key), ("buckets", buckets)]
        return self._transport.call(Request("GET", f"{_path(run_id)}/chart", query=query), ChartOut)


def _path(run_id: str) -> str:
    return f"/api/v1/runs/{quote(run_id)}/metrics"
