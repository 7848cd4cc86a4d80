"""Searching workloads in SQL, page by page.

A cursor holds the sort keys of the last row seen (keyset paging): the next page begins after
them, at a cost that does not grow with how far one has paged, and rows that come or go meanwhile
neither shift nor repeat others.

A page is found by ids first. Either something that is asked for is rare: then those runs are
looked at one by one and sorted (``_gather``). Or it is not: then the index of the first sort key
is followed, and each run that it gives is looked at, until the page is full (``_walk``); when that
shows next to nothing, since what is common is rare together, they are gathered after all. A group
of equals at the end of the page is a search of its own, by the remaining keys. No statement leaves
it to the database in which order it takes the tables.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    any_,
    case,
    false,
    func,
    literal,
    not_,
    select,
)

from seafloor.domain.bounds import INT64_MIN
from seafloor.domain.search import (
    Comparison,
    Filter,
    Identifier,
    Lifecycle,
    Operator,
    Order,
    Part,
    Subject,
    WorkloadQuery,
)
from seafloor.domain.workloads import Workload
from seafloor.stores.metadata.comparisons import (
    check_query,
    compares_numbers,
    comparisons_of,
    number_of,
)
from seafloor.stores.metadata.cursors import Position, decode_cursor, encode_cursor
from seafloor.stores.metadata.protocol import WorkloadPage
from seafloor.stores.metadata.sort_keys import (
    MISSING,
    NAN,
    VALUE,
    SortKey,
    SortKeys,
    compare_sort_keys,
)
from seafloor.stores.metadata.sql import tables, ways
from seafloor.stores.metadata.sql.conditions import compared, condition, is_of_text
from seafloor.stores.metadata.sql.keyset import Key, comes_after
from seafloor.stores.metadata.sql.operands import KEYED, as_number, has_row, head_of, value_in_row
from seafloor.stores.metadata.sql.prepared import IDS_AT_ONCE, PreparedIn
from seafloor.stores.metadata.sql.rows import workload_of
from seafloor.stores.metadata.sql.tables import HEAD_CHARS
from seafloor.stores.metadata.sql.ways import (
    Scope,
    Way,
    flattened,
    known_ids,
    narrowest,
    on_last_value,
    one_of,
)
from seafloor.stores.metadata.sql.wide_scopes import WideScopes

FOLLOWED_MIN, FOLLOWED_PER_RUN = 10_000, 20
"""How far an index is followed before it is asked whether that is worth while."""
_WORTH_WHILE = 0.1
"""The share of a page that it must have brought."""
BLOCK_MIN, BLOCK_PER_RUN, BLOCK_MAX = 500, 4, 20_000
"""Of so many runs at once PostgreSQL looks up a text."""
_LOWER, _UPPER = (Operator.GT, Operator.GE), (Operator.LT, Operator.LE)

_NEWEST = Order(Identifier(Subject.ATTRIBUTE, "created_ns"), descending=True)
_ID = Order(Identifier(Subject.ATTRIBUTE, "id"))
_LEAST = {"created_ns": INT64_MIN, "started_ns": INT64_MIN, "name": "", "id": ""}
"""Attributes whose order an index has, with the least value: a bound tells SQLite which it is."""
_NULLABLE = ("started_ns",)

# PostgreSQL would rather read a whole table than look up a thousand rows, when it believes that
# there are more; what has to be read here is known better.
PLANNING = "; ".join(
    f"SET LOCAL {name} = off"
    for name in (
        "enable_seqscan",
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_sort",
        "enable_bitmapscan",
        "jit",
    )
)

_BY_IDS = PreparedIn(lambda asked: select(tables.workload).where(asked(tables.workload.c.id)))


_WALKED: Any = tables.metric_summary.alias("walked")


@dataclass(frozen=True, slots=True)
class _Found:
    """A run.

    Args:
        run: Whole.
        before: The sort keys by the first orders, as far as they are known.
    """

    run: Workload
    before: SortKeys = ()


def search(connection: Connection, query: WorkloadQuery, *, wide: WideScopes) -> WorkloadPage:
    """Find a page of workloads, in a few statements, however many there are.

    Args:
        wide: What is known of earlier searches in this database; added to.

    Raises:
        InvalidValue, LimitExceeded: as ``check_query`` says, or the cursor is not of this query.
    """
    check_query(query)
    position = decode_cursor(query)
    after = None
    if position is not None:
        after = (*position.keys, (VALUE, position.begun), (VALUE, position.id))
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(PLANNING)
    scope = Scope(query, flattened(query.filter))
    orders = (*query.order, _NEWEST, _ID)
    found = _page(connection, scope, orders, after, query.limit + 1, wide=wide)
    page = found[: query.limit]
    more = len(found) > query.limit
    return WorkloadPage(
        items=tuple(one.run for one in page),
        next=encode_cursor(query, _position(connection, query, page[-1])) if more else None,
    )


def _position(connection: Connection, query: WorkloadQuery, last: _Found) -> Position:
    rest = query.order[len(last.before) :]
    (keys,) = _keys_of(connection, [last.run], rest)
    known = last.before[: len(query.order)]
    return Position((*known, *keys), last.run.created_ns, last.run.id)


def _page(
    connection: Connection,
    scope: Scope,
    orders: Sequence[Order],
    after: SortKeys | None,
    limit: int,
    *,
    wide: WideScopes | None = None,
) -> list[_Found]:
    """The first runs of a scope after a position, in order."""
    if _is_empty(scope):
        return []
    way = None
    if wide is None or scope not in wide:
        way = narrowest(connection, scope, most=ways.FEW)
        if way is None and wide is not None:
            wide.add(scope)
    if way is None and _can_be_walked(orders[0]):
        found = _walk(connection, scope, orders, after, limit)
        if not isinstance(found, Way):
            return found
        way = found
    return _gather(connection, scope, way or _all_of(scope), orders, after, limit)


def _is_empty(scope: Scope) -> bool:
    query = scope.query
    return (query.experiment_ids is not None and not known_ids(query.experiment_ids)) or (
        query.states == ()
    )


def _can_be_walked(order: Order) -> bool:
    by = order.by
    if by.subject is Subject.METRIC:
        return by.part is Part.LAST
    return by.subject is Subject.ATTRIBUTE and by.key in _LEAST


def _all_of(scope: Scope) -> Way:
    kind = tables.workload.c.kind == str(scope.query.kind)
    return Way(tables.workload, tables.workload.c.id, kind)


# -- gathering


def _gather(
    connection: Connection,
    scope: Scope,
    way: Way,
    orders: Sequence[Order],
    after: SortKeys | None,
    limit: int,
) -> list[_Found]:
    """Look at every run of a way, and sort those that are asked for."""
    shown = tables.workload.alias("shown")
    keys = [_key(order, shown) for order in orders]
    wanted: Select[Any] = select(shown.c.id)
    if way.table is tables.workload:
        wanted = wanted.select_from(tables.workload).join(shown, shown.c.id == tables.workload.c.id)
        wanted = wanted.where(*_all_clauses(scope))
    else:
        wanted = wanted.select_from(way.table).join(shown, shown.c.id == way.run_id)
        asked = _asked_for(scope, way.run_id, known=way.proves)
        wanted = wanted.where(*_in_turn(connection, asked))
    for key in keys:
        if key.joined is not None:
            wanted = wanted.outerjoin(*key.joined)
        wanted = wanted.order_by(*key.order)
    wanted = wanted.where(way.where)
    for name in ("mariadb", "mysql"):
        # It would rather begin with an index over all runs than with the few of the way.
        wanted = wanted.prefix_with("STRAIGHT_JOIN", dialect=name)
    if after is not None:
        wanted = wanted.where(comes_after(keys, after))
    ids = connection.execute(wanted.limit(limit)).scalars().all()
    return [_Found(run) for run in _runs_of(connection, ids)]


def _asked_for(
    scope: Scope,
    run_id: ColumnElement[Any],
    *,
    known: Sequence[Filter],
    block: Select[Any] | None = None,
) -> list[ColumnElement[bool]]:
    """Whether the run with an id is; in subqueries, so that no database begins with the runs.

    What costs little and few runs fulfil comes first, and what needs the run itself last.

    Args:
        block: The ids among which it is, to look their texts up at once; on PostgreSQL.
    """

    def beside_it(one: Filter) -> ColumnElement[bool]:
        if block is not None and isinstance(one, Comparison) and is_of_text(one):
            return _is_among(one, run_id, block)
        return condition(one, run_id=run_id)

    asked = [one for one in scope.filters if one not in known]
    beside = sorted((one for one in asked if not _needs_run(one)), key=_weight)
    of_it = tables.workload.c.id == run_id
    needed = [condition(one) for one in asked if _needs_run(one)]
    run = select(literal(1)).where(of_it, *_clauses(scope.query), *needed)
    return [
        *(beside_it(one) for one in beside),
        *_nan_clauses(scope, run_id),
        run.scalar_subquery().is_not(None),
    ]


def _is_among(
    one: Comparison, run_id: ColumnElement[Any], block: Select[Any]
) -> ColumnElement[bool]:
    """Whether a run of a block has a text; PostgreSQL looks all up and hashes those with it.

    It takes half as long as a subquery a run, most of which is the subquery.
    """
    table: Any = KEYED[one.left.subject].alias()
    ids: Any = func.array(block.scalar_subquery())
    # Of a longer text too its head is one place in the index, where a range would be read whole.
    having: Select[Any] = select(table.c.workload_id).where(
        table.c.key == one.left.key,
        head_of(table.c.value) == str(one.value)[:HEAD_CHARS],
        compared(one, table.c.value),
        table.c.workload_id == any_(ids),
    )
    return run_id.in_(having)


def _in_turn(
    connection: Connection, asked: Sequence[ColumnElement[bool]]
) -> Sequence[ColumnElement[bool]]:
    """Conditions that are looked at one after the other, as long as they hold.

    Databases do so by themselves, but PostgreSQL puts first what it believes to cost less.
    """
    if connection.dialect.name != "postgresql":
        return asked
    *first, last = asked
    return [case(*((not_(one), false()) for one in first), else_=last)] if first else asked


def _weight(part: Filter) -> int:
    """What is looked at sooner: a text that is equal, a number, a pattern or a document, a tree.

    A page of a database holds many more params and tags than summaries of metrics.
    """
    if not isinstance(part, Comparison):
        return 3
    if part.left.subject is Subject.METRIC:
        return 1
    is_text = not part.left.path and not compares_numbers(part)
    return 0 if is_text and part.operator in (Operator.EQ, Operator.IN) else 2


def _needs_run(part: Filter) -> bool:
    return any(one.left.subject is Subject.ATTRIBUTE for one in comparisons_of(part))


def _all_clauses(scope: Scope) -> list[ColumnElement[bool]]:
    return [
        *_clauses(scope.query),
        *(condition(part) for part in scope.filters),
        *_nan_clauses(scope, tables.workload.c.id),
    ]


def _nan_clauses(scope: Scope, run_id: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    made: list[ColumnElement[bool]] = []
    for key in scope.nans:
        metric: Any = tables.metric_summary.alias()
        left = Identifier(Subject.METRIC, key)
        made.append(has_row(left, metric.c.last.is_(None), metric, run_id))
    return made


def _clauses(query: WorkloadQuery) -> list[ColumnElement[bool]]:
    table = tables.workload
    made: list[ColumnElement[bool]] = [table.c.kind == str(query.kind)]
    if query.project is not None:
        made.append(table.c.project == query.project)
    if query.experiment_ids is not None:
        made.append(one_of(table.c.experiment_id, known_ids(query.experiment_ids)))
    if query.states is not None:
        made.append(one_of(table.c.state, [str(state) for state in query.states]))
    if query.lifecycle is Lifecycle.ACTIVE:
        made.append(table.c.deleted_ns.is_(None))
    elif query.lifecycle is Lifecycle.DELETED:
        made.append(table.c.deleted_ns.is_not(None))
    return made


def _key(order: Order, shown: FromClause) -> Key:
    by = order.by
    if by.subject is Subject.ATTRIBUTE:
        value: ColumnElement[Any] = shown.c[by.key]
        rank = case((value.is_(None), MISSING), else_=VALUE)
        return Key(rank, value, order.descending)
    table: Any = KEYED[by.subject].alias()
    value = value_in_row(by, table)
    if order.numeric:
        value = as_number(value)
    rank = case((value.is_(None), MISSING), else_=VALUE)
    if by.subject is Subject.METRIC and by.part is Part.LAST:
        rank = case((table.c.workload_id.is_(None), MISSING), (value.is_(None), NAN), else_=VALUE)
    this = and_(table.c.workload_id == shown.c.id, table.c.key == by.key)
    return Key(rank, value, order.descending, (table, this))


def _runs_of(connection: Connection, ids: Sequence[str]) -> list[Workload]:
    """Whole runs, in the order of the ids."""
    made: dict[str, Workload] = {}
    for row in _BY_IDS.rows(connection, {}, ids):
        run = workload_of(row)
        made[run.id] = run
    return [made[one] for one in ids]


def _keys_of(
    connection: Connection, runs: Sequence[Workload], orders: Sequence[Order]
) -> list[SortKeys]:
    """The sort keys of some runs; asked for only if not all of them are attributes."""
    table = tables.workload
    keys = [_key(order, table) for order in orders]
    wanted: Select[Any] = select(table.c.id).select_from(table)
    for number, key in enumerate(keys):
        if key.joined is not None:
            wanted = wanted.outerjoin(*key.joined)
            columns = (key.rank.label(f"rank_{number}"), key.value.label(f"value_{number}"))
            wanted = wanted.add_columns(*columns)
    asked: dict[str, Row[Any]] = {}
    if any(key.joined is not None for key in keys):
        ids = [run.id for run in runs]
        for begin in range(0, len(ids), IDS_AT_ONCE):
            some = wanted.where(table.c.id.in_(ids[begin : begin + IDS_AT_ONCE]))
            asked |= {row.id: row for row in connection.execute(some)}
    return [_keys_in(run, asked.get(run.id), orders) for run in runs]


def _keys_in(run: Workload, asked: Row[Any] | None, orders: Sequence[Order]) -> SortKeys:
    made: list[SortKey] = []
    for number, order in enumerate(orders):
        if order.by.subject is Subject.ATTRIBUTE:
            value = getattr(run, order.by.key)
            made.append((MISSING, None) if value is None else (VALUE, value))
        else:
            made.append((getattr(asked, f"rank_{number}"), getattr(asked, f"value_{number}")))
    return tuple(made)


# -- walking


def _walk(
    connection: Connection,
    scope: Scope,
    orders: Sequence[Order],
    after: SortKeys | None,
    limit: int,
) -> list[_Found] | Way:
    """Follow the index of the first key: its values, then NaN, then where it is missing.

    It gives the way by which to gather the runs instead, when that is quicker.
    """
    first, rest = orders[0], orders[1:]
    rank, at = (VALUE, None) if after is None else after[0]
    further = None if after is None else after[1:]
    made: list[_Found] = []

    def add(group: Scope, key: SortKey, begin: SortKeys | None) -> None:
        if rest and len(made) < limit:
            found = _page(connection, group, rest, begin, limit - len(made))
            made.extend(_Found(one.run, (key, *one.before)) for one in found)

    if rank == VALUE:
        if at is not None:
            add(_equal(scope, first.by, at), (VALUE, at), further)
        if len(made) < limit:
            found = _values(connection, scope, orders, at, limit - len(made))
            if isinstance(found, Way):
                return found
            made += found
    if _has_nans(first.by) and rank <= NAN:
        group = replace(scope, nans=(*scope.nans, first.by.key))
        add(group, (NAN, None), further if rank == NAN else None)
    if _may_be_missing(first.by, scope):
        add(_missing(scope, first.by), (MISSING, None), further if rank == MISSING else None)
    return made


def _equal(scope: Scope, by: Identifier, value: Any) -> Scope:
    return replace(scope, filters=(*scope.filters, Comparison(by, Operator.EQ, value)))


def _missing(scope: Scope, by: Identifier) -> Scope:
    return replace(scope, filters=(*scope.filters, Comparison(by, Operator.IS_NULL)))


def _has_nans(by: Identifier) -> bool:
    return by.subject is Subject.METRIC


def _may_be_missing(by: Identifier, scope: Scope) -> bool:
    if by.subject is Subject.ATTRIBUTE:
        return by.key in _NULLABLE
    # What must have a value is not missing.
    return not any(
        one.left.subject is Subject.METRIC
        and one.left.key == by.key
        and one.operator is not Operator.IS_NULL
        for one in scope.comparisons
    )


def _values(
    connection: Connection,
    scope: Scope,
    orders: Sequence[Order],
    beyond: Any,
    limit: int,
) -> list[_Found] | Way:
    """The first runs that have a value for the first key, beyond one; or how to gather them."""
    rows = _followed(connection, scope, orders[0], beyond, limit + 1)
    if isinstance(rows, Way):
        return rows
    # The last one may have equals that are not among these, and of them the last is not to come.
    is_torn = len(rows) > limit
    border = rows[-1].value if is_torn else None
    kept = sum(row.value != border for row in rows)
    known: dict[str, SortKeys] = {row.id: ((VALUE, row.value),) for row in rows[:kept]}
    whole = _runs_of(connection, list(known))
    if len(set(known.values())) < len(known):  # the index does not order equals
        keys = _keys_of(connection, whole, orders[1:])
        known = {run.id: known[run.id] + more for run, more in zip(whole, keys, strict=True)}
        order = functools.cmp_to_key(functools.partial(compare_sort_keys, orders))
        whole.sort(key=lambda run: order(known[run.id]))
    made = [_Found(run, known[run.id]) for run in whole]
    if is_torn and len(made) < limit:
        group = _equal(scope, orders[0].by, border)
        found = _page(connection, group, orders[1:], None, limit - len(made))
        made += [_Found(one.run, ((VALUE, border), *one.before)) for one in found]
    return made


def _followed(
    connection: Connection, scope: Scope, order: Order, beyond: Any, limit: int
) -> list[Row[Any, Any]] | Way:
    """The ids and values of the first runs; or a way by which there are fewer to look at.

    Filters may each be common and rare together. So an index is followed to a value that is not
    too far; when next to nothing was found up to it, the ways are counted once more, further.
    """
    far = max(FOLLOWED_MIN, FOLLOWED_PER_RUN * limit)
    blocks = _in_blocks(connection, scope, order, beyond, limit, far)
    rows, since, followed = blocks.rows, blocks.since, blocks.followed
    if blocks.are_all or len(rows) == limit:
        return rows
    rest = [*_span(scope, order, beyond), *since]
    if followed < far:
        place = _place(scope, order, rest)
        border = connection.execute(place.limit(1).offset(far - followed)).scalar()
        wanted = _in_order(connection, scope, order, [*_span(scope, order, beyond, border), *since])
        rows += connection.execute(wanted.limit(limit - len(rows))).all()
        if border is None:
            return rows
        rest = _span(scope, order, border)
    if len(rows) < limit * _WORTH_WHILE:
        way = narrowest(connection, scope, most=ways.MANY)
        if way is not None:
            return way
    if len(rows) < limit:
        further = _in_order(connection, scope, order, rest)
        rows += connection.execute(further.limit(limit - len(rows))).all()
    return rows


@dataclass(slots=True)
class _Blocks:
    """What an index was followed block by block.

    Args:
        rows: The ids and values of what was found.
        since: Where the next block begins.
        followed: How many entries there were, at most.
        are_all: None come after them.
    """

    rows: list[Row[Any, Any]]
    since: tuple[ColumnElement[bool], ...] = ()
    followed: int = 0
    are_all: bool = False


def _in_blocks(
    connection: Connection, scope: Scope, order: Order, beyond: Any, limit: int, far: int
) -> _Blocks:
    """Follow the index of a metric as far as that, or until so many are found, if by blocks.

    A block ends before a value, so however many have that value, it has no more than it was to.
    Where one value takes all of it, it is of no use: the rest is followed run by run.
    """
    made = _Blocks([])
    if not _has_blocks(connection, scope, order):
        return made
    value, begin = _value(order.by), None
    size: int = max(BLOCK_MIN, BLOCK_PER_RUN * limit)
    while made.followed < far and len(made.rows) < limit:
        size = min(size, BLOCK_MAX, far - made.followed)
        span = [*_span(scope, order, beyond), *made.since]
        border = connection.execute(_place(scope, order, span).limit(1).offset(size)).scalar()
        if border is not None and border == begin:
            break
        if border is not None:
            span.append(value > border if order.descending else value < border)
        wanted = _in_order(connection, scope, order, span, in_block=True)
        made.rows += connection.execute(wanted.limit(limit - len(made.rows))).all()
        made.followed += size
        if border is None:
            made.are_all = True
            break
        begin = border
        made.since = (value <= border if order.descending else value >= border,)
        # A tenth more than what is lacking has taken so far.
        lacking = limit - len(made.rows)
        size = max(size, made.followed * lacking * 11 // (10 * max(1, len(made.rows))))
    return made


def _has_blocks(connection: Connection, scope: Scope, order: Order) -> bool:
    return (
        connection.dialect.name == "postgresql"
        and order.by.subject is Subject.METRIC
        and any(is_of_text(one) for one in scope.filters)
    )


def _value(by: Identifier) -> ColumnElement[Any]:
    """What is followed: a column that has an index."""
    return _WALKED.c.last if by.subject is Subject.METRIC else tables.workload.c[by.key]


def _span(scope: Scope, order: Order, beyond: Any, border: Any = None) -> list[ColumnElement[bool]]:
    """Which values are followed: beyond one, and up to another and with it.

    On each side there is one bound at most: of two SQLite begins, or ends, at the first.
    """
    by, down = order.by, order.descending
    value = _value(by)
    made: list[ColumnElement[bool]] = []
    for bound in on_last_value(scope.comparisons, by.key) if by.subject is Subject.METRIC else ():
        ends = bound.operator in (_LOWER if down else _UPPER)
        begins = bound.operator in (_UPPER if down else _LOWER)
        is_passed = ends and border is not None
        if begins and beyond is not None:
            number = number_of(bound.value)
            is_passed = number is not None and (number >= beyond if down else number <= beyond)
        if not is_passed:
            made.append(compared(bound, value))
    if beyond is not None:
        made.append(value < beyond if down else value > beyond)
    if border is not None:
        made.append(value >= border if down else value <= border)
    if by.subject is Subject.METRIC:
        return made or [value.is_not(None)]
    if (border if down else beyond) is None:
        made.append(value >= _LEAST[by.key])
    return made


def _place(scope: Scope, order: Order, span: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The values in the order of the index, whoever has them."""
    by, query = order.by, scope.query
    value = _value(by)
    wanted: Select[Any] = select(value).where(*span)
    wanted = wanted.order_by(value.desc() if order.descending else value)
    if by.subject is Subject.METRIC:
        return wanted.where(_WALKED.c.key == by.key)
    if by.key == "id":
        return wanted
    workload = tables.workload
    index = f"{by.key}_id"
    if by.key != "name" and query.experiment_ids is not None and len(query.experiment_ids) == 1:
        wanted = wanted.where(one_of(workload.c.experiment_id, known_ids(query.experiment_ids)))
        index = f"experiment_id_{index}"
    for name in ("mariadb", "mysql"):
        # It takes any index that has all columns, though it has to sort by it.
        wanted = wanted.with_hint(workload, f"FORCE INDEX (ix_workload_kind_{index})", name)
    return wanted.where(workload.c.kind == str(query.kind))


def _in_order(
    connection: Connection,
    scope: Scope,
    order: Order,
    span: Sequence[ColumnElement[bool]],
    *,
    in_block: bool = False,
) -> Select[Any, Any]:
    """Ids and values of what is asked for, in the order of the index.

    Args:
        in_block: There are so few in the span that what is asked is asked of all at once.
    """
    by = order.by
    value = _value(by)
    if by.subject is Subject.METRIC:
        walked = _WALKED.c
        bounds = on_last_value(scope.comparisons, by.key)
        here = and_(walked.key == by.key, *span)
        block = select(walked.workload_id).where(here).correlate(None) if in_block else None
        asked = _asked_for(scope, walked.workload_id, known=bounds, block=block)
        wanted: Select[Any, Any] = select(walked.workload_id.label("id"), value.label("value"))
        wanted = wanted.where(here, *_in_turn(connection, asked))
    else:
        wanted = select(tables.workload.c.id, value.label("value"))
        wanted = wanted.where(*_all_clauses(scope), *span)
    return wanted.order_by(value.desc() if order.descending else value)
