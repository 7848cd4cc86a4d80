"""Threads for calls that may never return.

Python's own pool waits for all of its threads when the process ends, so one call to a server that
fell silent would keep the process alive for ever. These are waited for, but not for long.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar
from weakref import WeakSet

from seafloor.domain.errors import SeafloorError, StoreError

_Result = TypeVar("_Result")
_Step = tuple[Future[Any], Callable[[], Any]]

EXIT_PATIENCE_S = 5.0
"""How long the end of the process waits for calls that run."""


class Threads:
    """Up to ``most`` threads that take steps from one queue. They start when they are needed.

    Args:
        most: How many.
        name: What they are called in a debugger.
    """

    def __init__(self, most: int, *, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Step | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        _ALL.add(self)

    @property
    def alive(self) -> int:
        """How many threads have not ended; of a closed one, those that still run a step."""
        return sum(thread.is_alive() for thread in self._threads)

    def submit(self, step: Callable[[], _Result]) -> Future[_Result]:
        """Have a step run; cancelling it helps as long as it has not begun."""
        future: Future[_Result] = Future()
        self._queue.put((future, step))
        with self._lock:
            if not self._idle.acquire(blocking=False) and self.alive < self._most:
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def close(self) -> None:
        """Let the threads end once they have done what was submitted. Does not wait."""
        self._queue.put(None)

    def wait(self, deadline: float) -> None:
        """Wait for the threads' ends, up to a time of ``time.monotonic``."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while True:
            taken = self._queue.get()
            if taken is None:
                self._queue.put(None)  # for the next thread
                return
            _run(*taken)
            del taken  # not kept while there is nothing to do
            self._idle.release()


def _run(future: Future[Any], step: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(step())
    except (SeafloorError, OSError) as error:
        future.set_exception(error)
    finally:
        if not future.done():
            # A bug, or hdfs-native panicked. It ends this thread, and Python logs it.
            future.set_exception(StoreError("A call to the store broke: see the server's log."))


_ALL: WeakSet[Threads] = WeakSet()


def _wait_for_all() -> None:
    # A thread that came back out of hdfs-native into a Python that is gone would abort.
    deadline = time.monotonic() + EXIT_PATIENCE_S
    pools = list(_ALL)
    for pool in pools:
        pool.close()
    for pool in pools:
        pool.wait(deadline)


atexit.register(_wait_for_all)
