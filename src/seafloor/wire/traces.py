"""Traces on the wire, whole: what is told of them, and the documents of their spans as lines."""

from __future__ import annotations

import msgspec

from seafloor.domain.traces import Trace

LINES = "application/x-ndjson"
SPANS_PER_CALL_MAX = 10_000
SPANS_BYTES_MAX = 64 * 1024 * 1024


class TracePut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``PUT /api/v1/traces/{trace}``: a trace as it is to be, exactly.

    Args:
        runs: Ids of the runs that it is linked to.
    """

    trace: Trace
    runs: tuple[str, ...] = ()


class TraceView(msgspec.Struct, frozen=True):
    """A trace without its spans.

    Args:
        runs: Ids of the runs that it is linked to, in order.
        spans: How many it has here; those of old clients are files of the trace.
    """

    trace: Trace
    runs: tuple[str, ...]
    spans: int


class TraceList(msgspec.Struct, frozen=True):
    """``GET /api/v1/traces``."""

    items: tuple[TraceView, ...]
    next: str | None = None


class SpansAdded(msgspec.Struct, frozen=True):
    """``POST /api/v1/traces/{trace}/spans``."""

    spans: int
