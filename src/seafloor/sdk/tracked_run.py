"""A run that this process logs to: the spool's writer in front, the sender behind."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from seafloor.domain.errors import Closed, Conflict
from seafloor.domain.metrics import Point
from seafloor.sdk.logged_files import LoggedFiles
from seafloor.sdk.sender import Sender
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import SpoolWriter
from seafloor.sdk.values import Number, check_params, check_step, check_tags, make_points
from seafloor.sdk.wal import Begin, End, Params, Points, Record, Tags
from seafloor.wire.runs import RunCreate

_POINTS_PER_RECORD: Final = 1_000

_log = logging.getLogger("seafloor")

EndState = Literal["succeeded", "failed", "stopped"]


@dataclass(frozen=True)
class RunStart:
    """How a run begins.

    Args:
        run: As it is created; with its id.
        launched: Whether Seafloor started it, so that it exists and ends without us.
        resumed: Whether it may have ended before.
    """

    run: RunCreate
    launched: bool
    resumed: bool


class Run:
    """A run that this process logs to. Made by ``start_run``; may be used from several threads.

    As a context manager it ends the run: ``succeeded``, or ``failed`` when an exception leaves.
    In a process that Seafloor launched it is the launched run, which ends when its command does.

    A forked child logs to the same run with a file of its own.
    """

    def __init__(
        self, start: RunStart, settings: Settings, *, on_end: Callable[[Run], None]
    ) -> None:
        self.id = start.run.id or ""
        self.name = start.run.name
        self._start = start
        self._settings = settings
        self._on_end = on_end
        self._owner_pid = os.getpid()
        self._ended = False
        self._params: dict[str, str] = {}
        self._next_steps: dict[str, int] = {}
        self._lock = threading.Lock()
        self._writer: SpoolWriter | None = None
        self._sender: Sender | None = None
        self._files = LoggedFiles(settings.spool / self.id / "files")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        state, reason = verdict_of(error)
        self.end(state, reason=reason)

    def __repr__(self) -> str:
        return f"<seafloor.Run {self.id}{f' {self.name}' if self.name else ''}>"

    def log_metric(self, key: str, value: Number, step: int | None = None) -> None:
        """Log one value of one metric; see ``log_metrics``."""
        self.log_metrics({key: value}, step)

    def log_metrics(self, metrics: Mapping[str, Number], step: int | None = None) -> None:
        """Log values of metrics.

        Args:
            metrics: Key to value: anything with ``__float__`` (Python's, NumPy's and torch's
                numbers); true and false are 1 and 0; NaN and infinities are kept.
            step: int64; None: for each key one more than its last one in this process, from 0.

        Raises:
            InvalidValue: a key, a value or the step is none. Nothing was logged.
            Closed: the run has ended.
        """
        now_ms = time.time_ns() // 1_000_000
        number = None if step is None else check_step(step)
        pairs = make_points(metrics)
        with self._lock:
            steps = self._next_steps
            points: list[Point] = []
            for key, value in pairs:
                at = steps.get(key, 0) if number is None else number
                steps[key] = at + 1
                points.append(Point(key, value, at, now_ms))
            for first in range(0, len(points), _POINTS_PER_RECORD):
                self._append(Points(points[first : first + _POINTS_PER_RECORD]))

    def log_param(self, key: str, value: object) -> None:
        """Log one param; see ``log_params``."""
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log params: what the run was given. One never changes its value.

        Args:
            params: Key to value, kept as ``str(value)``.

        Raises:
            InvalidValue, LimitExceeded: a key or a value is none. Nothing was logged.
            Conflict: a param has another value in this process already. Nothing was logged.
            Closed: the run has ended.
        """
        texts = check_params(params)
        with self._lock:
            for key, text in texts.items():
                known = self._params.get(key, text)
                if known != text:
                    raise Conflict(
                        f'The param "{key}" is "{known[:80]}" already and a param never changes: '
                        "log it under another key, or as a tag.",
                        field=key,
                    )
            self._params.update(texts)
            self._append(Params(texts))

    def set_tag(self, key: str, value: object) -> None:
        """Set one tag; see ``set_tags``."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; the last value stays.

        Args:
            tags: Key to value, kept as ``str(value)``.

        Raises:
            InvalidValue, LimitExceeded: a key or a value is none. Nothing was set.
            Closed: the run has ended.
        """
        texts = check_tags(tags)
        with self._lock:
            self._append(Tags(texts))

    def log_artifact(self, file: str | os.PathLike[str], folder: str = "") -> None:
        """Keep a file with the run.

        The file is copied when this is called, so it may change or go afterwards. One larger
        than 256 MiB is not copied: it must stay as it is until it was sent, or it is refused.

        Args:
            file: Of this machine.
            folder: Below which it is kept, under its own name; ``""``: at the top.

        Raises:
            InvalidValue: there is no such file, or the path cannot be kept.
            Closed: the run has ended.
        """
        for record in self._files.take(Path(file), folder):
            with self._lock:
                self._append(record)

    def log_artifacts(self, directory: str | os.PathLike[str], folder: str = "") -> None:
        """Keep all files below a directory with the run; see ``log_artifact``.

        Args:
            directory: Of this machine; links to directories are not followed.
            folder: Below which they are kept, as they are below the directory.
        """
        for record in self._files.take_all(Path(directory), folder):
            with self._lock:
                self._append(record)

    def flush(self, wait_s: float = 30.0) -> bool:
        """Wait until the server has all that was logged before this call.

        Args:
            wait_s: At most.

        Returns:
            Whether it has.
        """
        with self._lock:
            sender = self._sender
        return sender is not None and sender.flush(wait_s=wait_s)

    def end(self, state: EndState = "succeeded", *, reason: str = "") -> None:
        """End the run and bring what is left, for at most SEAFLOOR_EXIT_WAIT_S (10 s).

        What could not be brought stays in the spool for ``seafloor sync``. In a launched run
        only the bringing is done: the run ends when its command does. Ending twice is harmless.

        Args:
            state: How it ended.
            reason: One sentence, shown with it.
        """
        with self._lock:
            if self._ended:
                return
            if self._writer is None and os.getpid() != self._owner_pid:
                self._ended = True  # a forked child that logged nothing
                return
            self._append(End(state, reason, time.time_ns()))
            self._ended = True
            sender, writer = self._sender, self._writer
        self._on_end(self)
        if sender is None or writer is None:
            return
        if not sender.finish(wait_s=self._settings.exit_wait_s):
            with self._lock:
                writer.retry()
                writer.close()
                waiting = len(writer.pending) + writer.dropped.records
            _say_left(self, sender.last_error, waiting)

    def _append(self, record: Record) -> None:
        """Write a record. The lock is held."""
        if self._ended:
            raise Closed(f"Run {self.name or self.id} has ended: it takes no more.")
        writer = self._writer
        if writer is None:
            writer = self._begin()
        writer.append(record)

    def _begin(self) -> SpoolWriter:
        pid = os.getpid()
        begin = Begin(
            run=self._start.run,
            owner=pid == self._owner_pid,
            launched=self._start.launched,
            resumed=self._start.resumed,
            pid=pid,
            host=socket.gethostname(),
        )
        writer = self._writer = SpoolWriter(self._settings.spool / self.id, begin)
        sender = Sender(writer, self._lock, self._settings, self.id)
        try:
            sender.start()
        except RuntimeError:
            return writer  # the interpreter is ending: the spool keeps it
        self._sender = sender
        return writer

    def begin(self) -> None:
        """Have the run be known to the server before anything is logged to it."""
        with self._lock:
            writer = self._begin()
            writer.open()

    def begin_anew(self) -> None:
        """Begin anew in a forked child: its parent's file, thread and lock are not its own."""
        self._lock = threading.Lock()
        if self._writer is not None:
            self._writer.abandon()
        self._writer = None
        self._sender = None


def verdict_of(error: BaseException | None) -> tuple[EndState, str]:
    """Say how a run ended that an exception left, or none."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "succeeded", ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted from the keyboard"
    if isinstance(error, SystemExit):
        return "failed", f"exited with {error.code}"
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return "failed", text if len(text) <= 500 else text[:499] + "…"


def _say_left(run: Run, error: Exception | None, in_memory: int) -> None:
    why = f" ({error})" if error is not None else ""
    _log.warning(
        "seafloor: what run %s logged is not all on the server%s; the rest is on this disk: "
        "send it with `seafloor sync`",
        run.id,
        why,
    )
    if in_memory:
        _log.warning("seafloor: %d records of run %s are lost: the disk is full", in_memory, run.id)
