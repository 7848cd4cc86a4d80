"""From the app's values to the wire's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from seafloor.app.charts import Chart
from seafloor.app.clock import Clock
from seafloor.app.environments import EnvironmentDetails
from seafloor.app.runs import RunDetails
from seafloor.domain.code import ArchiveCode, CodeSource, GitCode, ImageCode
from seafloor.domain.metrics import Bucket, MetricSummary, SeriesPoint
from seafloor.wire.environments import EnvironmentView
from seafloor.wire.metrics import BucketOut, SeriesPointOut
from seafloor.wire.numbers import WireNumber, number_out
from seafloor.wire.runs import ComparedValue, Comparison, ExperimentRef, MetricView, RunView


class Views:
    """Makes views.

    Args:
        url: Where pages are.
        clock: For how long something that has not ended has taken.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock

    def run(self, details: RunDetails, *, alone: bool = False) -> RunView:
        """Show a run; with its spec when it is shown alone."""
        workload = details.workload
        duration_s = None
        if workload.started_ns is not None:
            ended_ns = workload.ended_ns
            until_ns = self._clock.now_ns() if ended_ns is None else ended_ns
            duration_s = max(0, until_ns - workload.started_ns) / 1e9
        return RunView(
            id=workload.id,
            kind=workload.kind,
            project=workload.project,
            experiment=ExperimentRef(details.experiment.id, details.experiment.name),
            name=workload.name,
            user=workload.user,
            state=workload.state,
            origin=workload.origin,
            created_ns=workload.created_ns,
            updated_ns=workload.updated_ns,
            started_ns=workload.started_ns,
            ended_ns=workload.ended_ns,
            deleted_ns=workload.deleted_ns,
            duration_s=duration_s,
            attempt=workload.attempt,
            url=f"{self._url}/runs/{workload.id}",
            code=workload.code,
            environment=workload.environment,
            ending=details.ending,
            params=details.labels.params,
            tags=details.labels.tags,
            metrics={summary.key: metric_view(summary) for summary in details.metrics},
            spec=workload.spec if alone else {},
        )

    def comparison(self, runs: Sequence[RunDetails]) -> Comparison:
        """Lay runs side by side."""
        attributes = {
            "name": [run.workload.name for run in runs],
            "experiment": [run.experiment.name for run in runs],
            "state": [str(run.workload.state) for run in runs],
            "user": [run.workload.user for run in runs],
            "code": [shown_code(run.workload.code) for run in runs],
            "environment": [run.workload.environment for run in runs],
            "command": [shown_commands(run.workload.spec) for run in runs],
        }
        params = sorted({key for run in runs for key in run.labels.params})
        metrics = sorted({summary.key for run in runs for summary in run.metrics})
        last = [{summary.key: number_out(summary.last) for summary in run.metrics} for run in runs]
        return Comparison(
            runs=tuple(self.run(run) for run in runs),
            attributes=tuple(_compared(key, values) for key, values in attributes.items()),
            params=tuple(
                _compared(key, [run.labels.params.get(key) for run in runs]) for key in params
            ),
            metrics=tuple(_compared(key, [found.get(key) for found in last]) for key in metrics),
        )


def _compared(key: str, values: Sequence[str | float | None]) -> ComparedValue:
    return ComparedValue(key, tuple(values), differs=len(set(values)) > 1)


def shown_code(code: CodeSource | None) -> str | None:
    """One short text for where code came from."""
    if code is None:
        return None
    if isinstance(code, GitCode):
        return f"{code.folder}@{code.commit[:12]}"
    if isinstance(code, ImageCode):
        return "image"
    if isinstance(code, ArchiveCode):
        which = code.sha256[:12] if code.sha256 is not None else f"etag {code.etag}"
        return f"{code.folder} archive {which}"
    return f"{code.folder} snapshot {code.sha256[:12]}"


def shown_commands(spec: Mapping[str, Any]) -> str | None:
    """One text for the command of a run, be it a line or a list; or for those of its tasks.

    >>> shown_commands({"command": ["python", "train.py"]})
    'python train.py'
    >>> shown_commands({"tasks": {"worker": {"replicas": 2, "command": "train"}}})
    '2 worker: train'
    """
    tasks: Mapping[str, Any] = spec.get("tasks") or {}
    if tasks:
        return "; ".join(
            f"{task.get('replicas', 1)} {role}: {_shown_command(task.get('command'))}"
            for role, task in tasks.items()
        )
    return _shown_command(spec.get("command"))


def _shown_command(command: object) -> str | None:
    if isinstance(command, list):
        return " ".join(str(part) for part in cast(list[object], command))
    return command if isinstance(command, str) else None


def metric_view(summary: MetricSummary) -> MetricView:
    """Show a series' summary."""
    return MetricView(
        points=summary.points,
        nans=summary.nans,
        last=number_out(summary.last),
        last_step=summary.last_step,
        last_time_ms=summary.last_time_ms,
        min=None if summary.min is None else number_out(summary.min),
        max=None if summary.max is None else number_out(summary.max),
        min_step=summary.min_step,
        max_step=summary.max_step,
    )


def series_point(point: SeriesPoint) -> SeriesPointOut:
    """Show a point of a series."""
    return SeriesPointOut(point.step, point.time_ms, number_out(point.value))


def chart(
    found: Chart,
) -> tuple[tuple[BucketOut, ...], tuple[tuple[WireNumber | None, WireNumber | None], ...]]:
    """Show a chart: its buckets, and their places on the axis."""
    places = tuple((_place(begin), _place(end)) for begin, end in found.x)
    return tuple(bucket(one) for one in found.buckets), places


def _place(found: float | None) -> WireNumber | None:
    return None if found is None else number_out(found)


def bucket(found: Bucket) -> BucketOut:
    """Show a bucket of a chart."""
    return BucketOut(
        step_first=found.step_first,
        step_last=found.step_last,
        time_ms_first=found.time_ms_first,
        time_ms_last=found.time_ms_last,
        first=number_out(found.first),
        last=number_out(found.last),
        min=None if found.min is None else number_out(found.min),
        max=None if found.max is None else number_out(found.max),
        points=found.points,
        nans=found.nans,
    )


def environment(details: EnvironmentDetails) -> EnvironmentView:
    """Show an environment version."""
    found = details.environment
    return EnvironmentView(
        reference=f"{found.name}@{found.version}",
        environment=found,
        built=details.size_bytes is not None,
        size_bytes=details.size_bytes,
    )
