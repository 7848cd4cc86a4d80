"""Letters without their case, the same in every database: ``comparisons.fold``."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from seafloor.stores.metadata.comparisons import fold
from seafloor.stores.metadata.sql.column_types import MARIADB_COLLATION, MYSQL_COLLATION


class folded(FunctionElement[str]):  # a SQL function, as SQLAlchemy names them
    """A column's text as ``comparisons.fold`` makes it."""

    type = String()
    name = "folded"
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)


@compiles(folded, "sqlite")
def _sqlite(element: folded, compiler: SQLCompiler, **options: Any) -> str:
    return f"fold({compiler.process(element.clauses, **options)})"


@compiles(folded, "postgresql")
def _postgresql(element: folded, compiler: SQLCompiler, **options: Any) -> str:
    """Its own ``lower`` knows as much as the server's libraries do, which differ; so we say it."""
    column = compiler.process(element.clauses, **options)
    source, target = _letters()
    return (
        f"CASE WHEN octet_length({column}) = char_length({column}) THEN lower({column}) "
        f"ELSE translate(replace({column}, 'İ', 'i̇'), '{source}', '{target}') END"
    )


@compiles(folded, "mariadb")
def _mariadb(element: folded, compiler: SQLCompiler, **options: Any) -> str:
    """``lower`` of a binary collation knows Unicode 3 only, that of this one today's."""
    return _lowered(
        compiler.process(element.clauses, **options), "utf8mb4_uca1400_ai_ci", MARIADB_COLLATION
    )


@compiles(folded, "mysql")
def _mysql(element: folded, compiler: SQLCompiler, **options: Any) -> str:
    return _lowered(
        compiler.process(element.clauses, **options), "utf8mb4_0900_ai_ci", MYSQL_COLLATION
    )


def _lowered(column: str, knowing: str, collation: str) -> str:
    spelled = f"replace(replace({column}, 'İ', 'i̇'), 'ς', 'σ')"
    return f"lower({spelled} COLLATE {knowing}) COLLATE {collation}"


@cache
def _letters() -> tuple[str, str]:
    """All that change, and what they become, letter by letter."""
    every = (chr(code) for code in range(128, sys.maxunicode + 1))
    changed = [(one, fold(one)) for one in every if len(fold(one)) == 1 and fold(one) != one]
    ascii_ = [(chr(code), chr(code).lower()) for code in range(ord("A"), ord("Z") + 1)]
    pairs = ascii_ + changed
    return "".join(one for one, _ in pairs), "".join(other for _, other in pairs)
