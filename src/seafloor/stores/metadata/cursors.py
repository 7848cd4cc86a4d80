"""Cursors of a search: where a page ended, bound to the query that it is a page of.

The digest is of the position too: one that was changed on its way, and might have keys that the
query's orders cannot be compared with, is refused like one of another query.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.traces import TraceQuery
from seafloor.stores.metadata.sort_keys import SortKeys

_DIGEST_BYTES = 12


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where the last one of a page stands in the order.

    Args:
        keys: One per order key of the query.
        begun, id: What breaks ties: a workload's ``created_ns``, a trace's ``time_ms``.
    """

    keys: SortKeys
    begun: int
    id: str


class Within(msgspec.Struct, frozen=True, array_like=True):
    """How far the trace behind a position was looked at: up to one of its spans."""

    trace_id: str
    span_id: str


class _Document(msgspec.Struct, frozen=True, array_like=True):
    digest: bytes
    position: Position | None
    within: Within | None = None
    fitted: int | None = None


class Place(msgspec.Struct, frozen=True):
    """Where a cursor goes on.

    Args:
        position: None: at the beginning.
        within: How far the trace behind the position was looked at; None: not at all.
        fitted: So many there was room for on the page before, which more would have been for; a
            hint, which nothing but time hangs on. None: it was full, or there was none.
    """

    position: Position | None = None
    within: Within | None = None
    fitted: int | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Document)


def encode_cursor(
    query: WorkloadQuery | TraceQuery,
    position: Position | None,
    within: Within | None = None,
    fitted: int | None = None,
) -> str:
    """Make the cursor of a ``Place``."""
    digest = _digest(query, position, within)
    document = _ENCODER.encode(_Document(digest, position, within, fitted))
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def decode_cursor(query: WorkloadQuery | TraceQuery) -> Position | None:
    """Read the cursor of a query; None when it has none.

    Raises:
        InvalidValue: it is not a cursor, was changed, or is one of another query.
    """
    return decode_place(query).position


def decode_place(query: WorkloadQuery | TraceQuery) -> Place:
    """The same, and what else the cursor says; InvalidValue in the same cases."""
    text = query.cursor
    if text is None:
        return Place()
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        document = _DECODER.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error) as error:  # msgspec's errors are ValueErrors
        raise InvalidValue(
            "The cursor is not one: pass `next` of the page before.", field="cursor"
        ) from error
    if document.digest != _digest(query, document.position, document.within):
        raise InvalidValue(
            "The cursor is of another search: pass it with the same filter and order, or leave "
            "it out to begin anew.",
            field="cursor",
        )
    return Place(document.position, document.within, document.fitted)


def _digest(
    query: WorkloadQuery | TraceQuery, position: Position | None, within: Within | None
) -> bytes:
    """Name the query and a position in it; the size of its pages may change on the way."""
    bare = msgspec.structs.replace(query, cursor=None, limit=1)
    # JSON, since a filter may compare with a whole number of more than 64 bits.
    named = msgspec.json.encode(bare) + _ENCODER.encode(position)
    if within is not None:
        named += _ENCODER.encode(within)
    return hashlib.sha256(named).digest()[:_DIGEST_BYTES]
