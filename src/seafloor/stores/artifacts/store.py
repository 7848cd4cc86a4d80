"""``ObjectArtifactStore``: bytes in an object store, rows in a manifest store.

The order of writes, and what a crash between them leaves:

    1. the bytes stream into the object store and are hashed; nothing is visible
    2. all came and are right: if a row of this path has another digest, a note says which bytes
       are about to replace it
    3. the object becomes visible                 crash before: the file is as it was
    4. the row is written                         crash before: see below
    5. the note is removed                        crash before: a note that nobody needs

After a crash between 3 and 4 a new file has no row, and so is not there; its bytes lie unseen
until they are put again or deleted. A replaced file has the old row and the new bytes. Every
access compares the row's size and time with the object's (``created_ns`` is the time of the very
object that was hashed), sees that they differ, hashes the bytes, finds their digest in the note
and writes the row that step 4 did not. Bytes that neither the row nor a note knows are not
accepted: that is StoreCorrupt, until the file is put again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile
from seafloor.domain.errors import CallerError, Conflict, InvalidValue, NotFound, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.domain.names import check_path
from seafloor.stores.artifacts.documents import (
    REPLACEMENT_VERSION,
    ManifestDocument,
    Replacement,
    decode_replacement,
)
from seafloor.stores.artifacts.gate import OwnerGates
from seafloor.stores.artifacts.intake import Announced, Hasher, Intake
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.artifacts.protocol import ManifestStore
from seafloor.stores.objects.protocol import LIST_LIMIT_MAX, ObjectInfo, ObjectStore


class ObjectArtifactStore:
    """An ``ArtifactStore`` over an object store and a manifest store.

    Changes of one file by one process are put in order here. Processes that share the stores
    must not change the files of one owner at the same time.

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

    async def put(
        self,
        owner: str,
        path: str,
        data: AsyncIterable[bytes],
        *,
        sha256: Sha256 | None = None,
        size_bytes: int | None = None,
    ) -> ArtifactFile:
        """Write one file whole; see ``ArtifactStore.put``."""
        key = self._key(owner, path)
        entered = noted = False

        async def at_end(came_sha256: Sha256, came_bytes: int) -> None:
            nonlocal entered, noted
            if not entered:
                await self._gates.enter(owner, path)
                entered = True
            replacement = Replacement(
                format_version=REPLACEMENT_VERSION,
                path=path,
                sha256=came_sha256,
                size_bytes=came_bytes,
            )
            noted = await self._note(owner, replacement)

        intake = Intake(data, Announced(sha256=sha256, size_bytes=size_bytes), at_end)
        try:
            info = await self._put_object(key, path, intake)
            file = ArtifactFile(
                path=path,
                size_bytes=intake.size_bytes,
                sha256=intake.sha256,
                created_ns=info.modified_ns,
            )
            await self._put_row(owner, file)
            if noted:
                await self._objects.delete(self._layout.replacement_key(owner, path))
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
        self, owner: str, path: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream a file or a range of it; see ``ArtifactStore.read``.

        A file that is read whole is compared with its digest: its last chunk comes only when
        they agree.

        Raises:
            StoreCorrupt: the bytes are gone, or are not what was put.
        """
        row = await self.head(owner, path)
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
            # It may have been replaced between the row and the bytes.
            row = await self._settled(owner, path)
        if hasher.sha256 != row.sha256:
            # Or at a time that the store's clock cannot tell from that of the row.
            row = await self._settled(owner, path, believe_time=False)
        if hasher.sha256 != row.sha256:
            raise _not_what_was_put(path)
        if last:
            yield last

    async def children(self, owner: str, folder: str = "") -> tuple[ArtifactEntry, ...]:
        """List what is directly below a folder; see ``ArtifactStore.children``."""
        self._check_folder(owner, folder)
        return await self._manifest.manifest_children(owner, folder)

    async def list(
        self, owner: str, folder: str = "", *, limit: int = 1000, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """List all files below a folder; see ``ArtifactStore.list``."""
        self._check_folder(owner, folder)
        if limit < 1:
            raise InvalidValue("A page has at least 1 entry.", field="limit")
        return await self._manifest.manifest_list(owner, folder, limit=limit, after=after)

    async def delete(self, owner: str, path: str) -> int:
        """Delete a file or a folder; see ``ArtifactStore.delete``.

        Bytes that a crash left without a row go too, uncounted.
        """
        key = self._key(owner, path)
        async with self._gates.alone(owner):
            count = await self._manifest.manifest_delete(owner, path)
            await self._objects.delete(key)
            await self._objects.delete_folder(key)
        return count

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

    async def _put_object(self, key: str, path: str, intake: Intake) -> ObjectInfo:
        try:
            return await self._objects.put(key, intake.stream())
        except Conflict as error:
            raise Conflict(
                f'"{path}" cannot be kept: it is a folder, or a part of it is a file. '
                "Choose another path, or delete what is there.",
                field="path",
            ) from error

    async def _put_row(self, owner: str, file: ArtifactFile) -> None:
        try:
            await self._manifest.manifest_put(owner, file)
        except CallerError:
            # Refused, so no row can have this path: its bytes would be nobody's.
            await self._objects.delete(self._key(owner, file.path))
            raise

    async def _note(self, owner: str, new: Replacement) -> bool:
        """Say what is about to replace a file, if it does; the gate of the file is held."""
        try:
            row = await self._manifest.manifest_get(owner, new.path)
        except NotFound:
            return False
        if row.sha256 == new.sha256:
            return False
        if await self._noted(owner, new.path) is not None:
            # An earlier replacement did not end: end it while its note is there. If the bytes
            # are gone or wrong, what is being put is what repairs them.
            with contextlib.suppress(StoreCorrupt):
                await self._settle(owner, new.path, believe_time=False)
        await self._objects.put(self._layout.replacement_key(owner, new.path), new.encode())
        return True

    async def _noted(self, owner: str, path: str) -> Replacement | None:
        chunks = self._objects.read(self._layout.replacement_key(owner, path))
        try:
            return decode_replacement(b"".join([chunk async for chunk in chunks]))
        except NotFound:
            return None

    async def _object(self, owner: str, path: str) -> ObjectInfo:
        """Describe the object of a row.

        Raises:
            NotFound: the file was deleted meanwhile.
            StoreCorrupt: the row is there and the bytes are not.
        """
        try:
            return await self._objects.head(self._key(owner, path))
        except NotFound as error:
            await self._manifest.manifest_get(owner, path)
            raise StoreCorrupt(
                f'The bytes of "{path}" are gone from the object store: '
                "bring them back from a copy, or put the file again."
            ) from error

    async def _settled(self, owner: str, path: str, *, believe_time: bool = True) -> ArtifactFile:
        async with self._gates.file(owner, path):
            return await self._settle(owner, path, believe_time=believe_time)

    async def _settle(self, owner: str, path: str, *, believe_time: bool = True) -> ArtifactFile:
        """Give the row of a file, mended if need be; the gate of the file is held.

        Args:
            owner, path: Which file.
            believe_time: That an object of the row's size and time is the row's; else hash it.

        Raises:
            NotFound: no such file.
            StoreCorrupt: the bytes are gone, or are not what was put.
        """
        row = await self._manifest.manifest_get(owner, path)
        info = await self._object(owner, path)
        if believe_time and _is_of(row, info):
            return row
        hasher = Hasher()
        async for chunk in self._objects.read(self._key(owner, path)):
            await hasher.update(chunk)
        if hasher.sha256 != row.sha256:
            noted = await self._noted(owner, path)
            if noted is None or noted.sha256 != hasher.sha256:
                raise _not_what_was_put(path)
        mended = ArtifactFile(
            path=path,
            size_bytes=hasher.size_bytes,
            sha256=hasher.sha256,
            created_ns=info.modified_ns,
        )
        await self._manifest.manifest_put(owner, mended)
        await self._objects.delete(self._layout.replacement_key(owner, path))
        return mended

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


def _is_of(row: ArtifactFile, info: ObjectInfo) -> bool:
    """Say whether a row was written for this very object."""
    return row.size_bytes == info.size_bytes and row.created_ns == info.modified_ns


def _not_what_was_put(path: str) -> StoreCorrupt:
    return StoreCorrupt(
        f'The bytes of "{path}" are not what was put (another sha256): '
        "bring them back from a copy, or put the file again."
    )
