"""Traces over HTTP, whole: with their spans, links and files."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import Any

import urllib3

from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.mlflow_files import MlflowFiles
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.traces import SpansAdded, TraceList, TracePut, TraceView

_PATH = "/api/v1/traces"
_PAGE = 200
_WITH_FILES = re.compile(r"tr-[0-9a-f]{32}\Z")


class Traces(MlflowFiles):
    """What models and agents did, and its files."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, kind="traces")

    def iterate(self, experiment_id: int, *, run_id: str | None = None) -> Generator[TraceView]:
        """Read the traces of an experiment, newest first, page by page."""
        cursor: str | None = None
        while True:
            query: list[tuple[str, Any]] = [
                ("experiment_id", experiment_id),
                ("run_id", run_id),
                ("limit", _PAGE),
                ("cursor", cursor),
            ]
            page = self._transport.call(Request("GET", _PATH, query=query), TraceList)
            yield from page.items
            if page.next is None:
                return
            cursor = page.next

    def get(self, trace_id: str) -> TraceView:
        """Read a trace without its spans; NotFound."""
        return self._transport.call(Request("GET", f"{_PATH}/{quote(trace_id)}"), TraceView)

    def spans(self, trace_id: str) -> Generator[bytes]:
        """Read the documents of a trace's spans, the root's first.

        Raises:
            StoreUnavailable: the connection broke in between.
        """
        request = Request("GET", f"{_PATH}/{quote(trace_id)}/spans")
        with self._transport.open(request) as response:
            rest = b""
            try:
                for piece in response.stream(1024 * 1024):
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from lines
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise StoreUnavailable(
                    f"The spans of trace {trace_id} were cut: the connection broke. Repeat it.",
                    detail=repr(error),
                ) from error
            if rest:
                raise StoreUnavailable(f"The spans of trace {trace_id} were cut. Repeat it.")

    def add_spans(self, trace_id: str, documents: Iterable[bytes], *, experiment_id: int) -> int:
        """Keep documents of spans, all or none; repeats are one; how many there were."""
        lines = b"\n".join(documents)
        request = Request(
            "POST",
            f"{_PATH}/{quote(trace_id)}/spans",
            query=[("experiment_id", experiment_id)],
            body=lines,
            size_bytes=len(lines),
            repeatable=True,
        )
        return self._transport.call(request, SpansAdded).spans

    def put(self, trace: TracePut) -> TraceView:
        """Keep a trace exactly as it is said; a repeat is harmless.

        Raises:
            NotFound: no such experiment or run.
            Conflict: the experiment is deleted, or the trace is in another.
        """
        request = Request("PUT", f"{_PATH}/{quote(trace.trace.id)}", json=trace)
        return self._transport.call(request, TraceView)


def has_files(trace_id: str) -> bool:
    """Whether a trace can have files: its id is one of OpenTelemetry's."""
    return _WITH_FILES.match(trace_id) is not None
