"""``ObjectArtifactStore``: bytes in an object store, rows in a manifest store.

The order of writes, and what a crash between them leaves:

    1. the bytes stream into the object store and are hashed; nothing is visible
    2. all came and are right: an intent in the manifest store says which bytes are about to
       become visible
    3. the object becomes visible                 crash before: the file is as it was
    4. the row is written, and the intent ended   crash before: see below

After a crash between 3 and 4 a new file has no row, and so is not there; its bytes lie unseen
until they are put again or deleted. A replaced file has the old row and the new bytes. Every
access compares the row's size and time with the object's (``created_ns`` is the time of the very
object that was hashed), sees that they differ, hashes the bytes, finds their digest among the
intents and writes the row that step 4 did not. Bytes that neither the row nor an intent knows are
not accepted: that is StoreCorrupt, until the file is put again.

Several processes may change one file at once. An object store puts their puts in one order; their
rows must follow it. So step 4 is done blindly only by one who is alone with the file since step 2;
any other looks which bytes are there now and writes their row, unless he is outdated by then
(``IntentStore``), and looks again.

A put with a condition begins its intent, and goes on only if it sees no other: of two who both
began, one at least sees the other, and each who does takes his back and tries again. So between
the look at what is there and step 3 no other put with a condition can come. A deletion with one
does the same before its rows go; and while any deletion goes on, a put with a condition waits for
its end, since the bytes of one that comes meanwhile go too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Final

import msgspec

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums, FileCondition
from seafloor.domain.errors import (
    CallerError,
    InvalidValue,
    NotFound,
    NotSupported,
    SeafloorError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from seafloor.domain.ids import Sha256
from seafloor.domain.names import check_path
from seafloor.stores.artifacts.documents import (
    ManifestDocument,
    Replacement,
    decode_replacement,
)
from seafloor.stores.artifacts.gate import OwnerGates
from seafloor.stores.artifacts.intake import Announced, Hasher, Intake
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.artifacts.placing import put_object
from seafloor.stores.artifacts.protocol import IntentView, ManifestStore, new_intent
from seafloor.stores.artifacts.turns import Turn, Turns
from seafloor.stores.objects.protocol import LIST_LIMIT_MAX, ObjectInfo, ObjectStore

_TURNS_MAX: Final = 100
"""How often one looks again at a file that others replace."""

_DELETION_PAUSE_S: Final = 0.05
"""Between two looks at bytes that somebody is about to delete."""


_PUT_PAUSE_S: Final = 0.05
"""Between two looks at whether others put a file, on average."""


class ObjectArtifactStore:
    """An ``ArtifactStore`` over an object store and a manifest store.

    Changes of one file by one process are put in order here, those by several through their
    intents. Of puts of one process that of who began last stays: what a client sent, and gave up to
    send something newer, may end after that; nor does it bring back what was deleted since. Of puts
    of several it is who ends last, as no clock of theirs says which of them began last.

    Args:
        objects: Where the bytes go. Its times must tell two puts of one key apart.
        manifest: Where the rows go.
        layout: From owners to keys.
    """

    def __init__(
        self,
        objects: ObjectStore,
        manifest: ManifestStore,
        layout: ArtifactLayout | None = None,
    ) -> None:
        self._objects = objects
        self._manifest = manifest
        self._layout = layout or ArtifactLayout()
        self._gates = OwnerGates()
        self._turns = Turns()

    async def put(
        self,
        owner: str,
        path: str,
        data: AsyncIterable[bytes],
        *,
        sha256: Sha256 | None = None,
        size_bytes: int | None = None,
        only_if: FileCondition | None = None,
    ) -> ArtifactFile:
        """Write one file whole; see ``ArtifactStore.put``."""
        announced = Announced(sha256=sha256, size_bytes=size_bytes)
        with self._turns.turn(owner, path) as turn:
            return await self._put(owner, path, data, announced, only_if, turn)

    async def _put(
        self,
        owner: str,
        path: str,
        data: AsyncIterable[bytes],
        announced: Announced,
        only_if: FileCondition | None,
        turn: Turn,
    ) -> ArtifactFile:
        key = self._key(owner, path)
        if only_if is not None:  # so that what is in vain need not be sent
            only_if.check(path, await self._row(owner, path))
        intent = ""
        entered = begun = False

        async def at_end(came_sha256: Sha256, _: int) -> None:
            nonlocal entered, begun, intent
            if not entered:
                await self._gates.enter(owner, path)
                entered = True
                intent = _intent_now()  # a long upload is no old intent
            if only_if is None and turn.overtaken_ns is not None:
                raise _Overtaken(turn.overtaken_ns)
            await self._manifest.intent_begin(owner, path, intent, sha256=came_sha256)
            if only_if is not None and not begun:
                await self._hold_off_others(owner, path, intent, came_sha256, only_if)
            begun = True

        intake = Intake(data, announced, at_end)
        try:
            try:
                info = await put_object(self._objects, key, path, intake)
            except (CallerError, StoreFull):  # nothing of it is visible
                if begun:
                    await self._manifest.intent_drop(intent)
                raise
            except _Overtaken as overtaken:
                return ArtifactFile(
                    path=path,
                    size_bytes=intake.size_bytes,
                    sha256=intake.sha256,
                    created_ns=overtaken.time_ns,
                )
            file = ArtifactFile(
                path=path,
                size_bytes=intake.size_bytes,
                sha256=intake.sha256,
                created_ns=info.modified_ns,
            )
            await self._put_row(owner, file, _Own(intent, info.etag, intake.sha256))
            turn.done(file.created_ns)
        finally:
            if entered:
                self._gates.leave(owner, path)
        return file

    async def head(self, owner: str, path: str) -> ArtifactFile:
        """Describe one file; see ``ArtifactStore.head``.

        Raises:
            StoreCorrupt: the bytes are gone, or are not what was put.
        """
        self._key(owner, path)
        row = await self._manifest.manifest_get(owner, path)
        if _is_of(row, await self._object(owner, path)):
            return row
        return await self._settled(owner, path)

    async def read(
        self,
        owner: str,
        path: str,
        *,
        start: int = 0,
        length: int | None = None,
        sha256: Sha256 | None = None,
    ) -> AsyncIterator[bytes]:
        """Stream a file or a range of it; see ``ArtifactStore.read``.

        A file that is read whole is compared with its digest: its last chunk comes only when
        they agree.

        Raises:
            StoreCorrupt: the bytes are gone, or are not what was put.
        """
        for _ in range(_TURNS_MAX):
            row = await self.head(owner, path)
            if sha256 is not None and row.sha256 != sha256:
                raise _replaced(path)
            given = 0
            try:
                async for chunk in self._chunks(
                    row, owner, start=start, length=length, is_told=sha256 is not None
                ):
                    given += 1
                    yield chunk
                return
            except _Replaced as error:
                if given or sha256 is not None:
                    raise _replaced(path) from error
        raise _busy(path)

    async def _chunks(
        self,
        row: ArtifactFile,
        owner: str,
        *,
        start: int,
        length: int | None,
        is_told: bool,
    ) -> AsyncIterator[bytes]:
        """Stream the bytes of a row, or whole ones of a later row unless the row was told.

        Raises:
            _Replaced: they are of a later row; what was given is of neither use.
        """
        path = row.path
        chunks = self._objects.read(self._key(owner, path), start=start, length=length)
        if start > 0 or (length is not None and length < row.size_bytes):
            async for chunk in chunks:
                yield chunk
            return
        hasher = Hasher()
        last = b""
        async for chunk in chunks:
            if last:
                yield last
            await hasher.update(chunk)
            last = chunk
        if hasher.sha256 != row.sha256:
            await self._check_later(row, owner, hasher.sha256)
            if is_told:
                raise _Replaced
        if last:
            yield last

    async def _check_later(self, row: ArtifactFile, owner: str, sha256: Sha256) -> None:
        """Look whether bytes that are not those of a row are of the row there is now.

        Raises:
            StoreCorrupt: the row is the same, so the bytes are not what was put.
            _Replaced: they are of neither.
        """
        # It may have been replaced between the row and the bytes, also at a time that the
        # store's clock cannot tell from that of the row.
        now = await self._settled(owner, row.path)
        if now.sha256 != sha256:
            now = await self._settled(owner, row.path, believe_time=False)
        if now.sha256 != sha256:
            if now == row:
                raise _not_what_was_put(row.path)
            raise _Replaced

    async def read_url(self, owner: str, path: str, *, expires_s: int) -> str | None:
        """Make a URL to read a file by; see ``ArtifactStore.read_url``."""
        key = self._key(owner, path)
        if not self._objects.capabilities.presign:
            return None
        try:
            return await self._objects.presign(key, method="GET", expires_s=expires_s)
        except NotSupported:  # the credentials cannot sign
            return None

    async def children(
        self, owner: str, folder: str = "", *, limit: int = 1000, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
        """List what is directly below a folder; see ``ArtifactStore.children``."""
        self._check_folder(owner, folder)
        _check_limit(limit)
        return await self._manifest.manifest_children(owner, folder, limit=limit, after=after)

    async def sums(self, owner: str, folder: str = "") -> ArtifactSums:
        """Count and sum up; see ``ArtifactStore.sums``."""
        self._check_folder(owner, folder)
        return await self._manifest.manifest_sums(owner, folder)

    async def list(
        self, owner: str, folder: str = "", *, limit: int = 1000, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """List all files below a folder; see ``ArtifactStore.list``."""
        self._check_folder(owner, folder)
        _check_limit(limit)
        return await self._manifest.manifest_list(owner, folder, limit=limit, after=after)

    async def delete(self, owner: str, path: str, *, only_if: FileCondition | None = None) -> int:
        """Delete a file or a folder; see ``ArtifactStore.delete``.

        Bytes that a crash left without a row go too, uncounted.
        """
        key = self._key(owner, path)
        number = self._turns.number()
        async with self._gates.alone(owner):
            # Another process may put bytes that go with the rest, and write their row after.
            # Until such rows are gone too, the intent says why they have no bytes.
            intent = _intent_now()
            if only_if is not None and not await self._check_deletion(owner, path, intent, only_if):
                return 0
            count = await self._manifest.manifest_delete(owner, path, intent=intent)
            await self._objects.delete(key)
            await self._objects.delete_folder(key)
            for row in await self._manifest.manifest_recheck(owner, path):
                await self._settle(owner, row.path, gone_is_deleted=True)
            await self._manifest.intent_drop(intent)
            if count:  # else it was told that nothing is there, and what comes is no part of it
                self._turns.deleted(owner, path, number, time.time_ns())
        return count

    async def delete_all(self, owner: str) -> int:
        """Delete all that an owner keeps; see ``ArtifactStore.delete_all``."""
        layout = self._layout
        folder = layout.artifacts_folder(owner)
        async with self._gates.alone(owner):
            freed = await self._manifest.manifest_sums(owner, "")
            intent = _intent_now()  # as in ``delete``
            await self._manifest.manifest_delete(owner, "", intent=intent)
            await self._objects.delete(layout.manifest_key(owner))
            await self._objects.delete_folder(layout.replacements_folder(owner))
            await self._objects.delete_folder(folder)
            for row in await self._manifest.manifest_recheck(owner, ""):
                await self._settle(owner, row.path, gone_is_deleted=True)
            await self._manifest.intent_drop(intent)
        return freed.size_bytes

    async def seal(self, owner: str) -> int:
        """Write ``manifest.json``; see ``ArtifactStore.seal``."""
        document = ManifestDocument(owner, lambda: self._checked_rows(owner))
        await self._objects.put(self._layout.manifest_key(owner), document)
        return document.count

    def _key(self, owner: str, path: str) -> str:
        return self._layout.artifact_key(owner, check_path(path))

    def _check_folder(self, owner: str, folder: str) -> None:
        self._layout.owner_folder(owner)
        if folder:
            check_path(folder, field="folder")

    async def _row(self, owner: str, path: str) -> ArtifactFile | None:
        try:
            return await self._manifest.manifest_get(owner, path)
        except NotFound:
            return None

    async def _hold_off_others(
        self, owner: str, path: str, intent: str, sha256: Sha256, only_if: FileCondition
    ) -> None:
        """Have only this intent stand at a path, and compare a condition with what is there.

        The gate of the file is held.

        Raises:
            PreconditionFailed, StoreUnavailable: the intent is dropped.
        """
        try:
            for _ in range(_TURNS_MAX):
                view = await self._manifest.intent_look(owner, path, intent)
                if not view.putting:
                    only_if.check(path, await self._row_now(owner, path, view.row))
                    return
                await self._manifest.intent_drop(intent)
                # At random, so that two who wait for each other do not meet again.
                await asyncio.sleep(random.uniform(0, 2 * _PUT_PAUSE_S))  # noqa: S311
                await self._manifest.intent_begin(owner, path, intent, sha256=sha256)
            raise _busy(path)
        except SeafloorError:
            await self._manifest.intent_drop(intent)
            raise

    async def _check_deletion(
        self, owner: str, path: str, intent: str, only_if: FileCondition
    ) -> bool:
        """Compare a condition with what is to be deleted, and keep others from replacing it.

        All files of the owner are held. What is no file has no digest.

        Returns:
            Whether anything is there. What another process puts there next was never compared.
        """
        row = await self._row(owner, path)
        if row is not None:
            await self._manifest.intent_begin(owner, path, intent, sha256=row.sha256)
            await self._hold_off_others(owner, path, intent, row.sha256, only_if)
            return True
        if await self._manifest.manifest_children(owner, path, limit=1):
            only_if.check(path, None)
            return True
        return False

    async def _row_now(
        self, owner: str, path: str, row: ArtifactFile | None
    ) -> ArtifactFile | None:
        """Give the row of what is there, mended if need be; the gate of the file is held."""
        if row is None or _is_of(row, await self._object(owner, path)):
            return row
        try:
            return await self._settle(owner, path)
        except StoreCorrupt:  # what was put is what the row says; to put it again mends it
            return row

    async def _put_row(self, owner: str, file: ArtifactFile, own: _Own) -> None:
        """Write the row of bytes that were put, or of those that replaced them meanwhile."""
        try:
            if not await self._manifest.intent_end(owner, file.path, own.intent, file, alone=True):
                await self._settle_until_done(owner, file.path, own, gone_is_deleted=True)
        except CallerError:
            # Refused, so no row can have this path: its bytes would be nobody's.
            await self._objects.delete(self._key(owner, file.path))
            await self._manifest.intent_drop(own.intent)
            raise

    async def _noted(self, owner: str, path: str) -> Replacement | None:
        """The note of a replacement that a Seafloor of before intents did not end."""
        chunks = self._objects.read(self._layout.replacement_key(owner, path))
        try:
            return decode_replacement(b"".join([chunk async for chunk in chunks]))
        except NotFound:
            return None

    async def _object(self, owner: str, path: str) -> ObjectInfo | None:
        try:
            return await self._objects.head(self._key(owner, path))
        except NotFound:
            return None

    async def _settled(self, owner: str, path: str, *, believe_time: bool = True) -> ArtifactFile:
        """Give the row of a file, mended if need be.

        Args:
            owner, path: Which file.
            believe_time: That an object of the row's size and time is the row's; else hash it.

        Raises:
            NotFound: no such file.
            StoreCorrupt: the bytes are gone, or are not what was put.
            StoreUnavailable: it is replaced again and again.
        """
        async with self._gates.file(owner, path):
            row = await self._manifest.manifest_get(owner, path)
            if believe_time and _is_of(row, await self._object(owner, path)):
                return row
            settled = await self._settle(owner, path)
        if settled is None:
            raise NotFound(f'There is no artifact "{path}".', field="path")
        return settled

    async def _settle(
        self, owner: str, path: str, *, gone_is_deleted: bool = False
    ) -> ArtifactFile | None:
        """Write the row of whatever bytes a file has now; the gate of the file is held.

        Args:
            owner, path: Which file.
            gone_is_deleted: Delete the row when there are no bytes; else that is StoreCorrupt,
                unless somebody deletes them.

        Returns:
            The row, None when there is none.

        Raises:
            StoreCorrupt, StoreUnavailable: see ``_settled``.
        """
        own = _Own(_intent_now(), None, None)
        await self._manifest.intent_begin(owner, path, own.intent, sha256=None)
        try:
            return await self._settle_until_done(owner, path, own, gone_is_deleted=gone_is_deleted)
        finally:
            await self._manifest.intent_drop(own.intent)

    async def _settle_until_done(
        self, owner: str, path: str, own: _Own, *, gone_is_deleted: bool
    ) -> ArtifactFile | None:
        for _ in range(_TURNS_MAX):
            view = await self._manifest.intent_look(owner, path, own.intent)
            if view.row is None and own.etag is None:
                return None
            try:
                row = await self._row_of_bytes(owner, path, view, own)
            except _Replaced:
                continue
            except _Unknown as error:
                if view.row is None and view.deleting:
                    # A deletion took their row, and they are about to go. One that was killed
                    # in between is waited for too, but not for long.
                    await asyncio.sleep(_DELETION_PAUSE_S)
                    continue
                if await self._is_old(view, owner, path, own):
                    continue
                raise _not_what_was_put(path) from error
            if row is None and not (gone_is_deleted or view.deleting):
                if await self._is_old(view, owner, path, own):
                    continue
                raise _gone(path)
            if await self._manifest.intent_end(owner, path, own.intent, row, alone=False):
                return row
        raise _busy(path)

    async def _is_old(self, view: IntentView, owner: str, path: str, own: _Own) -> bool:
        """Say whether more is known of a file now: an intent stands there before its bytes do."""
        now = await self._manifest.intent_look(owner, path, own.intent)
        return now.outdated or msgspec.structs.replace(view, outdated=False) != now

    async def _row_of_bytes(
        self, owner: str, path: str, view: IntentView, own: _Own
    ) -> ArtifactFile | None:
        """Make the row of what bytes there are; None when there are none.

        Raises:
            _Replaced: they were replaced while they were hashed.
            _Unknown: nobody meant to put such bytes.
        """
        key = self._key(owner, path)
        try:
            info = await self._objects.head(key)
            sha256 = own.sha256 if own.etag == info.etag else await self._hash(key, info)
        except NotFound:
            return None
        known = view.sha256s if view.row is None else view.sha256s | {view.row.sha256}
        if sha256 is None:
            raise _Replaced
        if sha256 not in known and sha256 != own.sha256:
            noted = await self._noted(owner, path)
            if noted is None or noted.sha256 != sha256:
                raise _Unknown
            await self._objects.delete(self._layout.replacement_key(owner, path))
        return ArtifactFile(
            path=path, size_bytes=info.size_bytes, sha256=sha256, created_ns=info.modified_ns
        )

    async def _hash(self, key: str, info: ObjectInfo) -> Sha256 | None:
        """Hash an object; None when it is another by the end."""
        hasher = Hasher()
        async for chunk in self._objects.read(key):
            await hasher.update(chunk)
        return hasher.sha256 if await self._objects.head(key) == info else None

    async def _checked_rows(self, owner: str) -> AsyncIterator[ArtifactFile]:
        """Give all rows in order of path, each compared with its object.

        The row of a file whose bytes are gone or wrong is given as it is: it says what was put.
        """
        infos = self._infos(owner)
        info = await anext(infos, None)
        async for row in self._rows(owner):
            key = self._key(owner, row.path)
            while info is not None and info.key < key:
                info = await anext(infos, None)
            if info is not None and info.key == key and _is_of(row, info):
                yield row
                continue
            try:
                yield await self._settled(owner, row.path)
            except StoreCorrupt:
                yield row
            except NotFound:
                continue  # deleted meanwhile

    async def _rows(self, owner: str) -> AsyncIterator[ArtifactFile]:
        after: str | None = None
        while True:
            page = await self._manifest.manifest_list(owner, "", limit=LIST_LIMIT_MAX, after=after)
            for row in page:
                yield row
            if len(page) < LIST_LIMIT_MAX:
                return
            after = page[-1].path

    async def _infos(self, owner: str) -> AsyncIterator[ObjectInfo]:
        cursor: str | None = None
        while True:
            page = await self._objects.list(self._layout.artifacts_folder(owner), cursor=cursor)
            for info in page.objects:
                yield info
            if page.next is None:
                return
            cursor = page.next


@dataclass(frozen=True)
class _Own:
    """What one who settles a file brings along.

    Args:
        intent: His.
        etag, sha256: Of the bytes that he put, None when he put none.
    """

    intent: str
    etag: str | None
    sha256: Sha256 | None


class _Replaced(Exception):
    """The bytes are others than a moment ago."""


class _Overtaken(Exception):
    """A put or a deletion that began later is done already."""

    def __init__(self, time_ns: int) -> None:
        super().__init__()
        self.time_ns = time_ns


class _Unknown(Exception):
    """Neither a row nor an intent knows these bytes."""


def _intent_now() -> str:
    return new_intent(time_ms=time.time_ns() // 1_000_000)


def _is_of(row: ArtifactFile, info: ObjectInfo | None) -> bool:
    """Say whether a row was written for this very object."""
    if info is None:
        return False
    return row.size_bytes == info.size_bytes and row.created_ns == info.modified_ns


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidValue("A page has at least 1 entry.", field="limit")


def _not_what_was_put(path: str) -> StoreCorrupt:
    return StoreCorrupt(
        f'The bytes of "{path}" are not what was put (another sha256): '
        "bring them back from a copy, or put the file again."
    )


def _gone(path: str) -> StoreCorrupt:
    return StoreCorrupt(
        f'The bytes of "{path}" are gone from the object store: '
        "bring them back from a copy, or put the file again."
    )


def _replaced(path: str) -> StoreUnavailable:
    return StoreUnavailable(
        f'"{path}" was replaced while it was read: read it again.', retry_after_s=0.1
    )


def _busy(path: str) -> StoreUnavailable:
    return StoreUnavailable(
        f'"{path}" is replaced again and again by others: repeat the request.', retry_after_s=0.5
    )
