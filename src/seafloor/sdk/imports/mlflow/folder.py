"""MLflow's file store, ``mlruns/``: a folder of YAML files, and a file for each key."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import SourceError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.models import DatasetInput
from seafloor.domain.quantities import shown_count
from seafloor.domain.traces import ARTIFACTS_TAG
from seafloor.sdk.imports.mlflow import words
from seafloor.sdk.imports.mlflow.traces import (
    ToldAssessment,
    ToldTrace,
    note_archived,
    trace_of,
)
from seafloor.sdk.imports.records import (
    BAD_DATA,
    ExperimentRecord,
    FileRecord,
    ModelRecord,
    RunRecord,
    Source,
    TraceRecord,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.walking import refused, shown
from seafloor.sdk.walking import files_below
from seafloor.wire.models import ModelMetricValue, ModelUse, RunInputs
from seafloor.wire.numbers import number_out

_META: Final = "meta.yaml"
_TRACE_INFO: Final = "trace_info.yaml"
_NOT_RUNS: Final = frozenset({"tags", "datasets", "traces", "models"})
_LINES_TOLD: Final = 5
_READ_OF_A_RUN: Final = frozenset(
    {_META, "metrics", "params", "tags", "artifacts", "inputs", "outputs"}
)

_Meta = dict[str, Any]


class FolderSource(Source):
    """An ``mlruns`` folder; implements ``Source``. Nothing is written to it.

    Args:
        root: The folder.
        artifacts: The folder behind ``mlflow-artifacts:``; None: unknown.
        report: Told of what has no place.

    Raises:
        SourceError: there is no such folder, or it is none of MLflow.
    """

    kind = words.KIND

    def __init__(self, root: Path, artifacts: Path | None, report: Report) -> None:
        self.label = f"the MLflow folder {root}"
        self._root = root
        self._report = report
        self._locations = words.Locations(root.resolve().parent, artifacts)
        self._runs: dict[str, Path] = {}
        self._models: dict[str, Path] = {}
        self._traces: dict[str, Path] = {}
        if not any(self._experiment_folders()):
            raise SourceError(
                f'"{root}" holds no experiment of MLflow (NUMBER/{_META}): give the mlruns folder.'
            )

    def close(self) -> None:
        """Nothing is open."""

    def _experiment_folders(self) -> Iterator[Path]:
        roots = (self._root, self._root / ".trash")
        for folder in itertools.chain(*map(self._folders, roots)):
            if folder.name != "models" and _has_meta(folder):
                yield folder

    def _folders(self, folder: Path) -> list[Path]:
        """The folders in one whose other contents do not hang on it; one that is bad is told."""
        try:
            return list(_folders(folder))
        except OSError as error:
            self._report.fail(shown(folder), f"it cannot be read: {error.strerror or error}")
            return []

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``."""
        for folder in self._experiment_folders():
            try:
                meta = self._meta(folder)
                if "name" not in meta:
                    self._report.fail(str(folder), f"{_META} names no experiment")
                    continue
                record = self._experiment(folder, meta)
            except BAD_DATA as error:
                self._report.fail(str(folder), f"it cannot be read: {error}")
                continue
            if meta.get("last_update_time"):
                self._report.leave_out(words.CHANGED_LATER, record.name)
            yield record

    def _experiment(self, folder: Path, meta: _Meta) -> ExperimentRecord:
        deleted = meta.get("lifecycle_stage") == "deleted" or folder.parent.name == ".trash"
        return ExperimentRecord(
            source_id=folder.relative_to(self._root).as_posix(),
            name=str(meta["name"]),
            created_ns=words.time_ns(meta.get("creation_time")),
            tags=self._texts(folder / "tags"),
            deleted=deleted,
            artifact_location=words.told_location(str(meta.get("artifact_location") or "")),
        )

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``; the oldest first."""
        there = self._root / experiment.source_id
        found: list[tuple[int, str, Path, _Meta]] = []
        for folder in self._folders(there):
            if folder.name in _NOT_RUNS:
                continue
            if not _has_meta(folder):
                self._report.leave_out("folder that is no run", str(folder))
                continue
            try:
                meta = self._meta(folder)
                run_id = str(meta.get("run_id") or meta["run_uuid"])
                found.append((int(meta.get("start_time") or 0), run_id, folder, meta))
            except BAD_DATA as error:
                self._report.fail(f"run {folder.name}", f"{_META} cannot be read: {error}")
        for _, run_id, folder, meta in sorted(found, key=lambda one: one[:2]):
            try:
                record = self._run(run_id, folder, meta)
            except BAD_DATA as error:
                self._report.fail(f"run {run_id}", f"it cannot be read: {error}")
                continue
            self._runs[run_id] = folder
            yield record
            del self._runs[run_id]

    def _run(self, run_id: str, folder: Path, meta: _Meta) -> RunRecord:
        tags = self._texts(folder / "tags")
        name = str(meta.get("run_name") or tags.get(words.NAME_TAG, ""))
        user = str(meta.get("user_id") or tags.get(words.USER_TAG, ""))
        status = meta.get("status", 1)
        if isinstance(status, int):
            status = words.RUN_STATUSES[status] if 0 < status < len(words.RUN_STATUSES) else ""
        for other in sorted(path.name for path in folder.iterdir()):
            if other not in _READ_OF_A_RUN:
                self._report.leave_out("file that MLflow does not tell of", f"{folder}/{other}")
        if meta.get("deleted_time"):
            self._report.leave_out(words.DELETED_AT, run_id)
        return RunRecord(
            source_id=run_id,
            name=name,
            user=user,
            state=words.run_state(str(status), report=self._report, run_id=run_id),
            started_ns=words.time_ns(meta.get("start_time")),
            ended_ns=words.time_ns(meta.get("end_time")),
            deleted=meta.get("lifecycle_stage") == "deleted",
            params=self._texts(folder / "params"),
            tags=words.without_own(tags, name=name, user=user),
            inputs=self._inputs(folder),
            other=words.old_fields(meta, tags),
            location=str(meta.get("artifact_uri") or ""),
        )

    def _inputs(self, folder: Path) -> RunInputs:
        datasets: list[DatasetInput] = []
        models: list[str] = []
        outputs: list[ModelUse] = []
        for found in _folders(folder / "inputs"):
            with self._told_if_bad(f"input {found.name} of run {folder.name}"):
                meta = self._meta(found)
                if meta.get("source_type") == "DATASET":
                    datasets.append(self._dataset(folder.parent, meta))
                else:
                    models.append(str(meta["source_id"]))
        for found in _folders(folder / "outputs"):
            with self._told_if_bad(f"output {found.name} of run {folder.name}"):
                meta = self._meta(found)
                outputs.append(ModelUse(str(meta["source_id"]), int(meta.get("step") or 0)))
        return RunInputs(tuple(datasets), tuple(models), tuple(outputs))

    @contextmanager
    def _told_if_bad(self, what: str) -> Generator[None]:
        """Go on without what cannot be read, and say so."""
        try:
            yield
        except BAD_DATA as error:
            self._report.fail(what, f"it cannot be read: {error}")

    def _dataset(self, experiment: Path, use: _Meta) -> DatasetInput:
        meta = self._meta(experiment / "datasets" / str(use["source_id"]))
        return DatasetInput(
            name=str(meta["name"]),
            digest=str(meta["digest"]),
            source_type=str(meta.get("source_type") or ""),
            source=str(meta.get("source") or ""),
            schema=meta.get("schema"),
            profile=meta.get("profile"),
            tags=msgspec.convert(use.get("tags") or {}, dict[str, str], strict=False),
        )

    def points(self, run: RunRecord) -> Iterator[Point]:
        """See ``Source``; a line that cannot be read is told to the report."""
        folder = self._runs[run.source_id] / "metrics"
        for path in _files(folder):
            key = _name(path, folder)
            bad: list[int] = []
            with path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    try:
                        point = _point(key, line.decode())
                    except (ValueError, IndexError, OverflowError):
                        bad.append(number)
                    else:
                        yield point
            if bad:
                told = ", ".join(map(str, bad[:_LINES_TOLD])) + (", …" * (len(bad) > _LINES_TOLD))
                self._report.fail(
                    f"{shown_count(len(bad), 'point')} of metric {key} of run {run.source_id}",
                    f'lines of "{_name(path)}" that cannot be read: {told}',
                )

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``; where the URI leads nowhere, what lies in the run's own folder."""
        own = self._runs[run.source_id] / "artifacts"
        return self._locations.files(
            run.location, owner=f"run {run.source_id}", report=report, else_=own
        )

    def models(self, experiment: ExperimentRecord, report: Report) -> Iterator[ModelRecord]:
        """See ``Source``."""
        for folder in self._folders(self._root / experiment.source_id / "models"):
            try:
                record = self._model(folder, self._meta(folder))
            except BAD_DATA as error:
                report.fail(f"model {folder.name}", f"it cannot be read: {error}")
                continue
            self._models[record.source_id] = folder
            report.leave_out(words.CHANGED_LATER, record.source_id)
            yield record

    def _model(self, folder: Path, meta: _Meta) -> ModelRecord:
        status = meta.get("status", 0)
        if isinstance(status, int):
            status = words.MODEL_STATUSES[status if 0 < status < 4 else 0]
        return ModelRecord(
            source_id=str(meta.get("model_id") or folder.name),
            name=str(meta.get("name") or ""),
            created_ns=int(meta.get("creation_timestamp") or 0) * 1_000_000,
            state=words.model_state(str(status)),
            source_run_id=meta.get("source_run_id") or None,
            model_type=str(meta.get("model_type") or ""),
            deleted=meta.get("lifecycle_stage") == "deleted",
            params=self._texts(folder / "params"),
            tags=self._texts(folder / "tags"),
            metrics=tuple(_model_metrics(folder / "metrics")),
            location=str(meta.get("artifact_location") or ""),
        )

    def model_files(self, model: ModelRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        own = self._models[model.source_id] / "artifacts"
        return self._locations.files(
            model.location, owner=f"model {model.source_id}", report=report, else_=own
        )

    def traces(self, experiment: ExperimentRecord, report: Report) -> Iterator[TraceRecord]:
        """See ``Source``; a folder links none to runs beside those that they were made in."""
        for folder in self._folders(self._root / experiment.source_id / "traces"):
            try:
                found = msgspec.convert(self._meta(folder, _TRACE_INFO), ToldTrace)
                told = [self._assessment(path) for path in _files(folder / "assessments")]
                tags = self._texts(folder / "tags")
                trace = trace_of(
                    msgspec.structs.replace(
                        found,
                        tags=tags,
                        trace_metadata=self._texts(folder / "request_metadata"),
                        assessments=told,
                    )
                )
            except BAD_DATA as error:
                report.fail(f"trace {folder.name}", f"it cannot be read: {error}")
                continue
            note_archived(tags, trace.id, report)
            self._traces = {trace.id: folder}
            yield TraceRecord(trace=trace, spans=0, location=tags.get(ARTIFACTS_TAG, ""))

    def _assessment(self, path: Path) -> ToldAssessment:
        return msgspec.convert(self._meta(path.parent, path.name), ToldAssessment)

    def trace_files(self, trace: TraceRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``; the spans are one of them."""
        own = self._traces[trace.trace.id] / "artifacts"
        owner = f"trace {trace.trace.id}"
        return self._locations.files(trace.location, owner=owner, report=report, else_=own)

    def tell_the_rest(self, report: Report) -> None:
        """See ``Source``: the model registry."""
        for folder in self._folders(self._root / "models"):
            with self._told_if_bad(f"registered model {folder.name}"):
                versions = [self._meta(one) for one in _folders(folder) if _is_version(one)]
                record = {**self._meta(folder), "versions": versions}
                report.keep(
                    "registered model: there is no registry here yet", "registered_models", [record]
                )

    def _texts(self, folder: Path) -> dict[str, str]:
        """A folder with a file for each key, in folders below it where the key has slashes.

        Raises:
            OSError: one may not be read now, and whose it is comes with it or not at all.
        """
        made: dict[str, str] = {}
        for path in _files(folder):
            content = path.read_bytes()
            with self._told_if_bad(f'what is in the file "{_name(path)}"'):
                made[_name(path, folder)] = content.decode()
        return made

    def _meta(self, folder: Path, name: str = _META) -> _Meta:
        import yaml

        try:
            text = (folder / name).read_text(encoding="utf-8")
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            return msgspec.convert(yaml.load(text, Loader=loader), _Meta)  # noqa: S506
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SourceError(f'"{folder / name}" cannot be read: {error}') from error


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_dir())


def _has_meta(folder: Path) -> bool:
    try:
        return (folder / _META).is_file()
    except OSError:
        return True  # reading it says what is wrong


def _name(path: Path, folder: Path | None = None) -> str:
    """A path, or the key that is its name below a folder, as a text even where it is none."""
    return shown(path if folder is None else path.relative_to(folder))


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder; one that may not be read now is an OSError."""
    return files_below(folder, odd=lambda _: None, bad=refused)


def _is_version(folder: Path) -> bool:
    return folder.name.startswith("version-") and (folder / _META).is_file()


def _point(key: str, line: str) -> Point:
    """Read ``TIME VALUE [STEP [DATASET DIGEST]]``; MLflow 0.x wrote no step."""
    parts = line.split()
    return Point(key, float(parts[1]), int(parts[2]) if len(parts) > 2 else 0, int(parts[0]))


def _model_metrics(folder: Path) -> Iterator[ModelMetricValue]:
    """Read lines of ``TIME VALUE STEP RUN [DATASET DIGEST]``."""
    for path in _files(folder):
        for line in path.read_text(encoding="utf-8").splitlines():
            parts = line.split(" ")
            dataset = parts[4:6] if len(parts) >= 6 else (None, None)
            yield ModelMetricValue(
                key=path.relative_to(folder).as_posix(),
                value=number_out(float(parts[1])),
                step=int(parts[2]),
                time_ms=int(parts[0]),
                run_id=WorkloadId(parts[3]),
                dataset_name=dataset[0],
                dataset_digest=dataset[1],
            )
