"""What a working folder's last snapshot was, so that an unchanged folder is not read again.

As git's index does: a file whose size, times and inode are those of the last time has the content
of the last time. A file that changed in the last seconds could change again within the same tick
of the clock, unseen; a folder with such a file is not remembered.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from seafloor.code.snapshot_format import FORMAT_VERSION
from seafloor.code.working_folder import WorkingFolder
from seafloor.domain.ids import Sha256

SETTLED_NS: Final = 2_000_000_000
"""So long a file must have been left alone: the coarsest clock of a file system in use."""


class Remembered(msgspec.Struct, frozen=True):
    """The last snapshot of a folder.

    Args:
        fingerprint: Of the names and statuses of its files.
        sha256: Of the archive.
        size_bytes: Of the archive.
        said: What was told of its files.
    """

    fingerprint: str
    sha256: Sha256
    size_bytes: int
    said: tuple[str, ...]


class SnapshotMemory:
    """One small file a working folder, in a folder of the client's own.

    What cannot be read or written is as if it were not there: the folder is read again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, found: WorkingFolder) -> Remembered | None:
        """Give the last snapshot of a folder if nothing of it changed since."""
        try:
            known = msgspec.json.decode(self._file(found).read_bytes(), type=Remembered)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return known if known.fingerprint == _fingerprint(found) else None

    def keep(
        self,
        found: WorkingFolder,
        *,
        sha256: Sha256,
        size_bytes: int,
        said: tuple[str, ...],
        begun_ns: int,
    ) -> None:
        """Remember a snapshot.

        Args:
            found: The folder as it was listed, before any of it was read.
            sha256, size_bytes: Of the archive.
            said: What was told of its files.
            begun_ns: When the listing began.
        """
        newest_ns = max(
            (max(each.st_mtime_ns, each.st_ctime_ns) for each in found.files.values()), default=0
        )
        if newest_ns > begun_ns - SETTLED_NS:
            return
        file = self._file(found)
        partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        known = Remembered(_fingerprint(found), sha256, size_bytes, said)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial.write_bytes(msgspec.json.encode(known))
            partial.rename(file)
        except OSError:
            partial.unlink(missing_ok=True)

    def _file(self, found: WorkingFolder) -> Path:
        name = hashlib.sha256(str(found.root).encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{name[:32]}.json"


def _fingerprint(found: WorkingFolder) -> str:
    digest = hashlib.sha256(f"{FORMAT_VERSION} {zstandard.ZSTD_VERSION}\n".encode())
    digest.update(
        b"\n".join(
            b"%b\0%d %d %d %d %d %d"
            % (
                path,
                each.st_mode,
                each.st_size,
                each.st_mtime_ns,
                each.st_ctime_ns,
                each.st_ino,
                each.st_dev,
            )
            for path, each in found.files.items()
        )
    )
    return digest.hexdigest()
