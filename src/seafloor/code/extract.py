"""Unpacking archives: in constant memory, inside one folder, and only what a digest names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from seafloor.code.archive_entry import EntryKind, Malformed, Member, shown
from seafloor.code.archive_streams import HEAD_BYTES, ArchiveKind, decompressed, recognise
from seafloor.code.files import disk_errors
from seafloor.code.free_space import Room
from seafloor.code.snapshot_format import FILES_MAX, SIZE_BYTES_MAX
from seafloor.code.tar_entries import tar_members
from seafloor.code.tree_writer import Parts, TreeWriter, parts_of
from seafloor.code.zip_entries import zip_members
from seafloor.domain.errors import InvalidValue, LimitExceeded, StoreCorrupt
from seafloor.domain.ids import Sha256

_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class ExtractRules:
    """What an archive may become.

    Args:
        what: The archive, as it begins a sentence for the user.
        advice: What to do about one that is not what its digest names.
        field: Of the spec, for the error.
        size_bytes_max: Sum of the sizes of its files, unpacked.
        files_max: Count of its entries.
        ratio_max: How many bytes one byte of the archive may become; None: any. Code packs to a
            fifth or tenth; what packs to a thousandth was made to fill disks.
        ratio_free_bytes: Up to which the ratio is not looked at.
        strip_components: So many parts are taken off the front of every path; what has no more
            is left out.
        links_anywhere: Whether symlinks may point out of the folder: a user's own may.
    """

    what: str = "The snapshot"
    advice: str = (
        " Submit again: what was cut is stored anew. If it is the same again, remove it from the "
        "object store (code/, by its digest) and submit once more."
    )
    field: str = "code.sha256"
    size_bytes_max: int = SIZE_BYTES_MAX
    files_max: int = FILES_MAX
    ratio_max: int | None = None
    ratio_free_bytes: int = 64 << 20
    strip_components: int = 0
    links_anywhere: bool = True


SNAPSHOT_RULES: Final = ExtractRules()


@dataclass(frozen=True)
class Extracted:
    """What an archive became.

    Args:
        files: Count of files and symlinks.
        size_bytes: Sum of their sizes; a symlink's is the length of its target.
        kind: How it was packed.
    """

    files: int
    size_bytes: int
    kind: ArchiveKind


def extract(
    file: BinaryIO, folder: Path, *, sha256: Sha256, rules: ExtractRules = SNAPSHOT_RULES
) -> Extracted:
    """Unpack a tar (plain, gz, bz2, xz, zst) or a zip into a new folder; the content says which.

    Nothing is written outside ``folder``, whatever the archive says. Of an entry's mode only the
    exec bit is kept, of its owner and times nothing, so that no tool takes a stale cache for a
    fresh one.

    Args:
        file: The archive, at its beginning; read once, a zip twice.
        folder: Does not exist yet. Give it a name that nobody looks at: it is complete, and its
            content the one that ``sha256`` names, only when this returns.
        sha256: Digest of the archive's bytes.
        rules: What it may become.

    Raises:
        StoreCorrupt: the archive is not the one that ``sha256`` names, or is cut.
        InvalidValue: it is, but is damaged or holds what must not be unpacked: an absolute path,
            ``..``, a link that leaves the folder, an entry below a link, one path twice, a device.
        LimitExceeded: it would become more than the rules allow.
        StoreFull: no space is left.
        SourceError: the file system refused something else.
        After each of them ``folder`` may exist and is not whole.

    Cost: memory for a few blocks and one window of the decompressor, at most 64 MiB (``xz -9``),
    whatever the archive's size.
    """
    with disk_errors(f"Unpacking {rules.what[0].lower()}{rules.what[1:]}"):
        source = _HashedFile(file)
        folder.mkdir()
        unpacking = _Unpacking(source, folder, rules)
        problem: Malformed | LimitExceeded | None = None
        try:
            unpacking.run()
        except (Malformed, LimitExceeded) as error:
            # Whether it is a damaged archive or a bad one is known when all of it was hashed.
            problem = error
        finally:
            unpacking.close()
        if source.digest() != sha256:
            raise StoreCorrupt(
                f"{rules.what} is not what its sha256 names any more: it was cut or altered where "
                f"it is stored.{rules.advice}"
            ) from problem
    if isinstance(problem, LimitExceeded):
        raise problem
    if problem is not None:
        raise InvalidValue(
            f"{rules.what} cannot be unpacked: {problem}.", field=rules.field
        ) from problem
    return Extracted(unpacking.files, unpacking.size_bytes, unpacking.kind)


class _HashedFile:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1, /) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        return block

    def digest(self) -> str:
        """The digest of the whole file; what was not read yet is read now."""
        while self.read(_READ_BYTES):
            pass
        return self._digest.hexdigest()


class _Unpacking:
    """One archive on its way into one folder."""

    def __init__(self, source: _HashedFile, folder: Path, rules: ExtractRules) -> None:
        self._source = source
        self._rules = rules
        self._writer = TreeWriter(folder, links_anywhere=rules.links_anywhere)
        self._room = Room(folder, f"What becomes of {rules.what[0].lower()}{rules.what[1:]}")
        self._archive_bytes = os.fstat(source.fileno()).st_size
        self._entries = 0
        self.files = 0
        self.size_bytes = 0
        self.kind = ArchiveKind.TAR

    def close(self) -> None:
        self._writer.close()

    def run(self) -> None:
        for entry, blocks in self._members():
            self._entries += 1
            self._check_limits(entry.size_bytes)
            parts = self._stripped(parts_of(entry.path))
            if not parts:
                if entry.kind is not EntryKind.FOLDER and not self._rules.strip_components:
                    raise Malformed(f'"{shown(entry.path)}" is no name')
                for _ in blocks:
                    pass  # what is left out is read all the same: the archive is checked whole
                continue
            target: Parts = ()
            if entry.kind is EntryKind.HARDLINK:
                target = self._stripped(parts_of(entry.target))
            self._room.take(entry.size_bytes)
            self.size_bytes += self._writer.make(parts, entry, target, blocks)
            self.files += entry.kind is not EntryKind.FOLDER
        self._check_limits(0)
        self._writer.check_links()

    def _members(self) -> Iterator[Member]:
        self.kind = recognise(os.pread(self._source.fileno(), HEAD_BYTES, 0))
        if self.kind is ArchiveKind.ZIP:
            return zip_members(self._source.fileno())
        return tar_members(decompressed(self.kind, self._source))

    def _stripped(self, parts: Parts) -> Parts:
        return parts[self._rules.strip_components :]

    def _check_limits(self, more_bytes: int) -> None:
        rules, size_bytes = self._rules, self.size_bytes + more_bytes
        if size_bytes > rules.size_bytes_max or self._entries > rules.files_max:
            raise LimitExceeded(
                f"{rules.what} holds more than {rules.size_bytes_max} bytes or {rules.files_max} "
                "files. Leave out what tasks do not need (of a folder: in .seafloorignore).",
                field=rules.field,
            )
        if rules.ratio_max is not None and size_bytes > max(
            rules.ratio_free_bytes, rules.ratio_max * self._archive_bytes
        ):
            raise LimitExceeded(
                f"{rules.what} has {self._archive_bytes} bytes and would become more than "
                f"{rules.ratio_max} times as many, as archives do that are made to fill disks.",
                field=rules.field,
            )
