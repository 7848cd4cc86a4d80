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
from dataclasses import dataclass
from pathlib import Path

from seafloor.domain.errors import CallerError
from seafloor.stores.objects.keys import ancestors, check_object_key
from seafloor.stores.objects.local.staging import StagedFile
from seafloor.stores.objects.protocol import ObjectInfo

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a pipe would wait for its other end without O_NONBLOCK; files do not care.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
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

    def append(self, key: str, *, offset: int, data: bytes, modified_ns: int) -> int | None:
        """Add bytes at the end of an object, durably; see ``ObjectWrite.append``.

        Returns:
            The size found: above ``offset`` what was there already was skipped, below it nothing
            was written. None when there is no object.
        """
        try:
            with self._folder(_folder_of(key)) as folder_fd:
                fd = os.open(_name_of(key), _APPEND, dir_fd=folder_fd)
        except IsADirectoryError:
            return None
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return None
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return None
            new = memoryview(data)[status.st_size - offset :] if status.st_size >= offset else b""
            if new:
                _append(fd, memoryview(new), status.st_size, modified_ns)
        finally:
            os.close(fd)
        return status.st_size

    def check_place(self, key: str) -> None:
        """Refuse a key that cannot be written now, before any byte is.

        Raises:
            FolderInTheWay, ObjectInTheWay: as they say.
        """
        try:
            with self._folder(_folder_of(key)) as folder_fd:
                status = _stat(folder_fd, _name_of(key))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            raise ObjectInTheWay(self._first_file(key)) from error
        if stat.S_ISDIR(status.st_mode) and self._holds_object(key):
            raise FolderInTheWay

    def place(self, staged: StagedFile, key: str, *, if_absent: bool) -> None:
        """Give a finished file its key, durably: whole or not at all, whatever others do.

        Raises:
            FileExistsError: if_absent, and there is an object.
            FolderInTheWay, ObjectInTheWay: as they say.
        """
        try:
            for _ in range(_PLACE_TRIES_MAX):
                if self._placed(staged, key, if_absent=if_absent):
                    return
        except (OSError, ObjectInTheWay, FolderInTheWay):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                self._remove_if_empty(_folder_of(key))
            raise
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), key)

    def _placed(self, staged: StagedFile, key: str, *, if_absent: bool) -> bool:
        """Try to place a file once; False when the folders changed meanwhile."""
        try:
            with self._made_folder(_folder_of(key)) as folder_fd:
                if _enter(staged, folder_fd, _name_of(key), if_absent=if_absent):
                    _sync_entered(folder_fd)
                    return True
        except FileNotFoundError:
            return False  # the folder was emptied and removed under our feet
        # Folders exist by their objects: one that a crash left empty is not there.
        if not self._remove_empty(key):
            raise FolderInTheWay
        return False

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

    def remove_below(self, folder: str, *, step: int) -> Generator[int]:
        """Remove everything below a folder durably, and the folders that this leaves empty.

        Links and the like go too, uncounted: they would keep the folder.

        Yields:
            How many objects were removed since the last time, every ``step`` of them.
        """
        folders, removed = [folder], 0
        for below in folders:  # it grows
            with self._entries(below) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{below}/{entry.name}")
                    elif self._remove_entry(below, entry):
                        removed += 1
                    if removed == step:
                        yield removed
                        removed = 0
        for below in reversed(folders):
            if not self._rmdir(below):
                self._sync(below)
        self._remove_if_empty(_folder_of(folder))
        yield removed

    def walk(
        self, folder: str, *, after: str, recursive: bool, names: int, batch: int
    ) -> Generator[ObjectInfo | str]:
        """Yield what is below a folder, in order of key: objects, and folders ending in ``/``.

        Folders are yielded with ``recursive=False`` only, and only those with an object below.

        Args:
            after: Only what comes after this key.
            names: Of each folder to hold in memory. A folder with more is read again for every so
                many of them.
            batch: So many objects are looked at before the first of them is yielded.
        """
        look = _Look(after=after, recursive=recursive, names=names, batch=batch)
        # A stack and not recursion: keys may be deeper than Python's.
        levels = [self._level(folder, look)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
            elif isinstance(found, ObjectInfo):
                yield found
            elif recursive:
                levels.append(self._level(found[:-1], look))
            elif self._holds_object(found[:-1]):
                yield found

    def _level(self, folder: str, look: _Look) -> Generator[ObjectInfo | str]:
        """Yield what stands in a folder, in order: objects, and all folders ending in ``/``."""
        done = ""
        while True:
            places = heapq.nsmallest(look.names, self._places(folder, look, done))
            for begin in range(0, len(places), look.batch):
                keys = filter(_is_key, places[begin : begin + look.batch])
                yield from self._described(folder, list(keys))
            if len(places) < look.names:
                return
            done = places[-1]

    def _places(self, folder: str, look: _Look, done: str) -> Iterator[str]:
        """Name what stands in a folder and comes after ``done``: keys, those of folders with ``/``.

        Sorting those sorts what is below them too: ``a-b`` < ``a/b`` < ``ab``.
        """
        prefix = f"{folder}/" if folder else ""
        with self._entries(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    place = f"{prefix}{entry.name}/"
                elif entry.is_file(follow_symlinks=False):
                    place = f"{prefix}{entry.name}"
                else:
                    continue
                if place > done and look.wants(place):
                    yield place

    def _described(self, folder: str, places: list[str]) -> list[ObjectInfo | str]:
        """Add to places what is known of the objects; those that vanished are left out."""
        found: list[ObjectInfo | str] = []
        with _missing_is_fine(), self._folder(folder) as folder_fd:
            for place in places:
                if place.endswith("/"):
                    found.append(place)
                    continue
                with _missing_is_fine():
                    status = _stat(folder_fd, _name_of(place))
                    if stat.S_ISREG(status.st_mode):
                        found.append(info_of(place, status))
        return found

    @contextlib.contextmanager
    def _entries(self, folder: str) -> Generator[Iterator[os.DirEntry[str]]]:
        """Give what stands in a folder, in no order; nothing when it is missing."""
        with contextlib.ExitStack() as opened:
            entries: Iterator[os.DirEntry[str]] = iter(())
            with _missing_is_fine():
                folder_fd = opened.enter_context(self._folder(folder))
                entries = opened.enter_context(os.scandir(folder_fd))
            yield entries

    def _holds_object(self, folder: str) -> bool:
        """Say whether any object is below a folder; False when it is missing."""
        folders = [folder]
        while folders:
            below = folders.pop()
            with self._entries(below) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{below}/{entry.name}")
        return False

    def _remove_empty(self, folder: str) -> bool:
        """Remove a folder in which there are folders only; False when there is more."""
        folders = [folder]
        for below in folders:  # it grows
            with self._entries(below) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            if not all(is_dir for _, is_dir in found):
                return False
            folders += [f"{below}/{name}" for name, _ in found]
        return all(self._rmdir(below) for below in reversed(folders))

    def _rmdir(self, folder: str) -> bool:
        """Remove a folder; False when it is not empty, True when it is missing."""
        try:
            with _missing_is_fine(), self._folder(_folder_of(folder)) as folder_fd:
                os.rmdir(_name_of(folder), dir_fd=folder_fd)
        except OSError as error:
            if error.errno in _NOT_EMPTY:
                return False
            raise
        return True

    def _remove_entry(self, folder: str, entry: os.DirEntry[str]) -> bool:
        """Remove what is no folder; say whether it was an object, and still there."""
        is_object = entry.is_file(follow_symlinks=False)
        with (
            contextlib.suppress(IsADirectoryError),  # it is one by now
            _missing_is_fine(),
            self._folder(folder) as folder_fd,
        ):
            os.unlink(entry.name, dir_fd=folder_fd)
            return is_object
        return False

    def _sync(self, folder: str) -> None:
        """Make durable what changed in a folder; one that is missing has nothing to lose."""
        with _missing_is_fine(), self._folder(folder) as folder_fd:
            os.fsync(folder_fd)

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
        while folder and self._rmdir(folder):
            folder = _folder_of(folder)
        self._sync(folder)


@dataclass(frozen=True)
class _Look:
    """What a listing looks for; see ``Tree.walk``."""

    after: str
    recursive: bool
    names: int
    batch: int

    def wants(self, place: str) -> bool:
        """Say whether an object or folder, or what is below it, comes after ``after``."""
        if place > self.after:
            return True
        return self.recursive and place.endswith("/") and self.after.startswith(place)


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
    return True


def _stat(folder_fd: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=folder_fd, follow_symlinks=False)


@contextlib.contextmanager
def _missing_is_fine() -> Generator[None]:
    """Leave the block when what it touches is not there, or is not what it was."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_OBJECT:
            raise


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
    """Move a file to a name in a folder; False when a folder has that name."""
    try:
        if if_absent:
            # A link, unlike a rename, is refused where a name exists: one creator wins.
            os.link(staged.name, name, src_dir_fd=staged.folder_fd, dst_dir_fd=folder_fd)
        else:
            os.rename(staged.name, name, src_dir_fd=staged.folder_fd, dst_dir_fd=folder_fd)
            staged.moved()
    except (FileExistsError, IsADirectoryError) as error:
        is_folder = stat.S_ISDIR(_stat(folder_fd, name).st_mode)
        if isinstance(error, FileExistsError) and not is_folder:
            raise
        return False
    return True


def _append(fd: int, data: memoryview, size_bytes: int, modified_ns: int) -> None:
    """Add bytes to a file of that size, all and durably, or none."""
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.utime(fd, ns=(modified_ns, modified_ns))
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.ftruncate(fd, size_bytes)
        raise


def _sync_entered(folder_fd: int) -> None:
    """Make a new name durable. It is visible already, so no failure may say that it is not."""
    try:
        os.fsync(folder_fd)
    except OSError as error:
        raise OSError(errno.EIO, f"the new name may not be durable: {error.strerror}") from error
