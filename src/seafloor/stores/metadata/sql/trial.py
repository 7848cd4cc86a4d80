"""Trying a database end to end before it is trusted; nothing of it is left."""

from __future__ import annotations

import statistics
import time
import uuid

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    delete,
    false,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.sql.ddl import CreateTable, DropTable

from seafloor.domain.errors import StoreCorrupt
from seafloor.stores.metadata.sql.column_types import long_text, number
from seafloor.stores.metadata.sql.driver_errors import driver_errors
from seafloor.stores.metadata.sql.tables import METADATA

_ROUND_TRIPS = 9
_NOW_S = {
    "sqlite": "select (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "select extract(epoch from clock_timestamp())",
    "mysql": "select unix_timestamp(sysdate(6))",
    "mariadb": "select unix_timestamp(sysdate(6))",
}
# Of the tables, and for them in memory. Only of these: others leave much to the system's cache.
_BUFFERS = (
    "select (select sum(data_length + index_length) from information_schema.tables "
    "where table_schema = database()), @@innodb_buffer_pool_size"
)


class Buffers(msgspec.Struct, frozen=True):
    """The memory that a database server has for tables, beside what they take.

    Args:
        tables_bytes: Of this database, as far as the server knows: it counts now and then.
        memory_bytes: For all databases of the server.
    """

    tables_bytes: int
    memory_bytes: int


class DatabaseTrial(msgspec.Struct, frozen=True):
    """What was seen of a database that passed.

    Args:
        server: Its name and version.
        round_trip_ms: Of the shortest statement, the median.
        clock_ahead_s: How far its clock is ahead of this machine's.
        migrated: Whether Seafloor's tables are there.
        buffers: None: on this kind of database it matters little.
    """

    server: str
    round_trip_ms: float
    clock_ahead_s: float
    migrated: bool
    buffers: Buffers | None = None


def reach_database(engine: Engine) -> None:
    """Connect, and ask for nothing.

    Raises:
        StoreError: it is away, or does not let this user in.
    """
    with driver_errors(), engine.connect() as connection:
        connection.exec_driver_sql("select 1").all()


def try_database(engine: Engine) -> DatabaseTrial:
    """Make a table, write, read, change and delete a row, and drop the table.

    Of Seafloor's own tables, if they are there, it is seen that the user may do all that: what a
    backup brought back may be another user's.

    Args:
        engine: Every statement is its own transaction.

    Raises:
        StoreError: the database refused a step, or cannot be reached; the message says which.
        StoreCorrupt: what was read is not what was written.
    """
    with driver_errors(), engine.connect() as connection:
        _try_rows(connection)
        _try_rights(connection)
        return DatabaseTrial(
            server=_server(connection),
            round_trip_ms=_round_trip_ms(connection),
            clock_ahead_s=_clock_ahead_s(connection),
            migrated=engine.dialect.has_table(connection, "alembic_version"),
            buffers=_buffers(connection),
        )


def _try_rows(connection: Connection) -> None:
    table = Table(
        f"seafloor_check_{uuid.uuid4().hex[:12]}",
        MetaData(),
        Column("id", number(), primary_key=True, autoincrement=False),
        Column("text", long_text(), nullable=False),
    )
    connection.execute(CreateTable(table))
    try:
        connection.execute(insert(table), {"id": 1, "text": "ein Stück Text"})
        connection.execute(update(table).values(text="海底"))
        found = connection.execute(select(table.c.id, table.c.text)).all()
        if [tuple(row) for row in found] != [(1, "海底")]:
            raise StoreCorrupt(
                "The database gave back another text than was written: is it in UTF-8?",
                detail=repr(found),
            )
        connection.execute(delete(table))
    finally:
        connection.execute(DropTable(table))


def _try_rights(connection: Connection) -> None:
    """Read, add, change and delete in every table, and no row of any."""
    there = set(inspect(connection).get_table_names())
    for table in METADATA.sorted_tables:
        if table.name not in there:  # of a later version than the database
            continue
        nothing = select(table).where(false())
        connection.execute(insert(table).from_select(list(table.c.keys()), nothing))
        column = next(iter(table.c))
        connection.execute(update(table).values({column: column}).where(false()))
        connection.execute(delete(table).where(false()))


def _server(connection: Connection) -> str:
    version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
    return f"{connection.dialect.name} {version}".strip()


def _buffers(connection: Connection) -> Buffers | None:
    if connection.dialect.name not in ("mariadb", "mysql"):
        return None
    tables_bytes, memory_bytes = connection.exec_driver_sql(_BUFFERS).one()
    return Buffers(int(tables_bytes or 0), int(memory_bytes))


def _round_trip_ms(connection: Connection) -> float:
    took: list[float] = []
    for _ in range(_ROUND_TRIPS):
        began_s = time.perf_counter()
        connection.exec_driver_sql("select 1").all()
        took.append(time.perf_counter() - began_s)
    return statistics.median(took) * 1000


def _clock_ahead_s(connection: Connection) -> float:
    before_s = time.time()
    told_s = float(connection.exec_driver_sql(_NOW_S[connection.dialect.name]).scalar_one())
    return told_s - (before_s + time.time()) / 2
