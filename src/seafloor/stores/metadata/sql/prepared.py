"""Statements that are made once for each kind of database, and then given to its driver as texts.

SQLAlchemy takes 15 to 30 µs to get a statement ready that SQLite runs in 3. What is run for every
request that logs something goes past it; its errors are those that SQLAlchemy would have raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVarTuple

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    Float,
    Integer,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from seafloor.domain.errors import LimitExceeded
from seafloor.stores.metadata.sql.texts import check_row

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert

_Columns = TypeVarTuple("_Columns")

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


class PreparedRows:
    """Rows of numbers and texts that are put into a table, all of its columns given.

    A server gets all in one statement, for each is a trip to it. SQLite gets them one by one: a
    statement of several may fail midway, so it would keep a copy of every page that it changes.

    Args:
        table: Its primary key is what says whether a row is there.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def insert(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Put rows there whose keys are new."""
        _put(_inserting(self._table, connection.dialect.name), connection, rows)

    def replace(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Put rows in the places of those with their keys, which are there."""
        _put(_replacing(self._table, connection.dialect.name), connection, rows)


def _put(statement: Prepared, connection: Connection, rows: Sequence[Values]) -> None:
    if connection.dialect.name != "postgresql":
        # Of rows that are put into a table MariaDB's driver makes one statement by itself.
        statement.run_all(connection, rows)
    elif rows:
        for row in rows:
            check_row(row)
        statement.run(connection, {"rows": msgspec.json.encode(rows).decode()})


@lru_cache(maxsize=64)
def _inserting(table: Table, database: str) -> Prepared:
    return Prepared(_insert_json(table) if database == "postgresql" else insert(table))


@lru_cache(maxsize=64)
def _replacing(table: Table, database: str) -> Prepared:
    key = [column.name for column in table.primary_key]
    rest = [column.name for column in table.c if column.name not in key]
    if database == "postgresql":
        made = _insert_json(table)
        new = {name: made.excluded[name] for name in rest}
        return Prepared(made.on_conflict_do_update(index_elements=key, set_=new))
    if database == "sqlite":
        here = [table.c[name] == bindparam(name) for name in key]
        return Prepared(update(table).where(*here).values({name: bindparam(name) for name in rest}))
    upsert = mysql.insert(table)
    new = {name: upsert.inserted[name] for name in rest}
    return Prepared(upsert.on_duplicate_key_update(new))


def _insert_json(table: Table) -> Insert:
    """Put in what one text holds: the statement is the same for any count of rows, and short."""
    # Imported late: only a server on such a database needs it.
    from sqlalchemy.dialects import postgresql

    columns = [column(one.name, _plain(one.type)) for one in table.c]
    rows = func.json_to_recordset(cast(bindparam("rows", type_=Text()), postgresql.JSON()))
    given = select(rows.table_valued(*columns).render_derived(with_types=True))
    return postgresql.insert(table).from_select([one.name for one in table.c], given)


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """A type without bounds: of what is too long the table says so."""
    if isinstance(type_, Integer):
        return BigInteger()
    return type_ if isinstance(type_, Float) else Text()


Asked = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Whether a column is one of the keys that are asked for."""


class PreparedIn:
    """A query about some keys: ``column IN (…)``, one text for each count of a few of them.

    Of more keys the last is said again until there are as many as of the next power of two: it
    changes nothing, and the ids of pages of any size are a handful of texts. PostgreSQL gets them
    as one value, an array: of a thousand values its driver and itself would read each place anew.

    Args:
        make: Builds the statement around what asks for the keys.
    """

    def __init__(self, make: Callable[[Asked], ClauseElement]) -> None:
        self._make = make
        self._of_count = lru_cache(maxsize=64)(self._prepared)
        self._of_array = lru_cache(maxsize=1)(self._prepared_array)

    def _prepared(self, count: int) -> Prepared:
        keys: list[Any] = [bindparam(f"key_{at}") for at in range(count)]
        return Prepared(self._make(lambda column: column.in_(keys)))

    def _prepared_array(self) -> Prepared:
        keys = any_(bindparam("keys", type_=ARRAY(Text())))
        return Prepared(self._make(lambda column: column == keys))

    def rows(self, connection: Connection, values: Values, keys: Sequence[str]) -> Rows:
        """Run it, ``KEYS_MAX`` keys at a time; all of its rows."""
        found: list[tuple[Any, ...]] = []
        for begin in range(0, len(keys), KEYS_MAX):
            some = keys[begin : begin + KEYS_MAX]
            if connection.dialect.name == "postgresql":
                check_row(some)
                found += self._of_array().rows(connection, {**values, "keys": [*some]})
                continue
            count = len(some) if len(some) <= _COUNTED_MAX else 1 << (len(some) - 1).bit_length()
            bound = {**values, **{f"key_{at}": key for at, key in enumerate(some)}}
            bound |= {f"key_{at}": some[-1] for at in range(len(some), count)}
            found += self._of_count(count).rows(connection, bound)
        return found

    def rows_within(
        self, connection: Connection, values: Values, keys: Sequence[str], *, most: int | None
    ) -> Rows:
        """The same of a query that is ``bounded``.

        Args:
            most: So many rows are read at most; None: however many there are.

        Raises:
            LimitExceeded: there are more.
        """
        bound = _ENDLESS if most is None else most + 1
        found = self.rows(connection, {**values, _BOUND: bound}, keys)
        if most is not None and len(found) > most:
            raise LimitExceeded(f"There are more than {most} rows.")
        return found


AskedPairs = Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[bool]]
"""Whether two columns together are one of the pairs that are asked for."""


class PreparedPairs:
    """A query about some rows by two columns together, such as a run and a key; as ``PreparedIn``.

    PostgreSQL gets two arrays: of a list of pairs it would make a condition for each.

    Args:
        make: Builds the statement around what asks for the pairs.
    """

    def __init__(self, make: Callable[[AskedPairs], ClauseElement]) -> None:
        self._make = make
        self._of_count = lru_cache(maxsize=64)(self._prepared)
        self._of_arrays = lru_cache(maxsize=1)(self._prepared_arrays)

    def _prepared(self, count: int) -> Prepared:
        pairs = [tuple_(bindparam(f"first_{at}"), bindparam(f"second_{at}")) for at in range(count)]
        return Prepared(self._make(lambda first, second: tuple_(first, second).in_(pairs)))

    def _prepared_arrays(self) -> Prepared:
        texts = ARRAY(Text())
        pairs = func.unnest(bindparam("firsts", type_=texts), bindparam("seconds", type_=texts))
        given = select(pairs.table_valued("first", "second").render_derived())
        return Prepared(self._make(lambda first, second: tuple_(first, second).in_(given)))

    def rows(self, connection: Connection, pairs: Sequence[tuple[str, str]]) -> Rows:
        """Run it, ``PAIRS_MAX`` pairs at a time; all of its rows."""
        found: list[tuple[Any, ...]] = []
        for begin in range(0, len(pairs), PAIRS_MAX):
            some = pairs[begin : begin + PAIRS_MAX]
            if connection.dialect.name == "postgresql":
                for pair in some:
                    check_row(pair)
                firsts, seconds = [pair[0] for pair in some], [pair[1] for pair in some]
                given = {"firsts": firsts, "seconds": seconds}
                found += self._of_arrays().rows(connection, given)
                continue
            count = 1 << (len(some) - 1).bit_length()
            bound: dict[str, str] = {}
            for at in range(count):
                bound[f"first_{at}"], bound[f"second_{at}"] = some[min(at, len(some) - 1)]
            found += self._of_count(count).rows(connection, bound)
        return found


def bounded(query: Select[*_Columns]) -> Select[*_Columns]:
    """A query that gives only so many rows, for each ``KEYS_MAX`` keys."""
    # SQLite's limit has an offset, whose value would be bound by a name of its own.
    return query.limit(bindparam(_BOUND, type_=BigInteger())).offset(literal_column("0"))


_BOUND, _ENDLESS = "rows_bound", 1 << 62
KEYS_MAX = 1024
PAIRS_MAX = 512
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
