"""Journals: what this process logs to runs that mlflow made, one write-ahead file a run."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Final

from seafloor.domain.errors import SeafloorError
from seafloor.mlflow_plugin.takeover import Takeover
from seafloor.sdk.sender import Sender
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import SpoolWriter, list_segments
from seafloor.sdk.spool_room import SpoolRoom
from seafloor.sdk.wal import Begin, Record
from seafloor.wire.runs import RunCreate

OPEN_MAX: Final = 64
"""Each open journal has a thread, a connection and a file."""

_log = logging.getLogger("seafloor")


class Journal:
    """What this process logs to one run: a writer of the spool, and the thread that sends it.

    May be used from several threads, and from the handler of a signal in the middle of a call.

    Args:
        run_id: The run.
        settings: Where the spool and the server are; with ``url``.
        room: Of the spool.
    """

    def __init__(self, run_id: str, settings: Settings, room: SpoolRoom) -> None:
        self.run_id = run_id
        self._lock = threading.RLock()
        self._behind = False
        begin = Begin(
            run=RunCreate(id=run_id),
            owner=True,
            launched=settings.run_id == run_id,
            resumed=False,
            pid=os.getpid(),
            host=socket.gethostname(),
            adopted=settings.url,
        )
        self._writer = SpoolWriter(settings.spool / run_id, begin, room=room)
        self._sender = Sender(self._writer, self._lock, settings, run_id)
        self._started = self._start()

    def _start(self) -> bool:
        try:
            self._sender.start()
        except RuntimeError:
            return False  # the interpreter is ending: the spool keeps it
        return True

    def append(self, record: Record) -> None:
        """Log a record. When this returns, the death of this process does not lose it."""
        with self._lock:
            self._writer.append(record)
            self._behind = True

    def flush(self, wait_s: float) -> bool:
        """Wait until the server has all that was logged before this call; say whether it has.

        Costs nothing when nothing was logged since the last time. One attempt is made.
        """
        with self._lock:
            behind, self._behind = self._behind, False
        if not behind:
            return True
        flushed = self._started and self._sender.flush(wait_s=wait_s, once=True)
        if not flushed:
            self._behind = True
        return flushed

    def close(self, wait_s: float) -> bool:
        """Bring what is left, and end; say whether all was brought.

        If not, it is in the spool and free for others to bring.
        """
        if self._started and self._sender.finish(wait_s=wait_s):
            return True
        with self._lock:
            lost = self._writer.finish()
        if lost:
            _log.warning("seafloor: %d records of run %s are lost: no room", lost, self.run_id)
        return False

    @property
    def is_cut_off(self) -> bool:
        """Whether the last attempt to send failed because the server is away, or still goes on."""
        error = self._sender.last_error
        return error is None or (isinstance(error, SeafloorError) and error.retryable)

    @property
    def problem(self) -> str:
        """Why the last attempt to send failed, in brackets; nothing if it did not."""
        error = self._sender.last_error
        return "" if error is None else f" ({error})"

    def abandon(self) -> None:
        """Let go of the file in a process that was forked: it is the parent's."""
        self._writer.abandon()


class Journals:
    """The journals of one server in this process, by run.

    In a forked child there are none, until it logs.

    Args:
        settings: As ``Journal``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._open: dict[str, Journal] = {}
        self._closed_by_pid = 0
        self._room = settings.spool_room()
        self._takeover = Takeover(settings)
        self._takeover.look()
        _all.add(self)

    def find(self, run_id: str) -> Journal | None:
        """Give the journal of a run that has one."""
        return self._open.get(run_id)

    def open(self, run_id: str) -> Journal:
        """Give the journal of a run, opened if it is not.

        When OPEN_MAX are, the one that was opened first is closed for it.
        """
        oldest = None
        with self._lock:
            journal = self._open.get(run_id)
            if journal is not None:
                return journal
            if len(self._open) >= OPEN_MAX:
                oldest = self._open.pop(next(iter(self._open)))
            journal = self._open.setdefault(run_id, Journal(run_id, self.settings, self._room))
            if self._closed_by_pid != os.getpid():
                self._closed_by_pid = os.getpid()
                _close_at_end_of_worker()
        if oldest is not None:
            self._close(oldest, wait_s=self.settings.exit_wait_s)
        return journal

    def open_for_others(self, run_id: str) -> None:
        """Open the journal of a run if other processes of this machine left something for it.

        A forked worker ends before it has sent what it logged; closing the journal brings it.
        """
        if run_id not in self._open and _has_segments(self.settings.spool / run_id):
            self.open(run_id)

    def flush(self, run_id: str | None, wait_s: float) -> list[Journal]:
        """Flush the journal of a run, or all, for at most ``wait_s`` in sum; give those behind."""
        deadline_s = time.monotonic() + wait_s
        if run_id is None:
            with self._lock:
                journals = list(self._open.values())
        else:
            found = self._open.get(run_id)
            journals = [] if found is None else [found]
        return [j for j in journals if not j.flush(max(0.0, deadline_s - time.monotonic()))]

    def close(self, run_id: str, wait_s: float) -> bool:
        """Close the journal of a run if it has one; say whether nothing of it is left."""
        with self._lock:
            journal = self._open.pop(run_id, None)
        return journal is None or self._close(journal, wait_s=wait_s)

    def _close(self, journal: Journal, *, wait_s: float) -> bool:
        if journal.close(wait_s):
            return True
        _log.warning(
            "seafloor: what run %s logged is not all on the server%s; it is on this disk and is "
            "sent when the server is back, by this process, a later one, or `seafloor sync`",
            journal.run_id,
            journal.problem,
        )
        self._takeover.look()
        return False

    def close_all(self) -> None:
        """Close all, for at most the time that the settings give a process that ends."""
        deadline_s = time.monotonic() + self.settings.exit_wait_s
        with self._lock:
            journals, self._open = list(self._open.values()), {}
        for journal in journals:
            self._close(journal, wait_s=max(0.0, deadline_s - time.monotonic()))

    def begin_anew(self) -> None:
        """Begin anew in a forked child: its parent's files, threads and locks are not its own."""
        for journal in self._open.values():
            journal.abandon()
        self._lock = threading.RLock()
        self._open = {}
        self._takeover = Takeover(self.settings)


def _has_segments(folder: Path) -> bool:
    try:
        return bool(list_segments(folder))
    except OSError:
        return False  # another user's


_all: weakref.WeakSet[Journals] = weakref.WeakSet()


def _close_at_exit() -> None:
    for journals in list(_all):
        journals.close_all()


def _close_at_end_of_worker() -> None:
    """Have a worker of ``multiprocessing`` close its journals: a forked one passes over atexit."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _close_at_exit, exitpriority=0)


def _after_fork() -> None:
    for journals in list(_all):
        journals.begin_anew()


atexit.register(_close_at_exit)
os.register_at_fork(after_in_child=_after_fork)
