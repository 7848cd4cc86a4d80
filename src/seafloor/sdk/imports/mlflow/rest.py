"""A running MLflow tracking server, read by its REST API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from seafloor.domain.errors import NotFound, NotSupported, SourceError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.models import DatasetInput
from seafloor.domain.traces import (
    ARTIFACTS_TAG,
    RUN_KEY,
    SPANS_ARE_HERE,
    SPANS_TAG,
    Trace,
)
from seafloor.sdk.imports.mlflow import words
from seafloor.sdk.imports.mlflow.api import EXPERIMENTS, MlflowApi
from seafloor.sdk.imports.mlflow.traces import SPANS_FILE, ToldTrace, note_archived, trace_of
from seafloor.sdk.imports.records import (
    ExperimentRecord,
    FileRecord,
    ModelRecord,
    RunRecord,
    Source,
    TraceRecord,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.transport import quote, quote_path
from seafloor.wire.models import MlflowDataset, ModelMetricValue, ModelUse, RunInputs
from seafloor.wire.numbers import WireNumber, number_in, number_out

_API: Final = "/api/2.0/mlflow"
_API_3: Final = "/api/3.0/mlflow"
_TRACES_PER_PAGE: Final = 100
_SIZES_KEY: Final = "mlflow.trace.sizeStats"
_RUNS_PER_PAGE: Final = 200
_POINTS_PER_PAGE: Final = 25_000


class _Pair(msgspec.Struct):
    key: str
    value: str = ""


class _Experiment(msgspec.Struct):
    experiment_id: str
    name: str = ""
    artifact_location: str = ""
    lifecycle_stage: str = "active"
    creation_time: int = 0
    last_update_time: int = 0
    tags: list[_Pair] = []


class _Experiments(msgspec.Struct):
    experiments: list[_Experiment] = []
    next_page_token: str = ""


class _Info(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    run_name: str = ""
    user_id: str = ""
    status: str = "RUNNING"
    start_time: int = 0
    end_time: int = 0
    lifecycle_stage: str = "active"
    artifact_uri: str = ""


class _Metric(msgspec.Struct):
    key: str = ""
    value: WireNumber = 0.0
    timestamp: int = 0
    step: int = 0
    run_id: str = ""
    dataset_name: str | None = None
    dataset_digest: str | None = None


class _Data(msgspec.Struct):
    metrics: list[_Metric] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _DatasetInput(msgspec.Struct):
    dataset: MlflowDataset
    tags: list[_Pair] = []


class _ModelUse(msgspec.Struct):
    model_id: str
    step: int = 0


class _Inputs(msgspec.Struct):
    dataset_inputs: list[_DatasetInput] = []
    model_inputs: list[_ModelUse] = []


class _Outputs(msgspec.Struct):
    model_outputs: list[_ModelUse] = []


class _Run(msgspec.Struct):
    info: _Info
    data: _Data = msgspec.field(default_factory=_Data)
    inputs: _Inputs = msgspec.field(default_factory=_Inputs)
    outputs: _Outputs = msgspec.field(default_factory=_Outputs)


class _OneRun(msgspec.Struct):
    run: _Run


class _Runs(msgspec.Struct):
    runs: list[_Run] = []
    next_page_token: str = ""


class _History(msgspec.Struct):
    metrics: list[_Metric] = []
    next_page_token: str = ""


class _ModelInfo(msgspec.Struct):
    model_id: str
    name: str = ""
    creation_timestamp_ms: int = 0
    artifact_uri: str = ""
    status: str = ""
    status_message: str = ""
    model_type: str = ""
    source_run_id: str = ""
    tags: list[_Pair] = []


class _Model(msgspec.Struct):
    info: _ModelInfo
    data: _Data = msgspec.field(default_factory=_Data)


class _Models(msgspec.Struct):
    models: list[_Model] = []
    next_page_token: str = ""


class _Sizes(msgspec.Struct):
    num_spans: int | None = None


class _Traces(msgspec.Struct):
    traces: list[ToldTrace] = []
    next_page_token: str = ""


class _TraceData(msgspec.Struct):
    spans: list[msgspec.Raw] = []


class _WholeTrace(msgspec.Struct):
    trace: _TraceData = msgspec.field(default_factory=_TraceData)


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False
    file_size: int | None = None


class _Files(msgspec.Struct):
    root_uri: str = ""
    files: list[_File] = []
    next_page_token: str = ""


class RestSource(Source):
    """An MLflow server; implements ``Source``. It is only read.

    Args:
        api: The server.
        report: Told of what has no place.

    Raises:
        SourceError: it does not answer, or is none.
    """

    kind = words.KIND

    def __init__(self, api: MlflowApi, report: Report) -> None:
        self.label = f"the MLflow server {api.url}"
        self._api = api
        self._report = report
        self._keys: dict[str, list[str]] = {}
        try:
            api.post(EXPERIMENTS, {"max_results": 1}, _Experiments)
        except NotFound as error:
            raise SourceError(
                f"{api.url} is not the address of an MLflow server of version 1.28 or later."
            ) from error

    def close(self) -> None:
        """Close idle connections."""
        self._api.close()

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``."""
        token = ""
        while True:
            body = {"max_results": 1000, "view_type": "ALL", "page_token": token}
            page = self._api.post(EXPERIMENTS, body, _Experiments)
            for found in page.experiments:
                if found.last_update_time:
                    self._report.leave_out(words.CHANGED_LATER, found.name)
                yield ExperimentRecord(
                    source_id=found.experiment_id,
                    name=found.name,
                    created_ns=words.time_ns(found.creation_time),
                    tags=_pairs(found.tags),
                    deleted=found.lifecycle_stage == "deleted",
                    artifact_location=words.told_location(found.artifact_location),
                )
            token = page.next_page_token
            if not token:
                return

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``; the oldest first, so that those that come meanwhile are met too."""
        for found in self._found_runs(experiment):
            run_id = found.info.run_id or found.info.run_uuid
            try:
                whole = self._whole(found)
            except NotFound:
                self._report.leave_out("run that was deleted for good meanwhile", run_id)
            except SourceError as error:
                self._report.fail(f"run {run_id}", error.message)
            else:
                yield self._run(whole)

    def _found_runs(self, experiment: ExperimentRecord) -> Iterator[_Run]:
        token = ""
        while True:
            body = {
                "experiment_ids": [experiment.source_id],
                "run_view_type": "ALL",
                "max_results": _RUNS_PER_PAGE,
                "order_by": ["attributes.start_time ASC"],
                "page_token": token,
            }
            page = self._api.post(f"{_API}/runs/search", body, _Runs)
            yield from page.runs
            token = page.next_page_token
            if not token:
                return

    def _whole(self, found: _Run) -> _Run:
        """A run as it is told alone: a search leaves out the models that it used."""
        run_id = found.info.run_id or found.info.run_uuid
        query = {"run_id": run_id, "run_uuid": run_id}
        return self._api.get(f"{_API}/runs/get", query, _OneRun).run

    def _run(self, found: _Run) -> RunRecord:
        info, tags = found.info, _pairs(found.data.tags)
        run_id = info.run_id or info.run_uuid
        name = info.run_name or tags.get(words.NAME_TAG, "")
        user = info.user_id or tags.get(words.USER_TAG, "")
        self._keys = {run_id: [metric.key for metric in found.data.metrics]}
        return RunRecord(
            source_id=run_id,
            name=name,
            user=user,
            state=words.run_state(info.status, report=self._report, run_id=run_id),
            started_ns=words.time_ns(info.start_time),
            ended_ns=words.time_ns(info.end_time),
            deleted=info.lifecycle_stage == "deleted",
            params=_pairs(found.data.params),
            tags=words.without_own(tags, name=name, user=user),
            inputs=_inputs(found),
            location=info.artifact_uri,
        )

    def points(self, run: RunRecord) -> Iterator[Point]:
        """See ``Source``; one request a key and 25,000 points."""
        for key in self._keys.get(run.source_id, ()):
            token = ""
            while True:
                query = {
                    "run_id": run.source_id,
                    "run_uuid": run.source_id,
                    "metric_key": key,
                    "max_results": _POINTS_PER_PAGE,
                }
                if token:
                    query["page_token"] = token
                page = self._api.get(f"{_API}/metrics/get-history", query, _History)
                for found in page.metrics:
                    yield Point(key, number_in(found.value), found.step, found.timestamp)
                token = page.next_page_token
                if not token:
                    break

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        run_id = run.source_id
        proxied = _proxied(run.location)

        def listing(folder: str) -> _Files:
            query = {"run_id": run_id, "run_uuid": run_id, "path": folder}
            return self._api.get(f"{_API}/artifacts/list", query, _Files)

        def fetch(path: str, target: Path) -> Path:
            if proxied is not None:
                return self._api.download(f"{proxied}/{quote_path(path)}", [], target)
            query = [("path", path), ("run_uuid", run_id), ("run_id", run_id)]
            return self._api.download("/get-artifact", query, target)

        return _walk(listing, fetch, owner=f"run {run_id}", report=report)

    def models(self, experiment: ExperimentRecord, report: Report) -> Iterator[ModelRecord]:
        """See ``Source``; the living ones, for the API tells of no others."""
        token = ""
        while True:
            body: dict[str, object] = {"experiment_ids": [experiment.source_id], "max_results": 50}
            if token:
                body["page_token"] = token
            try:
                page = self._api.post(f"{_API}/logged-models/search", body, _Models)
            except NotFound:
                return  # MLflow 2 has none
            for found in page.models:
                report.leave_out(words.CHANGED_LATER, found.info.model_id)
                if found.info.status_message:
                    said = f"{found.info.model_id}: {found.info.status_message}"
                    report.leave_out("status message of a model", said)
                yield _model(found)
            token = page.next_page_token
            if not token:
                return

    def model_files(self, model: ModelRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        model_id = model.source_id
        proxied = _proxied(model.location)
        base = f"/logged-models/{quote(model_id)}/artifacts"

        def listing(folder: str) -> _Files:
            query = {"artifact_directory_path": folder}
            return self._api.get(f"{_API}{base}/directories", query, _Files)

        def fetch(path: str, target: Path) -> Path:
            if proxied is not None:
                return self._api.download(f"{proxied}/{quote_path(path)}", [], target)
            query = [("artifact_file_path", path)]
            return self._api.download(f"/ajax-api/2.0/mlflow{base}/files", query, target)

        return _walk(listing, fetch, owner=f"model {model_id}", report=report)

    def traces(self, experiment: ExperimentRecord, report: Report) -> Iterator[TraceRecord]:
        """See ``Source``; links to runs of the same experiment, for the API lists no others."""
        links: dict[str, list[str]] | None = None
        for found in self._traces_of(experiment):
            if links is None:  # there are traces
                links = self._links(experiment)
            try:
                trace = trace_of(found)
            except (SourceError, ValueError) as error:
                report.fail(f"trace {found.trace_id}", f"it cannot be read: {error}")
                continue
            note_archived(trace.tags, trace.id, report)
            yield TraceRecord(
                trace=trace,
                runs=tuple(links.get(trace.id, ())),
                spans=_spans_told(trace),
                location=found.tags.get(ARTIFACTS_TAG, ""),
            )

    def _traces_of(self, experiment: ExperimentRecord, wanted: str = "") -> Iterator[ToldTrace]:
        place = {"experiment_id": experiment.source_id}
        token = ""
        while True:
            body: dict[str, object] = {
                "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": place}],
                "max_results": _TRACES_PER_PAGE,
                "order_by": ["timestamp_ms ASC"],
            }
            if wanted:
                body["filter"] = wanted
            if token:
                body["page_token"] = token
            try:
                page = self._api.post(f"{_API_3}/traces/search", body, _Traces)
            except NotFound:
                return  # MLflow 2 has no such route
            yield from page.traces
            token = page.next_page_token
            if not token:
                return

    def _links(self, experiment: ExperimentRecord) -> dict[str, list[str]]:
        """Runs by the traces that are linked to them, without those in which they were made."""
        made: dict[str, list[str]] = {}
        for run in self._found_runs(experiment):
            run_id = run.info.run_id or run.info.run_uuid
            for trace in self._traces_of(experiment, f"run_id = '{run_id}'"):
                if trace.trace_metadata.get(RUN_KEY) != run_id:
                    made.setdefault(trace.trace_id, []).append(run_id)
        return made

    def spans(self, trace: TraceRecord) -> Iterator[bytes]:
        """See ``Source``; () where they are among the files."""
        if trace.trace.tags.get(SPANS_TAG) != SPANS_ARE_HERE:
            return
        query = {"trace_id": trace.trace.id, "allow_partial": "true"}
        found = self._api.get(f"{_API_3}/traces/get", query, _WholeTrace)
        for span in found.trace.spans:
            yield msgspec.json.format(bytes(span), indent=-1)  # MLflow 3.9 breaks its lines

    def trace_files(self, trace: TraceRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``; behind another store than the server's only the spans can be had."""
        proxied = _proxied(trace.location)
        trace_id = trace.trace.id
        if proxied is None:
            if trace.trace.tags.get(SPANS_TAG) != SPANS_ARE_HERE:
                query = [("request_id", trace_id)]
                route = "/ajax-api/2.0/mlflow/get-trace-artifact"
                yield FileRecord(
                    SPANS_FILE, None, lambda target: self._api.download(route, query, target)
                )
            return
        folder = words.artifact_path(trace.location)

        def listing(below: str) -> _Files:
            path = f"{folder}/{below}".rstrip("/")
            found = self._api.get("/api/2.0/mlflow-artifacts/artifacts", {"path": path}, _Files)
            for file in found.files:
                file.path = str(PurePosixPath(below, file.path))
            return found

        def fetch(path: str, target: Path) -> Path:
            return self._api.download(f"{proxied}/{quote_path(path)}", [], target)

        yield from _walk(listing, fetch, owner=f"trace {trace_id}", report=report)

    def tell_the_rest(self, report: Report) -> None:
        """See ``Source``: the model registry. What else the API has is not asked for."""
        for kind, what in (
            ("registered-models", "registered model: there is no registry here yet"),
            (
                "model-versions",
                "version of a registered model: there is no registry here yet",
            ),
        ):
            token = ""
            while True:
                query: dict[str, str | int] = {"max_results": 100}
                if token:
                    query["page_token"] = token
                try:
                    page = self._api.get(f"{_API}/{kind}/search", query, dict[str, Any])
                except (NotFound, NotSupported):
                    break  # a server without a registry
                except SourceError as error:
                    report.fail(f"{kind} of {self.label}", error.message)
                    break
                report.keep(what, kind, page.get(kind.replace("-", "_"), []))
                token = page.get("next_page_token", "")
                if not token:
                    break


def _pairs(pairs: list[_Pair]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def _inputs(found: _Run) -> RunInputs:
    return RunInputs(
        datasets=tuple(
            DatasetInput(
                name=one.dataset.name,
                digest=one.dataset.digest,
                source_type=one.dataset.source_type,
                source=one.dataset.source,
                schema=one.dataset.schema,
                profile=one.dataset.profile,
                tags=_pairs(one.tags),
            )
            for one in found.inputs.dataset_inputs
        ),
        models=tuple(use.model_id for use in found.inputs.model_inputs),
        outputs=tuple(ModelUse(use.model_id, use.step) for use in found.outputs.model_outputs),
    )


def _model(found: _Model) -> ModelRecord:
    info = found.info
    return ModelRecord(
        source_id=info.model_id,
        name=info.name,
        created_ns=info.creation_timestamp_ms * 1_000_000,
        state=words.model_state(info.status),
        source_run_id=info.source_run_id or None,
        model_type=info.model_type,
        params=_pairs(found.data.params),
        tags=_pairs(info.tags),
        metrics=tuple(
            ModelMetricValue(
                key=metric.key,
                value=number_out(number_in(metric.value)),
                step=metric.step,
                time_ms=metric.timestamp,
                run_id=WorkloadId(metric.run_id or info.source_run_id),
                dataset_name=metric.dataset_name,
                dataset_digest=metric.dataset_digest,
            )
            for metric in found.data.metrics
        ),
        location=info.artifact_uri,
    )


def _spans_told(trace: Trace) -> int | None:
    """How many spans a client said that a trace has."""
    try:
        told = msgspec.json.decode(trace.metadata.get(_SIZES_KEY, "{}"), type=_Sizes)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return told.num_spans


def _proxied(uri: str) -> str | None:
    """The route behind which a server keeps files itself; None: they are somewhere else."""
    if not uri.startswith("mlflow-artifacts:"):
        return None
    return f"/api/2.0/mlflow-artifacts/artifacts/{quote_path(words.artifact_path(uri))}"


def _walk(
    listing: Callable[[str], _Files],
    fetch: Callable[[str, Path], Path],
    *,
    owner: str,
    report: Report,
) -> Iterator[FileRecord]:
    """All files below the root; a folder that cannot be listed is noted as a failure."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            found = listing(folder).files
        except NotFound:
            continue  # nothing was ever kept
        except SourceError as error:
            report.fail(f"files of {owner}", error.message)
            continue
        for file in found:
            path = str(PurePosixPath(file.path))
            if file.is_dir:
                folders.append(path)
            else:
                yield FileRecord(
                    path, file.file_size, lambda target, there=path: fetch(there, target)
                )
