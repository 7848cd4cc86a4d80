"""Listings of which more pages may be asked for: the next one goes on where the last one ended.

Without that a folder is read whole for each page of it, and the names that it holds are as many
times compared: of a hundred thousand files in one folder a hundred times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

from seafloor.stores.objects.protocol import ObjectInfo

_KEPT_MAX: Final = 4
"""Each holds the names that ``Tree.walk`` has read."""

_KEPT_S: Final = 10.0
"""Who asks later is to see what was put meanwhile."""


class Asked(NamedTuple):
    """What a page is asked of; see ``ObjectRead.list``."""

    folder: str
    recursive: bool
    after: str


class Listing:
    """What is below a folder, one after the other.

    Args:
        walk: See ``Tree.walk``.
    """

    def __init__(self, walk: Iterator[ObjectInfo | str]) -> None:
        self._walk = walk
        self._given_back: ObjectInfo | str | None = None
        self.kept_s = 0.0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ObjectInfo | str:
        found, self._given_back = self._given_back, None
        return next(self._walk) if found is None else found

    def give_back(self, found: ObjectInfo | str) -> None:
        """Have what was given last come once more."""
        self._given_back = found


class Listings:
    """The listings that were begun last. Safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: dict[Asked, Listing] = {}
        self._lock = threading.Lock()

    def take(self, asked: Asked) -> Listing | None:
        """Give the listing whose next page this is; None: there is none.

        It is the caller's alone from then on.
        """
        with self._lock:
            kept = self._kept.pop(asked, None)
        if kept is None or time.monotonic() - kept.kept_s > _KEPT_S:
            return None
        return kept

    def keep(self, asked: Asked, listing: Listing) -> None:
        """Keep a listing for whoever asks for its next page."""
        listing.kept_s = time.monotonic()
        with self._lock:
            self._kept.pop(asked, None)
            self._kept[asked] = listing
            while len(self._kept) > _KEPT_MAX:
                del self._kept[next(iter(self._kept))]
