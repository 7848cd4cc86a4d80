"""Brings logged models: their params, tags, metric values and files, under the ids they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import NotFound, SourceError
from seafloor.domain.experiments import Experiment
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX
from seafloor.domain.models import LoggedModelState
from seafloor.sdk.client import Client
from seafloor.sdk.imports.fitting import IN_REPORT, Fit, is_key
from seafloor.sdk.imports.records import ModelRecord, Source, model_id_of, run_id_of
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.runs_here import RunsHere
from seafloor.sdk.imports.transfer import MISSING_TAG, bring_files, left_out, pieces
from seafloor.wire.models import LoggedModelPut, ModelMetricValue

TAG_CHARS_MAX: Final = 20_000
_METRICS_PER_CALL: Final = 1_000


class ModelImporter:
    """Brings the models of one source to one server; see ``Importer``."""

    def __init__(
        self, client: Client, source: Source, report: Report, runs: RunsHere, *, files: bool
    ) -> None:
        self._client = client
        self._source = source
        self._report = report
        self._runs = runs
        self._files = files

    def is_here(self, model: ModelRecord) -> bool:
        """Whether an earlier import brought all of it."""
        try:
            found = self._client.models.get(model_id_of(self._source.kind, model.source_id))
        except NotFound:
            return False
        if found.deleted_ns is not None:
            return True
        if MISSING_TAG in found.tags and self._files:
            return False
        # One that is pending at the source is pending here before all of it came, and after.
        return found.state == model.state != "pending" and not model.deleted

    def bring(self, model: ModelRecord, experiment: Experiment) -> None:
        """Bring one; a repeat is harmless. It is pending until all of it is here."""
        self._check_runs(model)
        model_id = model_id_of(self._source.kind, model.source_id)
        fit = Fit(self._report, f"model {model_id}", kept_in=IN_REPORT)
        source_run_id = model.source_run_id
        put = LoggedModelPut(
            experiment_id=experiment.id,
            name=fit.name(model.name, what="model name", default=model_id),
            created_ns=fit.time_ns(model.created_ns, what="creation of a model") or 0,
            model_type=fit.text(model.model_type, what="type of a model", key="model_type"),
            source_run_id=run_id_of(self._source.kind, source_run_id) if source_run_id else None,
            params=fit.labels(model.params, what="param of a model", chars_max=TAG_CHARS_MAX),
            tags=fit.labels(model.tags, what="tag of a model", chars_max=TAG_CHARS_MAX),
        )
        put = self._put(model_id, put, fit)
        missing = self._bring_files(model_id, model, experiment.project)
        if missing:
            put = msgspec.structs.replace(put, tags={**put.tags, MISSING_TAG: missing})
        for some in pieces(self._metrics(model.metrics, fit), _METRICS_PER_CALL):
            self._client.models.put(model_id, msgspec.structs.replace(put, metrics=tuple(some)))
        if fit.rest:
            self._report.kept.setdefault("models", []).append({"id": model.source_id, **fit.rest})
        if model.state != "pending":
            state = LoggedModelState(model.state)
            put = msgspec.structs.replace(put, state=state)
        made = self._client.models.put(model_id, put)
        if MISSING_TAG in made.tags and not missing:
            self._client.models.delete_tag(model_id, MISSING_TAG, workspace=experiment.project)
        if model.deleted:
            self._client.models.delete(model_id, workspace=experiment.project)
        self._report.models += 1

    def _check_runs(self, model: ModelRecord) -> None:
        """Refuse one that names a run which a repeat may bring: without it, it would stay so.

        Raises:
            SourceError: it does.
        """
        for name in {model.source_run_id, *(metric.run_id for metric in model.metrics)}:
            if not name or not self._report.has_failed(f"run {name}"):
                continue
            if run_id_of(self._source.kind, name) not in self._runs:
                raise SourceError(f"Run {name}, which it names, did not come: it waits for that.")

    def _put(self, model_id: str, put: LoggedModelPut, fit: Fit) -> LoggedModelPut:
        try:
            self._client.models.put(model_id, put)
        except NotFound:
            fit.note("model whose run is not here: it is of no run")
            put = msgspec.structs.replace(put, source_run_id=None)
            self._client.models.put(model_id, put)
        return put

    def _bring_files(self, model_id: str, model: ModelRecord, project: str) -> str:
        """Bring all of them, also again: the listing here tells no digests to compare with."""
        files = self._source.model_files(model, self._report)
        if not self._files:
            return left_out(files)

        def send(path: str, local: Path) -> int:
            self._client.models.put_file(model_id, path, local, workspace=project)
            return local.stat().st_size

        return bring_files(files, send, owner=f"model {model_id}", report=self._report)

    def _metrics(self, metrics: Iterable[ModelMetricValue], fit: Fit) -> Iterator[ModelMetricValue]:
        for metric in metrics:
            fits = STEP_MIN <= metric.step <= STEP_MAX and 0 <= metric.time_ms <= TIME_MS_MAX
            if not (fits and is_key(metric.key) and metric.run_id):
                fit.odd_point(msgspec.to_builtins(metric), key=metric.key)
                continue
            run_id = run_id_of(self._source.kind, metric.run_id)
            if run_id in self._runs:
                yield msgspec.structs.replace(metric, run_id=run_id)
            else:
                fit.no_run(msgspec.to_builtins(metric), key=metric.key)
