"""A git command that takes long is ended when nothing moves any more, not for its length.

How much a server will send nobody knows beforehand, nor how fast the line is, or the disk. That
something moves is seen by two things: the words in which git, and the server through it, says how
far it is (``--progress``), and the packs that grow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from seafloor.domain.errors import SourceError

STALL_S: Final = 300.0
"""A git command is given up when less than a byte a second came for so long. Longer than what git
does in silence: to compare what it fetched with what it has, or to write one very large file."""


class Window:
    """A span of time, one after the other, in which something has to come.

    Args:
        length_s: Of each.
    """

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._begin()

    def take(self, size_bytes: int) -> None:
        """Say that so much came."""
        self._came_bytes += size_bytes

    def end(self) -> int | None:
        """Say how much came, once the span is over, and begin the next; None: it goes on."""
        if time.monotonic() - self._begun_s < self._length_s:
            return None
        came_bytes = self._came_bytes
        self._begin()
        return came_bytes

    def _begin(self) -> None:
        self._begun_s = time.monotonic()
        self._came_bytes = 0


class Stall:
    """Watches a git command that is run with ``--progress``.

    Args:
        message: What to do, for the user, when it is given up; how long nothing came stands before.
        packs: Folder of the packs that it fetches to; None: it fetches nothing.
    """

    def __init__(self, message: str, *, packs: Path | None = None) -> None:
        self._message = message
        self._packs = packs
        self._window = Window(STALL_S)
        self._packs_bytes = self._measure()

    def hear(self, size_bytes: int) -> None:
        """Say that git said so much."""
        self._window.take(size_bytes)

    def look(self) -> None:
        """Look once.

        Raises:
            SourceError: next to nothing moved for ``STALL_S``.
        """
        said_bytes = self._window.end()
        if said_bytes is None:
            return
        before, self._packs_bytes = self._packs_bytes, self._measure()
        if said_bytes + abs(self._packs_bytes - before) < STALL_S:
            raise SourceError(
                f"Next to nothing moved for {STALL_S:.0f} s: {self._message}", field="code.url"
            )

    def _measure(self) -> int:
        size_bytes = 0
        for path in self._packs.iterdir() if self._packs and self._packs.is_dir() else ():
            with suppress(FileNotFoundError):  # it got its name at this moment
                size_bytes += path.stat().st_size
        return size_bytes


def both(*looks: Callable[[], None]) -> Callable[[], None]:
    """Several looks at one command."""

    def look() -> None:
        for each in looks:
            each()

    return look
