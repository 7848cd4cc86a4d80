"""All that is said to MariaDB and MySQL and to no other database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import CreateIndex, CreateTable

from seafloor.domain.errors import (
    InvalidValue,
    NotSupported,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.stores.metadata.sql.backend import (
    ANSWER_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    IDLE_READER_S,
    IDLE_WRITER_S,
    LOCK_TIMEOUT_S,
)
from seafloor.stores.metadata.sql.prepared import say

WRITER_TABLE = "seafloor_writer"
"""One row, which the writer changes first: it is locked until the transaction ends."""
_TAKE_TURN = f"UPDATE {WRITER_TABLE} SET turn = turn + 1 WHERE id = 1"  # noqa: S608  # our own name

_MYSQL_IDLE_S = 10
_SQL_MODE = ",".join(
    (
        "STRICT_TRANS_TABLES",
        "ERROR_FOR_DIVISION_BY_ZERO",
        "NO_ENGINE_SUBSTITUTION",
        # The first experiment has the id 0.
        "NO_AUTO_VALUE_ON_ZERO",
    )
)
_SETTINGS = (
    f"SET SESSION sql_mode = '{_SQL_MODE}', "
    "default_storage_engine = 'InnoDB', "
    f"innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}, "
    f"lock_wait_timeout = {LOCK_TIMEOUT_S}, "
    # Tags of 8,000 characters are sorted by all of them, as they are compared, and 16 at once.
    "max_sort_length = 32768, sort_buffer_size = 16777216, "
)
_MARIADB_SETTINGS = (
    f"idle_write_transaction_timeout = {IDLE_WRITER_S}, "
    f"idle_readonly_transaction_timeout = {IDLE_READER_S}, "
    f"idle_transaction_timeout = {IDLE_READER_S}, "
    # It makes a join of each list of a thousand: planning twenty takes minutes.
    "in_predicate_conversion_threshold = 0"
)
# MySQL knows no such limit within transactions, so it is one for all idleness.
_MYSQL_SETTINGS = f"wait_timeout = {_MYSQL_IDLE_S}"

_LOST = frozenset({0, 1053, 1927, 2002, 2003, 2006, 2013, 2014, 2045, 2055, 4031})
_AGAIN = "The database gave up on this for now: repeat the request."
_READ_ONLY = "The database takes no writes at present: repeat the request."
_CROWDED = "The database takes no more connections: repeat the request, or raise its limit."
_NO_MEMORY = "The database is out of memory: repeat the request."
_UNAVAILABLE = {
    1020: _AGAIN,
    1040: _CROWDED,
    1037: _NO_MEMORY,
    1038: _NO_MEMORY,
    1041: _NO_MEMORY,
    1047: _AGAIN,  # a node of a cluster that is not ready
    1158: _AGAIN,
    1159: _AGAIN,
    1160: _AGAIN,
    1161: _AGAIN,
    1203: _CROWDED,
    1180: "The database failed to commit: it is unknown what took effect; repeat the request.",
    1205: "Other writers held the database for too long: repeat the request.",
    1213: _AGAIN,
    1226: _CROWDED,
    1290: _READ_ONLY,
    1206: _AGAIN,
    1317: _AGAIN,
    1637: _CROWDED,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    1969: _AGAIN,
    3024: _AGAIN,
}
_FULL = frozenset({1021, 1114})
_CORRUPT = frozenset({1033, 1034, 1035, 1194, 1195, 1712})
_INVALID = {
    1153: "A value is too large for the database: raise its max_allowed_packet.",
    1264: "A whole number is out of bounds: it must fit 64 bits.",
    1366: "A text holds a character that the database cannot keep.",
    1406: "A text is too long for the database.",
}
_OPERATOR = {
    1044: "The user of the database lacks rights: grant all on the database.",
    1045: "The database refuses the user or the password: check the URL.",
    1049: "There is no such database: create it, or check the URL.",
    1129: "The database blocks this machine after failed connections: FLUSH HOSTS lets it in.",
    1130: "The database lets nobody in from this machine: CREATE USER names another host.",
    1142: "The user of the database lacks rights: grant all on the database.",
    1146: "A table of Seafloor's is missing: start the server, which makes it, or restore a "
    "backup.",
    1820: "The password of the database's user has expired: set another.",
    1862: "The password of the database's user has expired: set another.",
    3118: "The database has locked the user: ALTER USER … ACCOUNT UNLOCK.",
    4151: "The database has locked the user: ALTER USER … ACCOUNT UNLOCK.",
}
CERTAINLY_UNDONE = frozenset({1020, 1213})
"""Whoever sees these may run the transaction again: nothing of it was committed."""


class MariaDB:
    """A database of a MariaDB or MySQL server.

    Args:
        url: ``mariadb://`` or ``mysql://user[:password]@host[:port]/database``.
        connections: How many are open at once, at most.

    Raises:
        InvalidValue: the URL names no database.
    """

    is_remote = True

    def __init__(self, url: URL, *, connections: int) -> None:
        kind = url.get_backend_name()
        if not url.database:
            raise InvalidValue(f"The URL names no database: {kind}://<host>/<name>.", field="url")
        self._is_mysql = kind == "mysql"
        self._migration_lock = f"seafloor.{url.database}"[:64]
        self.engine: Engine = create_engine(
            url.set(drivername=f"{kind}+pymysql").update_query_dict({"charset": "utf8mb4"}),
            pool_size=connections,
            max_overflow=0,
            isolation_level="AUTOCOMMIT",
            # A statement in a log has no values: they are the users'.
            hide_parameters=True,
            # Before MySQL gives an idle one up.
            pool_recycle=_MYSQL_IDLE_S // 2 if self._is_mysql else -1,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": ANSWER_TIMEOUT_S,
                "write_timeout": ANSWER_TIMEOUT_S,
            },
        )
        event.listen(self.engine, "connect", self._prepare)

    def _prepare(self, connection: Any, _: ConnectionPoolEntry) -> None:
        """Set a new connection up: strict, and given up when we fall silent."""
        version = str(connection.get_server_info())
        if ("MariaDB" in version) is self._is_mysql:
            right = "mariadb" if self._is_mysql else "mysql"
            raise NotSupported(f"The database is {version}: its URL begins with {right}://.")
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(_SETTINGS + (_MYSQL_SETTINGS if self._is_mysql else _MARIADB_SETTINGS))

    def begin_read(self, connection: Connection) -> None:
        """See ``Backend``."""
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def begin_write(self, connection: Connection) -> None:
        """See ``Backend``: the row is locked until the transaction ends, however that ends.

        The state that the transaction reads is fixed by its first read, which comes after the
        lock. It is a change, not a mere lock, so that a server that takes no writes says so here
        and the limit for idle writers counts from here.
        """
        say(connection, "START TRANSACTION")
        say(connection, _TAKE_TURN)

    def tend(self, connection: Connection) -> None:
        """See ``Backend``: there is nothing to do."""

    @contextmanager
    def migrating(self, connection: Connection) -> Generator[None]:
        """See ``Backend``: every change of the schema commits by itself here."""
        locked = connection.scalar(
            text("SELECT GET_LOCK(:name, 50)"), {"name": self._migration_lock}
        )
        if locked != 1:
            raise StoreUnavailable(
                "Another server is changing the tables: start again.", retry_after_s=5.0
            )
        event.listen(connection, "before_execute", _pass_over_what_is_there, retval=True)
        # What is one statement here may take long on a large table. PyMySQL looks at this before
        # each answer; it has no public name for it.
        driver: Any = connection.connection.driver_connection
        patience_s, driver._read_timeout = driver._read_timeout, None
        try:
            self._make_writer_table(connection)
            yield
        finally:
            driver._read_timeout = patience_s
            event.remove(connection, "before_execute", _pass_over_what_is_there)
            if not connection.invalidated:
                connection.execute(text("SELECT RELEASE_LOCK(:n)"), {"n": self._migration_lock})

    def _make_writer_table(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            f"CREATE TABLE IF NOT EXISTS {WRITER_TABLE} "
            "(id INTEGER NOT NULL PRIMARY KEY, turn BIGINT NOT NULL)"
        )
        connection.exec_driver_sql(f"INSERT IGNORE INTO {WRITER_TABLE} VALUES (1, 0)")  # noqa: S608  # our own name


def _pass_over_what_is_there(
    connection: Connection, statement: Any, many: Any, parameters: Any, _options: Any
) -> tuple[Any, Any, Any]:
    """Do nothing instead of a step of a migration that an earlier, broken one did."""
    if _is_done(connection, statement):
        return text("DO 0"), [], {}
    return statement, many, parameters


def _is_done(connection: Connection, statement: Any) -> bool:
    # Imported here: it is needed once.
    from alembic.ddl.base import AddColumn

    # Each looks afresh: what an inspector has seen it does not look up again.
    if isinstance(statement, CreateTable):
        return inspect(connection).has_table(statement.element.name)
    if isinstance(statement, CreateIndex):
        index = statement.element
        return inspect(connection).has_index(str(index.table), str(index.name))
    if isinstance(statement, AddColumn):
        columns = inspect(connection).get_columns(str(statement.table_name))
        return any(column["name"] == statement.column.name for column in columns)
    return False


def meaning(error: BaseException, detail: str) -> SeafloorError:
    """What an error of the driver means, by its code."""
    code = code_of(error)
    if code is None or code in _LOST:
        return StoreUnavailable(
            "The database does not answer: repeat the request.", detail=detail, retry_after_s=2.0
        )
    if code in _UNAVAILABLE:
        return StoreUnavailable(_UNAVAILABLE[code], detail=detail, retry_after_s=1.0)
    if code in _FULL or (code in (1026, 1030) and " 28 " in f"{detail} ".replace(",", " ")):
        return StoreFull(
            "No space is left for the database: free some; nothing was written.",
            detail=detail,
            retry_after_s=5.0,
        )
    if code in _CORRUPT:
        return StoreCorrupt(
            "The database says that its data is damaged: restore it from a backup.", detail=detail
        )
    if code in _INVALID:
        return InvalidValue(_INVALID[code])
    said = _OPERATOR.get(code, "The database refused a statement.")
    return StoreError(said, detail=detail)


def code_of(error: BaseException) -> int | None:
    """The number of an error of the driver or the server."""
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None
