"""The bytes of a snapshot's entries, as they are written; any tar is read (``tar_entries``).

``docs/formats/snapshot.md`` is the description; a snapshot is a POSIX pax archive in one zstd
frame, so that ``tar --zstd -x`` reads it too.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from typing import Final

BLOCK_BYTES: Final = 512
END_OF_ARCHIVE: Final = b"\0" * (2 * BLOCK_BYTES)
MTIME_S: Final = 315_532_800
"""1980-01-01 UTC, on every entry: the earliest time that every archive tool takes."""

COMPRESSION_LEVEL: Final = 3

FORMAT_VERSION: Final = 1

SIZE_BYTES_MAX: Final = 1 << 50
"""No limit to anybody: what a reader takes for damage."""

FILES_MAX: Final = 2_000_000

_MODE: Final = 0o644
_MODE_EXECUTABLE: Final = 0o755


@dataclass(frozen=True)
class SnapshotEntry:
    """A file or symlink of a snapshot.

    Args:
        path: Relative, parts joined by ``/``; bytes, since names need not be UTF-8.
        size_bytes: Of a file's content; 0 for other kinds.
        executable: Whether a file has its exec bit.
        link: Where a symlink points, as it is; None for other kinds.
    """

    path: bytes
    size_bytes: int = 0
    executable: bool = False
    link: bytes | None = None


def entry_header(entry: SnapshotEntry) -> bytes:
    """Make the header blocks of an entry; nothing in them tells of user, machine or time."""
    info = tarfile.TarInfo(os.fsdecode(entry.path))
    info.mtime = MTIME_S
    info.mode = _MODE_EXECUTABLE if entry.executable else _MODE
    info.size = entry.size_bytes
    if entry.link is not None:
        info.type = tarfile.SYMTYPE
        info.mode = 0o777
        info.linkname = os.fsdecode(entry.link)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding_bytes(size_bytes: int) -> int:
    """How many zero bytes follow a content of that size."""
    return -size_bytes % BLOCK_BYTES
