"""How much a machine keeps of the code that it localised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CacheBounds:
    """Beyond these what was used longest ago goes, each kind by itself; all in bytes.

    Args:
        git_bytes: Of fetched repositories, all together.
        large_files_bytes: Of large files of git LFS; those of each set of secrets by themselves.
        archive_bytes: Of fetched archives; those of each secret by themselves.
        snapshot_bytes: Of fetched snapshots.
        tree_bytes: Of finished trees, by the sizes in their receipts.
    """

    git_bytes: int = 16 << 30
    large_files_bytes: int = 16 << 30
    archive_bytes: int = 16 << 30
    snapshot_bytes: int = 4 << 30
    tree_bytes: int = 16 << 30


DEFAULT = CacheBounds()
