"""Searching workloads in SQL, page by page.

A cursor holds the sort keys of the last row seen (keyset paging): the next page begins after
them, at a cost that does not grow with how far one has paged, and rows that come or go meanwhile
neither shift nor repeat others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    case,
    false,
    or_,
    select,
)

from seafloor.domain.search import Identifier, Lifecycle, Order, Part, Subject, WorkloadQuery
from seafloor.stores.metadata.comparisons import check_query
from seafloor.stores.metadata.cursors import Position, SortKey, decode_cursor, encode_cursor
from seafloor.stores.metadata.protocol import WorkloadPage
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.conditions import condition
from seafloor.stores.metadata.sql.experiments import ID_MAX
from seafloor.stores.metadata.sql.operands import KEYED, as_number, row_of, value_in_row
from seafloor.stores.metadata.sql.rows import workload_of

_VALUE, _NAN, _MISSING = 0, 1, 2


@dataclass(frozen=True)
class _Key:
    """One order key: a rank (value, NaN or missing), then the value."""

    rank: ColumnElement[int]
    value: ColumnElement[Any]
    descending: bool
    joined: tuple[FromClause, ColumnElement[bool]] | None = None

    def beyond(self, at: SortKey) -> ColumnElement[bool]:
        """What comes after a position, as far as this key says."""
        rank, value = at
        if rank != _VALUE:
            return self.rank > rank
        further = self.value < value if self.descending else self.value > value
        return or_(self.rank > rank, and_(self.rank == rank, further))

    def equal(self, at: SortKey) -> ColumnElement[bool]:
        """What stands at a position, as far as this key says."""
        rank, value = at
        return self.rank == rank if rank != _VALUE else self.value == value


def search(connection: Connection, query: WorkloadQuery) -> WorkloadPage:
    """Find a page of workloads, in one statement.

    Raises:
        InvalidValue, LimitExceeded: as ``check_query`` says, or the cursor is not of this query.
    """
    check_query(query)
    after = decode_cursor(query)
    keys = [_key(order) for order in query.order]
    rows = connection.execute(_statement(query, keys, after)).all()
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return WorkloadPage(
        items=tuple(workload_of(row) for row in page),
        next=encode_cursor(query, _position(page[-1], len(keys))) if more else None,
    )


def _statement(query: WorkloadQuery, keys: Sequence[_Key], after: Position | None) -> Select[Any]:
    table = tables.workload
    wanted = select(table).where(*_clauses(query))
    for number, key in enumerate(keys):
        if key.joined is not None:
            wanted = wanted.outerjoin_from(table, *key.joined)
        wanted = wanted.add_columns(
            key.rank.label(f"rank_{number}"), key.value.label(f"value_{number}")
        )
        wanted = wanted.order_by(key.rank, key.value.desc() if key.descending else key.value)
    if after is not None:
        wanted = wanted.where(_after(keys, after))
    return wanted.order_by(table.c.created_ns.desc(), table.c.id).limit(query.limit + 1)


def _position(row: Row[Any], orders: int) -> Position:
    keys = tuple(
        (getattr(row, f"rank_{number}"), getattr(row, f"value_{number}"))
        for number in range(orders)
    )
    return Position(keys, row.created_ns, row.id)


def _clauses(query: WorkloadQuery) -> list[ColumnElement[bool]]:
    table = tables.workload
    made: list[ColumnElement[bool]] = [table.c.kind == str(query.kind)]
    if query.project is not None:
        made.append(table.c.project == query.project)
    if query.experiment_ids is not None:
        ids = [one for one in query.experiment_ids if 0 <= one <= ID_MAX]
        made.append(_one_of(table.c.experiment_id, ids))
    if query.states is not None:
        made.append(_one_of(table.c.state, [str(state) for state in query.states]))
    if query.lifecycle is Lifecycle.ACTIVE:
        made.append(table.c.deleted_ns.is_(None))
    elif query.lifecycle is Lifecycle.DELETED:
        made.append(table.c.deleted_ns.is_not(None))
    if query.filter is not None:
        made.append(condition(query.filter))
    return made


def _one_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    if len(values) == 1:  # an index then serves the order too
        return column == values[0]
    return column.in_(values) if values else false()


def _key(order: Order) -> _Key:
    by: Identifier = order.by
    if by.subject is Subject.ATTRIBUTE:
        value = tables.workload.c[by.key]
        rank = case((value.is_(None), _MISSING), else_=_VALUE)
        return _Key(rank, value, order.descending)
    table: Any = KEYED[by.subject].alias()
    value = value_in_row(by, table)
    if order.numeric:
        value = as_number(value)
    rank = case((value.is_(None), _MISSING), else_=_VALUE)
    if by.subject is Subject.METRIC and by.part is Part.LAST:
        rank = case(
            (table.c.workload_id.is_(None), _MISSING), (value.is_(None), _NAN), else_=_VALUE
        )
    return _Key(rank, value, order.descending, (table, row_of(by, table)))


def _after(keys: Sequence[_Key], at: Position) -> ColumnElement[bool]:
    """What comes after a position, in lexicographic order of the keys."""
    created, workload_id = tables.workload.c.created_ns, tables.workload.c.id
    # The first bound is said apart, so that an index on the time is entered at the right place.
    last: ColumnElement[bool] = and_(
        created <= at.created_ns, or_(created < at.created_ns, workload_id > at.id)
    )
    for key, where in reversed(list(zip(keys, at.keys, strict=True))):
        last = or_(key.beyond(where), and_(key.equal(where), last))
    return last
