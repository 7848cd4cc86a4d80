"""Which of some traces have a span whose contents are as asked for: spans are read and unpacked.

Only so many are looked at for one page of a search; what is not reached is looked at for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import zstandard
from sqlalchemy import ColumnElement, Connection, func, select

from seafloor.stores.metadata.span_contents import ContentTest
from seafloor.stores.metadata.sql.tables import trace_span

SPANS_MAX = 20_000
"""Looked at for one page."""
_AT_ONCE = 64
"""In memory at once, if all are large."""


class SpanScan:
    """Looks at spans, up to a bound.

    Args:
        holds: What in the database says of a span that it may be one.
        test: What its contents must be.
    """

    def __init__(
        self, connection: Connection, holds: Sequence[ColumnElement[bool]], test: ContentTest
    ) -> None:
        self._connection = connection
        self._holds = holds
        self._test = test
        self._unpacker = zstandard.ZstdDecompressor()
        self._left = SPANS_MAX

    @property
    def is_over(self) -> bool:
        """Whether no more spans are to be looked at."""
        return self._left <= 0

    def found(self, trace_ids: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Say of traces, in their order, whether one of their spans is as asked for.

        It ends early when the bound is reached, after at least one trace.
        """
        counts = self._counts(trace_ids)
        some: list[str] = []
        size = 0
        for trace_id in trace_ids:
            count = counts.get(trace_id, 0)
            if some and size + count > _AT_ONCE:
                yield from self._look(some)
                some, size = [], 0
                if self.is_over:
                    return
            some.append(trace_id)
            size += count
            self._left -= count
        if some:
            yield from self._look(some)

    def _counts(self, trace_ids: Sequence[str]) -> dict[str, int]:
        rows = self._connection.execute(
            select(trace_span.c.trace_id, func.count().label("spans"))
            .where(trace_span.c.trace_id.in_(trace_ids), *self._holds)
            .group_by(trace_span.c.trace_id)
        )
        return {row.trace_id: row.spans for row in rows}

    def _look(self, trace_ids: Sequence[str]) -> list[tuple[str, bool]]:
        found: set[str] = set()
        for row in self._spans(trace_ids):
            if row.trace_id not in found and self._test.holds(
                self._unpacker.decompress(row.document)
            ):
                found.add(row.trace_id)
        return [(one, one in found) for one in trace_ids]

    def _spans(self, trace_ids: Sequence[str]) -> Iterator[Any]:
        wanted = select(trace_span.c.trace_id, trace_span.c.id, trace_span.c.document).where(
            trace_span.c.trace_id.in_(trace_ids), *self._holds
        )
        if len(trace_ids) > 1:
            yield from self._connection.execute(wanted)
            return
        after = ""
        while True:
            part = wanted.where(trace_span.c.id > after).order_by(trace_span.c.id).limit(_AT_ONCE)
            rows = self._connection.execute(part).all()
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1].id
