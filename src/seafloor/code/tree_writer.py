"""Writing entries below one folder, and nowhere else, whatever they are called."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from seafloor.code.archive_entry import ArchiveEntry, EntryKind, Malformed, shown
from seafloor.domain.names import PATH_PART_BYTES_MAX

PATH_BYTES_MAX: Final = 4096
DEPTH_MAX: Final = 256
"""Parts of a path of code: programs that call themselves for each level end at some 1,000."""

DOUBTFUL_LINKS_MAX: Final = 10_000
_HOLE_BYTES_MIN: Final = 4096

Parts = tuple[bytes, ...]

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What the system says when a name is taken, or when what should be a folder is a file or a symlink.
_MISPLACED: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})


def parts_of(path: bytes, *, depth_max: int | None = DEPTH_MAX) -> Parts:
    """Split the path of an entry; ``./`` and doubled slashes mean nothing.

    Args:
        depth_max: How many parts it may have; None: any number.

    Raises:
        Malformed: it is absolute, leads upwards, is too long, too deep or holds a NUL.
    """
    parts = tuple(part for part in path.split(b"/") if part not in {b"", b"."})
    too_long = len(path) > PATH_BYTES_MAX or any(len(part) > PATH_PART_BYTES_MAX for part in parts)
    if too_long or b"\0" in path:
        raise Malformed(f'the path "{shown(path[:80])}…" is too long, or holds a NUL')
    if depth_max is not None and len(parts) > depth_max:
        raise Malformed(f'the path "{shown(path[:80])}…" is more than {depth_max} folders deep')
    if path.startswith(b"/"):
        raise Malformed(f'"{shown(path)}" is an absolute path')
    if b".." in parts:
        raise Malformed(f'"{shown(path)}" leads out of its folder')
    return parts


class TreeWriter:
    """Makes files, folders and links below a new folder.

    Every name is opened relative to the folder that it is in and never through a symlink, and
    nothing that is there is replaced. The folder of the last entry stays open: entries are sorted
    as a rule, so the next one is likely there.

    Args:
        folder: It is there, and empty.
        links_anywhere: Whether symlinks are made wherever they point; else those that leave the
            folder are refused.
        keeps_all: Whether files and folders get the rights and the time of their entry, and long
            runs of zeros become holes. A folder's own entry must follow what is in it.
    """

    def __init__(self, folder: Path, *, links_anywhere: bool, keeps_all: bool = False) -> None:
        self._folder = folder
        self._links_anywhere = links_anywhere
        self._keeps_all = keeps_all
        self._root = os.open(folder, _FOLDER_FLAGS)
        self._parent: Parts = ()
        self._parent_descriptor = os.dup(self._root)
        self._doubtful: list[bytes] = []

    def close(self) -> None:
        """Close the folders."""
        os.close(self._parent_descriptor)
        os.close(self._root)

    def make(
        self, parts: Parts, entry: ArchiveEntry, target: Parts, blocks: Iterator[bytes]
    ) -> int:
        """Make what an entry says.

        Args:
            parts: Where, at least one.
            target: Of a hard link, below the folder.
            blocks: Content of a file.

        Returns:
            The size of the file, or of the link's target.

        Raises:
            Malformed: a file, link or other folder is in its place, a part of its path is a
                symlink, or a link leads out of the folder or nowhere.
        """
        try:
            return self._make(parts, entry, target, blocks)
        except OSError as error:
            if error.errno not in _MISPLACED:
                raise
            path = shown(b"/".join(parts))
            raise Malformed(f'"{path}" stands there twice, or below a file or symlink') from error

    def _make(
        self, parts: Parts, entry: ArchiveEntry, target: Parts, blocks: Iterator[bytes]
    ) -> int:
        if entry.kind is EntryKind.FOLDER:
            folder = self._enter(parts)
            if self._keeps_all:
                _set_kept(folder, entry)
            return 0
        parent, name = self._enter(parts[:-1]), parts[-1]
        if entry.kind is EntryKind.SYMLINK:
            self._check_link(parts, entry.target)
            os.symlink(entry.target, name, dir_fd=parent)
            return len(entry.target)
        if entry.kind is EntryKind.HARDLINK:
            return self._link(parts, target)
        if self._keeps_all:
            return _write_kept(parent, name, blocks, entry)
        return _write(parent, name, blocks, executable=entry.executable)

    def check_links(self) -> None:
        """Look, now that all is there, where the links lead whose text alone does not tell.

        Raises:
            Malformed: one leads out of the folder.
        """
        root = os.fsencode(os.path.realpath(self._folder))
        for path in self._doubtful:
            end = os.path.realpath(root + b"/" + path)
            if end != root and not end.startswith(root + b"/"):
                raise Malformed(f'the link "{shown(path)}" leads out of its folder')

    def _check_link(self, parts: Parts, target: bytes) -> None:
        path = b"/".join(parts)
        if not target or len(target) >= PATH_BYTES_MAX or b"\0" in target:
            raise Malformed(f'the link "{shown(path)}" leads nowhere')
        if self._links_anywhere:
            return
        depth, descended = len(parts) - 1, False
        for part in target.split(b"/"):
            if part == b"..":
                depth -= 1
                # What stands before it may be a link itself, so that it is not known where we are.
                if descended and (not self._doubtful or self._doubtful[-1] != path):
                    self._doubtful.append(path)
            elif part not in {b"", b"."}:
                depth, descended = depth + 1, True
            if depth < 0:
                break
        if depth < 0 or target.startswith(b"/"):
            raise Malformed(
                f'the link "{shown(path)}" leads out of its folder, to "{shown(target)}"'
            )
        if len(self._doubtful) > DOUBTFUL_LINKS_MAX:
            raise Malformed("too many links lead down and up again")

    def _link(self, parts: Parts, target: Parts) -> int:
        shown_link = shown(b"/".join(parts))
        missing = f'the hard link "{shown_link}" leads to nothing that was unpacked before it'
        if not target:
            raise Malformed(missing)
        new_parent = os.dup(self._enter(parts[:-1]))
        try:
            old_parent = self._find(target[:-1])
            try:
                status = os.stat(target[-1], dir_fd=old_parent, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    raise Malformed(missing)
                os.link(
                    target[-1],
                    parts[-1],
                    src_dir_fd=old_parent,
                    dst_dir_fd=new_parent,
                    follow_symlinks=False,
                )
            finally:
                os.close(old_parent)
        except FileNotFoundError as error:
            raise Malformed(missing) from error
        finally:
            os.close(new_parent)
        return status.st_size

    def _find(self, parts: Parts) -> int:
        """Open a folder below the root that is there, following nothing."""
        descriptor = os.dup(self._root)
        for part in parts:
            try:
                inner = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
        return descriptor

    def _enter(self, parts: Parts) -> int:
        """Open a folder below the root, making what is missing, following nothing."""
        if parts == self._parent:
            return self._parent_descriptor
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                outer, descriptor = descriptor, _open_folder(descriptor, part)
                os.close(outer)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._parent_descriptor)
        self._parent, self._parent_descriptor = parts, descriptor
        return descriptor


def _write(parent: int, name: bytes, blocks: Iterator[bytes], *, executable: bool) -> int:
    size_bytes = 0
    descriptor = os.open(name, _FILE_FLAGS, 0o600, dir_fd=parent)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for block in blocks:
            left = memoryview(block)
            while left:
                left = left[file.write(left) :]
            size_bytes += len(block)
        os.fchmod(descriptor, 0o755 if executable else 0o644)
    return size_bytes


def _write_kept(parent: int, name: bytes, blocks: Iterator[bytes], entry: ArchiveEntry) -> int:
    size_bytes = 0
    descriptor = os.open(name, _FILE_FLAGS, 0o600, dir_fd=parent)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for block in blocks:
            size_bytes += len(block)
            if len(block) >= _HOLE_BYTES_MIN and block.count(0) == len(block):
                file.seek(len(block), os.SEEK_CUR)
                continue
            left = memoryview(block)
            while left:
                left = left[file.write(left) :]
        file.truncate(size_bytes)
        _set_kept(descriptor, entry)
    return size_bytes


def _set_kept(descriptor: int, entry: ArchiveEntry) -> None:
    """Give a file or folder the rights and the time of its entry; never those of another user."""
    if entry.mode is not None:
        os.fchmod(descriptor, entry.mode & 0o777)
    if entry.mtime_s is not None:
        os.utime(descriptor, (entry.mtime_s, entry.mtime_s))


def _open_folder(parent: int, name: bytes) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=parent)
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
