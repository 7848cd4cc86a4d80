"""Files that must be there whole or not at all: locks between processes, durable renames."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Generator
from pathlib import Path

from seafloor.code.removal import remove_tree
from seafloor.domain.errors import SeafloorError, SourceError, StoreFull


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    shared: bool = False,
    stays: bool = True,
    waiting: Callable[[], None] | None = None,
) -> Generator[None]:
    """Hold a lock between processes (and threads) of this machine; it ends with its holder.

    Args:
        path: The lock's file; it is made, with its folder. Who holds it alone may remove it, last
            of all: those who waited for it then take its successor.
        shared: Whether other shared holders may hold it at the same time.
        stays: Whether the file is left behind. One that does not is left by a process that is
            killed; see ``remove_free_locks``.
        waiting: Called once when somebody else holds it.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = _open_lock(path)
    try:
        if not _try_lock(descriptor, kind):
            if waiting is not None:
                waiting()
            fcntl.flock(descriptor, kind)
        while _is_removed(descriptor):
            os.close(descriptor)
            descriptor = _open_lock(path)
            fcntl.flock(descriptor, kind)
        try:
            yield
        finally:
            if not stays:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_if_free(path: Path) -> Generator[bool]:
    """Hold a lock alone, as ``locked``, unless somebody else holds it.

    Yields:
        Whether it is held.
    """
    with try_locked(path) as descriptor:
        yield descriptor is not None


@contextlib.contextmanager
def try_locked(path: Path, *, shared: bool = False) -> Generator[int | None]:
    """Hold a lock as ``locked``, unless somebody else holds it.

    Yields:
        The open file of the lock; None: it is not held.
    """
    descriptor = _open_lock(path)
    try:
        is_ours = _try_lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield descriptor if is_ours and not _is_removed(descriptor) else None
    finally:
        os.close(descriptor)


def remove_free_locks(folder: Path, pattern: str) -> None:
    """Remove lock files that nobody holds: those of processes that were killed."""
    for path in folder.glob(pattern):
        with locked_if_free(path) as is_free:
            if is_free:
                path.unlink(missing_ok=True)


def _open_lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_removed(descriptor: int) -> bool:
    """Whether a lock's file lost its name before we held it: then it is the lock of nothing."""
    return os.fstat(descriptor).st_nlink == 0


def write_whole(path: Path, content: bytes, *, temporary: Path, lasts: bool) -> None:
    """Write a small file so that it is there whole or not at all, whoever is killed.

    Args:
        path: Where; an older file is replaced.
        content: All of it.
        temporary: Name for it until it is whole, in the same folder.
        lasts: Whether that holds after a power cut as well.
    """
    with temporary.open("wb") as file:
        file.write(content)
        if lasts:
            file.flush()
            os.fsync(file.fileno())
    temporary.rename(path)
    if lasts:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftover(path: Path) -> None:
    """Remove a folder that no one needs any more.

    What cannot be removed now, because a process that outlived its parent still writes in it, is
    left: it has a name of its own, disturbs nothing, and the next one who comes tries again.
    """
    with contextlib.suppress(OSError):
        remove_tree(path)


@contextlib.contextmanager
def disk_errors(what: str) -> Generator[None]:
    """Turn errors of the file system into ours.

    Args:
        what: What was being done, for the user: ``"Localising digits"``.

    Raises:
        StoreFull: no space, or no quota, is left.
        SourceError: anything else that the file system refused.
    """
    try:
        yield
    except SeafloorError:
        raise
    except OSError as error:
        where = f' at "{os.fsdecode(error.filename)}"' if error.filename else ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull(
                f"{what} needs more space than the disk has left{where}. Free some and try again."
            ) from error
        raise SourceError(f"{what} failed{where}: {error.strerror or error}.") from error
