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


def missing_bytes(folder: Path, needed_bytes: int) -> int:
    """How much would have to be freed before so much is written; 0 where nothing would.

    What is not small is written only if what stays free of the disk would still be free. A file
    system that does not say what it has left counts as one with room.
    """
    usage = shutil.disk_usage(folder)
    if not usage.total:
        return 0
    return max(0, needed_bytes + _staying_bytes(usage.total, needed_bytes) - usage.free)


def check_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse what a disk cannot hold.

    Args:
        folder: It exists, and is where it would be written.
        needed_bytes: At least so much would be written.
        what: That needs the space, as a sentence begins: ``"The files of digits need"``.

    Raises:
        StoreFull: the disk has less, or less than what stays free of it would be left.
    """
    if not missing_bytes(folder, needed_bytes):
        return
    usage = shutil.disk_usage(folder)
    staying_bytes = _staying_bytes(usage.total, needed_bytes)
    less = f", of which {staying_bytes / 1e6:,.1f} MB stay free" if staying_bytes else ""
    raise StoreFull(
        f'{what} {needed_bytes / 1e6:,.1f} MB, and the disk of "{folder}" has '
        f"{usage.free / 1e6:,.1f} MB left{less}. Free some and try again."
    )


def has_room(folder: Path, size_bytes: int) -> bool:
    """Whether so much could be written and what stays free of the disk would still be free."""
    usage = shutil.disk_usage(folder)
    return not usage.total or usage.free - size_bytes >= _left_bytes(usage.total)


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
        _check_left(self.folder, size_bytes, self.what)


class Growth:
    """Watches a disk while a program writes to it of which nobody knows how much that will be.

    Args:
        folder: Where it writes.
        what: That it writes, as a sentence begins: ``"The repository https://…"``.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._folder = folder
        self._what = what
        self._begun_free_bytes = shutil.disk_usage(folder).free

    def look(self) -> None:
        """Look once; what the disk has lost since the beginning counts as the program's.

        Raises:
            StoreFull: it has less left than stays free, and lost more than is written unseen.
        """
        written_bytes = self._begun_free_bytes - shutil.disk_usage(self._folder).free
        if written_bytes >= LOOK_EVERY_BYTES:
            _check_left(self._folder, 0, self._what)


def _staying_bytes(total_bytes: int, needed_bytes: int) -> int:
    """What stays free of a disk while so much is written at once."""
    return _left_bytes(total_bytes) if needed_bytes >= LOOK_EVERY_BYTES else 0


def _left_bytes(total_bytes: int) -> int:
    return min(LEFT_BYTES, int(total_bytes * LEFT_PART))


def _check_left(folder: Path, size_bytes: int, what: str) -> None:
    if not has_room(folder, size_bytes):
        usage = shutil.disk_usage(folder)
        left_bytes = _left_bytes(usage.total)
        raise StoreFull(
            f'{what} is larger than the disk of "{folder}" can hold: '
            f"{usage.free / 1e6:,.1f} MB are left, of which {left_bytes / 1e6:,.1f} MB stay "
            "free. Free some and try again."
        )
