"""A folder of wandb's runs as a source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import SourceError
from seafloor.domain.media import MediaRecord
from seafloor.domain.metrics import Point
from seafloor.sdk.imports.labels import text_of
from seafloor.sdk.imports.records import (
    BAD_DATA,
    ExperimentRecord,
    FileRecord,
    MediaItem,
    RunRecord,
    RunState,
    Source,
    goes_on,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.walking import local_file, local_files, shown
from seafloor.sdk.imports.wandb.log_file import Damage
from seafloor.sdk.imports.wandb.media import things_of
from seafloor.sdk.imports.wandb.messages import Artifact, Environment, History, Output, Stats
from seafloor.sdk.imports.wandb.run_files import Digest, Logged, RunFiles, digest, flat, logged
from seafloor.sdk.imports.wandb.values import number_of, same, type_of, value_of
from seafloor.sdk.walking import files_below

NO_PROJECT: Final = "uncategorized"
OUTPUT: Final = "output.log"
_TABLES: Final = "run_table"
"""The type of the artifacts in which wandb keeps the tables of histories once more."""


class _Git(msgspec.Struct):
    remote: str | None = None
    remote_url: str | None = None
    commit: str | None = None


class _Metadata(msgspec.Struct):
    """The file ``wandb-metadata.json`` of older versions."""

    program: str | None = None
    host: str | None = None
    username: str | None = None
    git: _Git | None = None


@dataclass
class _Run:
    """What is known of a run while it is brought.

    Args:
        taken: Its files that are media records here.
    """

    files: RunFiles
    digest: Digest
    taken: set[Path] = field(default_factory=set[Path])


class WandbSource(Source):
    """The runs below a folder, or the one of a file. Nothing is written there.

    Args:
        place: A folder with runs somewhere below it, or a file ``run-ID.wandb``.
        report: Told of what has no place.

    Raises:
        SourceError: there is none of wandb's runs.
    """

    kind = "wandb"

    def __init__(self, place: Path, report: Report) -> None:
        self.label = f"the wandb runs in {place}"
        self._report = report
        self._found: dict[str, dict[str, RunFiles]] = {}
        self._runs: dict[str, _Run] = {}
        logs = list(_logs(place, report))
        if not logs:
            raise SourceError(
                f'"{place}" holds no run of wandb (run-ID.wandb): give the folder "wandb" that '
                "offline runs are in, or one of them."
            )
        for log in logs:
            try:
                self._add(log)
            except SourceError as error:
                if len(logs) == 1:
                    raise
                report.fail(str(log), error.message)

    def _add(self, log: Path) -> None:
        head = RunFiles((log,)).head()
        if head is None:
            raise SourceError(f'"{log}" does not say which run it is: it was cut off early.')
        runs = self._found.setdefault(head.project or NO_PROJECT, {})
        earlier = runs[head.run_id].logs if head.run_id in runs else ()
        runs[head.run_id] = RunFiles((*earlier, log))

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``: the projects."""
        for project in sorted(self._found):
            yield ExperimentRecord(source_id=project, name=project)

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``; the oldest first."""
        for run_id, files in self._found[experiment.source_id].items():
            source_id = f"{experiment.source_id}/{run_id}"
            try:
                found = digest(files, lambda path, damage: self._tell_damage(path, damage))
                record = self._record(source_id, files, found)
            except BAD_DATA as error:
                self._report.fail(f"run {source_id}", f"it cannot be read: {error}")
                continue
            self._runs[source_id] = _Run(files, found)
            yield record
            del self._runs[source_id]

    def _tell_damage(self, path: Path, damage: Damage) -> None:
        if damage.is_end:
            said = "file of a run that ends within a record, as of a process that was killed"
            self._report.leave_out(f"{said}: all before it is here", str(path))
        else:
            reason = f"at byte {damage.offset:,} {damage.reason}: some records are lost"
            self._report.fail(str(path), reason)

    def _record(self, source_id: str, files: RunFiles, found: Digest) -> RunRecord:
        head = found.head
        where = _environment(found, files)
        for name in _missing_files(found, files):
            self._report.leave_out("file that the run names and that is not here", name)
        for folder in found.event_folders:
            said = "folder of tf.events files that wandb followed: seafloor import tensorboard"
            self._report.leave_out(said, folder.path)
        return RunRecord(
            source_id=source_id,
            name=head.name or head.run_id,
            user=where.username or head.entity,
            state=self._state(source_id, files, found),
            started_ns=head.started_ns or None,
            ended_ns=found.ended_ns,
            params=_params(found.config),
            tags=_tags(found, where),
            other=_other(found),
        )

    def _state(self, source_id: str, files: RunFiles, found: Digest) -> RunState:
        if found.exit is not None:
            return "failed" if found.exit.code else "succeeded"
        if goes_on(files.logs):
            return "running"
        said = "run without an end, as of a process that was killed: failed here"
        self._report.leave_out(said, source_id)
        return "failed"

    def points(self, run: RunRecord) -> Iterator[Point]:
        """See ``Source``: of the history, of the machine's load, and what only the summary has."""
        held = self._runs[run.source_id]
        number = -1
        for message in held.files.messages(History, Stats):
            if isinstance(message, History):
                found = logged(message)
                for key, raw in found.leaves:
                    value = number_of(raw)
                    if value is not None:
                        yield Point(key, value, found.step, found.time_ms)
            elif isinstance(message, Stats):
                number += 1
                for item in message.items:
                    value = number_of(item.value)
                    if value is not None:
                        key = f"system/{'.'.join(item.path)}"
                        yield Point(key, value, number, message.time_ns // 1_000_000)
        last_ms = (held.digest.ended_ns or 0) // 1_000_000
        for key, value in _only_in_summary(held.digest):
            yield Point(key, value, held.digest.last_step, last_ms)

    def media(self, run: RunRecord, report: Report) -> Iterator[MediaItem]:
        """See ``Source``: all in the history that is no number."""
        held = self._runs[run.source_id]
        for log in held.files.logs if held.digest.has_things else ():
            folder = log.parent / "files"
            for key, at, raw in _no_numbers(RunFiles((log,))):
                name = f"run {run.source_id}"
                for thing in things_of(key, value_of(raw), folder, name=name, report=report):
                    taken = thing.taken
                    record = MediaRecord(
                        thing.key, at.step, at.time_ms, taken.content, taken.blob, thing.place
                    )
                    yield MediaItem(record, taken.data)
                    if thing.path is not None:
                        held.taken.add(folder / thing.path)

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``: the run's own, what it printed, and those of logged artifacts."""
        held = self._runs[run.source_id]
        seen: set[str] = set()
        for folder in held.files.folders:
            for file in local_files(folder, report, owner=f"run {run.source_id}"):
                if folder / file.path in held.taken:
                    continue
                path = file.path
                if path in seen:
                    path = f"{folder.parent.name}/{path}"
                seen.add(path)
                yield FileRecord(path, file.size_bytes, file.fetch)
        if held.digest.has_output and OUTPUT not in seen:
            yield FileRecord(OUTPUT, None, lambda target: _write_output(held.files, target))
        yield from _artifact_files(held.digest.artifacts, run.source_id, report)


def _no_numbers(files: RunFiles) -> Iterator[tuple[str, Logged, bytes]]:
    """What in a history is no number: key, at which step, JSON."""
    for message in files.messages(History):
        if isinstance(message, History):
            found = logged(message)
            for key, raw in found.leaves:
                if number_of(raw) is None:
                    yield key, found, raw


def _logs(place: Path, report: Report) -> Iterator[Path]:
    """The files of runs below a folder, in order of their folders' names, which begin with when."""
    if place.is_file():
        yield place
    elif not place.is_dir():
        raise SourceError(f'There is no folder or file "{place}".')

    def bad(folder: Path, error: OSError) -> None:
        report.fail(f"runs in {shown(folder)}", f"it cannot be read: {error.strerror or error}")

    below = files_below(place, odd=lambda _: None, bad=bad)
    found = [path for path in below if path.name.endswith(".wandb")]
    yield from sorted(found, key=lambda log: (log.parent.name.rpartition("run-")[2], str(log)))


def _environment(found: Digest, files: RunFiles) -> Environment:
    """Where it ran: of the records, or of the file that older versions write."""
    if found.environment != Environment():
        return found.environment
    for folder in files.folders:
        try:
            content = (folder / "wandb-metadata.json").read_bytes()
            said = msgspec.json.decode(content, type=_Metadata)
        except (OSError, ValueError):
            continue
        git = said.git or _Git()
        return Environment(
            program=said.program or "",
            host=said.host or "",
            username=said.username or "",
            git_url=git.remote or git.remote_url or "",
            git_commit=git.commit or "",
        )
    return Environment()


def _params(config: dict[str, Any]) -> dict[str, str]:
    """The config under paths with dots; of two that have one path, the plain key's."""
    made = {path: text_of(value) for path, value in flat(config)}
    for key, value in config.items():
        if "." in key and key in made and not isinstance(value, dict):
            made[key] = text_of(value)
    return made


def _hidden(config: dict[str, Any]) -> dict[str, Any]:
    """What of a config has the path of something else."""
    made = _params(config)
    return {path: value for path, value in flat(config) if made[path] != text_of(value)}


def _tags(found: Digest, where: Environment) -> dict[str, str]:
    head = found.head
    tags = {
        "wandb.runId": head.run_id,
        "wandb.entity": head.entity,
        "wandb.group": head.group,
        "wandb.jobType": head.job_type,
        "wandb.sweepId": head.sweep_id,
        "wandb.tags": json.dumps(head.tags, ensure_ascii=False) if head.tags else "",
        "wandb.host": head.host or where.host,
        "wandb.exitCode": str(found.exit.code) if found.exit and found.exit.code else "",
        "mlflow.note.content": head.notes,
        "mlflow.source.name": where.program,
        "mlflow.source.git.commit": head.git_commit or where.git_commit,
        "mlflow.source.git.repoURL": head.git_url or where.git_url,
    }
    tags = {key: value for key, value in tags.items() if value}
    only = {key for key, _ in _only_in_summary(found)}
    for key, value in flat(found.summary):
        if key not in only and not _is_in_history(found, key, value):
            tags[f"wandb.summary.{key}"] = text_of(value)
    return tags


def _only_in_summary(found: Digest) -> Iterator[tuple[str, float]]:
    """Numbers under keys that the history has not."""
    for key, value in flat(found.summary):
        number = number_of(json.dumps(value).encode())
        if number is not None and key not in found.last:
            yield key, number


def _is_in_history(found: Digest, key: str, value: object) -> bool:
    """Whether it is what the history says last; of media only the kind is compared."""
    if key not in found.last:
        return False
    last = value_of(found.last[key])
    kind = type_of(value)
    return kind == type_of(last) if kind else same(last, value)


def _other(found: Digest) -> dict[str, object]:
    """What has no place and is kept whole."""
    wandb_said: dict[str, Any] = found.config.get("_wandb") or {}
    artifacts = [one for one in found.artifacts if one.type != _TABLES]
    other: dict[str, object] = {
        "config": _hidden(found.config),
        "config._wandb": wandb_said,
        "alerts": found.alerts,
        "define_metric": {one.name: one.step_metric for one in found.metrics},
        "used_artifacts": found.used,
        "logged_artifacts": artifacts,
        "environment": {k: v for k, v in msgspec.structs.asdict(found.environment).items() if v},
    }
    return {key: msgspec.to_builtins(value) for key, value in other.items() if value}


def _missing_files(found: Digest, files: RunFiles) -> Iterator[str]:
    for path, outside in dict.fromkeys(found.files):
        places = [folder / path for folder in files.folders]
        if not any(place.is_file() for place in places) and not (
            outside and Path(outside).exists()
        ):
            yield str(files.folders[0] / path)


def _artifact_files(
    artifacts: list[Artifact], source_id: str, report: Report
) -> Iterator[FileRecord]:
    versions: dict[str, int] = {}
    for artifact in artifacts:
        if artifact.type == _TABLES:
            continue
        version = versions.get(artifact.name, 0)
        versions[artifact.name] = version + 1
        for entry in artifact.entries:
            local = Path(entry.local_path) if entry.local_path else None
            name = f"run {source_id}: {artifact.name}:v{version}/{entry.path}"
            if local is not None and local.is_file():
                path = f"artifacts/{artifact.name}/v{version}/{entry.path}"
                yield local_file(path, local)
            elif entry.ref:
                report.leave_out("reference to a file elsewhere, of a logged artifact", name)
            else:
                report.leave_out("file of a logged artifact that is not on this machine", name)


def _write_output(files: RunFiles, target: Path) -> Path:
    with target.open("w", encoding="utf-8", newline="") as file:
        for message in files.messages(Output):
            if isinstance(message, Output):
                file.write(message.text)
    return target
