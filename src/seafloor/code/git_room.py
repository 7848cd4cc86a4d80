"""How much a machine keeps of what git fetched: what was used longest ago goes first.

Nothing goes while somebody uses it: who does holds its use lock, which ends with him, and whose
time says when that was. Layout, beside the repositories of ``git_cache`` and the storages of
``git_lfs``::

    git/<key>.git/              a repository; it goes as a whole
    git/<key>.use.lock          held, shared, by who uses it
    git/<key>.removed-<hex>/    being removed, or the leftover of a process that died
    git-lfs/                    a storage; what goes of it are single files
    git-lfs.lock                held, shared, by who uses any of them
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from seafloor.code.files import locked_if_free, remove_leftover
from seafloor.code.live_lock import Wait, locked_alive, locked_alive_if_free

_REPOSITORY: Final = ".git"
_TO_GO_ON_WITH: Final = ".part"
_LEFTOVERS: Final = ("*.removed-*", "*.damaged-*")


class _Kept(NamedTuple):
    """What may go: when it was used last, in ns since 1970, how much it takes, and what it is."""

    used_ns: int
    size_bytes: int
    path: Path


@contextmanager
def repository_in_use(repository: Path, wait: Wait) -> Generator[None]:
    """Keep a repository, there or yet to be made, for as long as the context lasts."""
    with locked_alive(_use_lock(repository), wait, shared=True):  # whose signs say when it is used
        yield


@contextmanager
def large_files_in_use(storage: Path, progress: Callable[[str], None]) -> Generator[None]:
    """Keep every file of a storage, there or yet to come, for as long as the context lasts."""
    wait = Wait("another trimming of the large files in the cache", progress)
    with locked_alive(_storage_lock(storage), wait, shared=True):
        yield


def trim_repositories(folder: Path, bytes_max: int) -> None:
    """Remove those that nobody uses until the rest is within the bound, and leftovers.

    The one used last stays while it holds a single commit: it would only be fetched once more.
    With several it begins anew, since a repository by itself can outgrow the bound, too. While
    somebody else does this nothing is done: what then is beyond the bound goes with the next fetch.

    Args:
        folder: Where all of them are.
        bytes_max: What they may take, all together.

    Cost: a look at the status of every file of every repository.
    """
    with locked_alive_if_free(folder / "room.lock") as is_free:
        if not is_free:
            return
        kept = sorted(_repositories(folder))
        over_bytes = sum(each.size_bytes for each in kept) - bytes_max
        for each in kept:
            if over_bytes <= 0 or (each is kept[-1] and _commit_count(each.path) <= 1):
                break
            if _set_aside(each.path):
                over_bytes -= each.size_bytes
    for pattern in _LEFTOVERS:
        for leftover in folder.glob(pattern):
            remove_leftover(leftover)


def trim_large_files(storage: Path, bytes_max: int) -> None:
    """Remove leftovers, and files until the rest is within the bound, unless somebody uses it.

    Who uses the storage does the same when he is done: the last of them finds it free.

    Cost: a look at the status of every file of the storage.
    """
    with locked_alive_if_free(_storage_lock(storage)) as is_free:
        if not is_free:
            return
        for half in (storage / "incomplete").glob("*"):
            # Of a process that was killed: each try has a name of its own, and git-lfs goes on only
            # with what one that failed left under this.
            if half.suffix != _TO_GO_ON_WITH:
                half.unlink(missing_ok=True)
        kept = sorted(_files(storage))
        over_bytes = sum(each.size_bytes for each in kept) - bytes_max
        for each in kept:
            if over_bytes <= 0:
                break
            each.path.unlink(missing_ok=True)
            over_bytes -= each.size_bytes


def _set_aside(repository: Path) -> bool:
    """Take a repository's name away, unless somebody uses it; its locks go with it."""
    lock, key = _use_lock(repository), repository.name.removesuffix(_REPOSITORY)
    with suppress(PermissionError), locked_if_free(lock) as is_free:  # another user's: his to trim
        if not is_free:
            return False
        with suppress(FileNotFoundError):
            repository.rename(repository.with_name(f"{key}.removed-{secrets.token_hex(4)}"))
        # Nobody holds any of them, as who would holds the use lock first. That goes last: from
        # then on others may come and make theirs.
        for path in repository.parent.glob(f"{key}.*.lock"):
            if path != lock:
                path.unlink(missing_ok=True)
        lock.unlink()
        return True
    return False


def _repositories(folder: Path) -> Iterator[_Kept]:
    for repository in folder.glob(f"*{_REPOSITORY}"):
        with suppress(FileNotFoundError):  # thrown away as damaged at this moment
            lock = _use_lock(repository)
            # Those of earlier versions have none.
            used_ns = (lock if lock.exists() else repository).stat().st_mtime_ns
            size_bytes = sum(each.size_bytes for each in _files(repository))
            yield _Kept(used_ns, size_bytes, repository)


def _files(folder: Path) -> Iterator[_Kept]:
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                status = path.lstat()
                yield _Kept(status.st_mtime_ns, status.st_blocks * 512, path)


def _commit_count(repository: Path) -> int:
    return sum(1 for _ in (repository / "refs" / "seafloor").glob("*"))


def _use_lock(repository: Path) -> Path:
    return repository.with_name(f"{repository.name.removesuffix(_REPOSITORY)}.use.lock")


def _storage_lock(storage: Path) -> Path:
    return storage.with_name(f"{storage.name}.lock")
