"""Statements that are made once for each kind of database, and then given to its driver as texts.

SQLAlchemy takes 15 to 30 µs to get a statement ready that SQLite runs in 3. What is run for every
request that logs something goes past it; its errors are those that SQLAlchemy would have raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ClauseElement, Connection, Dialect, bindparam
from sqlalchemy.exc import DBAPIError

from seafloor.stores.metadata.sql.texts import check_row

Values = Mapping[str, object]
Rows = Sequence[tuple[Any, ...]]


def say(connection: Connection, text: str) -> None:
    """Run a text that has no values, such as what begins and ends transactions."""
    with _Driver(connection, text) as cursor:
        cursor.execute(text)


class Prepared:
    """A statement whose values are all bound by name.

    Its columns must be of types that the drivers take and give as they are: numbers, texts, bytes.

    Args:
        statement: Built once.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._text_of = lru_cache(maxsize=8)(self._compiled)

    def _compiled(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None]:
        compiled = self._statement.compile(dialect=dialect)
        names: list[str] | None = getattr(compiled, "positiontup", None)
        return str(compiled), None if names is None else tuple(names)

    def rows(self, connection: Connection, values: Values) -> Rows:
        """Run a query; all of its rows."""
        text, names = self._text_of(connection.dialect)
        given = _given(names, values)
        check_row(given)
        with _Driver(connection, text) as cursor:
            cursor.execute(text, given)
            return cursor.fetchall()

    def run(self, connection: Connection, values: Values) -> None:
        """Run a change."""
        text, names = self._text_of(connection.dialect)
        given = _given(names, values)
        check_row(given)
        with _Driver(connection, text) as cursor:
            cursor.execute(text, given)

    def run_all(self, connection: Connection, many: Sequence[Values]) -> None:
        """Run a change once for each of several sets of values; for none it does nothing."""
        if not many:
            return
        text, names = self._text_of(connection.dialect)
        given = [_given(names, values) for values in many]
        for each in given:
            check_row(each)
        with _Driver(connection, text) as cursor:
            cursor.executemany(text, given)


class PreparedIn:
    """A query about some keys: ``column IN (…)``, one text for each count of a few of them.

    Of more keys the last is said again until there are as many as of the next power of two: it
    changes nothing, and the ids of pages of any size are a handful of texts.

    Args:
        make: Builds the statement for the names that the keys are bound by.
    """

    def __init__(self, make: Callable[[list[Any]], ClauseElement]) -> None:
        self._make = make
        self._of_count = lru_cache(maxsize=64)(self._prepared)

    def _prepared(self, count: int) -> Prepared:
        return Prepared(self._make([bindparam(f"key_{at}") for at in range(count)]))

    def rows(self, connection: Connection, values: Values, keys: Sequence[str]) -> Rows:
        """Run it, ``KEYS_MAX`` keys at a time; all of its rows."""
        found: list[tuple[Any, ...]] = []
        for begin in range(0, len(keys), KEYS_MAX):
            some = keys[begin : begin + KEYS_MAX]
            count = len(some) if len(some) <= _COUNTED_MAX else 1 << (len(some) - 1).bit_length()
            bound = {**values, **{f"key_{at}": key for at, key in enumerate(some)}}
            bound |= {f"key_{at}": some[-1] for at in range(len(some), count)}
            found += self._of_count(count).rows(connection, bound)
        return found


KEYS_MAX = 1024
_COUNTED_MAX = 32

IDS_AT_ONCE = 10_000
"""Databases take some 30,000 values in one statement."""


def _given(names: tuple[str, ...] | None, values: Values) -> Any:
    """Values as the driver wants them: by place, or by name."""
    return values if names is None else tuple([values[name] for name in names])


class _Driver:
    """A cursor of the driver, whose errors become SQLAlchemy's. (A generator would cost 2 µs.)"""

    __slots__ = ("_connection", "_cursor", "_text")

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._text = text

    def __enter__(self) -> Any:
        raw: Any = self._connection.connection.dbapi_connection
        self._cursor = raw.cursor()
        return self._cursor

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._cursor.close()
        dialect = self._connection.dialect
        if isinstance(error, dialect.loaded_dbapi.Error):
            lost = dialect.is_disconnect(error, self._connection.connection, None)
            raise DBAPIError(
                self._text, None, error, hide_parameters=True, connection_invalidated=lost
            ) from error
