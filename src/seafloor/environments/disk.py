"""What this room asks of the disk: exclusive locks, folders that go, sizes, bytes that stay."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from seafloor.domain.errors import SeafloorError, StoreFull, StoreUnavailable

_LOCK_POLL_S: Final = 0.05
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def disk_error(error: OSError) -> SeafloorError:
    """Say in our words what the system said."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(
            "No space is left for environments: free some, or remove an environment "
            "(`seafloor env rm`). Nothing half built was kept.",
            detail=str(error),
        )
    return StoreUnavailable(
        f"The folder of the environments cannot be used: {error.strerror or error}.",
        detail=str(error),
    )


async def settled(work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Run in a thread, and when cancelled wait for its end first.

    A thread cannot be stopped: what it does to a folder must not go on after the folder's lock
    is given back.
    """
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task})


@contextlib.asynccontextmanager
async def exclusive(path: Path, *, waiting: Callable[[], None]) -> AsyncGenerator[int]:
    """Hold the lock of a file, against other processes and against this one.

    The lock belongs to the open file, so it ends with the process, or with the last of the
    children that were given the file.

    Args:
        path: The lock file; is made, and stays.
        waiting: Told once if somebody else holds it.

    Yields:
        The file descriptor to give to children.

    Raises:
        StoreFull, StoreUnavailable: the file cannot be made.
    """
    try:
        # Not in a thread: cancelled at the wrong moment, nobody would close the file.
        descriptor = _open(path)
    except OSError as error:
        raise disk_error(error) from error
    try:
        told = False
        while not _try_lock(descriptor):
            if not told:
                waiting()
                told = True
            # A blocking flock could not be cancelled, and would hold a thread for minutes.
            await asyncio.sleep(_LOCK_POLL_S)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path, *, first: str) -> int:
    """Remove a folder, one file of it before all others; absent is fine.

    Returns:
        The bytes that this gave back: files that are linked from elsewhere are not counted.
    """
    if folder.is_symlink() or folder.is_file():  # no folder of ours, but in its place
        folder.unlink()
        return 0
    freed_bytes = _size_bytes(folder, alone=True)
    (folder / first).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    return freed_bytes


def folder_size_bytes(folder: Path) -> int:
    """Sum up the files of a folder, those linked from elsewhere too."""
    return _size_bytes(folder, alone=False)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file all or nothing, as far as processes go: a crash of the machine may tear it."""
    aside = path.with_name(f"{path.name}.new")
    aside.write_bytes(data)
    aside.replace(path)


def write_lasting(path: Path, data: bytes) -> None:
    """Write a file all or nothing, after everything that was written to its disk before it.

    A crash of the machine may not leave this file while others, written earlier, are lost. A file
    that it replaces gives it its times.
    """
    aside = path.with_name(f"{path.name}.new")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        _sync_disk(file.fileno())
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        os.utime(aside, ns=(status.st_atime_ns, status.st_mtime_ns))
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sync_disk_of(folder: Path) -> None:
    """Have all that was written to a folder's disk on it; blocks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync_disk(descriptor)
    finally:
        os.close(descriptor)


def boot_id() -> str | None:
    """What differs from one start of this machine to the next; None where no such thing is.

    What a process wrote can be read by all others until the machine stops, on the disk or not.
    """
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    return None


def _sync_disk(descriptor: int) -> None:
    # One call for ten thousand files; Python has no name for it.
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size_bytes(folder: Path, *, alone: bool) -> int:
    total = 0
    waiting = [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not alone or status.st_nlink == 1:
                        total += status.st_size
    return total
