"""Copies a whole installation: database, files, logs, event files and all other objects.

The source is read only. The target says that it is an unfinished copy, in its object store and in
its database, from before the first byte until all is there and compared; a server refuses it as
long as it says so. Everything is copied in an order that is always the same, so whoever goes on
after a crash knows from the target, and from the journal, where that is:

    1. the marks; the rows                           resumed after the greatest key of each table
    2. the files of runs and models                  resumed by the journal, then by their digests
    3. logs and event files                          resumed by their lengths
    4. all other objects                             resumed by the journal
    5. every table is summed up on both sides
    6. the settings, the identity; the marks go
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from seafloor.app.copy.files import Files, others
from seafloor.app.copy.journal import Journal
from seafloor.app.copy.progress import Progress
from seafloor.app.copy.runs import RunStreams
from seafloor.app.copy.sides import Side
from seafloor.domain.errors import AlreadyExists, Conflict, NotFound, StoreCorrupt
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.sql.copy import (
    TableDigest,
    artifact_rows,
    begin_copy,
    check_unused,
    copied_tables,
    copy_mark,
    copy_rows,
    count_rows,
    digest,
    end_copy,
    event_file_rows,
    found_in,
    is_current,
    names_of_launched,
    sum_of,
    workload_rows,
)
from seafloor.stores.objects.identity import (
    COPY_KEY,
    COPY_VERSION,
    IDENTITY_KEY,
    CopyMarker,
    StoreIdentity,
    copy_marker,
    read_identity,
)

_ALIVE: Final = tuple(str(state) for state in WorkloadState if not state.is_final)
_NAMES_SHOWN: Final = 5
_BEGIN_ANEW: Final = "empty the target's database and object store and begin anew"


@dataclass(frozen=True)
class CopyOptions:
    """What else there is to say of a copy.

    Args:
        journal: Where it keeps how far it came, in the target's data folder.
        copy_id: What a copy that is begun is told from others by.
        skip_damaged: Whether to end well without what is damaged in the source.
        save_settings: Called when all is there: writes the URLs into the target's settings.
    """

    journal: Path
    copy_id: str
    skip_damaged: bool
    save_settings: Callable[[], None]


class Copy:
    """One copy of an installation; ``run`` it once.

    Args:
        source: Whose folder is held, so that no server uses it.
        target: Whose folder is held.
        options: The rest.
    """

    def __init__(self, source: Side, target: Side, options: CopyOptions) -> None:
        self._source = source
        self._target = target
        self._options = options
        self.progress = Progress()

    async def run(self) -> None:
        """Copy what is not copied yet. After a failure, or a crash, it can be run again.

        Raises:
            Conflict: the source is in use, the target is another's or not empty, or the source
                has changed since this copy was begun. Nothing was written.
            StoreCorrupt: something is damaged in the source, or the target does not give back
                what it was given.
            SeafloorError: as the stores.
        """
        identity = await self._identity()
        rows = await self._look_at_source()
        marker = await self._mark(identity, _combined(rows))
        journal = Journal(self._options.journal, marker.copy_id)
        if not await self._is_checked():
            await self._copy_all(journal, rows)
            self._refuse_damage()
            await self._put_identity(identity)
        await self._finish(journal)

    async def _identity(self) -> StoreIdentity:
        """Which installation the source is, if it may be copied."""
        source = self._source
        try:
            identity = await read_identity(source.objects)
        except NotFound as error:
            raise Conflict(
                f"{source.name} is no installation: its object store has no {IDENTITY_KEY}. Give "
                "the folder of a server, with the URLs of its stores in its seafloor.toml."
            ) from error
        if await copy_marker(source.objects) is not None:
            raise Conflict(f"{source.name} is itself a copy that is not whole yet: end that first.")
        if not await is_current(source.database):
            raise Conflict(
                f"The database of {source.name} is of another version of Seafloor: start a server "
                "of this version on it once, which brings it up to date, and stop it again."
            )
        if source.is_shared:
            await check_unused(source.database)
        alive = await names_of_launched(source.database, _ALIVE)
        if alive:
            more = f" and {len(alive) - _NAMES_SHOWN} more" if len(alive) > _NAMES_SHOWN else ""
            raise Conflict(
                f"Runs are under way: {', '.join(alive[:_NAMES_SHOWN])}{more}. Start the server "
                "again, wait until they have ended (or stop them), stop it, and copy then."
            )
        return identity

    async def _look_at_source(self) -> dict[str, TableDigest]:
        """Sum up every table, and count what there is to do."""
        database, progress = self._source.database, self.progress
        progress.doing = "reading the source's database"
        tables = copied_tables()
        for view in tables:
            progress.rows_total += await count_rows(database, view)
        progress.files.items_total = await count_rows(database, artifact_rows())
        progress.files.bytes_total = await sum_of(database, artifact_rows(), "size_bytes")
        progress.runs.items_total = await count_rows(database, workload_rows())
        progress.runs.bytes_total = await sum_of(database, event_file_rows(), "size_bytes")
        progress.rows_read_total = 3 * progress.rows_total + 2 * progress.files.items_total
        found = {
            view.name: await digest(database, view, progress.look)
            for view in (*tables, artifact_rows())
        }
        async for info in others(self._source):
            progress.objects.items_total += 1
            progress.objects.bytes_total += info.size_bytes
        return found

    async def _mark(self, identity: StoreIdentity, rows: str) -> CopyMarker:
        """Find the mark of the copy that was begun, or begin one."""
        target = self._target
        wanted = CopyMarker(COPY_VERSION, self._options.copy_id, identity.store_id, rows)
        found = await copy_marker(target.objects)
        if found is None:
            await self._check_objects_empty(identity)
        else:
            _check_same(found, wanted)
        if not await self._is_checked():
            await self._mark_database(found, wanted)
        return found or wanted

    async def _check_objects_empty(self, identity: StoreIdentity) -> None:
        objects = self._target.objects
        try:
            there = await read_identity(objects)
        except NotFound:
            first = await objects.list("", limit=1)
            if not first.objects:
                return
            raise Conflict(
                f'The target\'s object store is not empty (there is "{first.objects[0].key}"): '
                "give another place, or empty it."
            ) from None
        if there.store_id == identity.store_id:
            raise Conflict(
                "The target's object store holds this installation already: a copy that is "
                "whole, or the source itself. There is nothing to copy."
            )
        raise Conflict("The target's object store holds another installation: give another place.")

    async def _mark_database(self, found: CopyMarker | None, wanted: CopyMarker) -> None:
        """Write both marks, that of the objects first."""
        database = self._target.database
        there = await copy_mark(database)
        if there is not None:
            _check_same(msgspec.json.decode(there, type=CopyMarker), wanted)
        else:
            table = await found_in(database)
            if table is not None:
                raise Conflict(
                    f'The target\'s database is not empty (there are rows in "{table}"): give '
                    "another database, or empty it."
                )
        content = msgspec.json.encode(wanted)
        if found is None:
            try:
                await self._target.objects.put(COPY_KEY, content, if_absent=True)
            except AlreadyExists as error:
                raise Conflict("Another copy to the same target has just begun.") from error
        await database.migrate()
        if there is None:
            await begin_copy(database, content)

    async def _is_checked(self) -> bool:
        """Whether all is there and compared: the identity comes after that."""
        try:
            await read_identity(self._target.objects)
        except NotFound:
            return False
        return True

    async def _copy_all(self, journal: Journal, rows: dict[str, TableDigest]) -> None:
        source, target, progress = self._source, self._target, self.progress
        progress.doing = "rows"
        for view in copied_tables():
            await copy_rows(source.database, target.database, view, progress.copy)
        files = Files(source, target, journal, progress)
        progress.doing = "files"
        await files.copy_artifacts()
        progress.doing = "logs and event files"
        skip_damaged = self._options.skip_damaged
        await RunStreams(source, target, journal, progress, skip_damaged=skip_damaged).copy()
        progress.doing = "objects"
        await files.copy_objects()
        progress.doing = "comparing every row"
        await self._compare(rows, files.damaged)

    async def _compare(self, rows: dict[str, TableDigest], damaged: set[tuple[str, str]]) -> None:
        look = self.progress.look
        if damaged:
            rows = dict(rows)
            rows["artifact"] = await digest(
                self._source.database, artifact_rows(), look, without=damaged
            )
        for view in (*copied_tables(), artifact_rows()):
            found = await digest(self._target.database, view, look)
            if found != rows[view.name]:
                raise StoreCorrupt(
                    f'The table "{view.name}" of the target is not that of the source '
                    f"({found.rows:,} rows, {rows[view.name].rows:,} in the source). Start a "
                    "server on the source once, so that it ends what a crash may have left, stop "
                    f"it, {_BEGIN_ANEW}."
                )
            self.progress.digests += 1

    def _refuse_damage(self) -> None:
        damaged = self.progress.damaged
        if damaged and not self._options.skip_damaged:
            more = f" And {len(damaged) - _NAMES_SHOWN} more." if len(damaged) > 5 else ""
            raise StoreCorrupt(
                f"All that could be copied is copied. {' '.join(damaged[:_NAMES_SHOWN])}{more} "
                "Bring back what is missing and give the same command again, or give it with "
                "--skip-damaged to go on without."
            )

    async def _put_identity(self, identity: StoreIdentity) -> None:
        content = msgspec.json.encode(identity)
        await self._target.objects.put(IDENTITY_KEY, content, if_absent=True)

    async def _finish(self, journal: Journal) -> None:
        """Make the copy an installation like any other; each step may be done twice."""
        self.progress.doing = "done"
        self._options.save_settings()
        await end_copy(self._target.database)
        await self._target.objects.delete(COPY_KEY)
        journal.remove()


def _combined(rows: dict[str, TableDigest]) -> str:
    return hashlib.sha256(msgspec.json.encode(rows, order="sorted")).hexdigest()


def _check_same(found: CopyMarker, wanted: CopyMarker) -> None:
    """Refuse to go on with a copy of something else."""
    if found.source != wanted.source:
        raise Conflict(
            "The target is an unfinished copy of another installation: end that one, or give "
            "another place."
        )
    if found.rows != wanted.rows:
        raise Conflict(
            f"The source has changed since this copy was begun (a server ran on it): {_BEGIN_ANEW}."
        )
