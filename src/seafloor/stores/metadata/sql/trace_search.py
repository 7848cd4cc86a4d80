"""Searching traces in SQL, page by page.

A page goes on after the sort keys of the last row seen (``keyset``). Where a tag, metadata or run
that is asked for is rare, those traces are looked at one by one. Else the index of an experiment's
traces is followed, in order of time, and what is said of labels, spans and assessments is looked up
by each trace's id. No statement leaves it to the database which of the two. Where contents of spans
or regular expressions are asked for, what is found so is read, up to a bound (``trace_contents``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    union,
)

from seafloor.domain.search import Operator
from seafloor.domain.traces import (
    PROMPTS_TAG,
    RUN_KEY,
    TraceComparison,
    TraceOrder,
    TraceQuery,
    TraceSubject,
    prompt_texts,
)
from seafloor.stores.metadata.cursors import Position, Within, decode_place, encode_cursor
from seafloor.stores.metadata.sort_keys import MISSING, VALUE, SortKeys
from seafloor.stores.metadata.span_contents import is_made_here
from seafloor.stores.metadata.sql.conditions import compared
from seafloor.stores.metadata.sql.experiments import ID_MAX
from seafloor.stores.metadata.sql.keyset import Key, comes_after
from seafloor.stores.metadata.sql.search import PLANNING
from seafloor.stores.metadata.sql.tables import (
    trace,
    trace_assessment,
    trace_label,
    trace_run,
    trace_span,
)
from seafloor.stores.metadata.sql.trace_contents import (
    KINDS,
    METADATA,
    TAG,
    Budget,
    SpanScan,
    ValueScan,
)
from seafloor.stores.metadata.sql.ways import on_text, one_of
from seafloor.stores.metadata.traces import as_comparison, check_trace_query, json_forms

Column = ColumnElement[Any]
Condition = ColumnElement[bool]

FEW = 2_000
"""So many traces are looked at one by one; of more, an index is followed in the order asked for."""
CANDIDATES = 200
"""So many traces are looked at at once for what no database can compare."""
SAID_BYTES_MAX = 16 * 1024 * 1024
"""Of assessments that are read at once; a trace with more is read alone."""

_SAID_BYTES = (
    select(
        trace_assessment.c.trace_id,
        func.sum(func.length(trace_assessment.c.document)).label("size"),
    )
    .where(trace_assessment.c.trace_id.in_(bindparam("ids", expanding=True)))
    .group_by(trace_assessment.c.trace_id)
)

_END_MS = trace.c.time_ms + func.coalesce(trace.c.duration_ms, 0)
_COLUMNS: dict[str, Column] = {
    "id": trace.c.id,
    "client_request_id": trace.c.client_request_id,
    "state": trace.c.state,
    "time_ms": trace.c.time_ms,
    "duration_ms": trace.c.duration_ms,
    "end_ms": _END_MS,
    "experiment_id": trace.c.experiment_id,
}
_THERE = (Operator.IS_NOT_NULL, Operator.RLIKE)
"""What the database is asked about is whether there is a value."""
_MAY_LACK = ("client_request_id", "duration_ms")
_NEWEST = TraceOrder(TraceSubject.ATTRIBUTE, "time_ms", descending=True)
_ID = TraceOrder(TraceSubject.ATTRIBUTE, "id")


def search(connection: Connection, query: TraceQuery) -> tuple[list[str], str | None]:
    """Find the ids of a page, and the cursor of the next.

    Raises:
        InvalidValue, LimitExceeded: as ``check_trace_query`` says, or the cursor is not of this
            query.
    """
    check_trace_query(query)
    place = decode_place(query)
    known = [one for one in query.experiment_ids if 0 <= one <= ID_MAX]
    if not known:
        return [], None
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(PLANNING)
    orders = (*query.order, _NEWEST, _ID)
    keys = [_key(order) for order in orders]
    few = _few(connection, query.comparisons)
    if few == []:
        return [], None
    wanted = _wanted(keys).where(*_conditions(query.comparisons))
    if few is None:
        wanted = wanted.where(one_of(trace.c.experiment_id, known))
    else:
        # Reckoned with, so that no database follows the index of the experiment's.
        wanted = wanted.where(trace.c.id.in_(few), one_of(trace.c.experiment_id + 0, known))
    rows = _Rows(connection, wanted, keys, place.position)
    orders_asked = len(query.order)
    if any(is_made_here(one) for one in query.comparisons):
        page, end = _looked_at(rows, query, _End(place.position, place.within))
    else:
        found = rows.next(query.limit + 1)
        page = found[: query.limit]
        end = _End(_position(page[-1], orders_asked)) if len(found) > query.limit else None
    # Where the page before had room for few, this one may too: the rest is not read for nothing.
    step = len(page) if place.fitted is None else max(1, 2 * place.fitted)
    fitting, fitted = fitting_count(connection, [row.id for row in page], step=step), None
    if fitting < len(page):
        page, end = page[:fitting], _End(_position(page[fitting - 1], orders_asked))
        fitted = fitting
    following = None if end is None else encode_cursor(query, end.position, end.within, fitted)
    return [row.id for row in page], following


@dataclass(frozen=True)
class _End:
    """Where a page ends.

    Args:
        position: Of the last trace that is done with; None: none is.
        within: How far the next one was looked at.
    """

    position: Position | None
    within: Within | None = None


def fitting_count(connection: Connection, ids: Sequence[str], *, step: int) -> int:
    """How many of the first traces may be read at once for what is said of them, at least one.

    Args:
        step: So many are looked at at first, then twice as many, and so on: to know how long a
            text is takes reading it.
    """
    size, count = 0, 0
    while count < len(ids):
        some = list(ids[count : count + step])
        sizes = {
            row.trace_id: int(row.size) for row in connection.execute(_SAID_BYTES, {"ids": some})
        }
        for trace_id in some:
            size += sizes.get(trace_id, 0)
            if count and size > SAID_BYTES_MAX:
                return count
            count += 1
        step *= 2
    return count


class _Rows:
    """The traces that are left, from a position on.

    Args:
        wanted: All of them, in no order.
        position: None: from the beginning.
    """

    def __init__(
        self,
        connection: Connection,
        wanted: Select[Any],
        keys: Sequence[Key],
        position: Position | None,
    ) -> None:
        self.connection = connection
        self._wanted = wanted.order_by(*(one for key in keys for one in key.order))
        self._keys = keys
        self._position = position

    def next(self, count: int) -> Sequence[Row[Any]]:
        """The next ones."""
        wanted, position = self._wanted, self._position
        if position is not None:
            after = (*position.keys, (VALUE, position.begun), (VALUE, position.id))
            wanted = wanted.where(comes_after(self._keys, after), *_bound(self._keys[0], after))
        rows = self.connection.execute(wanted.limit(count)).all()
        if rows:
            self._position = _position(rows[-1], len(self._keys) - 2)
        return rows


def _looked_at(rows: _Rows, query: TraceQuery, begin: _End) -> tuple[list[Row[Any]], _End | None]:
    """Those of the traces for which it all holds, as far as they are looked at.

    Args:
        begin: Where the page before ended.

    Returns:
        A page, and where it ends: at its last trace, or at what was looked at last, be it in the
        middle of a trace, when that was enough. None: there are no more.
    """
    budget, orders = Budget(), len(query.order)
    made_here = [one for one in query.comparisons if is_made_here(one)]
    of_spans = [one for one in made_here if one.subject is TraceSubject.SPAN]
    others = [one for one in made_here if one.subject is not TraceSubject.SPAN]
    values = ValueScan(rows.connection, others, budget)
    spans = SpanScan(
        rows.connection, _span_conditions(query.comparisons), of_spans, budget, begin.within
    )
    page: list[Row[Any]] = []
    last = begin.position
    while some := rows.next(CANDIDATES):
        for row, holds in _verdicts(some, values, spans):
            last = _position(row, orders)
            if not holds:
                continue
            if len(page) == query.limit:
                return page, _End(_position(page[-1], orders))
            page.append(row)
        if budget.is_over:
            return page, _End(last, spans.within)
        if len(some) < CANDIDATES:
            break
    return page, None


def _verdicts(
    some: Sequence[Row[Any]], values: ValueScan, spans: SpanScan
) -> Iterator[tuple[Row[Any], bool]]:
    """Say of traces whether it all holds; it ends early when a scan does."""
    by_values = dict(values.found([row.id for row in some]))
    by_spans = spans.found([one for one, holds in by_values.items() if holds])
    for row in some[: len(by_values)]:
        if not by_values[row.id]:
            yield row, False
            continue
        found = next(by_spans, None)
        if found is None:
            return
        yield row, found[1]


def _few(connection: Connection, comparisons: Sequence[TraceComparison]) -> list[str] | None:
    """The fewest traces among which all that are asked for must be; None: they are too many."""
    least: list[str] | None = None
    for one in comparisons:
        for place in _places(one):
            ids = connection.execute(place.limit(FEW + 1)).scalars().all()
            if len(ids) <= FEW and (least is None or len(ids) < len(least)):
                least = list(ids)
    return least


def _places(found: TraceComparison) -> list[Select[Any] | CompoundSelect[Any]]:
    """How the traces that a comparison holds for are found by an index, if they are."""
    if found.operator is Operator.RLIKE:
        return []
    value = as_comparison(found)
    label = trace_label.c
    if found.subject in KINDS:
        kind, key = KINDS[found.subject], found.key
        where = on_text(value, label.value)
        wanted = select(label.trace_id).where(label.kind == kind, label.key == key, *where)
        return [wanted] if where else []
    if found.subject is TraceSubject.ATTRIBUTE and found.key == "run_id":
        where = on_text(value, label.value)
        if not where:
            return []
        made = select(label.trace_id).where(label.kind == METADATA, label.key == RUN_KEY, *where)
        linked = select(trace_run.c.trace_id).where(compared(value, trace_run.c.workload_id))
        return [union(made, linked)]
    return []


def _wanted(keys: Sequence[Key]) -> Select[Any]:
    columns = [
        column
        for number, key in enumerate(keys[:-2])
        for column in (key.rank.label(f"rank_{number}"), key.value.label(f"value_{number}"))
    ]
    source: FromClause = trace
    for key in keys:
        if key.joined is not None:
            source = source.outerjoin(*key.joined)
    return select(trace.c.id, trace.c.time_ms, *columns).select_from(source)


def _bound(first: Key, after: SortKeys) -> list[Condition]:
    """What no database reads out of the alternatives: how far the index need not be looked at."""
    if not first.always:
        return []
    value = after[0][1]
    return [first.value <= value if first.descending else first.value >= value]


def _position(row: Row[Any], orders: int) -> Position:
    found = tuple(row)
    pairs = (found[2 + 2 * number : 4 + 2 * number] for number in range(orders))
    keys = tuple((rank, value if rank == VALUE else None) for rank, value in pairs)
    return Position(keys, row.time_ms, row.id)


def _key(order: TraceOrder) -> Key:
    if order.subject is TraceSubject.ATTRIBUTE:
        value = _COLUMNS[order.key]
        if order.key not in _MAY_LACK:
            return Key(literal(VALUE), value, order.descending, always=True)
        return Key(case((value.is_(None), MISSING), else_=VALUE), value, order.descending)
    table: Any = trace_label.alias()
    this = and_(
        table.c.trace_id == trace.c.id,
        table.c.kind == KINDS[order.subject],
        table.c.key == order.key,
    )
    rank = case((table.c.value.is_(None), MISSING), else_=VALUE)
    return Key(rank, table.c.value, order.descending, (table, this))


def _conditions(comparisons: Sequence[TraceComparison]) -> list[Condition]:
    made = [_condition(one) for one in comparisons if one.subject is not TraceSubject.SPAN]
    if any(one.subject is TraceSubject.SPAN for one in comparisons):
        holds = _span_conditions(comparisons)
        made.append(exists().where(trace_span.c.trace_id == trace.c.id, *holds))
    return made


def _span_conditions(comparisons: Sequence[TraceComparison]) -> list[Condition]:
    """What must hold of one span, but for its contents."""
    return [
        compared(as_comparison(one), func.nullif(trace_span.c[one.key], ""))
        for one in comparisons
        if one.subject is TraceSubject.SPAN and not is_made_here(one)
    ]


def _condition(found: TraceComparison) -> Condition:
    match found.subject:
        case TraceSubject.ATTRIBUTE if found.key == "run_id":
            return _of_run(found)
        case TraceSubject.ATTRIBUTE if found.key == "prompt":
            return _of_prompt(str(found.value))
        case TraceSubject.ATTRIBUTE if found.operator is Operator.RLIKE:
            return _COLUMNS[found.key].is_not(None)
        case TraceSubject.ATTRIBUTE:
            return compared(as_comparison(found), _COLUMNS[found.key])
        case TraceSubject.TAG | TraceSubject.METADATA:
            return _of_label(found, KINDS[found.subject], found.key)
        case _:
            return _of_assessment(found)


def _of_run(found: TraceComparison) -> Condition:
    made_in_it = _of_label(found, METADATA, RUN_KEY)
    if found.operator in (Operator.NE, Operator.NOT_IN):
        return made_in_it
    run_id = trace_run.c.workload_id
    linked = exists().where(
        trace_run.c.trace_id == trace.c.id, compared(as_comparison(found), run_id)
    )
    return or_(linked, made_in_it)


def _of_prompt(prompt: str) -> Condition:
    table: Any = trace_label.alias()
    is_told = [table.c.value.contains(text, autoescape=True) for text in prompt_texts(prompt)]
    return exists().where(
        table.c.trace_id == trace.c.id,
        table.c.kind == TAG,
        table.c.key == PROMPTS_TAG,
        or_(*is_told),
    )


def _of_label(found: TraceComparison, kind: str, key: str) -> Condition:
    table: Any = trace_label.alias()
    there = [table.c.trace_id == trace.c.id, table.c.kind == kind, table.c.key == key]
    if found.operator is Operator.IS_NULL:
        return not_(exists().where(*there))
    if found.operator in _THERE:
        return exists().where(*there)
    return exists().where(*there, compared(as_comparison(found), table.c.value))


def _of_assessment(found: TraceComparison) -> Condition:
    table: Any = trace_assessment.alias()
    there = [
        table.c.trace_id == trace.c.id,
        table.c.kind == str(found.subject),
        table.c.name == found.key,
        table.c.valid == 1,
    ]
    if found.operator is Operator.IS_NULL:
        return not_(exists().where(*there))
    if found.operator in _THERE:
        return exists().where(*there)
    return exists().where(*there, _value_compared(found, table))


def _value_compared(found: TraceComparison, table: Any) -> Condition:
    if found.operator in (Operator.EQ, Operator.NE):
        is_it = table.c.value.in_(json_forms(str(found.value)))
        return is_it if found.operator is Operator.EQ else not_(is_it)
    column = table.c.value if isinstance(found.value, str) else table.c.number
    return compared(as_comparison(found), column)
