"""Several files on their way at once: for small ones most of the time is waiting for an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, TypeVar

from seafloor.domain.errors import (
    Forbidden,
    SeafloorError,
    StoreFull,
    StoreUnavailable,
    Unauthenticated,
)
from seafloor.sdk.downloads import Progress

TRANSFERS_AT_ONCE: Final = 8
"""As many as a transport keeps connections. Several large files gain nothing by it, and lose
nothing: a server reads and hashes with the processors that it has."""

_LET_GO_S: Final = 1.0
"""How long an interrupted transfer has to take away what it began. One that hears nothing from the
server is left, as is its ``.part``, which the next download of the same file writes over."""

Item = TypeVar("Item")
Result = TypeVar("Result")


FAILED_MAX: Final = 100
"""So many files that failed have one cause, and no other is begun."""

SILENT_MAX: Final = TRANSFERS_AT_ONCE
"""So many in a row to which the server gave no answer, each of them asked for a while, and no other
is begun: it is away."""

_OF_ALL: Final = (Unauthenticated, Forbidden, StoreFull)
"""Errors that every other file would meet."""


@dataclass(frozen=True)
class Transferred(Generic[Item, Result]):
    """What became of files that were to be moved.

    Args:
        done: What came of each that was moved, in the order in which they were given.
        failed: Those that failed, in that order, each with why.
        left: How many were not begun, or given up on their way.
    """

    done: tuple[Result, ...]
    failed: tuple[tuple[Item, BaseException], ...] = ()
    left: int = 0


def transfer(
    items: Sequence[Item],
    move: Callable[[Item, Progress], Result],
    *,
    progress: Progress,
    at_once: int = TRANSFERS_AT_ONCE,
) -> Transferred[Item, Result]:
    """Move files, a few at a time; memory is that of a few.

    When one fails the others go on, unless the failure is one that they would meet as well; then no
    other is begun, and those on their way end at their next piece.

    Args:
        items: What is to be moved.
        move: Moves one, in a thread, and calls what it is given with the bytes of each piece.
        progress: Told of the bytes of all; never from two threads at once.
        at_once: How many.

    Raises:
        KeyboardInterrupt: at once; as after a failure, nothing is half there.
    """
    work = _Work(items, move, progress)
    threads = [
        threading.Thread(target=work.run, daemon=True, name=f"seafloor-transfer-{number}")
        for number in range(min(at_once, len(items)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        work.stopped.set()
        ends_s = time.monotonic() + _LET_GO_S
        for thread in threads:
            thread.join(max(0.0, ends_s - time.monotonic()))
        raise
    return work.outcome()


class _Stopped(Exception):
    """Another file failed as this one would, or the user wants no more of it."""


class _Work(Generic[Item, Result]):
    """Files that several threads take one after the other."""

    def __init__(
        self,
        items: Sequence[Item],
        move: Callable[[Item, Progress], Result],
        progress: Progress,
    ) -> None:
        self.stopped = threading.Event()
        self._items = items
        self._move = move
        self._progress = progress
        self._lock = threading.Lock()
        self._begun = 0
        self._done: dict[int, Result] = {}
        self._errors: dict[int, BaseException] = {}
        self._silent = 0

    def run(self) -> None:
        """Move one after the other, until there are no more or none can be moved."""
        while (place := self._next()) is not None:
            with _Failing(self, place):
                self._done[place] = self._move(self._items[place], self._told)
                self._silent = 0

    def fail(self, place: int, error: BaseException) -> None:
        """Keep why one failed, and begin no other when they would as well."""
        if isinstance(error, _Stopped):
            return
        with self._lock:
            self._errors[place] = error
            self._silent = self._silent + 1 if isinstance(error, StoreUnavailable) else 0
            is_of_one = isinstance(error, SeafloorError) and not isinstance(error, _OF_ALL)
            if not is_of_one or self._silent == SILENT_MAX or len(self._errors) == FAILED_MAX:
                self.stopped.set()

    def outcome(self) -> Transferred[Item, Result]:
        """Say what became of them, when all threads have ended."""
        done = tuple(self._done[place] for place in sorted(self._done))
        failed = tuple((self._items[place], self._errors[place]) for place in sorted(self._errors))
        return Transferred(done, failed, len(self._items) - len(done) - len(failed))

    def _next(self) -> int | None:
        with self._lock:
            if self.stopped.is_set() or self._begun == len(self._items):
                return None
            self._begun += 1
            return self._begun - 1

    def _told(self, size_bytes: int) -> None:
        if self.stopped.is_set():
            raise _Stopped
        with self._lock:
            self._progress(size_bytes)


class _Failing:
    """Hands over whatever a thread raises to the one that waits for it, as a future does."""

    def __init__(self, work: _Work[Item, Result], place: int) -> None:
        self._work = work
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _class: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        if error is not None:
            self._work.fail(self._place, error)
        return True
