"""What a disk has left, before something of a known size is fetched to it."""

from __future__ import annotations

import shutil
from pathlib import Path

from seafloor.domain.errors import StoreFull


def free_bytes_of(folder: Path) -> int | None:
    """What the disk of a folder has left; None where the file system does not say."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else None


def check_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse what a disk cannot hold.

    Args:
        folder: It exists, and is where it would be written.
        needed_bytes: At least so much would be written.
        what: That needs the space, as a sentence begins: ``"The files of digits need"``.

    Raises:
        StoreFull: the disk has less.
    """
    free_bytes = free_bytes_of(folder)
    if free_bytes is not None and needed_bytes > free_bytes:
        raise StoreFull(
            f'{what} {needed_bytes / 1e6:,.1f} MB, and the disk of "{folder}" has '
            f"{free_bytes / 1e6:,.1f} MB left. Free some and try again."
        )
