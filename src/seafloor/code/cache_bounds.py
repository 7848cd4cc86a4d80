"""How much a machine keeps of the code that it localised."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


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

_SETTINGS: Final = {
    "git_bytes": "code.git_size_max_gib",
    "large_files_bytes": "code.large_files_size_max_gib",
    "archive_bytes": "code.archives_size_max_gib",
    "snapshot_bytes": "code.snapshots_size_max_gib",
    "tree_bytes": "code.trees_size_max_gib",
}


def bounds_of(settings: Mapping[str, object]) -> CacheBounds:
    """Read the bounds out of the settings of a server, as it tells them.

    Args:
        settings: Names to values, in GiB, 0 for no limit; one that is not told, as by a server of
            an earlier version, is the default.
    """
    told = {field: settings.get(name) for field, name in _SETTINGS.items()}
    return CacheBounds(
        **{
            field: int(gib * 2**30) if gib else sys.maxsize
            for field, gib in told.items()
            if isinstance(gib, int | float)
        }
    )
