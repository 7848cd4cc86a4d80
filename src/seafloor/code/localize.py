"""A resolved code source becomes a folder under the code folder, whole or not at all."""

from __future__ import annotations

import glob
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from seafloor.code.extract import extract
from seafloor.code.files import disk_errors, locked, remove_leftover, sync_folder
from seafloor.code.git_checkout import GitCheckouts
from seafloor.code.git_url import check_folder
from seafloor.code.receipts import (
    read_receipt,
    receipt_path,
    remove_receipt,
    snapshot_key,
    write_receipt,
)
from seafloor.code.snapshot_cache import SnapshotCache
from seafloor.domain.code import CodeSource, GitCode, Receipt, SnapshotCode
from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.ids import Sha256


def localize(
    source: CodeSource,
    *,
    code_dir: Path,
    cache_dir: Path,
    fetch_snapshot: Callable[[Sha256, Path], None],
    progress: Callable[[str], None] | None = None,
) -> Receipt:
    """Make ``<code_dir>/<folder>/`` of a code source, and write its receipt.

    The folder is built under another name, compared with its source byte for byte, and renamed;
    the receipt is written last. So a folder with a receipt is whole, and a process that is killed
    at any moment leaves nothing that the next call does not clear away. Calling it again with the
    same source returns the receipt that is there; with another source, it replaces the folder.

    Args:
        source: A commit or a snapshot.
        code_dir: What a task sees as ``/code``; made if missing. Processes may share it: they
            take turns.
        cache_dir: Kept between workloads and shared by all processes of the machine. It may be
            deleted at any time; that costs a fetch.
        fetch_snapshot: Writes the archive of a digest to a path. What it writes is checked here.
            A SeafloorError of it passes through.
        progress: Told, in the user's words, what takes time and what he should know.

    Returns:
        The receipt, as it stands in ``<code_dir>/.localized/<folder>.json``.

    Raises:
        SourceError: the code cannot be had.
        InvalidValue, LimitExceeded: the source is not one that may be localised.
        StoreCorrupt: the stored snapshot is not what its digest names.
        StoreFull: no space is left.
        After each of them there is no folder with a receipt, and nothing half.

    Cost: with everything cached, a handful of git commands and one read and write of every file.
    """
    check_folder(source.folder)
    say = progress or _say_nothing
    place = _Place(code_dir.absolute(), source.folder)
    with disk_errors(f"Localising {source.folder}"):
        lock = receipt_path(place.code_dir, source.folder).with_suffix(".lock")
        with locked(lock, waiting=lambda: say(f"waiting for another start of {source.folder}")):
            there = read_receipt(place.code_dir, source.folder, source)
            if there is not None:
                return there
            return place.fill(source, _Means(cache_dir.absolute(), fetch_snapshot, say))


def _say_nothing(_message: str) -> None:
    """Take a progress message that no one wants."""


@dataclass(frozen=True)
class _Means:
    """What localising works with; the arguments of ``localize``."""

    cache_dir: Path
    fetch_snapshot: Callable[[Sha256, Path], None]
    progress: Callable[[str], None]

    def make(self, source: CodeSource, folder: Path) -> Receipt:
        """Build the folder; the receipt lacks only the time it took."""
        if isinstance(source, GitCode):
            return self._make_git(source, folder)
        return self._make_snapshot(source, folder)

    def _make_git(self, source: GitCode, folder: Path) -> Receipt:
        built = GitCheckouts(self.cache_dir, self.progress).check_out(source, folder)
        return Receipt(
            kind="git",
            url=source.url,
            ref=source.ref,
            commit=source.commit,
            tree=built.tree,
            submodules=built.submodules,
            files=built.files,
            size_bytes=built.size_bytes,
            cached=not built.fetched,
            duration_s=0.0,
        )

    def _make_snapshot(self, source: SnapshotCode, folder: Path) -> Receipt:
        cache = SnapshotCache(self.cache_dir, self.fetch_snapshot, self.progress)
        archive, fetched = cache.get(source.sha256)
        try:
            extracted = extract(archive, folder, sha256=source.sha256)
        except StoreCorrupt:
            cache.forget(source.sha256)
            if fetched:
                raise
            self.progress("the cached snapshot is damaged: fetching it anew")
            remove_leftover(folder)
            archive, fetched = cache.get(source.sha256)
            extracted = extract(archive, folder, sha256=source.sha256)
        return Receipt(
            kind="snapshot",
            url=snapshot_key(source.sha256),
            sha256=source.sha256,
            files=extracted.files,
            size_bytes=extracted.size_bytes,
            cached=not fetched,
            duration_s=0.0,
        )


@dataclass(frozen=True)
class _Place:
    """Where one folder is localised; whoever uses it holds its lock."""

    code_dir: Path
    folder: str

    def fill(self, source: CodeSource, means: _Means) -> Receipt:
        begun_s = time.monotonic()
        self._clear_leftovers()
        partial = self._aside("partial")
        try:
            receipt = means.make(source, partial)
            self._publish(partial)
        finally:
            with suppress(FileNotFoundError):
                shutil.rmtree(partial)
        duration_s = round(time.monotonic() - begun_s, 6)
        receipt = msgspec.structs.replace(receipt, duration_s=duration_s)
        write_receipt(self.code_dir, self.folder, receipt)
        return receipt

    def _publish(self, partial: Path) -> None:
        # A receipt must never stand beside a folder that it does not speak of.
        remove_receipt(self.code_dir, self.folder)
        target = self.code_dir / self.folder
        if target.is_symlink() or target.exists():
            replaced = self._aside("replaced")
            target.rename(replaced)
            partial.rename(target)
            _remove(replaced)
        else:
            partial.rename(target)
        sync_folder(self.code_dir)

    def _clear_leftovers(self) -> None:
        for kind in ("partial", "replaced"):
            for leftover in self.code_dir.glob(f".{glob.escape(self.folder)}.{kind}-*"):
                remove_leftover(leftover)

    def _aside(self, kind: str) -> Path:
        return self.code_dir / f".{self.folder}.{kind}-{secrets.token_hex(4)}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_leftover(path)
    else:
        path.unlink()
