"""Projects and experiments over HTTP."""

from __future__ import annotations

from seafloor.domain.experiments import Experiment, Project
from seafloor.sdk.transport import Request, Transport
from seafloor.wire.experiments import (
    ExperimentCreate,
    ExperimentList,
    ExperimentUpdate,
    ProjectCreate,
    ProjectList,
)

_EXPERIMENTS = "/api/v1/experiments"


class Experiments:
    """``/api/v1/experiments`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, experiment: ExperimentCreate) -> Experiment:
        """Create an experiment.

        Raises:
            AlreadyExists: the name is taken.
        """
        return self._transport.call(Request("POST", _EXPERIMENTS, json=experiment), Experiment)

    def get(self, experiment_id: int) -> Experiment:
        """Read an experiment."""
        return self._transport.call(Request("GET", f"{_EXPERIMENTS}/{experiment_id}"), Experiment)

    def list(self, *, project: str | None = None, deleted: str | None = None) -> ExperimentList:
        """Read the experiments of a project, or of all.

        Args:
            project: Its name; None: all.
            deleted: ``active`` (as None), ``deleted`` or ``all``.
        """
        query = [("project", project), ("deleted", deleted)]
        request = Request("GET", _EXPERIMENTS, query=query)
        return self._transport.call(request, ExperimentList)

    def update(self, experiment_id: int, update: ExperimentUpdate) -> Experiment:
        """Change an experiment; fields that are absent stay."""
        request = Request("PATCH", f"{_EXPERIMENTS}/{experiment_id}", json=update)
        return self._transport.call(request, Experiment)

    def delete(self, experiment_id: int) -> None:
        """Delete an experiment; it can be restored."""
        self._transport.send(Request("DELETE", f"{_EXPERIMENTS}/{experiment_id}"))

    def restore(self, experiment_id: int) -> Experiment:
        """Bring a deleted experiment back."""
        path = f"{_EXPERIMENTS}/{experiment_id}/restore"
        return self._transport.call(Request("POST", path, repeatable=True), Experiment)


class Projects:
    """``/api/v1/projects`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str) -> Project:
        """Create a project.

        Raises:
            AlreadyExists: the name is taken.
        """
        request = Request("POST", "/api/v1/projects", json=ProjectCreate(name))
        return self._transport.call(request, Project)

    def list(self) -> ProjectList:
        """Read all projects."""
        return self._transport.call(Request("GET", "/api/v1/projects"), ProjectList)
