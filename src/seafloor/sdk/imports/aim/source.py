"""A repository of Aim as a source."""

from __future__ import annotations

import json
import math
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError
from seafloor.domain.media import MediaRecord
from seafloor.domain.metrics import Point
from seafloor.sdk.imports.aim.child import Child
from seafloor.sdk.imports.labels import dotted, text_of
from seafloor.sdk.imports.records import (
    ExperimentRecord,
    FileRecord,
    MediaItem,
    RunRecord,
    RunState,
    Source,
    goes_on,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.walking import local_file
from seafloor.sdk.logged_media import Taken, take_audio, take_histogram, take_image, take_text

EPOCH: Final = "epoch"
NO_EXPERIMENT: Final = "default"
OUTPUT: Final = "output.log"
_OWN: Final = "__"
"""How the names of params begin that Aim adds."""
_SYSTEM: Final = "__system__"
"""How the names of metrics begin that tell of the machine."""


class _Run(msgspec.Struct):
    hash: str
    name: str = ""
    experiment: str = ""
    description: str = ""
    tags: list[str] = []
    archived: bool = False
    created_s: float | None = None
    ended_s: float | None = None
    has_logs: bool = False
    params: dict[str, Any] = {}
    artifacts: dict[str, str] = {}
    error: str = ""


class _Series(msgspec.Struct, kw_only=True):
    name: str
    context: dict[str, Any]
    steps: list[int]
    values: list[str]
    epochs: list[float | None]
    times_s: list[float]


class _Thing(msgspec.Struct, kw_only=True):
    kind: str = ""
    name: str = ""
    context: dict[str, Any] = {}
    step: int
    time_s: float
    place: int = 0
    text: str | None = None
    data: bytes | None = None
    caption: str = ""
    edges: list[float] = []
    counts: list[float] = []


class AimSource(Source):
    """A repository. Aim itself opens it, and may bring an old one up to date as it does.

    Args:
        root: The folder that holds ``.aim``, or that folder.
        python: A Python that has Aim; None: this one.
        report: Told of what has no place.

    Raises:
        SourceError: there is no repository, or Aim cannot read it.
        NotSupported: the Python has no Aim.
    """

    kind = "aim"

    def __init__(self, root: Path, python: str | None, report: Report) -> None:
        root = root.parent if root.name == ".aim" else root
        if not (root / ".aim").is_dir():
            raise SourceError(f'"{root}" holds no folder .aim: give the one in which Aim keeps it.')
        self.label = f"the Aim repository {root}"
        self._chunks = root / ".aim" / "seqs" / "chunks"
        self._report = report
        self._child = Child(python or sys.executable, root)
        self._runs: dict[str, list[_Run]] = {}
        for run in self._child.ask("runs", _Run):
            if run.error:
                report.fail(f"run {run.hash}", run.error)
            else:
                self._runs.setdefault(run.experiment or NO_EXPERIMENT, []).append(run)
        self._held: dict[str, _Run] = {}
        if not self._runs:
            raise SourceError(
                f'"{root}" holds no run of Aim that can be read. '
                + (report.failures[0].reason if report.failures else "")
            )

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``."""
        for name in sorted(self._runs):
            yield ExperimentRecord(source_id=name, name=name)

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``; the oldest first."""
        for run in sorted(self._runs[experiment.source_id], key=lambda one: one.created_s or 0):
            self._held[run.hash] = run
            yield self._record(run)
            del self._held[run.hash]

    def _record(self, run: _Run) -> RunRecord:
        own = {key: value for key, value in run.params.items() if key.startswith(_OWN)}
        users = {key: value for key, value in run.params.items() if key not in own}
        params: dict[str, str] = {}
        hidden: dict[str, Any] = {}
        for path, value in dotted(users):
            if path in params:
                hidden[path] = value
            params.setdefault(path, text_of(value))
        tags = {
            "aim.hash": run.hash,
            "aim.tags": json.dumps(run.tags, ensure_ascii=False) if run.tags else "",
            "aim.archived": "true" if run.archived else "",
            "mlflow.note.content": run.description,
        }
        other = {"params": hidden, **own}
        return RunRecord(
            source_id=run.hash,
            name=run.name or run.hash,
            state=self._state(run),
            started_ns=_time_ns(run.created_s),
            ended_ns=_time_ns(run.ended_s),
            params=params,
            tags={key: value for key, value in tags.items() if value},
            other={key: value for key, value in other.items() if value},
        )

    def _state(self, run: _Run) -> RunState:
        if run.ended_s is not None:
            return "succeeded"
        folder = self._chunks / run.hash
        if folder.is_dir() and goes_on(folder.iterdir()):
            return "running"
        said = "run without an end, as of a process that was killed: failed here"
        self._report.leave_out(said, run.hash)
        return "failed"

    def points(self, run: RunRecord) -> Iterator[Point]:
        """See ``Source``; epochs become a metric, once for each step."""
        epochs: dict[tuple[int, float], int] = {}
        has_own = False
        for series in self._child.ask(f"points {run.source_id}", _Series):
            key = key_of(series.name, series.context)
            has_own = has_own or key == EPOCH
            columns = zip(series.steps, series.values, series.epochs, series.times_s, strict=True)
            for step, value, epoch, time_s in columns:
                time_ms = _time_ms(time_s)
                yield Point(key, float(value), step, time_ms)
                if epoch is not None:
                    epochs.setdefault((step, epoch), time_ms)
        if not has_own:
            for (step, epoch), time_ms in epochs.items():
                yield Point(EPOCH, epoch, step, time_ms)

    def media(self, run: RunRecord, report: Report) -> Iterator[MediaItem]:
        """See ``Source``: images, texts, distributions, sounds, and figures as JSON texts."""
        for thing in self._child.ask(f"things {run.source_id}", _Thing):
            key = key_of(thing.name, thing.context)
            try:
                taken = _taken(thing)
            except (InvalidValue, LimitExceeded) as error:
                said = f"{thing.kind} that cannot stand here: left out ({error.message})"
                report.leave_out(said, f"run {run.source_id}: {key}")
                continue
            yield _item(key, thing, taken)
            if thing.caption:
                yield _item(f"{key}.caption", thing, take_text(thing.caption))

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``: artifacts on this machine, and what the run printed."""
        held = self._held[run.source_id]
        for name, uri in sorted(held.artifacts.items()):
            place = urllib.parse.urlsplit(uri)
            there = Path(urllib.parse.unquote(place.path))
            if place.scheme in {"", "file"} and there.is_file():
                yield local_file(name, there)
            else:
                said = "artifact that is elsewhere, or is not there any more"
                report.leave_out(said, f"run {run.source_id}: {uri}")
        if held.has_logs:
            yield FileRecord(OUTPUT, None, lambda target: self._write_output(held.hash, target))

    def _write_output(self, run_hash: str, target: Path) -> Path:
        with target.open("w", encoding="utf-8", newline="") as file:
            for line in self._child.ask(f"logs {run_hash}", _Thing):
                file.write(f"{line.text or ''}\n")
        return target


def key_of(name: str, context: dict[str, Any]) -> str:
    """The key of a sequence: its name, and its context in the order of its keys.

    >>> key_of("loss", {"subset": "val"}), key_of("__system__cpu", {}), key_of("loss", {})
    ('loss/subset:val', 'system/cpu', 'loss')
    """
    if name.startswith(_SYSTEM):
        name = f"system/{name.removeprefix(_SYSTEM)}"
    parts = [f"{key}:{text_of(value)}" for key, value in sorted(context.items())]
    return "/".join([name, *parts])


def _taken(thing: _Thing) -> Taken:
    match thing.kind:
        case "images":
            return take_image(thing.data)
        case "audios":
            return take_audio(thing.data, None)
        case "distributions":
            bins = len(thing.counts)
            return take_histogram(None, bins=bins, edges=thing.edges, counts=thing.counts)
        case _:
            return take_text(thing.text or "")


def _item(key: str, thing: _Thing, taken: Taken) -> MediaItem:
    record = MediaRecord(
        key, thing.step, _time_ms(thing.time_s), taken.content, taken.blob, thing.place
    )
    return MediaItem(record, taken.data)


def _time_ms(time_s: float) -> int:
    return round(time_s * 1000) if math.isfinite(time_s) else 0


def _time_ns(time_s: float | None) -> int | None:
    return None if time_s is None else int(time_s * 1e9)
