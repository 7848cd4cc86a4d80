"""Searching workloads in SQL, page by page.

A cursor holds the sort keys of the last row seen (keyset paging): the next page begins after
them, at a cost that does not grow with how far one has paged, and rows that come or go meanwhile
neither shift nor repeat others.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, case, false, func, or_, select

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import ATTRIBUTES, Lifecycle, Order, Subject, WorkloadQuery
from seafloor.stores.metadata.protocol import WorkloadPage
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.conditions import attribute_column, condition
from seafloor.stores.metadata.sql.rows import workload_of


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    query: str
    keys: list[str | int | float]


@dataclass(frozen=True)
class _SortKey:
    column: ColumnElement[Any]
    descending: bool


def search(connection: Connection, query: WorkloadQuery) -> WorkloadPage:
    """Find a page of workloads; one statement."""
    table = tables.workload
    wanted = select(table).select_from(table).where(table.c.kind == str(query.kind))
    for clause in _clauses(query):
        wanted = wanted.where(clause)
    wanted, keys = _sorted(wanted, query.order)
    if query.cursor is not None:
        wanted = wanted.where(_after(keys, _read_cursor(query, len(keys))))
    labelled = [key.column.label(f"sort_{number}") for number, key in enumerate(keys)]
    wanted = wanted.add_columns(*labelled).limit(query.limit + 1)
    rows = connection.execute(wanted).all()
    page = rows[: query.limit]
    cursor = None
    if len(rows) > query.limit:
        values = [page[-1]._mapping[label.name] for label in labelled]  # public API
        cursor = _cursor(query, values)
    return WorkloadPage(tuple(workload_of(row) for row in page), cursor)


def _clauses(query: WorkloadQuery) -> list[ColumnElement[bool]]:
    table = tables.workload
    made: list[ColumnElement[bool]] = []
    if query.project is not None:
        made.append(table.c.project == query.project)
    if query.experiment_ids is not None:
        ids = query.experiment_ids
        made.append(table.c.experiment_id.in_(ids) if ids else false())
    if query.states is not None:
        made.append(table.c.state.in_([str(state) for state in query.states]))
    if query.lifecycle is Lifecycle.ACTIVE:
        made.append(table.c.deleted_ns.is_(None))
    elif query.lifecycle is Lifecycle.DELETED:
        made.append(table.c.deleted_ns.is_not(None))
    if query.filter is not None:
        made.append(condition(query.filter))
    return made


def _sorted(wanted: Select[Any], orders: tuple[Order, ...]) -> tuple[Select[Any], list[_SortKey]]:
    keys: list[_SortKey] = []
    for order in orders:
        wanted, more = _order_keys(wanted, order)
        keys += more
    keys.append(_SortKey(tables.workload.c.created_ns, descending=True))
    keys.append(_SortKey(tables.workload.c.id, descending=False))
    directions = [key.column.desc() if key.descending else key.column.asc() for key in keys]
    return wanted.order_by(*directions), keys


def _order_keys(wanted: Select[Any], order: Order) -> tuple[Select[Any], list[_SortKey]]:
    """The keys of one order: a rank (0 value, 1 NaN, 2 missing), then the value."""
    by = order.by
    workload = tables.workload
    if by.subject is Subject.METRIC:
        joined = tables.metric_summary.alias()
        value, blank = joined.c.last, 0.0
        rank = case((joined.c.workload_id.is_(None), 2), (value.is_(None), 1), else_=0)
    elif by.subject is Subject.ATTRIBUTE:
        value = attribute_column(by.key)
        blank = 0 if ATTRIBUTES[by.key] == "number" else ""
        keys = [_SortKey(case((value.is_(None), 2), else_=0), descending=False)]
        keys.append(_SortKey(func.coalesce(value, blank), order.descending))
        return wanted, keys
    elif by.subject in (Subject.PARAM, Subject.TAG):
        joined = (tables.param if by.subject is Subject.PARAM else tables.tag).alias()
        value, blank = joined.c.value, ""
        rank = case((value.is_(None), 2), else_=0)
    else:
        raise InvalidValue("Runs cannot be ordered by their datasets.", field="order")
    this = and_(joined.c.workload_id == workload.c.id, joined.c.key == by.key)
    wanted = wanted.outerjoin(joined, this)
    return wanted, [
        _SortKey(rank, descending=False),
        _SortKey(func.coalesce(value, blank), order.descending),
    ]


def _after(keys: list[_SortKey], values: list[str | int | float]) -> ColumnElement[bool]:
    """What comes after some sort keys, in lexicographic order."""
    alternatives: list[ColumnElement[bool]] = []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        equal = [keys[i].column == values[i] for i in range(number)]
        beyond = key.column < value if key.descending else key.column > value
        alternatives.append(and_(*equal, beyond))
    first, start = keys[0], values[0]
    # Said twice, so that an index on the first key can be entered at the right place.
    bound = first.column <= start if first.descending else first.column >= start
    return and_(bound, or_(*alternatives))


def _fingerprint(query: WorkloadQuery) -> str:
    same = msgspec.structs.replace(query, cursor=None, limit=1)
    return hashlib.sha256(msgspec.json.encode(same)).hexdigest()[:16]


def _cursor(query: WorkloadQuery, keys: list[Any]) -> str:
    document = msgspec.json.encode(_Cursor(_fingerprint(query), keys))
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def _read_cursor(query: WorkloadQuery, count: int) -> list[str | int | float]:
    text = query.cursor or ""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.json.decode(raw, type=_Cursor)
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidValue("The cursor is not one of this server.", field="cursor") from error
    if cursor.query != _fingerprint(query) or len(cursor.keys) != count:
        raise InvalidValue(
            "The cursor belongs to another search: begin at the first page.", field="cursor"
        )
    return cursor.keys
