"""A bounded set of open things, the least recently used closed first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be closed and made again later."""

    def close(self) -> None:
        """Give back descriptors."""
        ...


K = TypeVar("K")
T = TypeVar("T", bound=Closable)


class _Entry(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value
        self.pins = 0


class OpenFiles(Generic[K, T]):
    """Makes one thing per key, keeps the last used ones, closes the others. Thread-safe.

    Args:
        make: Makes the thing of a key; must be cheap (open at first use).
        open_max: How many are kept at once, those in use not counted against others' right to be.
    """

    def __init__(self, make: Callable[[K], T], *, open_max: int) -> None:
        self._make = make
        self._open_max = open_max
        self._entries: OrderedDict[K, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def use(self, key: K) -> Generator[T]:
        """Hold the thing of a key; it is the same one for all who hold it at once."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(self._make(key))
            entry.pins += 1
            self._entries.move_to_end(key)
        try:
            yield entry.value
        finally:
            with self._lock:
                entry.pins -= 1
                self._shrink(self._open_max)

    def _shrink(self, keep: int) -> None:
        surplus = len(self._entries) - keep
        if surplus <= 0:
            return
        idle = [key for key, entry in self._entries.items() if entry.pins == 0]
        for key in idle[:surplus]:
            self._entries.pop(key).value.close()

    def close(self) -> None:
        """Close all that nobody holds."""
        with self._lock:
            self._shrink(0)
