"""Comparing a folder with the git tree it was checked out from, byte for byte.

``git status`` believes sizes and times; here every file is read and hashed, so that an empty, cut
or altered file cannot pass for what was committed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.git_command import GitOptions, run_git

SUBMODULE_MODE: Final = "160000"
_SYMLINK_MODE: Final = "120000"
_EXECUTABLE_MODE: Final = "100755"
_POINTER_START: Final = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES_MAX: Final = 1024
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class TreeEntry:
    """A file, symlink or submodule as a commit has it.

    Args:
        mode: Git's: ``100644``, ``100755``, ``120000``, ``160000``.
        id: Of the blob, or the commit of a submodule.
        path: Bytes as in the tree, relative.
        size_bytes: Of the blob; 0 for a submodule.
    """

    mode: str
    id: str
    path: bytes
    size_bytes: int

    def under(self, folder: Path) -> Path:
        """Its path on disk."""
        return folder / os.fsdecode(self.path)


@dataclass(frozen=True)
class TreeCheck:
    """What a comparison found.

    Args:
        files: Count of files and symlinks.
        size_bytes: Sum of their sizes.
        pointers: Those whose content is a pointer of git LFS.
        wrong: Those that are not what the commit has.
    """

    files: int
    size_bytes: int
    pointers: tuple[TreeEntry, ...]
    wrong: tuple[TreeEntry, ...]


def parse_tree(listing: bytes) -> list[TreeEntry]:
    """Read what ``git ls-tree -r -l -z`` says: everything that a commit has, in git's order."""
    entries: list[TreeEntry] = []
    for line in listing.split(b"\0"):
        if line:
            about, path = line.split(b"\t", 1)
            mode, _kind, name, size = about.decode("ascii").split()
            entries.append(TreeEntry(mode, name, path, 0 if size == "-" else int(size)))
    return entries


def check_tree(folder: Path, commit: str, entries: Sequence[TreeEntry]) -> TreeCheck:
    """Compare a checked-out folder with the tree of its commit.

    A file whose attributes ask for another form on disk (line ends, filters) is compared in the
    form that git commits or checks out.

    Raises:
        OSError: a file cannot be read for another reason than that it is missing.
    """
    root = os.fsencode(folder) + b"/"
    differing: list[TreeEntry] = []
    pointers: list[TreeEntry] = []
    files = size_bytes = 0
    for entry in entries:
        if entry.mode == SUBMODULE_MODE:
            continue
        found = _examine(root, entry)
        files += 1
        size_bytes += found.size_bytes
        if not found.same:
            differing.append(entry)
        elif found.is_pointer:
            pointers.append(entry)
    wrong = tuple(entry for entry in differing if not _same_when_filtered(folder, commit, entry))
    return TreeCheck(files, size_bytes, tuple(pointers), wrong)


@dataclass(frozen=True)
class _Found:
    same: bool
    size_bytes: int
    is_pointer: bool = False


def _examine(root: bytes, entry: TreeEntry) -> _Found:
    # Calls of the system on bytes: with paths and files as objects this takes a third more
    # processor time, and it is done for every file of every start.
    path = root + entry.path
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return _Found(same=False, size_bytes=0)
    digest = hashlib.sha1(usedforsecurity=False) if len(entry.id) == 40 else hashlib.sha256()
    digest.update(b"blob %d\0" % status.st_size)
    if entry.mode == _SYMLINK_MODE:
        if not stat.S_ISLNK(status.st_mode):
            return _Found(same=False, size_bytes=status.st_size)
        digest.update(os.readlink(path))  # noqa: PTH115 - Path would normalise it
        return _Found(same=digest.hexdigest() == entry.id, size_bytes=status.st_size)
    executable = bool(status.st_mode & stat.S_IXUSR)
    if not stat.S_ISREG(status.st_mode) or executable != (entry.mode == _EXECUTABLE_MODE):
        return _Found(same=False, size_bytes=status.st_size)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        block = start = os.read(descriptor, _READ_BYTES)
        while block:
            digest.update(block)
            block = os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)
    return _Found(
        same=digest.hexdigest() == entry.id,
        size_bytes=status.st_size,
        is_pointer=status.st_size < _POINTER_BYTES_MAX and start.startswith(_POINTER_START),
    )


def _same_when_filtered(folder: Path, commit: str, entry: TreeEntry) -> bool:
    """Compare by what git would commit of the file, then by what it would check out."""
    path = entry.under(folder)
    if entry.mode == _SYMLINK_MODE or path.is_symlink() or not path.is_file():
        return False
    executable = os.access(path, os.X_OK)
    if executable != (entry.mode == _EXECUTABLE_MODE):
        return False
    name = os.fsdecode(entry.path)
    cleaned = run_git(["hash-object", "--", name], cwd=folder)
    if cleaned.ok and cleaned.text == entry.id:
        return True
    smudged = run_git(["cat-file", "--filters", f"{commit}:{name}"], cwd=folder)
    with path.open("rb") as file:
        on_disk = hashlib.file_digest(file, "sha256").digest()
    return smudged.ok and hashlib.sha256(smudged.stdout).digest() == on_disk


def attribute_of(folder: Path, name: str, entries: Sequence[TreeEntry]) -> list[str]:
    """Say what value each file has of one gitattribute.

    Raises:
        OSError: git could not read the attributes.
    """
    paths = b"".join(entry.path + b"\0" for entry in entries)
    said = run_git(
        ["check-attr", "--stdin", "-z", name], cwd=folder, options=GitOptions(stdin=paths)
    )
    if not said.ok:
        raise OSError(said.stderr)
    return [part.decode("utf-8", "replace") for part in said.stdout.split(b"\0")[2::3]]
