"""What runs used and produced, over HTTP."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path, PurePosixPath

import msgspec

from seafloor.domain.errors import InvalidValue
from seafloor.domain.names import check_path
from seafloor.sdk.artifacts import fetch_file
from seafloor.sdk.transport import Request, Transport, quote, quote_path
from seafloor.wire.models import LoggedModelList, LoggedModelPut, LoggedModelView, RunInputs


class _Entry(msgspec.Struct, frozen=True):
    path: str
    is_dir: bool = False
    file_size: int = 0


class _Listing(msgspec.Struct, frozen=True):
    files: tuple[_Entry, ...] = ()


class _ModelInfo(msgspec.Struct, frozen=True):
    model_id: str


class _Model(msgspec.Struct, frozen=True):
    info: _ModelInfo


class _ModelPage(msgspec.Struct, frozen=True):
    models: tuple[_Model, ...] = ()
    next_page_token: str | None = None


class Models:
    """Inputs of runs, and the models that they logged.

    A model's files are reached by the paths that MLflow's clients use, the only ones they have.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

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

    def files(self, model_id: str, folder: str = "") -> Generator[tuple[str, int]]:
        """Read path and size of every file of a model."""
        query = [("path", f"{_root(model_id)}/{folder}".rstrip("/"))]
        request = Request("GET", "/api/2.0/mlflow-artifacts/artifacts", query=query)
        for entry in self._transport.call(request, _Listing).files:
            path = str(PurePosixPath(folder, entry.path))
            if entry.is_dir:
                yield from self.files(model_id, path)
            else:
                yield path, entry.file_size

    def put_file(self, model_id: str, path: str, source: Path) -> None:
        """Send a file of a model; it is visible when this returns, and only whole."""
        check_path(path)
        try:
            with source.open("rb") as file:
                size_bytes = source.stat().st_size
                request = Request("PUT", _address(model_id, path), body=file, size_bytes=size_bytes)
                self._transport.send(request)
        except OSError as error:
            raise InvalidValue(
                f'"{source}" cannot be read: {error.strerror or error}.', field="source"
            ) from error

    def get_file(self, model_id: str, path: str, target: Path) -> int:
        """Fetch a file of a model; see ``Artifacts.get``."""
        return fetch_file(self._transport, _address(model_id, check_path(path)), target)


def _root(model_id: str) -> str:
    return f"0/models/{model_id}/artifacts"


def _address(model_id: str, path: str) -> str:
    return f"/api/2.0/mlflow-artifacts/artifacts/{_root(model_id)}/{quote_path(path)}"
