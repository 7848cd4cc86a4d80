"""Manifests of artifacts in SQL."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums
from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import Sha256
from seafloor.stores.artifacts.protocol import IntentView, intents_done_before, intents_stale_before
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.prepared import Prepared, PreparedIn
from seafloor.stores.metadata.sql.tables import artifact, artifact_intent
from seafloor.stores.objects.keys import ancestors

_OWNER: BindParameter[Any] = bindparam("owner")
_PATH: BindParameter[Any] = bindparam("path")
_HERE = (artifact.c.owner == _OWNER) & (artifact.c.path == _PATH)

# What is run for every file that is put: a run may leave a hundred thousand.
_INTENTS = Prepared(
    select(artifact_intent.c.id, artifact_intent.c.outdated).where(
        artifact_intent.c.owner == _OWNER, artifact_intent.c.path == _PATH
    )
)
_DROP_INTENT = Prepared(delete(artifact_intent).where(artifact_intent.c.id == bindparam("id")))
_FORGET_INTENTS = Prepared(
    delete(artifact_intent).where(
        artifact_intent.c.owner == _OWNER,
        artifact_intent.c.path == _PATH,
        artifact_intent.c.id < bindparam("before"),
    )
)
_INSERT_INTENT = Prepared(insert(artifact_intent))
_DELETE = Prepared(delete(artifact).where(_HERE))
_INSERT = Prepared(insert(artifact))
_FIRST_BELOW = Prepared(
    select(artifact.c.path)
    .where(
        artifact.c.owner == _OWNER,
        artifact.c.path >= bindparam("begin"),
        artifact.c.path < bindparam("end"),
    )
    .limit(literal_column("1"))
    .offset(literal_column("0"))
)
_THESE = PreparedIn(
    lambda asked: select(artifact.c.path).where(artifact.c.owner == _OWNER, asked(artifact.c.path))
)


class SqlManifest:
    """``ManifestStore`` in SQL."""

    _database: Database

    async def manifest_put(self, owner: str, file: ArtifactFile) -> None:
        """See ``ManifestStore``."""

        await self._database.write(lambda connection: _put(connection, owner, file))

    async def manifest_get(self, owner: str, path: str) -> ArtifactFile:
        """See ``ManifestStore``."""

        def read(connection: Connection) -> ArtifactFile:
            found = connection.execute(select(artifact).where(_is(owner, path))).first()
            if found is None:
                raise NotFound(f'There is no artifact "{path}".', field="path")
            return _file(found)

        return await self._database.read(read)

    async def manifest_list(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """See ``ManifestStore``."""
        begin = artifact.c.path > max(_begin_of(folder), after or "")
        wanted = _page(owner, folder, begin, limit)
        return await self._database.read(
            lambda connection: tuple(_file(row) for row in connection.execute(wanted))
        )

    async def manifest_children(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
        """See ``ManifestStore``."""
        return await self._database.read(
            lambda connection: _children(connection, owner, folder, limit=limit, after=after)
        )

    async def manifest_sums(self, owner: str, folder: str) -> ArtifactSums:
        """See ``ManifestStore``."""
        return await self._database.read(lambda connection: _sums(connection, owner, folder))

    async def manifest_delete(self, owner: str, path: str, *, intent: str | None = None) -> int:
        """See ``ManifestStore``."""

        def write(connection: Connection) -> int:
            these = _at_or_below(owner, path)
            if intent is not None:
                _begin(connection, _intent(owner, path, intent, None, deletes=True))
            _outdate(connection, owner, path)
            return connection.execute(delete(artifact).where(these)).rowcount

        return await self._database.write(write)

    async def manifest_recheck(self, owner: str, path: str) -> tuple[ArtifactFile, ...]:
        """See ``IntentStore``."""
        these = _at_or_below(owner, path)

        def write(connection: Connection) -> tuple[ArtifactFile, ...]:
            _outdate(connection, owner, path)
            rows = connection.execute(select(artifact).where(these).order_by(artifact.c.path))
            return tuple(_file(row) for row in rows)

        return await self._database.write(write)

    async def intent_begin(
        self, owner: str, path: str, intent: str, *, sha256: Sha256 | None
    ) -> None:
        """See ``IntentStore``."""

        new = _intent(owner, path, intent, sha256)
        await self._database.write(lambda connection: _begin(connection, new))

    async def intent_look(self, owner: str, path: str, intent: str) -> IntentView:
        """See ``IntentStore``."""

        def write(connection: Connection) -> IntentView:
            found = connection.execute(select(artifact_intent).where(_at_or_above(owner, path)))
            around = found.all()
            these = [one for one in around if one.path == path]
            mine = next((one for one in these if one.id == intent), None)
            if mine is None:
                connection.execute(insert(artifact_intent), _intent(owner, path, intent, None))
            elif mine.outdated:
                connection.execute(
                    update(artifact_intent).where(artifact_intent.c.id == intent).values(outdated=0)
                )
            row = connection.execute(select(artifact).where(_is(owner, path))).first()
            return IntentView(
                row=None if row is None else _file(row),
                sha256s=frozenset(Sha256(one.sha256) for one in these if one.sha256),
                deleting=any(
                    one.deletes and one.id >= intents_stale_before(intent) for one in around
                ),
                putting=any(
                    (one.deletes or (one.sha256 and one.path == path))
                    and one.id != intent
                    and one.id >= intents_done_before(intent)
                    for one in around
                ),
                outdated=mine is None or bool(mine.outdated),
            )

        return await self._database.write(write)

    async def intent_end(
        self, owner: str, path: str, intent: str, row: ArtifactFile | None, *, alone: bool
    ) -> bool:
        """See ``IntentStore``."""

        def write(connection: Connection) -> bool:
            these = dict(_INTENTS.rows(connection, {"owner": owner, "path": path}))
            if these.get(intent, 1) or (alone and len(these) > 1):  # outdated, or gone
                return False
            _DROP_INTENT.run(connection, {"id": intent})
            if row is not None:
                _put(connection, owner, row, outdate=len(these) > 1)
            else:
                _DELETE.run(connection, {"owner": owner, "path": path})
                _outdate(connection, owner, path)
            return True

        return await self._database.write(write)

    async def intent_drop(self, intent: str) -> None:
        """See ``IntentStore``."""
        await self._database.write(lambda connection: _DROP_INTENT.run(connection, {"id": intent}))


def _put(connection: Connection, owner: str, file: ArtifactFile, *, outdate: bool = True) -> None:
    _check_place(connection, owner, file.path)
    _DELETE.run(connection, {"owner": owner, "path": file.path})
    row = {
        "owner": owner,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "created_ns": file.created_ns,
    }
    _INSERT.run(connection, row)
    if outdate:
        _outdate(connection, owner, file.path)


def _intent(
    owner: str, path: str, intent: str, sha256: Sha256 | None, *, deletes: bool = False
) -> dict[str, Any]:
    return {
        "id": intent,
        "owner": owner,
        "path": path,
        "sha256": sha256 or "",
        "deletes": int(deletes),
        "outdated": 0,
    }


def _begin(connection: Connection, new: dict[str, Any]) -> None:
    """Add an intent, and forget those of its path that nobody ended for a day."""
    place = {"owner": new["owner"], "path": new["path"]}
    _FORGET_INTENTS.run(connection, {**place, "before": intents_stale_before(new["id"])})
    _DROP_INTENT.run(connection, {"id": new["id"]})
    _INSERT_INTENT.run(connection, new)


def _at_or_above(owner: str, path: str) -> ColumnElement[bool]:
    places = [path, *ancestors(path), ""]
    return (artifact_intent.c.owner == owner) & artifact_intent.c.path.in_(places)


def _outdate(connection: Connection, owner: str, path: str) -> None:
    """Have whoever is about to write a row at or below a path look again."""
    column = artifact_intent.c.path
    these = artifact_intent.c.owner == owner
    if path:
        these &= (column == path) | ((column >= f"{path}/") & (column < f"{path}0"))
    connection.execute(update(artifact_intent).where(these).values(outdated=1))


def _is(owner: str, path: str) -> ColumnElement[bool]:
    return (artifact.c.owner == owner) & (artifact.c.path == path)


def _at_or_below(owner: str, path: str) -> ColumnElement[bool]:
    if not path:
        return artifact.c.owner == owner
    return (artifact.c.owner == owner) & ((artifact.c.path == path) | _below(path))


def _below(folder: str) -> ColumnElement[bool]:
    """Paths inside a folder: from ``folder/`` up to ``folder0``, since "0" follows "/"."""
    return (artifact.c.path >= f"{folder}/") & (artifact.c.path < f"{folder}0")


def _check_place(connection: Connection, owner: str, path: str) -> None:
    """Refuse a path that is a folder, or whose parts name a file."""
    below = _FIRST_BELOW.rows(connection, {"owner": owner, "begin": f"{path}/", "end": f"{path}0"})
    if below:
        raise Conflict(f'"{path}" is a folder: it holds "{_text(below[0][0])}".', field="path")
    parts = path.split("/")
    parents = ["/".join(parts[:count]) for count in range(1, len(parts))]
    files = _THESE.rows(connection, {"owner": owner}, parents)
    if files:
        raise Conflict(
            f'"{_text(files[0][0])}" is a file: nothing can be put below it.', field="path"
        )


def _text(path: str | bytes) -> str:
    """A path as a driver gives it: MariaDB and MySQL keep its bytes (``path_text``)."""
    return path.decode() if isinstance(path, bytes) else path


def _page(owner: str, folder: str, begin: ColumnElement[bool], limit: int) -> Select[Any]:
    """Rows of a folder in order of path.

    Args:
        begin: The one bound from below, that of the folder too: SQLite looks rows up by one only.
    """
    these = (artifact.c.owner == owner) & begin
    if folder:
        these &= artifact.c.path < f"{folder}0"
    return select(artifact).where(these).order_by(artifact.c.path).limit(limit)


def _begin_of(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _children(
    connection: Connection, owner: str, folder: str, *, limit: int, after: str | None
) -> tuple[ArtifactEntry, ...]:
    entries: list[ArtifactEntry] = []
    begin = _begin_of(folder)
    place = begin if after is None else max(begin, _top(after, len(begin)))
    is_more = True
    while is_more and len(entries) < limit:
        rows = connection.execute(_page(owner, folder, _past(place, begin), limit)).all()
        found = [
            _child(top, list(those))
            for top, those in groupby(rows, lambda row: _top(row.path, len(begin)))
        ]
        is_more = len(rows) == limit
        if is_more:
            place = found[-1].place
            if found[-1].is_folder:  # it may go on
                whole = _sums(connection, owner, found[-1].path)
                found[-1] = replace(found[-1], size_bytes=whole.size_bytes, files=whole.files)
        entries += found
    return tuple(entries[:limit])


def _past(place: str, begin: str) -> ColumnElement[bool]:
    """What comes after a place in a folder, whose paths begin so."""
    if place != begin and place.endswith("/"):
        return artifact.c.path >= f"{place[:-1]}0"
    return artifact.c.path > place


def _top(path: str, depth: int) -> str:
    """The place, directly below a folder whose paths begin alike so far, that a path is in."""
    return path[: path.find("/", depth) + 1] or path


def _child(place: str, rows: list[Row[Any]]) -> ArtifactEntry:
    path = place.removesuffix("/")
    return ArtifactEntry(
        path,
        is_folder=path != place,
        size_bytes=sum(row.size_bytes for row in rows),
        files=len(rows),
        sha256=Sha256(rows[0].sha256) if path == place else None,
    )


def _sums(connection: Connection, owner: str, folder: str) -> ArtifactSums:
    counted = select(func.count(), func.coalesce(func.sum(artifact.c.size_bytes), 0)).where(
        artifact.c.owner == owner
    )
    if folder:
        counted = counted.where(_below(folder))
    files, size_bytes = connection.execute(counted).one()
    return ArtifactSums(files, int(size_bytes))  # some give a decimal


def _file(row: Row[Any]) -> ArtifactFile:
    return ArtifactFile(row.path, row.size_bytes, Sha256(row.sha256), row.created_ns)
