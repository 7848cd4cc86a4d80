"""What a disk has left, before and while something is written to it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from seafloor.domain.errors import StoreFull

LEFT_BYTES: Final = 256 << 20
"""What stays free of a disk while something is written whose size nobody said: it is others' disk,
too, and a database that finds no space stops a server."""

LEFT_PART: Final = 1 / 20
"""Of a small disk, so much stays free instead."""

LOOK_EVERY_BYTES: Final = 16 << 20
"""What is smaller is written without a look: a run with little code starts on a full disk, too."""


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


@dataclass
class Room:
    """Watches a disk while something is written to it whose size is known at its end only.

    Args:
        folder: Where it is written.
        what: That is written, as a sentence begins: ``"The archive digits"``.
    """

    folder: Path
    what: str
    _unseen_bytes: int = field(default=0, repr=False)

    def take(self, size_bytes: int) -> None:
        """Say how much is about to be written.

        Raises:
            StoreFull: the disk would have less left than stays free.

        Cost: a look at the disk every LOOK_EVERY_BYTES.
        """
        self._unseen_bytes += size_bytes
        if self._unseen_bytes < LOOK_EVERY_BYTES:
            return
        self._unseen_bytes = 0
        usage = shutil.disk_usage(self.folder)
        left_bytes = min(LEFT_BYTES, int(usage.total * LEFT_PART))
        if usage.total and usage.free - size_bytes < left_bytes:
            raise StoreFull(
                f'{self.what} is larger than the disk of "{self.folder}" can hold: '
                f"{usage.free / 1e6:,.1f} MB are left, of which {left_bytes / 1e6:,.1f} MB stay "
                "free. Free some and try again."
            )
