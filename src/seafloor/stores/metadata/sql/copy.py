"""Rows from one database to another, the same whatever the two are.

Rows go in order of their primary key, which all databases sort alike (``column_types``): so what
the target has tells where to go on, and the digest of a table is the same on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import asdict
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
)

from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.errors import Conflict
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.experiment_ids import skip_gone
from seafloor.stores.metadata.sql.leases import database_now_ns
from seafloor.stores.metadata.sql.migrations.run import (
    VERSION_TABLE,
    current_revision,
    revisions,
)
from seafloor.stores.metadata.sql.tables import METADATA, installation, lease

PAGE_ROWS_MAX: Final = 1000
_PAGE_BYTES: Final = 4 * 1024 * 1024

MARK: Final = "copy"
"""Name in ``installation`` of what says that this database is an unfinished copy."""

# Written anew by the stores that own them.
_MADE_ANEW: Final = frozenset(
    {"artifact", "event_file", "byte_stream", "byte_stream_row", "byte_stream_chunk"}
)
# Of no use anywhere else.
_LEFT_OUT: Final = frozenset({"lease", "artifact_intent"})
_SEEDS: Final = frozenset({"project", "experiment"})
"""Tables that have one row each in a fresh database."""

_ARTIFACT: Final = METADATA.tables["artifact"]
_ADD_FILE: Final = insert(_ARTIFACT)
_REMOVE_FILE: Final = delete(_ARTIFACT).where(
    _ARTIFACT.c.owner == bindparam("key_owner"), _ARTIFACT.c.path == bindparam("key_path")
)

PlainRow = tuple[Any, ...]


class TableDigest(msgspec.Struct, frozen=True):
    """What a table amounts to.

    Args:
        rows: How many.
        sha256: Of all rows in order of their key.
    """

    rows: int
    sha256: str


@dataclass(frozen=True)
class TableView:
    """A table as it is read here: some columns of it, in order of its key.

    Args:
        table: Which one.
        columns: What is read, and compared.
    """

    table: Table
    columns: tuple[Column[Any], ...]

    @property
    def name(self) -> str:
        """The table's."""
        return self.table.name

    @property
    def key(self) -> tuple[Column[Any], ...]:
        """The primary key."""
        return tuple(self.table.primary_key.columns)

    def key_of(self, row: PlainRow) -> PlainRow:
        """The key of a row."""
        return tuple(row[self.columns.index(column)] for column in self.key)


def copied_tables() -> tuple[TableView, ...]:
    """The tables whose rows are copied as they are, in an order that foreign keys allow."""
    left_out = _MADE_ANEW | _LEFT_OUT
    return tuple(
        TableView(table, tuple(table.columns))
        for table in METADATA.sorted_tables
        if table.name not in left_out
    )


def artifact_rows() -> TableView:
    """The manifest, without the times: those are the objects' own in each store."""
    return _view("artifact", "owner", "path", "size_bytes", "sha256")


def event_file_rows() -> TableView:
    """The event files, by their lengths."""
    return _view("event_file", "workload_id", "attempt", "path", "size_bytes")


def workload_rows() -> TableView:
    """The ids of all workloads, and their states."""
    return _view("workload", "id", "state")


def _view(table_name: str, *names: str) -> TableView:
    table = METADATA.tables[table_name]
    return TableView(table, tuple(table.c[name] for name in names))


async def count_rows(database: Database, view: TableView) -> int:
    """Count the rows of a table."""
    wanted = select(func.count()).select_from(view.table).where(*_counted(view.table))
    return await database.read(lambda connection: int(connection.execute(wanted).scalar_one()))


async def sum_of(database: Database, view: TableView, column: str) -> int:
    """Add up a column of whole numbers."""
    wanted = select(func.coalesce(func.sum(view.table.c[column]), 0))
    return await database.read(lambda connection: int(connection.execute(wanted).scalar_one()))


async def pages(
    database: Database, view: TableView, *, after: PlainRow | None = None
) -> AsyncIterator[Sequence[PlainRow]]:
    """Read a table in order of its key, page by page.

    Args:
        after: A key; only what follows it.

    Cost: one transaction and one seek per page; memory of a page, about 4 MiB.
    """
    limit = 100
    while True:
        wanted = _page(view, after, limit)
        found = await database.read(lambda connection: _fetch(connection, wanted))  # noqa: B023
        if found:
            yield found
            after = view.key_of(found[-1])
        if len(found) < limit:
            return
        limit = _next_limit(limit, sum(map(_size, found)))


def _page(view: TableView, after: PlainRow | None, limit: int) -> Any:
    wanted = select(*view.columns).where(*_counted(view.table))
    if after is not None:
        wanted = wanted.where(_follows(view.key, after))
    return wanted.order_by(*view.key).limit(limit)


def _fetch(connection: Connection, wanted: Any) -> list[PlainRow]:
    return [_plain(row) for row in connection.execute(wanted)]


def _plain(row: Row[Any]) -> PlainRow:
    return tuple(row)


def _next_limit(limit: int, size_bytes: int) -> int:
    """Larger pages of small rows, smaller ones of large rows."""
    if size_bytes > _PAGE_BYTES:
        return max(1, limit // 4)
    if size_bytes < _PAGE_BYTES // 4:
        return min(PAGE_ROWS_MAX, limit * 2)
    return limit


def _size(row: PlainRow) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


def _counted(table: Table) -> tuple[ColumnElement[bool], ...]:
    """All rows but our own mark."""
    return (table.c.name != MARK,) if table is installation else ()


def _follows(key: Sequence[Column[Any]], after: PlainRow) -> ColumnElement[bool]:
    """Say ``key > after`` so that every database seeks: comparing whole rows, MariaDB does not."""
    column, value = key[0], after[0]
    if len(key) == 1:
        return column > value
    further = or_(column > value, and_(column == value, _follows(key[1:], after[1:])))
    return and_(column >= value, further)


async def digest(
    database: Database,
    view: TableView,
    tell: Callable[[int], None],
    *,
    without: Container[PlainRow] = (),
) -> TableDigest:
    """Read a whole table and sum it up.

    Args:
        tell: Called with the number of rows of each page.
        without: Keys of rows that do not count.
    """
    count, summed = 0, hashlib.sha256()
    encoder = msgspec.msgpack.Encoder()
    async for page in pages(database, view):
        for row in page:
            if view.key_of(row) not in without:
                summed.update(encoder.encode(row))
                count += 1
        tell(len(page))
    return TableDigest(count, summed.hexdigest())


async def copy_rows(
    source: Database, target: Database, view: TableView, tell: Callable[[int], None]
) -> int:
    """Copy the rows that follow the last one that the target has; return how many.

    Each page is one transaction of the target, so what a crash leaves is a beginning.

    Args:
        tell: Called with the number of rows of each page, also of those that were there.
    """
    before = await count_rows(target, view)
    tell(before)
    last = await _last_key(target, view) if before else None
    statement = insert(view.table)
    names = [column.name for column in view.columns]
    copied = 0
    async for page in pages(source, view, after=last):
        rows = [dict(zip(names, row, strict=True)) for row in page]

        def write(connection: Connection) -> None:
            connection.execute(statement, rows)  # noqa: B023

        await target.write(write)
        copied += len(rows)
        tell(len(rows))
    return copied


async def add_file(database: Database, owner: str, file: ArtifactFile) -> None:
    """Add a row to the manifest of an unfinished copy, in two statements with those beside it.

    Nobody else writes there, and the source has compared the paths: no intent is needed.
    """
    await database.write_joined({"owner": owner, **asdict(file)}, _add_files)


def _add_files(connection: Connection, rows: Sequence[dict[str, Any]]) -> Sequence[None]:
    # One may be there even so: a database ends the commit of a copy that was killed meanwhile.
    keys = [{"key_owner": row["owner"], "key_path": row["path"]} for row in rows]
    connection.execute(_REMOVE_FILE, keys)
    connection.execute(_ADD_FILE, rows)
    return [None] * len(rows)


async def last_file(database: Database) -> tuple[str, str] | None:
    """The greatest key of the manifest, owner and path; None: it has no rows."""
    view = artifact_rows()
    if not await count_rows(database, view):
        return None
    owner, path = await _last_key(database, view)
    return owner, path


async def _last_key(database: Database, view: TableView) -> PlainRow:
    newest_first = [column.desc() for column in view.key]
    wanted = select(*view.key).where(*_counted(view.table)).order_by(*newest_first).limit(1)
    return await database.read(lambda connection: _plain(connection.execute(wanted).one()))


async def found_in(database: Database) -> str | None:
    """Look for what a database holds already, and change nothing.

    Returns:
        None: it holds nothing that anybody would miss. Else the name of a table with rows.
    """

    def read(connection: Connection) -> str | None:
        if not _is_known_schema(connection):
            return VERSION_TABLE
        there = set(inspect(connection).get_table_names())
        for table in METADATA.sorted_tables:
            if table.name not in there:
                continue
            columns = list(table.primary_key.columns)
            rows = connection.execute(select(*columns).limit(2)).all()
            if len(rows) > (1 if table.name in _SEEDS else 0):
                return table.name
        return None

    return await database.read(read)


def _is_known_schema(connection: Connection) -> bool:
    """Whether a database is new, or was made by this or an older version of Seafloor."""
    current = current_revision(connection)
    return current is None or current in revisions()


async def is_current(database: Database) -> bool:
    """Whether a database has the tables of this version of Seafloor."""
    return await database.read(current_revision) == max(revisions())


async def begin_copy(database: Database, mark: bytes) -> None:
    """Say that a fresh database is a copy from now on, and drop the rows that a fresh one has."""

    def write(connection: Connection) -> None:
        for table in reversed(METADATA.sorted_tables):
            if table.name not in _LEFT_OUT:
                connection.execute(delete(table))
        connection.execute(insert(installation).values(name=MARK, content=mark))

    await database.write(write)


async def copy_mark(database: Database) -> bytes | None:
    """What ``begin_copy`` wrote; None when the database is no unfinished copy."""
    wanted = select(installation.c.content).where(installation.c.name == MARK)

    def read(connection: Connection) -> bytes | None:
        if not inspect(connection).has_table(installation.name):
            return None
        found = connection.execute(wanted).scalar()
        return None if found is None else bytes(found)

    return await database.read(read)


async def end_copy(database: Database) -> None:
    """Make a copy a database like any other: new rows get ids behind those that were copied."""

    def write(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            for table in METADATA.sorted_tables:
                _set_sequence(connection, table)
        skip_gone(connection)
        connection.execute(delete(installation).where(installation.c.name == MARK))

    await database.write(write)


def _set_sequence(connection: Connection, table: Table) -> None:
    for column in table.primary_key.columns:
        named = {"table": f'"{table.name}"', "column": column.name}
        sequence = connection.execute(
            text("SELECT pg_get_serial_sequence(:table, :column)"), named
        ).scalar()
        if sequence is not None:
            greatest = connection.execute(select(func.max(column))).scalar()
            connection.execute(
                text("SELECT setval(CAST(:sequence AS regclass), :value, :is_called)"),
                # A sequence begins at 1; that it was not called yet means that 1 comes next.
                {
                    "sequence": sequence,
                    "value": max(1, greatest or 0),
                    "is_called": bool(greatest),
                },
            )


async def check_unused(database: Database) -> None:
    """Refuse a database that a server uses right now.

    Raises:
        Conflict: one holds a lease on it.
    """

    wanted = select(lease).where(lease.c.holder != "").order_by(lease.c.expires_ns.desc()).limit(1)

    def read(connection: Connection) -> tuple[str, float] | None:
        found = connection.execute(wanted).first()
        if found is None:
            return None
        return found.name, (found.expires_ns - database_now_ns(connection)) / 1e9

    found = await database.read(read)
    if found is not None and found[1] > 0:
        raise Conflict(
            f'A server uses the database (it holds "{found[0]}" for {found[1]:.0f} s more): stop '
            "every server of the installation, wait that long if one was killed, and give the "
            "same command again."
        )


async def names_of_launched(database: Database, states: Sequence[str]) -> Sequence[str]:
    """The names of launched workloads in one of some states, oldest first, at most 100."""
    workload = METADATA.tables["workload"]
    wanted = (
        select(workload.c.name)
        .where(workload.c.origin == "launched", workload.c.state.in_(states))
        .order_by(workload.c.created_ns)
        .limit(100)
    )
    return await database.read(lambda connection: connection.execute(wanted).scalars().all())
