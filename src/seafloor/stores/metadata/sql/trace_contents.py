"""What of some traces is as asked for, where it must be read to know: spans, tags, assessments.

Only so much is looked at for one page of a search; what is not reached is looked at for the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import zstandard
from sqlalchemy import ColumnElement, Connection, Select, func, select

from seafloor.domain.traces import TraceComparison, TraceSubject
from seafloor.stores.metadata.cursors import Within
from seafloor.stores.metadata.regular_expressions import RegularExpression
from seafloor.stores.metadata.span_contents import ContentTest, is_of_contents
from seafloor.stores.metadata.sql.tables import trace, trace_assessment, trace_label, trace_span

LOOKS_MAX = 20_000
"""Spans, and values of traces, that are looked at for one page."""
WORK_MAX = 1 << 31
"""Bytes of them, each counted once for each step of a regular expression: some seconds."""
_STEPS_OF_ANY = 10
"""What reading a byte counts, whatever is looked for."""
_AT_ONCE = 64
_AT_ONCE_BYTES = 16 * 1024 * 1024
"""So many spans, and bytes of them as they are stored, are read at once."""
TAG, METADATA = "tag", "metadata"
KINDS = {TraceSubject.TAG: TAG, TraceSubject.METADATA: METADATA}


class Budget:
    """What is left to be looked at for one page."""

    def __init__(self) -> None:
        self._looks = LOOKS_MAX
        self._work = WORK_MAX

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be looked at."""
        return self._looks <= 0 or self._work <= 0

    def spend(self, *, looks: int = 0, size_bytes: int = 0, steps: int = 0) -> None:
        """Count what was looked at."""
        self._looks -= looks
        self._work -= size_bytes * (_STEPS_OF_ANY + steps)


class ValueScan:
    """Looks for regular expressions in attributes, tags, metadata and assessments of traces."""

    def __init__(
        self, connection: Connection, comparisons: Sequence[TraceComparison], budget: Budget
    ) -> None:
        self._connection = connection
        self._tests = [(_values(one), RegularExpression(str(one.value))) for one in comparisons]
        self._budget = budget

    def found(self, trace_ids: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Say of traces, in their order, whether each expression is in one of its values.

        It ends early when the budget is spent, after at least one trace.
        """
        if not self._tests:
            yield from ((one, True) for one in trace_ids)
            return
        values = [self._of(wanted, trace_ids) for wanted, _ in self._tests]
        for trace_id in trace_ids:
            yield (
                trace_id,
                all(
                    self._holds(test, of.get(trace_id, ()))
                    for (_, test), of in zip(self._tests, values, strict=True)
                ),
            )
            if self._budget.is_over:
                return

    def _of(self, wanted: Select[Any, Any], trace_ids: Sequence[str]) -> dict[str, list[str]]:
        made: dict[str, list[str]] = {}
        owner = wanted.selected_columns[0]
        for row in self._connection.execute(wanted.where(owner.in_(trace_ids))):
            made.setdefault(row[0], []).append(row[1])
        return made

    def _holds(self, test: RegularExpression, values: Sequence[str]) -> bool:
        for value in values:
            self._budget.spend(looks=1, size_bytes=len(value), steps=test.steps)
            if test.matches(value):
                return True
        return False


def _values(found: TraceComparison) -> Select[Any, Any]:
    """Ids of traces with what a comparison compares, where it is there."""
    if found.subject in KINDS:
        return _labels(KINDS[found.subject], found.key)
    if found.subject is TraceSubject.ATTRIBUTE:
        column = trace.c[found.key]
        return select(trace.c.id, column.label("value")).where(column.is_not(None))
    said = trace_assessment.c
    return select(said.trace_id, said.value).where(
        said.kind == str(found.subject), said.name == found.key, said.valid == 1
    )


def _labels(kind: str, key: str) -> Select[Any, Any]:
    label = trace_label.c
    return select(label.trace_id, label.value).where(label.kind == kind, label.key == key)


class SpanScan:
    """Looks at spans.

    Args:
        holds: What in the database says of a span that it may be one.
        comparisons: What else must hold of it.
        begun: Which trace is looked at from which span on.

    Attributes:
        within: How far the trace was looked at in whose middle the budget was spent.
    """

    def __init__(
        self,
        connection: Connection,
        holds: Sequence[ColumnElement[bool]],
        comparisons: Sequence[TraceComparison],
        budget: Budget,
        begun: Within | None = None,
    ) -> None:
        self._connection = connection
        self._holds = holds
        self._begun = begun
        self.within: Within | None = None
        contents = [one for one in comparisons if is_of_contents(one)]
        self._contents = ContentTest(contents) if contents else None
        self._columns = {
            one.key: RegularExpression(str(one.value))
            for one in comparisons
            if not is_of_contents(one)
        }
        self._unpacker = zstandard.ZstdDecompressor()
        self._budget = budget

    def found(self, trace_ids: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Say of traces, in their order, whether one of their spans is as asked for.

        It ends early when the budget is spent, after at least one span.
        """
        if self._contents is None and not self._columns:
            yield from ((one, True) for one in trace_ids)
            return
        sizes = self._sizes(trace_ids)
        some: list[str] = []
        count = size = 0
        for trace_id in trace_ids:
            its_count, its_size = sizes.get(trace_id, (0, 0))
            if some and (count + its_count > _AT_ONCE or size + its_size > _AT_ONCE_BYTES):
                yield from self._look(some)
                some, count, size = [], 0, 0
                if self._budget.is_over:
                    return
            if its_count > _AT_ONCE or its_size > _AT_ONCE_BYTES:
                holds = self._look_in_parts(trace_id)
                if holds is None:
                    return
                yield trace_id, holds
                if self._budget.is_over:
                    return
                continue
            some.append(trace_id)
            count, size = count + its_count, size + its_size
            self._budget.spend(looks=its_count)
        if some:
            yield from self._look(some)

    def _sizes(self, trace_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Of each trace how many spans are to be looked at, and their bytes as they are stored."""
        span = trace_span.c
        rows = self._connection.execute(
            select(
                span.trace_id,
                func.count().label("spans"),
                func.sum(func.length(span.document)).label("size"),
            )
            .where(span.trace_id.in_(trace_ids), *self._holds)
            .group_by(span.trace_id)
        )
        return {row.trace_id: (row.spans, int(row.size)) for row in rows}

    def _look(self, trace_ids: Sequence[str]) -> list[tuple[str, bool]]:
        found: set[str] = set()
        wanted = self._wanted().where(trace_span.c.trace_id.in_(trace_ids))
        for row in self._connection.execute(wanted):
            if row.trace_id not in found and self._is_one(row):
                found.add(row.trace_id)
        return [(one, one in found) for one in trace_ids]

    def _look_in_parts(self, trace_id: str) -> bool | None:
        """Look at a trace of many or large spans, at one at least; None: it is not over."""
        begun = self._begun
        after = "" if begun is None or begun.trace_id != trace_id else begun.span_id
        while ids := self._next_ids(trace_id, after):
            wanted = self._wanted().where(
                trace_span.c.trace_id == trace_id, trace_span.c.id.in_(ids)
            )
            for row in self._connection.execute(wanted.order_by(trace_span.c.id)).all():
                self._budget.spend(looks=1)
                if self._is_one(row):
                    return True
                after = row.id
                if self._budget.is_over:
                    self.within = Within(trace_id, after)
                    return None
        return False

    def _next_ids(self, trace_id: str, after: str) -> list[str]:
        span = trace_span.c
        sized = (
            select(span.id, func.length(span.document).label("size"))
            .where(span.trace_id == trace_id, span.id > after, *self._holds)
            .order_by(span.id)
            .limit(_AT_ONCE)
        )
        ids: list[str] = []
        left = _AT_ONCE_BYTES
        for row in self._connection.execute(sized):
            left -= row.size
            if ids and left < 0:
                break
            ids.append(row.id)
        return ids

    def _is_one(self, row: Any) -> bool:
        for key, test in self._columns.items():
            value = str(getattr(row, key))
            self._budget.spend(size_bytes=len(value), steps=test.steps)
            # What is not told is empty, and matches nothing.
            if not value or not test.matches(value):
                return False
        if self._contents is None:
            return True
        document = self._unpacker.decompress(row.document)
        self._budget.spend(size_bytes=len(document), steps=self._contents.steps)
        return self._contents.holds(document)

    def _wanted(self) -> Select[Any]:
        read = [trace_span.c[key] for key in self._columns]
        if self._contents is not None:
            read.append(trace_span.c.document)
        return select(trace_span.c.trace_id, trace_span.c.id, *read).where(*self._holds)
