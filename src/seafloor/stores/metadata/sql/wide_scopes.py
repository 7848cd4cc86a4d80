"""Scopes of searches that were found to be wide, so that the next page is not counted anew."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from seafloor.stores.metadata.sql.ways import Scope

KNOWN_FOR_S: Final = 60.0
SCOPES_MAX: Final = 250


class WideScopes:
    """Scopes into which no way was narrow, a short time ago.

    To count the ways takes a sixth of the time of a page, and what is common stays so for a while:
    a search is made again and again, by each page of it and by whoever looks on. One that became
    narrow meanwhile is answered all the same, only not as fast.

    Used by several threads.

    Args:
        clock: Gives seconds; never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until_s = OrderedDict[bytes, float]()

    def __contains__(self, scope: Scope) -> bool:
        with self._lock:
            until_s = self._until_s.get(_told_apart_by(scope))
        return until_s is not None and self._clock() < until_s

    def add(self, scope: Scope) -> None:
        """Keep that a scope is wide; forget what was kept first, if that is too much."""
        key = _told_apart_by(scope)
        with self._lock:
            self._until_s[key] = self._clock() + KNOWN_FOR_S
            self._until_s.move_to_end(key)
            if len(self._until_s) > SCOPES_MAX:
                self._until_s.popitem(last=False)


def _told_apart_by(scope: Scope) -> bytes:
    """A digest of what its ways come from: not the order, nor the page.

    A query itself may name thousands of experiments.
    """
    query = scope.query
    found = (query.kind, query.experiment_ids, query.states, scope.filters, scope.nans)
    return hashlib.blake2b(msgspec.json.encode(found), digest_size=16).digest()
