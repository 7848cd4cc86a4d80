"""What runs used and produced, over HTTP."""

from __future__ import annotations

from collections.abc import Generator

from seafloor.domain.experiments import DEFAULT_PROJECT
from seafloor.sdk.mlflow_files import MlflowFiles
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.models import (
    LoggedModelList,
    LoggedModelPage,
    LoggedModelPut,
    LoggedModelView,
    RunInputs,
)


class Models(MlflowFiles):
    """Inputs of runs, and the models that they logged, with their files."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport, kind="models")

    def inputs(self, run_id: str) -> RunInputs:
        """Read what a run used and produced."""
        request = Request("GET", f"/api/v1/runs/{quote(run_id)}/inputs")
        return self._transport.call(request, RunInputs)

    def add_inputs(self, run_id: str, inputs: RunInputs) -> RunInputs:
        """Note what a run used and produced; repeats are one."""
        path = f"/api/v1/runs/{quote(run_id)}/inputs"
        return self._transport.call(Request("POST", path, json=inputs, repeatable=True), RunInputs)

    def of_run(self, run_id: str, *, deleted: str = "active") -> LoggedModelList:
        """Read the models that a run logged.

        Args:
            deleted: ``active``, ``deleted`` or ``all``.
        """
        path = f"/api/v1/runs/{quote(run_id)}/logged-models"
        return self._transport.call(
            Request("GET", path, query=[("deleted", deleted)]), LoggedModelList
        )

    def in_experiment(
        self, experiment_id: int, *, deleted: str = "active"
    ) -> Generator[LoggedModelView]:
        """Read the models of an experiment by id, those that no run logged too; see ``of_run``.

        Raises:
            NotFound: no such experiment.
        """
        path = f"/api/v1/experiments/{experiment_id}/logged-models"
        cursor: str | None = ""
        while cursor is not None:
            query = [("deleted", deleted), ("cursor", cursor)]
            page = self._transport.call(Request("GET", path, query=query), LoggedModelPage)
            yield from page.items
            cursor = page.next

    def put(self, model_id: str, model: LoggedModelPut) -> LoggedModelView:
        """Keep a model under the id it has; a repeat is harmless.

        Raises:
            NotFound: no such experiment or run.
            Conflict: another model has the id.
        """
        request = Request("PUT", f"/api/v1/logged-models/{quote(model_id)}", json=model)
        return self._transport.call(request, LoggedModelView)

    def get(self, model_id: str) -> LoggedModelView:
        """Read a model, a deleted one too.

        Raises:
            NotFound: there is none.
        """
        request = Request("GET", f"/api/v1/logged-models/{quote(model_id)}")
        return self._transport.call(request, LoggedModelView)

    def delete(self, model_id: str, *, workspace: str = DEFAULT_PROJECT) -> None:
        """Delete a model; repeating is harmless."""
        path = f"/api/2.0/mlflow/logged-models/{quote(model_id)}"
        self._transport.send(Request("DELETE", path, headers=self._inside(workspace)))

    def delete_tag(self, model_id: str, key: str, *, workspace: str = DEFAULT_PROJECT) -> None:
        """Delete a tag of a model.

        Raises:
            NotFound: there is no such model, or it has no such tag.
        """
        path = f"/api/2.0/mlflow/logged-models/{quote(model_id)}/tags/{quote(key)}"
        self._transport.send(Request("DELETE", path, headers=self._inside(workspace)))
