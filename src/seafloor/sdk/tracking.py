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
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from seafloor.domain.errors import Conflict
from seafloor.domain.experiments import DEFAULT_EXPERIMENT_NAME
from seafloor.domain.ids import parse_workload_id, workload_id_from_parts
from seafloor.domain.names import check_name, check_slug
from seafloor.sdk.settings import Settings, read_settings
from seafloor.sdk.tracked_run import EndState, Run, RunStart, verdict_of
from seafloor.sdk.values import Number, check_params, check_tags
from seafloor.wire.runs import RunCreate

__all__ = [
    "Run",
    "active_run",
    "end_run",
    "log_artifact",
    "log_artifacts",
    "log_audio",
    "log_histogram",
    "log_image",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "set_tag",
    "set_tags",
    "start_run",
]

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
    start = RunStart(create, launched=launched, resumed=run_id is not None)
    run = Run(start, settings, on_end=_forget)
    if not _runs:
        atexit.register(_end_at_exit)
    # Known here before the server can know it: a signal's exception may come between any two steps.
    _runs.append(run)
    with ExitStack() as stack:
        stack.push(run)
        run.begin()
        if first_params:
            run.log_params(first_params)
        if first_tags:
            run.set_tags(first_tags)
        _active = run
        stack.pop_all()
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


def log_histogram(
    key: str,
    values: object = None,
    step: int | None = None,
    *,
    bins: int = 64,
    edges: Iterable[float] | None = None,
    counts: Iterable[float] | None = None,
) -> None:
    """Log how values are spread to the active run; see ``Run.log_histogram``."""
    _current().log_histogram(key, values, step, bins=bins, edges=edges, counts=counts)


def log_image(key: str, image: object, step: int | None = None) -> None:
    """Log a picture to the active run; see ``Run.log_image``."""
    _current().log_image(key, image, step)


def log_table(key: str, table: object, step: int | None = None) -> None:
    """Log a table to the active run; see ``Run.log_table``."""
    _current().log_table(key, table, step)


def log_text(key: str, text: object, step: int | None = None) -> None:
    """Log a text to the active run; see ``Run.log_text``."""
    _current().log_text(key, text, step)


def log_audio(
    key: str, audio: object, step: int | None = None, *, sample_rate: int | None = None
) -> None:
    """Log a sound to the active run; see ``Run.log_audio``."""
    _current().log_audio(key, audio, step, sample_rate=sample_rate)


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


def _end_at_exit() -> None:
    """End what the script did not end. An exception that nobody caught makes it a failure."""
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    state, reason = verdict_of(error)
    for run in tuple(_runs):
        run.end(state, reason=reason)


def _forget(run: Run) -> None:
    global _active
    if run in _runs:
        _runs.remove(run)
    if _active is run:
        _active = None


def _after_fork() -> None:
    for run in _runs:
        run.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
