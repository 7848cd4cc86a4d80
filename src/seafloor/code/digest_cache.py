"""Fetched archives, kept by digest within a bound, so that workloads share them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from seafloor.code.files import remove_free_locks
from seafloor.code.free_space import check_space, missing_bytes
from seafloor.code.live_lock import Wait, locked_alive
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import Sha256, parse_sha256


class Cached(NamedTuple):
    """An archive of the cache.

    Args:
        file: Open, at its beginning: it can be read whatever becomes of its name.
        sha256: Its name in the cache. Its bytes are not checked against it here.
        fetched: Whether it had to be fetched.
    """

    file: BinaryIO
    sha256: Sha256
    fetched: bool


_FETCH_IDLE_S: Final = 3600.0
"""A fetch that has written nothing for so long is one of a process that was killed."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of the cache.

    Args:
        key: Hex digits: the same whenever the same content is wanted.
        sha256: Its digest; None when that is known once it was fetched.
        fetch: Writes it to a path, and returns its digest.
        title: What it is, for the user.
        size_bytes: How large it is; None when that is not known before it was fetched.
    """

    key: str
    sha256: Sha256 | None
    fetch: Callable[[Path], Sha256]
    title: str
    size_bytes: int | None = None


@dataclass(frozen=True)
class DigestCache:
    """Archives of one machine, safe under parallel use and when a process dies.

    Args:
        folder: Where they are; nothing else is there.
        suffix: Of their names.
        progress: Told what takes time.
        size_bytes_max: Beyond this the archives used longest ago are removed; the newest stays,
            whatever its size.
    """

    folder: Path
    suffix: str
    progress: Callable[[str], None]
    size_bytes_max: int

    def get(self, wanted: Wanted) -> Cached:
        """Have an archive, fetching it if need be. Two who want the same fetch it once.

        Raises:
            StoreFull: the disk cannot hold it, also without the others of this cache. Nothing of it
                was asked for.
        """
        found = self._find(wanted)
        if found is not None:
            return found
        # A lock of its own: one that comes slowly keeps nobody waiting who wants another.
        lock = self.folder / f"fetch-{wanted.key}.lock"
        wait = Wait(f"another fetch of {wanted.title}", self.progress)
        with locked_alive(lock, wait, stays=False):
            found = self._find(wanted)
            if found is not None:
                return found
            self.progress(f"fetching {wanted.title}")
            return self._fetch(wanted)

    def forget(self, sha256: Sha256) -> None:
        """Remove an archive that turned out to be damaged."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: Sha256) -> Path:
        return self.folder / f"{sha256}{self.suffix}"

    def _name(self, wanted: Wanted) -> Path:
        """Where the digest of a key stands."""
        return self.folder / f"{wanted.key}.name"

    def _find(self, wanted: Wanted) -> Cached | None:
        sha256 = wanted.sha256
        if sha256 is None:
            try:
                sha256 = parse_sha256(self._name(wanted).read_text("ascii"))
            except (FileNotFoundError, UnicodeDecodeError, InvalidValue):
                return None  # never fetched, or its name was cut by a crash of the machine
        try:
            file = self._path(sha256).open("rb")
        except FileNotFoundError:
            return None
        os.utime(file.fileno())
        return Cached(file, sha256, fetched=False)

    def _fetch(self, wanted: Wanted) -> Cached:
        for leftover in self.folder.glob(f"{wanted.key}.partial-*"):
            leftover.unlink()  # of a process that was killed: the lock is ours
        self._make_space(wanted)
        partial = self.folder / f"{wanted.key}.partial-{secrets.token_hex(4)}"
        try:
            sha256 = wanted.fetch(partial)
            file = partial.open("rb")
            partial.rename(self._path(sha256))
            if wanted.sha256 is None:
                partial.write_text(sha256, "ascii")
                partial.rename(self._name(wanted))
        finally:
            partial.unlink(missing_ok=True)
        self._make_room(self._path(sha256))
        return Cached(file, sha256, fetched=True)

    def _make_space(self, wanted: Wanted) -> None:
        """See that the disk can hold what is wanted, at the cost of what was used longest ago."""
        if wanted.size_bytes is None:
            return
        kept = self._kept()
        left_bytes = missing_bytes(self.folder, wanted.size_bytes)
        if left_bytes <= sum(size for _, size, _ in kept):  # else it would be for nothing
            for _, size, path in kept:
                if left_bytes <= 0:
                    break
                path.unlink(missing_ok=True)
                left_bytes -= size
        check_space(self.folder, wanted.size_bytes, f"To fetch {wanted.title} takes")

    def _make_room(self, newest: Path) -> None:
        """Remove what was used longest ago, leftovers of killed processes included."""
        remove_free_locks(self.folder, "fetch-*.lock")
        kept = self._kept()
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total <= self.size_bytes_max:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size

    def _kept(self) -> list[tuple[float, int, Path]]:
        """What may be removed: when it was used, its size and path; what was longest ago first."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            if path.suffix != ".lock":
                with suppress(FileNotFoundError):  # another process makes room as well
                    status = path.stat()
                    if ".partial-" in path.name and time.time() - status.st_mtime < _FETCH_IDLE_S:
                        continue  # somebody is fetching it
                    kept.append((status.st_mtime, status.st_size, path))
        return sorted(kept)
