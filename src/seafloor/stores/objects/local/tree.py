"""The files below a root, reached folder by folder through descriptors.

Every step opens one name below an open folder and follows no link, so that no link in the tree
leads out of it, and none put there in the middle of an operation does. Only regular files are
objects; links, pipes and sockets that someone put there are not seen.

All of this blocks; errors are plain OSErrors.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import stat
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

from seafloor.domain.errors import CallerError
from seafloor.stores.objects.keys import STAGING_FOLDER, ancestors, check_object_key
from seafloor.stores.objects.local.staging import StagedFile
from seafloor.stores.objects.protocol import ObjectInfo

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a pipe would wait for its other end without O_NONBLOCK; files do not care.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_OBJECT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
_NO_FOLDER = {errno.ENOTDIR, errno.ELOOP}
_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
# A folder can vanish between its making and the placing of a file in it, each time because
# another caller deleted the last object there: so often in a row means something else.
_PLACE_TRIES_MAX = 1000


class FolderInTheWay(Exception):
    """The key to be written is a folder with objects in it."""


class ObjectInTheWay(Exception):
    """A part of the key to be written is not a folder.

    Args:
        key: That part.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class Tree:
    """Files and folders by key.

    Args:
        root: An existing folder.
    """

    def __init__(self, root: Path) -> None:
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Held while a folder is made and made durable, and while folders are looked up to be
        # written in: a folder that is seen is then durable, whoever made it.
        self._making = threading.Lock()

    def close(self) -> None:
        """Let go of the root. Safe to repeat."""
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def open(self, key: str) -> tuple[int, ObjectInfo] | None:
        """Open an object for reading; None when there is none. The caller closes."""
        try:
            with self._folder(_folder_of(key)) as folder_fd:
                fd = os.open(_name_of(key), _FILE, dir_fd=folder_fd)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return None
            raise
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return None
        return fd, info_of(key, status)

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object; None when there is none."""
        try:
            with self._folder(_folder_of(key)) as folder_fd:
                status = _stat(folder_fd, _name_of(key))
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return None
            raise
        return info_of(key, status) if stat.S_ISREG(status.st_mode) else None

    def check_place(self, key: str) -> None:
        """Refuse a key that cannot be written now, before any byte is.

        Raises:
            FolderInTheWay, ObjectInTheWay: as they say.
        """
        try:
            with self._folder(_folder_of(key)) as folder_fd:
                status = _stat(folder_fd, _name_of(key))
                if stat.S_ISDIR(status.st_mode) and _holds_object(folder_fd, _name_of(key)):
                    raise FolderInTheWay
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            raise ObjectInTheWay(self._first_file(key)) from error

    def place(self, staged: StagedFile, key: str, *, if_absent: bool) -> None:
        """Give a finished file its key, durably: whole or not at all, whatever others do.

        Raises:
            FileExistsError: if_absent, and there is an object.
            FolderInTheWay, ObjectInTheWay: as they say.
        """
        folder = _folder_of(key)
        try:
            for _ in range(_PLACE_TRIES_MAX):
                # A FileNotFoundError is a folder that was emptied and removed under our feet.
                with (
                    contextlib.suppress(FileNotFoundError),
                    self._made_folder(folder) as folder_fd,
                ):
                    if _enter(staged, folder_fd, _name_of(key), if_absent=if_absent):
                        os.fsync(folder_fd)
                        return
        except (OSError, ObjectInTheWay, FolderInTheWay):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                self._remove_if_empty(folder)
            raise
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), key)

    def remove(self, key: str) -> bool:
        """Remove an object durably, with the folders it leaves empty; say whether there was one."""
        folder = _folder_of(key)
        try:
            with self._folder(folder) as folder_fd:
                if not stat.S_ISREG(_stat(folder_fd, _name_of(key)).st_mode):
                    return False
                os.unlink(_name_of(key), dir_fd=folder_fd)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return False
            raise
        self._remove_if_empty(folder)
        return True

    def remove_below(self, folder: str, *, objects_max: int) -> int:
        """Remove at most so many objects below a folder, and folders that are left empty.

        Returns:
            How many were removed: 0 when there is nothing left.
        """
        try:
            with self._folder(folder) as folder_fd:
                removed = _empty(folder_fd, objects_max)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return 0
            raise
        if removed < objects_max:
            self._remove_if_empty(folder)
        return removed

    def walk(
        self, folder: str, *, after: str, recursive: bool, batch: int
    ) -> Generator[ObjectInfo | str]:
        """Yield what is below a folder, in order of key: objects, and folders ending in ``/``.

        Folders are yielded with ``recursive=False`` only, and only those with an object below.

        Args:
            after: Only what comes after this key.
            batch: Names of each folder to hold in memory. A folder with more is read again for
                every batch of them.
        """
        try:
            with self._folder(folder) as folder_fd:
                top = _Walk(after=after, recursive=recursive, batch=batch)
                yield from top.folder(folder_fd, f"{folder}/" if folder else "")
        except OSError as error:
            if error.errno not in _NO_OBJECT:
                raise

    def _first_file(self, key: str) -> str:
        """Find the part of a key that is not a folder; the key's folder when there is none."""
        for folder in ancestors(key):
            try:
                with self._folder(folder):
                    pass
            except OSError as error:
                if error.errno in _NO_FOLDER:
                    return folder
                raise
        return _folder_of(key)

    @contextlib.contextmanager
    def _folder(self, folder: str) -> Generator[int]:
        """Open a folder."""
        # "." and not dup: two descriptors of one opening share their place in the listing.
        fd = os.open(".", _FOLDER, dir_fd=self._root_fd)
        try:
            for part in folder.split("/") if folder else ():
                below = os.open(part, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _made_folder(self, folder: str) -> Generator[int]:
        """Open a folder, making what is missing, durably."""
        fd = os.open(".", _FOLDER, dir_fd=self._root_fd)
        try:
            with self._making:
                for part in [*ancestors(folder), folder] if folder else ():
                    below = _made_part(fd, part)
                    os.close(fd)
                    fd = below
            yield fd
        finally:
            os.close(fd)

    def _remove_if_empty(self, folder: str) -> None:
        """Remove a folder and those it lies in while they are empty; make the change durable."""
        while folder:
            try:
                with self._folder(_folder_of(folder)) as folder_fd:
                    os.rmdir(_name_of(folder), dir_fd=folder_fd)
            except OSError as error:
                if error.errno in _NOT_EMPTY:
                    break
                if error.errno not in _NO_OBJECT:
                    raise
            folder = _folder_of(folder)
        try:
            with self._folder(folder) as folder_fd:
                os.fsync(folder_fd)
        except OSError as error:
            # Another caller removed it meanwhile, and made that durable.
            if error.errno not in _NO_OBJECT:
                raise


class _Walk:
    """One listing: where it starts and how it goes."""

    def __init__(self, *, after: str, recursive: bool, batch: int) -> None:
        self._after = after
        self._recursive = recursive
        self._batch = batch

    def folder(self, folder_fd: int, prefix: str) -> Generator[ObjectInfo | str]:
        """Yield what is below an open folder.

        Args:
            prefix: Key of the folder with a slash; ``""`` for the root.
        """
        done = ""
        while True:
            batch = heapq.nsmallest(self._batch, self._places(folder_fd, prefix, done))
            for place in batch:
                if _is_key(place):
                    yield from self._at(folder_fd, place, place[len(prefix) :].rstrip("/"))
            if len(batch) < self._batch:
                return
            done = batch[-1]

    def _places(self, folder_fd: int, prefix: str, done: str) -> Iterator[str]:
        """Name what stands in a folder and comes after ``done``: keys, those of folders with ``/``.

        Sorting those sorts what is below them too: ``a-b`` < ``a/b`` < ``ab``.
        """
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    place = f"{prefix}{entry.name}/"
                elif entry.is_file(follow_symlinks=False):
                    place = f"{prefix}{entry.name}"
                else:
                    continue
                if place > done and self._is_wanted(place):
                    yield place

    def _is_wanted(self, place: str) -> bool:
        if place > self._after:
            return True
        return self._recursive and place.endswith("/") and self._after.startswith(place)

    def _at(self, folder_fd: int, place: str, name: str) -> Generator[ObjectInfo | str]:
        """Yield one object, or one folder, or what is below it. What vanished is not there."""
        try:
            if not place.endswith("/"):
                status = _stat(folder_fd, name)
                if stat.S_ISREG(status.st_mode):
                    yield info_of(place, status)
            elif not self._recursive:
                if _holds_object(folder_fd, name):
                    yield place
            else:
                with _opened(folder_fd, name) as below_fd:
                    yield from self.folder(below_fd, place)
        except OSError as error:
            if error.errno not in _NO_OBJECT:
                raise


def info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """Describe a file as an object."""
    return ObjectInfo(
        key=key,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        etag=f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}",
    )


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


def _is_key(place: str) -> bool:
    """Say whether a name that was found is one that we could have given."""
    try:
        check_object_key(place.rstrip("/"))
    except CallerError:
        return False
    return place != f"{STAGING_FOLDER}/"


def _stat(folder_fd: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=folder_fd, follow_symlinks=False)


@contextlib.contextmanager
def _opened(folder_fd: int, name: str) -> Generator[int]:
    fd = os.open(name, _FOLDER, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _made_part(folder_fd: int, key: str) -> int:
    """Open the folder of that key in the folder that it lies in, making it when it is missing."""
    name = _name_of(key)
    for _ in range(2):
        try:
            return os.open(name, _FOLDER, dir_fd=folder_fd)
        except FileNotFoundError:
            # Another process may be as quick as we are.
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder_fd)
            os.fsync(folder_fd)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                raise ObjectInTheWay(key) from error
            raise
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)


def _enter(staged: StagedFile, folder_fd: int, name: str, *, if_absent: bool) -> bool:
    """Move a file to a name in a folder; False: look again, an empty folder was in the way."""
    try:
        if if_absent:
            # A link, unlike a rename, is refused where a name exists: one creator wins.
            os.link(staged.name, name, src_dir_fd=staged.folder_fd, dst_dir_fd=folder_fd)
        else:
            os.rename(staged.name, name, src_dir_fd=staged.folder_fd, dst_dir_fd=folder_fd)
            staged.moved()
    except (FileExistsError, IsADirectoryError) as error:
        if not stat.S_ISDIR(_stat(folder_fd, name).st_mode):
            if isinstance(error, FileExistsError):
                raise
        # Folders exist by their objects: one that a crash left empty is not there.
        elif not _remove_empty(folder_fd, name):
            raise FolderInTheWay from None
        return False
    return True


def _holds_object(folder_fd: int, name: str) -> bool:
    """Say whether any object is below a folder; False when it vanished."""
    try:
        with _opened(folder_fd, name) as below_fd, os.scandir(below_fd) as entries:
            return any(
                _holds_object(below_fd, entry.name)
                if entry.is_dir(follow_symlinks=False)
                else entry.is_file(follow_symlinks=False)
                for entry in entries
            )
    except OSError as error:
        if error.errno in _NO_OBJECT:
            return False
        raise


def _remove_empty(folder_fd: int, name: str) -> bool:
    """Remove a folder in which there are folders only; False when there is more."""
    try:
        with _opened(folder_fd, name) as below_fd:
            with os.scandir(below_fd) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            if not all(is_dir and _remove_empty(below_fd, below) for below, is_dir in found):
                return False
        os.rmdir(name, dir_fd=folder_fd)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return False
        raise
    return True


def _empty(folder_fd: int, objects_max: int) -> int:
    """Remove what is below an open folder, at most so many objects; return how many."""
    removed = 0
    with os.scandir(folder_fd) as entries:
        for entry in entries:
            if removed >= objects_max:
                break
            if entry.is_dir(follow_symlinks=False):
                removed += _empty_and_remove(folder_fd, entry.name, objects_max - removed)
            else:
                # Links and the like go too, uncounted: they would keep the folder.
                removed += entry.is_file(follow_symlinks=False)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=folder_fd)
    os.fsync(folder_fd)
    return removed


def _empty_and_remove(folder_fd: int, name: str, objects_max: int) -> int:
    removed = 0
    try:
        with _opened(folder_fd, name) as below_fd:
            removed = _empty(below_fd, objects_max)
        os.rmdir(name, dir_fd=folder_fd)
    except OSError as error:
        # It was removed meanwhile, or it is not empty: objects are left, or new.
        if error.errno not in _NO_OBJECT | _NOT_EMPTY:
            raise
    return removed
