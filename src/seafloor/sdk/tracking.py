"""Tracking: what a training script calls. It never waits for the disk or the network.

    import seafloor

    with seafloor.start_run(experiment="digits", params={"lr": 0.1}):
        for epoch in range(10):
            seafloor.log_metrics({"loss": 1 / (epoch + 1)}, step=epoch)

Every record goes to the spool first, in one write, and from there to the server, by a thread.
Only the caller's own mistakes raise; a full disk or a server that is away never does.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from seafloor.domain.errors import Closed, Conflict
from seafloor.domain.experiments import DEFAULT_EXPERIMENT_NAME
from seafloor.domain.ids import parse_workload_id, workload_id_from_parts
from seafloor.domain.metrics import Point
from seafloor.domain.names import check_name, check_slug
from seafloor.sdk.logged_files import LoggedFiles
from seafloor.sdk.sender import Sender
from seafloor.sdk.settings import Settings, read_settings
from seafloor.sdk.spool import SpoolWriter
from seafloor.sdk.values import Number, check_params, check_step, check_tags, make_points
from seafloor.sdk.wal import Begin, End, Params, Points, Record, Tags
from seafloor.wire.runs import RunCreate

EndState = Literal["succeeded", "failed", "stopped"]


class Run:
    """A run that this process logs to. Made by ``start_run``; may be used from several threads.

    As a context manager it ends the run: ``succeeded``, or ``failed`` when an exception leaves.
    In a process that Seafloor launched it is the launched run, which ends when its command does.

    A forked child logs to the same run with a file of its own.
    """

    def __init__(
        self, run: RunCreate, settings: Settings, *, launched: bool, resumed: bool
    ) -> None:
        self.id = run.id or ""
        self.name = run.name
        self._create = run
        self._settings = settings
        self._launched = launched
        self._resumed = resumed
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
        state, reason = _verdict(error)
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
        _forget(self)
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
            run=self._create,
            owner=pid == self._owner_pid,
            launched=self._launched,
            resumed=self._resumed,
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

    def _open(self) -> None:
        """Have the run be known to the server before anything is logged to it."""
        with self._lock:
            writer = self._begin()
            writer.open()

    def _forked(self) -> None:
        """Begin anew in a child: its parent's file, thread and lock are not its own."""
        self._lock = threading.Lock()
        if self._writer is not None:
            self._writer.abandon()
        self._writer = None
        self._sender = None


_POINTS_PER_RECORD = 1_000

_active: Run | None = None
_runs: list[Run] = []


def start_run(
    name: str | None = None,
    *,
    experiment: str | None = None,
    project: str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    run_id: str | None = None,
) -> Run:
    """Start a run, go on with one, or, in a launched process, log to the launched one.

    Returns at once: the run is made known to the server by a thread.

    Args:
        name: Of the run; None: one is made up.
        experiment: Its experiment, created if it is not there; None: SEAFLOOR_EXPERIMENT, or
            ``Default``.
        project: None: SEAFLOOR_PROJECT, or ``default``.
        params, tags: Logged at once.
        run_id: A run to go on with, or the id of the new one; None: a new one.

    In a process that Seafloor launched, name, experiment and project are those of the launched
    run and what is given here does not change them.

    Raises:
        InvalidValue: a name, a key or the id is none. Nothing was started.
        Conflict: another run is active in this process.
    """
    global _active
    if _active is not None:
        raise Conflict(
            f"Run {_active.name or _active.id} is active in this process: end it first with "
            "seafloor.end_run(), or use `with seafloor.start_run(…):`."
        )
    settings = read_settings()
    create = RunCreate(
        id=_choose_id(run_id, settings),
        project=check_slug(project or settings.project, field="project"),
        experiment=check_name(
            experiment or settings.experiment or DEFAULT_EXPERIMENT_NAME, field="experiment"
        ),
        name=None if name is None else check_name(name),
        user=_user(),
        started_ns=time.time_ns(),
    )
    first_params, first_tags = check_params(params or {}), check_tags(tags or {})
    launched = run_id is None and settings.run_id is not None
    run = Run(create, settings, launched=launched, resumed=run_id is not None)
    run._open()  # pyright: ignore[reportPrivateUsage]
    if first_params:
        run.log_params(first_params)
    if first_tags:
        run.set_tags(first_tags)
    if not _runs:
        atexit.register(_end_at_exit)
    _runs.append(run)
    _active = run
    return run


def active_run() -> Run | None:
    """The run that the functions of this module log to, if one was started."""
    return _active


def end_run(state: EndState = "succeeded", *, reason: str = "") -> None:
    """End the active run; see ``Run.end``. Without one nothing happens."""
    if _active is not None:
        _active.end(state, reason=reason)


def log_metric(key: str, value: Number, step: int | None = None) -> None:
    """Log one value of one metric to the active run; see ``Run.log_metrics``."""
    _current().log_metrics({key: value}, step)


def log_metrics(metrics: Mapping[str, Number], step: int | None = None) -> None:
    """Log values of metrics to the active run; see ``Run.log_metrics``."""
    _current().log_metrics(metrics, step)


def log_param(key: str, value: object) -> None:
    """Log one param to the active run; see ``Run.log_params``."""
    _current().log_params({key: value})


def log_params(params: Mapping[str, object]) -> None:
    """Log params to the active run; see ``Run.log_params``."""
    _current().log_params(params)


def set_tag(key: str, value: object) -> None:
    """Set one tag of the active run; see ``Run.set_tags``."""
    _current().set_tags({key: value})


def set_tags(tags: Mapping[str, object]) -> None:
    """Set tags of the active run; see ``Run.set_tags``."""
    _current().set_tags(tags)


def log_artifact(file: str | os.PathLike[str], folder: str = "") -> None:
    """Keep a file with the active run; see ``Run.log_artifact``."""
    _current().log_artifact(file, folder)


def log_artifacts(directory: str | os.PathLike[str], folder: str = "") -> None:
    """Keep all files below a directory with the active run; see ``Run.log_artifacts``."""
    _current().log_artifacts(directory, folder)


def _current() -> Run:
    """The active run; one is started when there is none, so that no script fails for it."""
    return start_run() if _active is None else _active


def _choose_id(run_id: str | None, settings: Settings) -> str:
    if run_id is not None:
        return parse_workload_id(run_id, field="run_id")
    if settings.run_id is not None:
        return settings.run_id
    return workload_id_from_parts(
        time_ms=time.time_ns() // 1_000_000, random_bits=secrets.randbits(74)
    )


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""  # a container's user need not have a name


def _verdict(error: BaseException | None) -> tuple[EndState, str]:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "succeeded", ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted from the keyboard"
    if isinstance(error, SystemExit):
        return "failed", f"exited with {error.code}"
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return "failed", text if len(text) <= 500 else text[:499] + "…"


def _end_at_exit() -> None:
    """End what the script did not end. An exception that nobody caught makes it a failure."""
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    state, reason = _verdict(error)
    for run in tuple(_runs):
        run.end(state, reason=reason)


def _forget(run: Run) -> None:
    global _active
    if run in _runs:
        _runs.remove(run)
    if _active is run:
        _active = None


def _say_left(run: Run, error: Exception | None, in_memory: int) -> None:
    import logging

    why = f" ({error})" if error is not None else ""
    log = logging.getLogger("seafloor")
    log.warning(
        "seafloor: what run %s logged is not all on the server%s; the rest is on this disk: "
        "send it with `seafloor sync`",
        run.id,
        why,
    )
    if in_memory:
        log.warning("seafloor: %d records of run %s are lost: the disk is full", in_memory, run.id)


def _after_fork() -> None:
    for run in _runs:
        run._forked()  # pyright: ignore[reportPrivateUsage]


os.register_at_fork(after_in_child=_after_fork)
