"""Comparing a folder with the git tree it was checked out from, byte for byte.

``git status`` believes sizes and times; here every file is read and hashed, so that an empty, cut
or altered file cannot pass for what was committed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from seafloor.code.blobs import EXECUTABLE_MODE, SYMLINK_MODE, compare
from seafloor.code.git_command import GitOptions, run_git

SUBMODULE_MODE: Final = "160000"


class TreeEntry(NamedTuple):
    """A file, symlink or submodule as a commit has it.

    Args:
        mode: Git's: ``100644``, ``100755``, ``120000``, ``160000``.
        id: Of the blob, or the commit of a submodule.
        path: Bytes as in the tree, relative.
        size_bytes: Of the blob; 0 for a submodule, and for a blob that is not there.
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
            # "-" of a submodule, "BAD" of what git misses and a checkout will tell of.
            entries.append(TreeEntry(mode, name, path, int(size) if size.isdigit() else 0))
    return entries


def check_tree(folder: Path, commit: str, entries: Sequence[TreeEntry]) -> TreeCheck:
    """Compare a checked-out folder with the tree of its commit.

    A file whose attributes ask for another form on disk (line ends, filters) is compared in the
    form that git commits or checks out.

    Raises:
        OSError: a file cannot be read for another reason than that it is missing.
    """
    files = [entry for entry in entries if entry.mode != SUBMODULE_MODE]
    compared = compare(os.fsencode(folder), files)
    different = (files[place] for place in compared.wrong)
    return TreeCheck(
        files=len(files),
        size_bytes=compared.size_bytes,
        pointers=tuple(files[place] for place in compared.pointers),
        wrong=tuple(each for each in different if not _same_when_filtered(folder, commit, each)),
    )


def _same_when_filtered(folder: Path, commit: str, entry: TreeEntry) -> bool:
    """Compare by what git would commit of the file, then by what it would check out."""
    path = entry.under(folder)
    if entry.mode == SYMLINK_MODE or path.is_symlink() or not path.is_file():
        return False
    executable = os.access(path, os.X_OK)
    if executable != (entry.mode == EXECUTABLE_MODE):
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
