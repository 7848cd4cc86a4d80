"""An export of neptune-exporter as a source."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError
from seafloor.domain.media import MediaRecord
from seafloor.domain.metrics import Point
from seafloor.sdk.imports.neptune.tables import VALUES, Row, RunRows, find_runs
from seafloor.sdk.imports.records import (
    ExperimentRecord,
    FileRecord,
    MediaItem,
    RunRecord,
    RunState,
    Source,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.walking import local_file, local_files
from seafloor.sdk.logged_media import Taken, take_histogram, take_image, take_text

MULTIPLIER_TAG: Final = "neptune.stepMultiplier"
SYSTEM: Final = "sys/"
_POINTS: Final = "float_series"
_TEXTS: Final = "string_series"
_HISTOGRAMS: Final = "histogram_series"
_FILES: Final = ("file", "file_set", "artifact")
_FILE_SERIES: Final = "file_series"
_KNOWN: Final = (*VALUES, _POINTS, _TEXTS, _HISTOGRAMS, *_FILES, _FILE_SERIES)
_SERIES: Final = ("attribute_path", "step", "timestamp")
_LOGS: Final = frozenset({"stdout", "stderr"})
"""The last part of paths under which Neptune keeps what a run printed, a line at a time."""
_PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"})
_NAMELESS: Final = frozenset({"", "Untitled"})


@dataclass
class _Run:
    """What is known of a run while it is brought.

    Args:
        multiplier: What steps are multiplied by so that all are whole.
        started_ms: What stands for times that are missing.
        logs: Paths of series that are what it printed.
    """

    rows: RunRows
    multiplier: int = 1
    started_ms: int = 0
    logs: tuple[str, ...] = ()


class NeptuneSource(Source):
    """An export. Nothing is written to it.

    Args:
        root: The folder with the Parquet files somewhere below it.
        files: The folder given to the exporter as ``--files-path``; None: ``files`` in the root or
            beside it, if there is one.
        report: Told of what has no place.

    Raises:
        SourceError: there is no run.
        NotSupported: pyarrow is not installed.
    """

    kind = "neptune"

    def __init__(self, root: Path, files: Path | None, report: Report) -> None:
        if not root.is_dir():
            raise SourceError(f'There is no folder "{root}".')
        self.label = f"the Neptune export {root}"
        self._report = report
        found = find_runs(root, lambda path, reason: report.fail(str(path), reason))
        if not found:
            why = f" ({report.failures[0].reason})" if report.failures else ""
            raise SourceError(
                f'"{root}" holds no Parquet file of neptune-exporter{why}: give the folder that '
                "it was given as --data-path."
            )
        beside = (root / "files", root.parent / "files")
        self._files = files or next((one for one in beside if one.is_dir()), None)
        self._projects: dict[str, list[RunRows]] = {}
        for rows in found:
            self._projects.setdefault(rows.project_id, []).append(rows)
        self._runs: dict[str, _Run] = {}

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``: the projects."""
        for project in self._projects:
            yield ExperimentRecord(source_id=project, name=project)

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``."""
        for rows in self._projects[experiment.source_id]:
            source_id = f"{rows.project_id}/{rows.run_id}"
            try:
                record = self._record(source_id, rows)
            except SourceError as error:
                self._report.fail(f"run {source_id}", error.message)
                continue
            yield record
            del self._runs[source_id]

    def _record(self, source_id: str, rows: RunRows) -> RunRecord:
        values = {
            str(row["attribute_path"]): _value(row)
            for row in rows.read(
                *VALUES, columns=("attribute_path", "attribute_type", *VALUES.values())
            )
        }
        values = {path: value for path, value in values.items() if value is not None}
        system = {
            path[len(SYSTEM) :]: value for path, value in values.items() if path.startswith(SYSTEM)
        }
        for kind, count in rows.count_others(*_KNOWN).items():
            self._report.leave_out(
                f"attribute of the type {kind}: no value in the export", source_id, count=count
            )
        created_ns = _time_ns(system.get("creation_time"))
        run = self._runs[source_id] = _Run(rows, started_ms=(created_ns or 0) // 1_000_000)
        self._look_at_series(run, source_id)
        tags = {f"neptune.{key}": _text(value) for key, value in system.items()}
        tags["neptune.runId"] = rows.run_id
        if run.multiplier != 1:
            tags[MULTIPLIER_TAG] = str(run.multiplier)
        if system.get("description"):
            tags["mlflow.note.content"] = str(system["description"])
        name = str(system.get("name") or "")
        return RunRecord(
            source_id=source_id,
            name=rows.run_id if name in _NAMELESS else name,
            user=str(system.get("owner") or ""),
            state=self._state(source_id, system),
            created_ns=created_ns,
            started_ns=created_ns,
            ended_ns=_time_ns(system.get("ping_time") or system.get("modification_time")),
            deleted=system.get("trashed") is True,
            params={
                path: _text(value) for path, value in values.items() if not path.startswith(SYSTEM)
            },
            tags=tags,
        )

    def _state(self, source_id: str, system: dict[str, Any]) -> RunState:
        if system.get("failed") is True:
            return "failed"
        if str(system.get("state") or "").lower() in {"active", "running"}:
            self._report.leave_out("run that went on when it was exported: stopped here", source_id)
            return "stopped"
        return "succeeded"

    def _look_at_series(self, run: _Run, source_id: str) -> None:
        """Find what steps are multiplied by, and which texts are logs."""
        digits = 0
        logs: dict[str, None] = {}
        for row in run.rows.read(
            _POINTS,
            _TEXTS,
            _HISTOGRAMS,
            _FILE_SERIES,
            columns=("attribute_path", "attribute_type", "step"),
        ):
            step: Decimal | None = row["step"]
            if step is not None and step % 1:
                exponent = step.normalize().as_tuple().exponent
                digits = max(digits, -int(exponent))
            path = str(row["attribute_path"])
            if row["attribute_type"] == _TEXTS and path.rpartition("/")[2] in _LOGS:
                logs[path] = None
        run.multiplier = 10**digits
        run.logs = tuple(logs)
        if digits:
            said = "run with steps that are no whole numbers: multiplied, the tag says by what"
            self._report.leave_out(f"{said} ({MULTIPLIER_TAG})", source_id)

    def points(self, run: RunRecord) -> Iterator[Point]:
        """See ``Source``; the exporter wrote NaN as no value."""
        held = self._runs[run.source_id]
        for row in held.rows.read(_POINTS, columns=(*_SERIES, "float_value")):
            value = row["float_value"]
            number = math.nan if value is None else float(value)
            yield Point(str(row["attribute_path"]), number, _step(row, held), _time_ms(row, held))

    def media(self, run: RunRecord, report: Report) -> Iterator[MediaItem]:
        """See ``Source``: histograms, texts that are no logs, and pictures of series."""
        held = self._runs[run.source_id]
        columns = (*_SERIES, "attribute_type", "string_value", "histogram_value", "file_value")
        for row in held.rows.read(_TEXTS, _HISTOGRAMS, _FILE_SERIES, columns=columns):
            path = str(row["attribute_path"])
            if path in held.logs:
                continue
            try:
                taken = self._taken(row)
            except (InvalidValue, LimitExceeded, KeyError, TypeError) as error:
                report.leave_out(f"{row['attribute_type']} that cannot stand here ({error})", path)
                continue
            if taken is not None:
                record = MediaRecord(
                    path, _step(row, held), _time_ms(row, held), taken.content, taken.blob
                )
                yield MediaItem(record, taken.data)

    def _taken(self, row: Row) -> Taken | None:
        if row["attribute_type"] == _TEXTS:
            return take_text(row["string_value"] or "")
        if row["attribute_type"] == _HISTOGRAMS:
            found = row["histogram_value"]
            counts = found["values"]
            return take_histogram(None, bins=len(counts), edges=found["edges"], counts=counts)
        there = self._local(row)
        return take_image(there) if _is_picture(there) else None

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``: files, those of series with the step in their names, and logs."""
        held = self._runs[run.source_id]
        columns = (*_SERIES, "attribute_type", "file_value")
        for row in held.rows.read(*_FILES, _FILE_SERIES, columns=columns):
            path, there = str(row["attribute_path"]), self._local(row)
            if there is None:
                fix = "" if self._files else "; give --files DIR"
                report.leave_out(f"file that is not in the export{fix}", f"{run.source_id}: {path}")
            elif there.is_dir():
                for file in local_files(there, report, owner=f"run {run.source_id}"):
                    yield FileRecord(f"{path}/{file.path}", file.size_bytes, file.fetch)
            elif row["attribute_type"] == _FILE_SERIES:
                if not _is_picture(there):
                    name = f"{path}/step_{row['step'].normalize():f}{there.suffix}"
                    yield local_file(name, there)
            else:
                yield local_file(
                    path if path.endswith(there.suffix) else path + there.suffix, there
                )
        for path in held.logs:
            yield FileRecord(f"{path}.log", None, lambda to, of=path: _write_log(held.rows, of, to))

    def _local(self, row: Row) -> Path | None:
        """Where the file of a row lies; None: it is not there."""
        said = row["file_value"]
        if self._files is None or said is None or not said["path"]:
            return None
        there = self._files / said["path"]
        inside = there.resolve().is_relative_to(self._files.resolve())
        return there if inside and there.exists() else None


def _is_picture(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() in _PICTURES


def _write_log(rows: RunRows, path: str, target: Path) -> Path:
    with target.open("w", encoding="utf-8", newline="") as file:
        for row in rows.read(_TEXTS, columns=("attribute_path", "string_value")):
            if row["attribute_path"] == path:
                line = row["string_value"] or ""
                file.write(line if line.endswith("\n") else f"{line}\n")
    return target


def _value(row: Row) -> Any:
    value = row[VALUES[row["attribute_type"]]]
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, list):
        items: list[Any] = [*value]
        return json.dumps(sorted(map(str, items)), ensure_ascii=False)
    return str(value)


def _step(row: Row, run: _Run) -> int:
    return 0 if row["step"] is None else int(row["step"] * run.multiplier)


def _time_ms(row: Row, run: _Run) -> int:
    time_ns = _time_ns(row["timestamp"])
    return run.started_ms if time_ns is None else time_ns // 1_000_000


def _time_ns(time: object) -> int | None:
    if not isinstance(time, datetime.datetime):
        return None
    since = time - datetime.datetime.fromtimestamp(0, datetime.UTC)
    return (since // datetime.timedelta(microseconds=1)) * 1000
