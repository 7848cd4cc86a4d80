"""Finished trees, kept to be looked at by many and written by none.

Writing 50,000 files is most of what a start costs, and the second start of a commit writes the same
ones. A tree of this cache is the lower layer of each workload's own view: what a workload writes
goes into a folder of its own. Layout::

    <folder>/<key>/tree/            a localised folder
                   tree.json        its receipt, its fingerprint, and the boot it was made in
                   users/<name>     a link to a folder; while that is there, the tree is in use
    <folder>/partial-<key>-<hex>/   being made, or the leftover of a process that died
    <folder>/removed-<hex>/         as ``<key>``, and to be removed once nobody uses it
    <folder>/*.lock                 who makes a tree; who finds, places and removes one

An entry gets its name by one rename, when all of it is there. Nothing is synced: a tree counts
until the machine restarts, as a receipt does.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from seafloor.code.files import locked, locked_if_free, remove_free_locks, remove_leftover
from seafloor.code.live_lock import Wait, locked_alive
from seafloor.code.receipts import boot_id
from seafloor.domain.code import Receipt

_RECORD: Final = "tree.json"
_PACKS: Final = b"/objects/pack"


class Tree(NamedTuple):
    """A tree of the cache, in use by whoever asked for it.

    Args:
        path: Its folder. Nobody may write in it.
        receipt: Of when it was made.
        made: Whether that was now.
    """

    path: Path
    receipt: Receipt
    made: bool


class _Record(msgspec.Struct, frozen=True):
    receipt: Receipt
    fingerprint: str
    boot_id: str


@dataclass(frozen=True)
class TreeCache:
    """The trees of one machine, safe under parallel use and when a process dies.

    Args:
        folder: Where they are; nothing else is there.
        progress: Told what takes time.
        size_bytes_max: Beyond this, by the sizes in the receipts, the trees used longest ago are
            removed, but none that is in use.
    """

    folder: Path
    progress: Callable[[str], None]
    size_bytes_max: int

    def get(self, key: str, make: Callable[[Path], Receipt], *, user: Path) -> Tree:
        """Have a tree, making it if need be. Two who want the same make it once.

        A tree whose files are not as they were left, by what the system says of each (mode, size,
        times, inode), is made anew: somebody wrote in it.

        Args:
            key: Hex digits: the same whenever the same tree is wanted.
            make: Makes it, where nothing is yet, and says what it is. Its errors pass through, and
                nothing is left.
            user: A folder that exists; as long as it does, the tree is not removed.

        Cost: a look at the status of every file when the tree is there.
        """
        found = self._find(key, user)
        if found is not None:
            return found
        # A lock of its own: code that comes slowly keeps nobody waiting who wants another.
        wait = Wait("another start of this code", self.progress)
        with locked_alive(self._lock(key), wait, stays=False):
            found = self._find(key, user)
            if found is not None:
                return found
            return self._make(key, make, user)

    def _find(self, key: str, user: Path) -> Tree | None:
        entry = self.folder / key
        with locked(self._places, shared=True):
            try:
                record = msgspec.json.decode((entry / _RECORD).read_bytes(), type=_Record)
            except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
                return None
            if record.boot_id != boot_id():
                return None
            if record.fingerprint == _fingerprint(entry / "tree"):
                _add_user(entry, user)
                with suppress(PermissionError):  # another user's, who may only look
                    os.utime(entry / _RECORD)
                return Tree(entry / "tree", record.receipt, made=False)
        self.progress("the cached tree of this code was written in: making it anew")
        return None

    def _make(self, key: str, make: Callable[[Path], Receipt], user: Path) -> Tree:
        for leftover in self.folder.glob(f"partial-{key}-*"):
            remove_leftover(leftover)  # of a process that was killed: the lock is ours
        partial = self.folder / f"partial-{key}-{secrets.token_hex(4)}"
        entry = self.folder / key
        try:
            partial.mkdir()
            receipt = make(partial / "tree")
            record = _Record(receipt, _fingerprint(partial / "tree"), boot_id())
            (partial / _RECORD).write_bytes(msgspec.json.encode(record))
            _add_user(partial, user)
            with locked(self._places):
                self._set_aside(entry)
                partial.rename(entry)
        finally:
            remove_leftover(partial)
        self._make_room()
        return Tree(entry / "tree", receipt, made=True)

    def _make_room(self) -> None:
        """Remove what was used longest ago and is not in use, and leftovers of killed processes."""
        with locked(self._places):
            kept = sorted(self._sizes())
            total = sum(size for _, size, _ in kept)
            for _, size, entry in kept:
                if total <= self.size_bytes_max:
                    break
                if not _in_use(entry):
                    self._set_aside(entry)
                    total -= size
            aside = [path for path in self.folder.glob("removed-*") if not _in_use(path)]
        for path in aside:
            remove_leftover(path)
        for partial in self.folder.glob("partial-*"):
            # Of a process that was killed, where nobody makes that tree.
            with locked_if_free(self._lock(partial.name.split("-")[1])) as is_free:
                if is_free:
                    remove_leftover(partial)
        remove_free_locks(self.folder, "make-*.lock")

    def _sizes(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.glob(f"*/{_RECORD}"):
            if not path.parent.name.startswith(("partial-", "removed-")):
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    record = msgspec.json.decode(path.read_bytes(), type=_Record)
                    yield path.stat().st_mtime, record.receipt.size_bytes, path.parent

    def _set_aside(self, entry: Path) -> None:
        """Take an entry's name away; who holds the lock of the places may.

        Views that are open on it go on: they do not know it by its name.
        """
        with suppress(FileNotFoundError):
            entry.rename(self.folder / f"removed-{secrets.token_hex(4)}")

    def _lock(self, key: str) -> Path:
        return self.folder / f"make-{key}.lock"

    @property
    def _places(self) -> Path:
        return self.folder / "places.lock"


def _add_user(entry: Path, user: Path) -> None:
    folder = entry / "users"
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(os.fsencode(user.absolute())).hexdigest()[:32]
    with suppress(FileExistsError):
        (folder / name).symlink_to(user.absolute())


def _in_use(entry: Path) -> bool:
    """Whether a user's folder is there; forgets those whose folder is not."""
    used = False
    for link in (entry / "users").glob("*"):
        if link.exists():
            used = True
        else:
            link.unlink(missing_ok=True)
    return used


def _fingerprint(tree: Path) -> str:
    """Of what the system says of each file below a folder; times of folders do not count."""
    digest = hashlib.sha256()
    root = os.fsencode(tree)
    folders = [root]
    while folders:
        folder = folders.pop()
        # Packs are hard links: their status changes when another link is made or removed.
        linked = folder.endswith(_PACKS)
        known: list[tuple[object, ...]] = []
        # By name and from the folder: the system looks up no path for every file.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in sorted(map(os.fsencode, os.listdir(descriptor))):  # noqa: PTH208
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    folders.append(folder + b"/" + name)
                    known.append((name, found.st_mode))
                    continue
                changed_ns = 0 if linked else found.st_ctime_ns
                times = found.st_mtime_ns, changed_ns
                known.append((name, found.st_mode, found.st_size, *times, found.st_ino))
        finally:
            os.close(descriptor)
        folders.sort()
        digest.update(msgspec.msgpack.encode((folder[len(root) :], known)))
    return digest.hexdigest()
