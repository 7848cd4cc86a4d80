"""Giving finished files their keys, and taking them away with the folders they leave empty."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncGenerator
from weakref import WeakValueDictionary

from seafloor.domain.errors import AlreadyExists, Conflict, StoreError, StoreUnavailable
from seafloor.stores.objects.hdfs.naming import modified_ns_of, path_of
from seafloor.stores.objects.hdfs.remote import FileStatus, Remote
from seafloor.stores.objects.hdfs.staging import StagedFile
from seafloor.stores.objects.hdfs.tree import holds_object
from seafloor.stores.objects.keys import ancestors

_PLACE_TRIES_MAX = 1000
"""A folder can vanish between its making and the placing of a file in it, each time because
another caller deleted the last object there: so often in a row means something else."""
_PLACE_PATIENCE_S = 30.0
"""How long a finished file is tried to be placed while no NameNode is active: all its bytes are
there, and a failover takes seconds."""
_PLACE_WAIT_S = 0.25


class Places:
    """The paths of objects.

    Args:
        remote: Where.
        root: The path of the store, ``""`` when it is the whole file system.
    """

    def __init__(self, remote: Remote, root: str) -> None:
        self._remote = remote
        self._root = root
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, key: str) -> str:
        """The path of an object or folder."""
        return path_of(self._root, key)

    async def check(self, key: str, *, if_absent: bool, parents: bool) -> int:
        """Refuse a key that cannot be written now.

        Args:
            parents: Look at the folders as well; placing does so in any case.

        Returns:
            When the object that is there was put, 0 when there is none.
        """
        found = await self._remote.status(self.path(key))
        if found is None:
            if parents:
                await self._check_parents(key)
            return 0
        if found.isdir:
            if await self._holds_object(key):
                raise folder_in_the_way(key)
            return 0
        if if_absent:
            raise already_exists(key)
        return modified_ns_of(found)

    async def place(
        self, staged: StagedFile, key: str, *, modified_ns: int, if_absent: bool
    ) -> None:
        """Give a finished file its key: whole or not at all, whatever others do.

        Raises:
            AlreadyExists, Conflict: as for ``ObjectWrite.put``.
            StoreUnavailable: no NameNode was active for a while.
        """
        made = False
        deadline = time.monotonic() + _PLACE_PATIENCE_S
        try:
            for _ in range(_PLACE_TRIES_MAX):
                try:
                    if await self._moved(staged, key, if_absent=if_absent):
                        return
                    if await self._was_moved(staged, key, modified_ns):
                        return
                    made = True  # before it is: a failure may come after it was
                    await self._make_folder(key)
                except StoreUnavailable:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(_PLACE_WAIT_S)
        except (StoreError, Conflict, AlreadyExists, asyncio.CancelledError):
            if made:
                with contextlib.suppress(StoreError, OSError):  # the first error is to be told
                    await self.remove_empty_above(key)
            raise
        raise StoreUnavailable(f'"{key}" cannot be placed: others empty its folder for ever.')

    async def remove(self, key: str) -> bool:
        """Remove an object, with the folders it leaves empty; say whether there was one."""
        found = await self._remote.status(self.path(key))
        if found is None or found.isdir or not await self._rmdir_or_unlink(key, isdir=False):
            return False
        await self.remove_empty_above(key)
        return True

    async def remove_empty_above(self, key: str) -> None:
        """Remove the folders that a key lies in while they are empty."""
        for folder in reversed(ancestors(key)):
            if not await self._rmdir_or_unlink(folder, isdir=True):
                return

    async def _rmdir_or_unlink(self, key: str, *, isdir: bool) -> bool:
        """Remove an object, or an empty folder; False when there is none, or it is not empty."""
        # HDFS deletes by path, whatever is there. So we look before, and let nobody of this
        # process place an object there between; see the page on object stores for the others.
        async with self._locked(key):
            found: FileStatus | None = None
            if isdir:
                found = await self._remote.status(self.path(key))
                if found is None or not found.isdir:
                    return False
            try:
                return await self._remote.delete(self.path(key))
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                return False

    async def _moved(self, staged: StagedFile, key: str, *, if_absent: bool) -> bool:
        """Try to place a file once; False when something is missing, or was in the way."""
        try:
            async with self._locked(key):
                await self._remote.rename(staged.path, self.path(key), overwrite=not if_absent)
        except FileNotFoundError:
            return False
        except FileExistsError as error:
            raise already_exists(key) from error
        except NotADirectoryError as error:
            raise await self._object_in_the_way(key) from error
        except IsADirectoryError as error:
            # Folders exist by their objects: one that is empty is not there.
            if await self._holds_object(key):
                raise folder_in_the_way(key) from error
            await self._remove_empty_tree(key)
            return False
        staged.moved()
        return True

    async def _was_moved(self, staged: StagedFile, key: str, modified_ns: int) -> bool:
        """Say whether a file was moved by a call whose answer was lost.

        hdfs-native repeats a call when the connection breaks, and at the other NameNode.
        """
        if await self._remote.status(staged.path) is not None:
            return False
        found = await self._remote.status(self.path(key))
        if (
            found is not None
            and not found.isdir
            and found.length == staged.size_bytes
            and modified_ns_of(found) == modified_ns
        ):
            staged.moved()
            return True
        raise StoreUnavailable(
            f'It is unknown whether "{key}" was written: the answer was lost. Repeat it.'
        )

    async def _make_folder(self, key: str) -> None:
        folder = key.rpartition("/")[0]
        try:
            await self._remote.mkdirs(self.path(folder))
        except (FileExistsError, NotADirectoryError) as error:
            raise await self._object_in_the_way(key) from error

    async def _check_parents(self, key: str) -> None:
        for folder in reversed(ancestors(key)):
            found = await self._remote.status(self.path(folder))
            if found is not None:
                if not found.isdir:
                    raise object_in_the_way(key, folder)
                return

    async def _object_in_the_way(self, key: str) -> Conflict:
        for folder in ancestors(key):
            found = await self._remote.status(self.path(folder))
            if found is None or not found.isdir:
                return object_in_the_way(key, folder)
        return object_in_the_way(key, key.rpartition("/")[0])

    async def _holds_object(self, key: str) -> bool:
        return await self._remote.in_thread(lambda: holds_object(self._remote, self.path(key)))

    async def _remove_empty_tree(self, key: str) -> None:
        """Remove a folder in which there are folders only, as far as it still is one."""

        def below() -> list[str]:
            folders = [self.path(key)]
            for path in folders:  # it grows
                folders += [found.path for found in self._remote.statuses(path) if found.isdir]
            return folders

        folders = await self._remote.in_thread(below)
        for path in reversed(folders[1:]):
            try:
                await self._remote.delete(path)
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
        await self._rmdir_or_unlink(key, isdir=True)

    @contextlib.asynccontextmanager
    async def _locked(self, key: str) -> AsyncGenerator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            yield


def already_exists(key: str) -> AlreadyExists:
    """There is an object."""
    return AlreadyExists(f'There is an object "{key}" already.', field="key")


def folder_in_the_way(key: str) -> Conflict:
    """The key is a folder."""
    return Conflict(f'"{key}" cannot be written: it is a folder.', field="key")


def object_in_the_way(key: str, folder: str) -> Conflict:
    """A part of the key is an object."""
    return Conflict(
        f'"{key}" cannot be written: "{folder}" is an object, not a folder.', field="key"
    )
