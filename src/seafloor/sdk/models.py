"""What runs used and produced, over HTTP."""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from seafloor.sdk.mlflow_files import MlflowFiles
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.models import LoggedModelList, LoggedModelPut, LoggedModelView, RunInputs


class _ModelInfo(msgspec.Struct, frozen=True):
    model_id: str


class _Model(msgspec.Struct, frozen=True):
    info: _ModelInfo


class _ModelPage(msgspec.Struct, frozen=True):
    models: tuple[_Model, ...] = ()
    next_page_token: str | None = None


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

    def of_run(self, run_id: str) -> LoggedModelList:
        """Read the models that a run logged."""
        request = Request("GET", f"/api/v1/runs/{quote(run_id)}/logged-models")
        return self._transport.call(request, LoggedModelList)

    def ids_in(self, experiment_id: int) -> Generator[str]:
        """Read the ids of the living models of an experiment, those of no run too."""
        search: dict[str, object] = {"experiment_ids": [str(experiment_id)], "max_results": 1000}
        while True:
            path = "/api/2.0/mlflow/logged-models/search"
            request = Request("POST", path, json=search, repeatable=True)
            page = self._transport.call(request, _ModelPage)
            yield from (model.info.model_id for model in page.models)
            if not page.next_page_token:
                return
            search["page_token"] = page.next_page_token

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

    def delete(self, model_id: str) -> None:
        """Delete a model; repeating is harmless."""
        path = f"/api/2.0/mlflow/logged-models/{quote(model_id)}"
        self._transport.send(Request("DELETE", path))

    def delete_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a model.

        Raises:
            NotFound: there is no such model, or it has no such tag.
        """
        path = f"/api/2.0/mlflow/logged-models/{quote(model_id)}/tags/{quote(key)}"
        self._transport.send(Request("DELETE", path))
