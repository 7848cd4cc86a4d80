"""What an identifier of a search speaks of, as an expression over ``workload``.

Params, tags and summaries are looked up by their primary key in subqueries that stand for one
value. No database makes a join of such a one, so whatever the database thinks of the tables'
sizes, it looks at the rows of one run after the other and never reads a whole table of them.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from seafloor.domain.search import NUMBER_PATTERN, Identifier, Part, Subject
from seafloor.stores.metadata.comparisons import FLOAT_RANK_MAX
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.column_types import (
    MARIADB_COLLATION,
    MYSQL_COLLATION,
    float64,
    long_text,
)

KEYED: dict[Subject, Table] = {
    Subject.METRIC: tables.metric_summary,
    Subject.PARAM: tables.param,
    Subject.TAG: tables.tag,
}
"""What has one row per run and key."""

DATASET_COLUMNS = {
    "name": tables.workload_input.c.name,
    "digest": tables.workload_input.c.dataset_digest,
    "context": tables.workload_input.c.context,
}

# What no database takes for the end of a line.
_WHOLE_NUMBER_TEXT = f"^(?:{NUMBER_PATTERN})(?![^x]|x)"


def value_in_row(left: Identifier, table: Any) -> ColumnElement[Any]:
    """The value, in a row of its table; NULL for NaN and for what the row does not have."""
    if left.subject is Subject.METRIC:
        columns = table.c
        match left.part:
            case Part.LAST:
                return columns.last
            case Part.STEP:
                return columns.last_step
            case Part.MIN:
                return float_rank(columns.min_bits)
            case Part.MAX:
                return float_rank(columns.max_bits)
    if left.subject is Subject.DATASET:
        return DATASET_COLUMNS[left.key]
    return json_text(table.c.value, left.path) if left.path else table.c.value


def row_of(left: Identifier, table: Any, run_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Which rows of its table are a run's and the identifier's."""
    of_it = table.c.workload_id == run_id
    if left.subject is Subject.DATASET:
        return and_(of_it, table.c.kind == "dataset", value_in_row(left, table).is_not(None))
    return and_(of_it, table.c.key == left.key)


def has_row(
    left: Identifier,
    also: ColumnElement[bool],
    table: Any,
    run_id: ColumnElement[Any],
    *,
    by_text: bool = False,
) -> ColumnElement[bool]:
    """Whether a run's row for the identifier fulfils a condition on the table; never NULL.

    Args:
        by_text: It says which text it is: it is looked up in the index of values, in which the
            runs that have it lie side by side. By the primary key each is on another page.
    """
    found: Select[Any] = select(literal(1)).where(row_of(left, table, run_id), also)
    if by_text:
        keyed = KEYED[left.subject]
        found = found.with_hint(table, f"INDEXED BY {tables.values_index(keyed)}", "sqlite")
        for name in ("mariadb", "mysql"):
            index = tables.values_index_by_run(keyed)
            found = found.with_hint(table, f"FORCE INDEX ({index})", name)
    if left.subject is Subject.DATASET:
        found = found.limit(1)
    return found.scalar_subquery().is_not(None)


def float_rank(bits: ColumnElement[int]) -> ColumnElement[int]:
    """``comparisons.float_rank`` of a float that is stored by its bits."""
    most = literal(FLOAT_RANK_MAX, BigInteger())
    least = literal(-(1 << 63), BigInteger())
    return case(
        (bits > most, most),
        (bits >= 0, bits),
        (least - bits < -most, -most),
        else_=least - bits,
    )


def as_number(text: ColumnElement[Any]) -> ColumnElement[Any]:
    """``domain.search.number_in``."""
    number: ColumnElement[Any] = cast(text, float64())
    return case((text.regexp_match(_WHOLE_NUMBER_TEXT), number))


class json_text(FunctionElement[str]):  # a SQL function, as SQLAlchemy names them
    """``domain.search.json_at`` of a column."""

    type = long_text()
    name = "json_text"
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], path: tuple[str | int, ...]) -> None:
        # Each database takes one of the two.
        super().__init__(column, literal(json.dumps(path)), *_mariadb_guards(column, path))


def _mariadb_guards(
    column: ColumnElement[Any], path: tuple[str | int, ...]
) -> tuple[ColumnElement[Any], ...]:
    """The text at a path in MariaDB's words, and whether lists stand where places are asked for."""
    found = func.json_extract(column, _path_text(path))
    lists = [
        func.json_type(func.json_extract(column, _path_text(path[:at]))) == "ARRAY"
        for at, step in enumerate(path)
        if isinstance(step, int)
    ]
    scalar = func.json_type(found).in_(["STRING", "INTEGER", "DOUBLE", "BOOLEAN", "DECIMAL"])
    no_nul = func.instr(func.json_unquote(found), func.char(0)) == 0
    return (
        and_(func.json_valid(column) == 1, scalar, no_nul, *lists),
        type_coerce(func.json_unquote(found), long_text()),
    )


def _path_text(path: tuple[str | int, ...]) -> str:
    return "$" + "".join(f'."{step}"' if isinstance(step, str) else f"[{step}]" for step in path)


@compiles(json_text, "sqlite")
@compiles(json_text, "postgresql")
def _by_function(element: json_text, compiler: SQLCompiler, **options: Any) -> str:
    column, path, *_ = element.clauses
    document = compiler.process(column, **options)
    return f"seafloor_json_at({document}, {compiler.process(path, **options)})"


@compiles(json_text, "mariadb")
@compiles(json_text, "mysql")
def _mariadb(element: json_text, compiler: SQLCompiler, **options: Any) -> str:
    _, _, guard, found = element.clauses
    collation = MARIADB_COLLATION if compiler.dialect.name == "mariadb" else MYSQL_COLLATION
    holds, text = (compiler.process(one, **options) for one in (guard, found))
    return f"CASE WHEN {holds} THEN {text} COLLATE {collation} END"


class head_of(FunctionElement[str]):  # a SQL function, as SQLAlchemy names them
    """What of a param's or tag's value is in its index."""

    type = long_text()
    name = "head_of"
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)


@compiles(head_of)
def _whole(element: head_of, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(head_of, "postgresql")
def _head(element: head_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"left({compiler.process(element.clauses, **options)}, {tables.HEAD_CHARS})"
