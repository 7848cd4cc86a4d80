"""Fetched snapshots, kept by digest within a bound, so that runs of the same code share them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.files import locked
from seafloor.domain.ids import Sha256

SIZE_BYTES_MAX: Final = 4 << 30
"""Beyond this the archives used longest ago are removed."""


@dataclass(frozen=True)
class SnapshotCache:
    """The snapshots of one machine.

    Args:
        cache_dir: Where every cache of this machine is.
        fetch: Writes the archive of a digest to a path.
        progress: Told what takes time.
        size_bytes_max: How much is kept.
    """

    cache_dir: Path
    fetch: Callable[[Sha256, Path], None]
    progress: Callable[[str], None]
    size_bytes_max: int = SIZE_BYTES_MAX

    def get(self, sha256: Sha256) -> tuple[Path, bool]:
        """Have an archive, fetching it if need be. Its bytes are not checked here.

        Returns:
            Its file, and whether it was fetched.
        """
        path = self._path(sha256)
        if self._touch(path):
            return path, False
        # A few locks for all digests: lock files stay, and there is no end of digests.
        lock = path.with_name(f"fetch-{sha256[0]}.lock")
        with locked(lock, waiting=lambda: self.progress("waiting for another fetch of code")):
            if self._touch(path):
                return path, False
            for leftover in path.parent.glob(f"{path.name}.partial-*"):
                leftover.unlink()  # of a process that was killed: the lock is ours
            self.progress(f"fetching the snapshot {sha256[:12]}")
            partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
            try:
                self.fetch(sha256, partial)
                partial.rename(path)
            finally:
                partial.unlink(missing_ok=True)
        self._make_room(path)
        return path, True

    def forget(self, sha256: Sha256) -> None:
        """Remove an archive that turned out to be damaged."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: Sha256) -> Path:
        return self.cache_dir / "snapshots" / f"{sha256}.tar.zst"

    def _touch(self, path: Path) -> bool:
        """Note that an archive is used; False when there is none."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _make_room(self, newest: Path) -> None:
        """Remove what was used longest ago, leftovers of killed processes included."""
        kept: list[tuple[float, int, Path]] = []
        for path in newest.parent.iterdir():
            if path.suffix != ".lock" and path != newest:
                with suppress(FileNotFoundError):  # another process makes room as well
                    status = path.stat()
                    kept.append((status.st_mtime, status.st_size, path))
        too_much = newest.stat().st_size + sum(size for _, size, _ in kept) - self.size_bytes_max
        for _, size, path in sorted(kept):
            if too_much <= 0:
                return
            path.unlink(missing_ok=True)
            too_much -= size
