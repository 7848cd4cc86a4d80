"""What the model remembers, and how it finds it."""

from __future__ import annotations

from dataclasses import dataclass, field

from seafloor.domain.environments import Environment
from seafloor.domain.errors import NotFound, nearest
from seafloor.domain.experiments import (
    DEFAULT_EXPERIMENT_ID,
    DEFAULT_EXPERIMENT_NAME,
    DEFAULT_PROJECT,
    Experiment,
    Project,
)
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Lease
from seafloor.domain.models import DatasetInput, LoggedModel, ModelMetric, ModelOutput
from seafloor.domain.traces import Span, Trace
from seafloor.domain.volumes import Volume, VolumeSnapshot, VolumeUse
from seafloor.domain.workloads import Attempt, Event, Task, Workload, WorkloadState
from seafloor.stores.metadata.protocol import Labels, NewEvent


def _first_projects() -> dict[str, Project]:
    return {DEFAULT_PROJECT: Project(DEFAULT_PROJECT, 0)}


def _first_experiments() -> dict[int, Experiment]:
    first = Experiment(
        id=DEFAULT_EXPERIMENT_ID,
        project=DEFAULT_PROJECT,
        name=DEFAULT_EXPERIMENT_NAME,
        created_ns=0,
        updated_ns=0,
    )
    return {first.id: first}


@dataclass
class WorkloadRows:
    """Everything of one workload."""

    workload: Workload
    idempotency_key: str | None
    labels: Labels
    attempts: dict[int, Attempt] = field(default_factory=dict[int, Attempt])
    events: list[Event] = field(default_factory=list[Event])
    datasets: list[DatasetInput] = field(default_factory=list[DatasetInput])
    models: list[str] = field(default_factory=list[str])
    outputs: list[ModelOutput] = field(default_factory=list[ModelOutput])
    volumes: tuple[VolumeUse, ...] = ()
    tasks: dict[tuple[int, str], Task] = field(default_factory=dict[tuple[int, str], Task])

    def add_event(self, new: NewEvent, *, state: WorkloadState | None = None) -> Event:
        """Append an event with the next number."""
        made = Event(
            sequence=len(self.events) + 1,
            time_ns=new.time_ns,
            kind=new.kind if state is None else "state",
            actor=new.actor,
            message=new.message,
            attempt=self.workload.attempt or None,
            state=state,
        )
        self.events.append(made)
        return made


@dataclass
class VolumeRows:
    """Everything of one volume."""

    volume: Volume
    content_last: int
    snapshots: dict[int, VolumeSnapshot] = field(default_factory=dict[int, VolumeSnapshot])
    deleted: bool = False


@dataclass
class Rows:
    """Everything."""

    projects: dict[str, Project] = field(default_factory=_first_projects)
    experiments: dict[int, Experiment] = field(default_factory=_first_experiments)
    experiment_id: int = DEFAULT_EXPERIMENT_ID  # the newest one's, also when it is gone
    workloads: dict[str, WorkloadRows] = field(default_factory=dict[str, WorkloadRows])
    environments: list[Environment] = field(default_factory=list[Environment])
    leases: dict[str, Lease] = field(default_factory=dict[str, Lease])
    installation: dict[str, bytes] = field(default_factory=dict[str, bytes])
    models: dict[str, LoggedModel] = field(default_factory=dict[str, LoggedModel])
    model_metrics: dict[str, list[ModelMetric]] = field(
        default_factory=dict[str, list[ModelMetric]]
    )
    traces: dict[str, Trace] = field(default_factory=dict[str, Trace])
    spans: dict[str, dict[str, Span]] = field(default_factory=dict[str, dict[str, Span]])
    trace_runs: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    volumes: dict[str, VolumeRows] = field(default_factory=dict[str, VolumeRows])

    def check_project(self, name: str) -> None:
        """Refuse a project that does not exist, with the nearest name."""
        if name not in self.projects:
            raise NotFound(
                f'There is no project "{name}".{nearest(name, self.projects)}', field="project"
            )

    def experiment(self, experiment_id: int) -> Experiment:
        """Get an experiment, or NotFound."""
        found = self.experiments.get(experiment_id)
        if found is None:
            raise NotFound(f"No Experiment with id={experiment_id} exists.", field="experiment_id")
        return found

    def of_workload(self, workload_id: WorkloadId) -> WorkloadRows:
        """Get the rows of a workload, or NotFound."""
        found = self.workloads.get(workload_id)
        if found is None:
            raise NotFound(f"Run with id={workload_id} not found.", field="id")
        return found

    def model(self, model_id: str) -> LoggedModel:
        """Get a logged model, or NotFound."""
        found = self.models.get(model_id)
        if found is None:
            raise NotFound(f"Logged model with ID '{model_id}' not found.", field="model_id")
        return found
