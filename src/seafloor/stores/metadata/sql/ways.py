"""Ways into the tables: what of a search an index can find, and how many rows that would be.

The best way into a million runs is the narrowest: a param that few of them have, one experiment, a
range of a metric. How narrow each is is counted in its index, up to a bound, so that no search
depends on what a database believes about its tables.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    and_,
    func,
    literal,
    or_,
    select,
)

from seafloor.domain.search import (
    AllOf,
    Comparison,
    Filter,
    Identifier,
    Operator,
    Part,
    Subject,
    WorkloadQuery,
)
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.conditions import compared
from seafloor.stores.metadata.sql.experiments import ID_MAX
from seafloor.stores.metadata.sql.operands import KEYED, head_of, value_in_row
from seafloor.stores.metadata.sql.tables import HEAD_CHARS

FEW = 10_000
"""So many runs are looked at one by one; of more, an index is followed in the order asked for."""
MANY = 100_000
"""So many, when that index has shown nothing for long."""
FEW_ENOUGH = 100
"""A way to so many is taken without asking how wide the others are."""

LISTED_MAX = 100
"""Of longer lists an index is not asked."""
WAYS_MAX = 32
"""So many are counted; of a longer filter the others are looked at run by run."""
EXPERIMENTS_MAX = 1_000

_FOUND = tables.workload.alias("found")
_found: Any = _FOUND.c
_RANGES = frozenset({Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE, Operator.IN})
_POINTS = frozenset({Operator.EQ, Operator.IN})
_INDEXED = {
    "id": _POINTS,
    "name": _POINTS | {Operator.LIKE},
    "state": _POINTS,
    "experiment_id": _POINTS,
    "created_ns": _RANGES,
    "started_ns": _RANGES,
}


@dataclass(frozen=True)
class Scope:
    """What a run must fulfil: the query, and what is known of the group of equals looked at.

    Args:
        filters: All must hold; none of them is an AllOf.
        nans: Keys of metrics whose last value must be NaN.
    """

    query: WorkloadQuery
    filters: tuple[Filter, ...]
    nans: tuple[str, ...] = ()

    @property
    def comparisons(self) -> list[Comparison]:
        """Those of the filters that are one comparison."""
        return [one for one in self.filters if isinstance(one, Comparison)]


@dataclass(frozen=True)
class Way:
    """Rows of an index.

    Args:
        table: Whose; with one row per run.
        run_id: The column with the run's id.
        where: Which rows.
        proves: What holds for every run that it gives.
    """

    table: FromClause
    run_id: ColumnElement[Any]
    where: ColumnElement[bool]
    proves: tuple[Filter, ...] = ()


def narrowest(connection: Connection, scope: Scope, *, most: int) -> Way | None:
    """The way with the fewest rows, when they are not more than so many."""
    ways = list(islice(_ways(scope), WAYS_MAX))
    if not ways:
        return None
    for enough in sorted({min(FEW_ENOUGH, most), most}):
        counts = [_count(way, enough + 1) for way in ways]
        found = list(connection.execute(select(*counts)).one())
        least = min(found)
        if least <= enough:
            return ways[found.index(least)]
    return None


def _count(way: Way, most: int) -> ScalarSelect[Any]:
    """How many rows there are, so many at most."""
    some = select(literal(1).label("one")).select_from(way.table).where(way.where)
    return select(func.count()).select_from(some.limit(most).subquery()).scalar_subquery()


def flattened(found: Filter | None) -> tuple[Filter, ...]:
    """What must hold each, without AllOf."""
    made: list[Filter] = []
    waiting = [] if found is None else [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, AllOf):
            waiting.extend(reversed(one.parts))
        else:
            made.append(one)
    return tuple(made)


def on_last_value(comparisons: Iterable[Comparison], key: str) -> list[Comparison]:
    """Those that bound the last value of a metric."""
    left = Identifier(Subject.METRIC, key)
    return [one for one in comparisons if one.left == left and one.operator in _RANGES]


def _ways(scope: Scope) -> Iterable[Way]:
    query = scope.query
    kind = _found.kind == str(query.kind)
    if query.experiment_ids is not None and len(query.experiment_ids) <= EXPERIMENTS_MAX:
        yield _of_workload(kind, one_of(_found.experiment_id, known_ids(query.experiment_ids)))
    if query.states is not None:
        yield _of_workload(kind, one_of(_found.state, [str(state) for state in query.states]))
    found = scope.comparisons
    keyed: set[tuple[Identifier, Comparison | None]] = set()
    for one in found:
        if one.left.subject is Subject.ATTRIBUTE:
            if _is_indexed(one):
                yield _of_attribute(kind, one)
        elif one.left.subject is Subject.DATASET:
            if one.operator in _POINTS and one.left.key != "context":
                yield _of_dataset(one)
        elif one.operator is not Operator.IS_NULL and (same := _of_key_as(one)) not in keyed:
            keyed.add(same)
            yield _of_key(one, found)
    for key in scope.nans:
        table = tables.metric_summary.alias()
        yield Way(table, table.c.workload_id, and_(table.c.key == key, table.c.last.is_(None)))


def _is_indexed(one: Comparison) -> bool:
    if one.operator is Operator.LIKE and not beginning(str(one.value)):
        return False
    return one.operator in _INDEXED.get(one.left.key, ())


def _of_workload(*where: ColumnElement[bool]) -> Way:
    return Way(_FOUND, _found.id, and_(*where))


def _of_attribute(kind: ColumnElement[bool], one: Comparison) -> Way:
    column = _found[one.left.key]
    kinds = () if one.left.key == "id" else (kind,)
    if one.operator is Operator.LIKE:
        return _of_workload(_begins(column, beginning(str(one.value))), *kinds)
    return replace(_of_workload(compared(one, column), *kinds), proves=(one,))


def _of_dataset(one: Comparison) -> Way:
    table = tables.workload_input
    rows = select(table.c.workload_id).where(compared(one, value_in_row(one.left, table)))
    these = rows.distinct().subquery()
    return Way(these, these.c.workload_id, these.c.workload_id.is_not(None))


def _of_key_as(one: Comparison) -> tuple[Identifier, Comparison | None]:
    """What comparisons share that have the same way: all of one metric's value, for example."""
    by_text = one.left.subject is not Subject.METRIC and not one.left.path
    return one.left, one if by_text else None


def _of_key(one: Comparison, every: Sequence[Comparison]) -> Way:
    left = one.left
    table: Any = KEYED[left.subject].alias()
    where = [table.c.key == left.key]
    proves: tuple[Filter, ...] = ()
    if left.subject is Subject.METRIC and left.part is Part.LAST:
        bounds = on_last_value(every, left.key)
        where += [compared(bound, table.c.last) for bound in bounds]
        proves = tuple(bounds)
    elif left.subject is not Subject.METRIC and not left.path:
        found = on_text(one, table.c.value)
        where += found
        proves = (one,) if found and one.operator in _POINTS else ()
    return Way(table, table.c.workload_id, and_(*where), proves)


def on_text(one: Comparison, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """What of a comparison of a text by a key its index can find; nothing when it cannot."""
    values = one.value if isinstance(one.value, tuple) else (one.value,)
    texts = [value for value in values if isinstance(value, str)]
    if not texts or len(texts) != len(values) or len(texts) > LISTED_MAX:
        return []
    if one.operator in _POINTS:
        return [compared(one, column), or_(*(_is_text(head_of(column), text) for text in texts))]
    if one.operator is Operator.LIKE and (begin := beginning(texts[0])):
        return [_begins(head_of(column), begin[:HEAD_CHARS])]
    return []


def _is_text(head: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """What is true of a value's head when the value is the text."""
    return head == text if len(text) <= HEAD_CHARS else _begins(head, text[:HEAD_CHARS])


def _begins(column: ColumnElement[Any], begin: str) -> ColumnElement[bool]:
    """A range that holds all texts that begin so; texts are ordered by their code points."""
    after = begin.rstrip(chr(sys.maxunicode))
    if not after:
        return column >= begin
    code = ord(after[-1]) + 1
    last = chr(0xE000 if 0xD800 <= code < 0xE000 else code)
    return and_(column >= begin, column < after[:-1] + last)


def beginning(pattern: str) -> str:
    """What every text begins with that is like a pattern."""
    return re.split("[%_]", pattern, maxsplit=1)[0]


def one_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """A column's value is one of some."""
    return column == values[0] if len(values) == 1 else column.in_(values)


def known_ids(ids: Iterable[int]) -> list[int]:
    """Those that an experiment could have."""
    return [one for one in ids if 0 <= one <= ID_MAX]
