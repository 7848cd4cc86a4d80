"""Records for tests of metadata stores: short to write, each different where it must be."""

from __future__ import annotations

import math
from typing import Any

from msgspec.structs import replace

from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.environments import Environment
from seafloor.domain.experiments import Experiment
from seafloor.domain.ids import Sha256, WorkloadId
from seafloor.domain.metrics import MetricSummary
from seafloor.domain.models import LoggedModel
from seafloor.domain.traces import (
    Assessment,
    AssessmentKind,
    Span,
    SpanBatch,
    Trace,
    TraceState,
)
from seafloor.domain.workloads import Ending, Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.protocol import Labels, MetadataStore, NewEvent, Transition

T0_NS = 1_700_000_000_000_000_000


def run_id(number: int) -> WorkloadId:
    """An id that sorts by its number."""
    return WorkloadId(f"{number:032x}")


def run(number: int = 1, **changes: Any) -> Workload:
    """A tracked run in ``running``, a nanosecond younger than the one before."""
    made = Workload(
        id=run_id(number),
        kind=WorkloadKind.RUN,
        project="default",
        experiment_id=0,
        name=f"run {number}",
        user="ada",
        state=WorkloadState.RUNNING,
        origin="tracked",
        created_ns=T0_NS + number,
        updated_ns=T0_NS + number,
        started_ns=T0_NS + number,
    )
    return replace(made, **changes)


def launched(number: int = 1, **changes: Any) -> Workload:
    """A launched run with attempt 1 in ``queued``."""
    return run(
        number,
        **{
            "origin": "launched",
            "state": WorkloadState.QUEUED,
            "started_ns": None,
            "attempt": 1,
            **changes,
        },
    )


def summary(key: str, *values: float) -> MetricSummary:
    """What is known of a series with these values at the steps 0, 1, …"""
    numbers = [value for value in values if not math.isnan(value)]
    least, greatest = min(numbers, default=None), max(numbers, default=None)
    return MetricSummary(
        key=key,
        points=len(values),
        nans=len(values) - len(numbers),
        last=values[-1],
        last_step=len(values) - 1,
        last_time_ms=0,
        min=least,
        max=greatest,
        min_step=None if least is None else values.index(least),
        max_step=None if greatest is None else values.index(greatest),
    )


def note(text: str = "something happened", *, time_ns: int = T0_NS) -> NewEvent:
    """An event."""
    return NewEvent(time_ns, "user", text)


def labels(params: dict[str, str] | None = None, tags: dict[str, str] | None = None) -> Labels:
    """Params and tags."""
    return Labels(params=params or {}, tags=tags or {})


async def create(
    store: MetadataStore,
    workload: Workload,
    *,
    params: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Workload:
    """Create a workload with labels."""
    return await store.workload_create(
        workload,
        labels=labels(params, tags),
        event=note("it began"),
        idempotency_key=idempotency_key,
    )


def entering(state: WorkloadState, *expected: WorkloadState, **more: Any) -> Transition:
    """A transition; one to a final state has an end and an ending."""
    if state.is_final:
        more = {"ended_ns": T0_NS + 9, "ending": Ending(reason="it ended", exit_code=0), **more}
    event = note(f"it is {state}", time_ns=T0_NS + 8)
    return Transition(expected=expected, state=state, event=event, **more)


def experiment(name: str = "digits", **changes: Any) -> Experiment:
    """An experiment to create."""
    made = Experiment(id=-1, project="default", name=name, created_ns=T0_NS, updated_ns=T0_NS)
    return replace(made, **changes)


def environment(name: str = "torch", *, digest: str = "1" * 64, **changes: Any) -> Environment:
    """An environment to create."""
    made = Environment(
        project="default",
        name=name,
        version=0,
        python="3.11.2",
        pip=("six", "numpy<3"),
        lock="numpy==2.0.0\nsix==1.17.0\n",
        digest=digest,
        created_ns=T0_NS,
    )
    return replace(made, **changes)


def model(number: int = 1, **changes: Any) -> LoggedModel:
    """A logged model to create."""
    made = LoggedModel(
        id=f"m-{number:032x}",
        experiment_id=0,
        name="cnn",
        created_ns=T0_NS + number,
        updated_ns=T0_NS + number,
    )
    return replace(made, **changes)


def file(path: str, *, size_bytes: int = 3, sha256: str = "a" * 64) -> ArtifactFile:
    """A manifest row."""
    return ArtifactFile(path, size_bytes, Sha256(sha256), T0_NS)


def trace(number: int = 1, **changes: Any) -> Trace:
    """A trace as a client tells of it, a second younger than the one before."""
    made = Trace(
        id=f"tr-{number:032x}",
        experiment_id=0,
        time_ms=T0_NS // 1_000_000 + 1_000 * number,
        duration_ms=100,
        state=TraceState.OK,
    )
    return replace(made, **changes)


def span(number: int = 1, **changes: Any) -> Span:
    """A span; the first one is the root, the others stand below it, each a millisecond later."""
    made = Span(
        id=f"{number:016x}",
        parent_id=None if number == 1 else f"{1:016x}",
        name=f"span {number}",
        type="CHAIN",
        status="OK",
        start_ns=T0_NS + 1_000_000 * number,
        end_ns=T0_NS + 10_000_000 * number,
        document=b'{"name":"span %d","span_id":"%016x"}' % (number, number),
    )
    return replace(made, **changes)


def spans(number: int = 1, *several: Span, **changes: Any) -> SpanBatch:
    """Spans of a trace that came together."""
    made = SpanBatch(trace_id=trace(number).id, experiment_id=0, spans=several or (span(),))
    return replace(made, **changes)


def assessment(number: int = 1, **changes: Any) -> Assessment:
    """A feedback of a trace."""
    made = Assessment(
        id=f"a-{number}",
        trace_id=trace().id,
        name="good",
        kind=AssessmentKind.FEEDBACK,
        value=True,
        source_type="HUMAN",
        created_ms=number,
        updated_ms=number,
    )
    return replace(made, **changes)
