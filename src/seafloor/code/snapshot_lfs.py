"""Files that are pointers of git LFS in a working folder: their content, from the clone's store."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.archive_entry import shown
from seafloor.code.git_command import GitOptions, run_git
from seafloor.code.working_folder import WorkingFolder
from seafloor.domain.errors import SourceError

POINTER_START: Final = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES_MAX: Final = 1024
_POINTER: Final = re.compile(rb"^oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})$", re.MULTILINE)
_ATTRIBUTES: Final = b".gitattributes"


@dataclass(frozen=True)
class LargeFile:
    """What a pointer stands for.

    Args:
        content: Where it is; what is in it was not compared yet.
        sha256: Of the content.
        size_bytes: Of the content.
    """

    content: Path
    sha256: str
    size_bytes: int


def large_files(found: WorkingFolder) -> dict[bytes, LargeFile]:
    """Find the pointers among the files, and their content in the stores of their repositories.

    Raises:
        SourceError: the content of one is not in this clone: nobody could run with the pointer.

    Cost: nothing in a folder without attributes; else one git command a repository, and one read
    of every pointer.
    """
    if found.git is None or not any(path.endswith(_ATTRIBUTES) for path in found.files):
        return {}
    large: dict[bytes, LargeFile] = {}
    small = [
        path
        for path, status in found.files.items()
        if stat.S_ISREG(status.st_mode) and status.st_size <= _POINTER_BYTES_MAX
    ]
    # The innermost repository first: a file belongs to that.
    for prefix in sorted((*(path + b"/" for path in found.repositories), b""), key=len)[::-1]:
        mine = [path for path in small if path.startswith(prefix)]
        small = [path for path in small if not path.startswith(prefix)]
        root = found.root / os.fsdecode(prefix)
        large.update(_in_repository(root, prefix, mine))
    return large


def _in_repository(
    root: Path, prefix: bytes, paths: Iterable[bytes]
) -> Iterable[tuple[bytes, LargeFile]]:
    inner = [path.removeprefix(prefix) for path in paths]
    if not inner:
        return
    options = GitOptions(stdin=b"".join(path + b"\0" for path in inner))
    said = run_git(["check-attr", "--stdin", "-z", "filter"], cwd=root, options=options)
    if not said.ok:
        raise SourceError(
            f'git cannot read the attributes of "{root}".', field="code.path", detail=said.stderr
        )
    values = said.stdout.split(b"\0")[2::3]
    store: Path | None = None
    for path, value in zip(inner, values, strict=False):
        text = _pointer_of(root / os.fsdecode(path)) if value == b"lfs" else None
        if text is None:
            continue
        if store is None:
            store = _store_of(root)
        oid = text[1].decode()
        content = store / oid[:2] / oid[2:4] / oid
        if not content.is_file():
            raise SourceError(
                f'"{shown(prefix + path)}" is a pointer of git LFS, and this clone does not have '
                "the file: get it with git lfs pull. No run gets a pointer in place of a file.",
                field="code.path",
            )
        yield prefix + path, LargeFile(content, oid, int(text[2]))


def _pointer_of(path: Path) -> re.Match[bytes] | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None  # the reader of the folder notices
    return _POINTER.search(text) if text.startswith(POINTER_START) else None


def _store_of(root: Path) -> Path:
    """Where git-lfs keeps what it has of a repository; work trees share it."""
    said = run_git(["rev-parse", "--git-common-dir"], cwd=root)
    return root / said.text / "lfs" / "objects"
