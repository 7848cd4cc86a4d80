"""How much room the spool has: it never fills a disk, however long the server is away."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Final

SPOOL_BYTES_MAX: Final = 50 * 2**30
"""What all runs of a home may have in the spool together, unless a setting says otherwise."""
FREE_BYTES_MIN: Final = 2**30
"""What is left free on the disk of the spool, unless a setting says otherwise."""
_FREE_PART_MIN: Final = 0.05
"""The same, of the whole disk; the smaller of the two counts: a small disk is of use as well."""

_MEASURE_EVERY_S: Final = 5.0
_MEASURE_PART_MAX: Final = 0.02
"""Of the time, for looking at every file of the spool."""


class NoRoom(OSError):
    """The spool may not take it: a limit of its own, where the disk would have room.

    Args:
        why: The limit.
        advice: What the user can do.
    """

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(errno.EDQUOT, why)
        self.advice = advice


class SpoolRoom:
    """How much more one process may put into the spool.

    The sender measures it; between two measurements what this process writes is counted, and what
    others write or send is not seen. Before the first one there is room. May be used from several
    threads and from handlers of signals: a count that is a little off is right with the next
    measurement.

    Args:
        spool: The folder.
        size_bytes_max: What it may hold.
        free_bytes_min: What is left free on its disk; None: as the constants above say.
    """

    def __init__(
        self,
        spool: Path,
        *,
        size_bytes_max: int = SPOOL_BYTES_MAX,
        free_bytes_min: int | None = None,
    ) -> None:
        self.problem: NoRoom | None = None
        """Why something was refused last."""
        self._spool = spool
        self._size_bytes_max = size_bytes_max
        self._free_bytes_min = free_bytes_min
        self._left_bytes: int | None = None
        self._refusal = NoRoom("", "")
        self._next_measure_s = 0.0

    def take(self, size_bytes: int) -> bool:
        """Say whether so much may be written, and count it."""
        left_bytes = self._left_bytes
        if left_bytes is None:
            return True
        if size_bytes > left_bytes:
            self.problem = self._refusal
            return False
        self._left_bytes = left_bytes - size_bytes
        return True

    def measure(self, *, now: bool = False) -> None:
        """Look at the spool and its disk, if it is time to.

        Args:
            now: Whatever the time.
        """
        begun_s = time.monotonic()
        if begun_s < self._next_measure_s and not now:
            return
        with contextlib.suppress(OSError):  # what cannot be measured cannot be written either
            self._measure()
        ended_s = time.monotonic()
        cost_s = ended_s - begun_s
        self._next_measure_s = ended_s + max(_MEASURE_EVERY_S, cost_s / _MEASURE_PART_MAX)

    def _measure(self) -> None:
        disk = os.statvfs(_existing(self._spool))
        free_bytes = disk.f_bavail * disk.f_frsize
        floor_bytes = self._free_bytes_min
        if floor_bytes is None:
            floor_bytes = min(FREE_BYTES_MIN, int(disk.f_blocks * disk.f_frsize * _FREE_PART_MIN))
        in_disk_bytes = free_bytes - floor_bytes
        # A spool that is as large as it may be on a disk that is nearly full: the limit is told of.
        in_spool_bytes = self._size_bytes_max - folder_bytes(self._spool)
        if in_spool_bytes <= in_disk_bytes:
            self._refusal = NoRoom(
                f"the spool may hold {_shown(self._size_bytes_max)}",
                "send what waits with `seafloor sync`, or set SEAFLOOR_SPOOL_MAX",
            )
        else:
            self._refusal = NoRoom(
                f"the disk has {_shown(free_bytes)} free and the spool leaves "
                f"{_shown(floor_bytes)} of it",
                "free some space, or set SEAFLOOR_HOME or SEAFLOOR_SPOOL_FREE_MIN",
            )
        self._left_bytes = max(0, min(in_spool_bytes, in_disk_bytes))


def folder_bytes(folder: Path) -> int:
    """Sum up the sizes of all files below a folder.

    What goes meanwhile counts nothing, nor does what is another user's and not shown.
    """
    size_bytes = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size_bytes += os.lstat(f"{here}/{name}").st_size
    return size_bytes


def _existing(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def _shown(size_bytes: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g} {unit}"
    return f"{size_bytes} bytes"
