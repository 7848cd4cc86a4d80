"""What every source is read as, and the protocol of a source.

A record holds what its source says, unchecked: names and keys may be none of ours, texts may be
longer than we keep. ``fitting`` makes them fit and says what has no place.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol

from seafloor.domain.errors import SourceError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.media import MediaRecord
from seafloor.domain.metrics import Point
from seafloor.domain.traces import Trace
from seafloor.sdk.client import Client
from seafloor.sdk.imports.report import Report
from seafloor.wire.models import ModelMetricValue, RunInputs

RunState = Literal["running", "succeeded", "failed", "stopped"]
ModelState = Literal["pending", "ready", "upload_failed"]

BAD_DATA: Final = (
    *(SourceError, ValueError, TypeError, LookupError, ArithmeticError, OSError),
    RecursionError,  # of JSON that has no end of brackets
)
"""What reading one record raises that is not as its format says: it does not come, others do."""
LATELY_S: Final = 15 * 60
_RUN_ID = re.compile(r"[0-9a-f]{32}\Z")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}\Z")


def run_id_of(kind: str, source_id: str) -> WorkloadId:
    """The id that a run has here: its own where it is one of ours, else always the same other.

    >>> run_id_of("mlflow", "0" * 32)
    '00000000000000000000000000000000'
    >>> run_id_of("wandb", "3k2j9x") == run_id_of("wandb", "3k2j9x") != run_id_of("aim", "3k2j9x")
    True
    """
    return WorkloadId(source_id if _RUN_ID.match(source_id) else _derived(kind, source_id))


def model_id_of(kind: str, source_id: str) -> str:
    """The id that a model has here; see ``run_id_of``."""
    return source_id if _MODEL_ID.match(source_id) else f"m-{_derived(kind, source_id)}"


def _derived(kind: str, source_id: str) -> str:
    return hashlib.sha256(f"{kind}\0{source_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord:
    """A named group of runs.

    Args:
        source_id: What the source calls it.
        project: Where the source says it belongs; None: where the user says.
        created_ns: UTC; None: unknown.
        artifact_location: Where its files were, if that says something.
        spec: Its saved spec, if it has one of ours.
    """

    source_id: str
    name: str
    project: str | None = None
    created_ns: int | None = None
    tags: dict[str, str] = field(default_factory=dict[str, str])
    deleted: bool = False
    artifact_location: str = ""
    spec: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run.

    Args:
        source_id: What the source calls it.
        started_ns, created_ns, ended_ns: UTC; None: unknown, or not yet.
        other: Fields of the source that have no place, whole; name to value.
        location: Where the source keeps its files.
    """

    source_id: str
    name: str = ""
    user: str = ""
    state: RunState = "succeeded"
    created_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    inputs: RunInputs = field(default_factory=RunInputs)
    other: dict[str, object] = field(default_factory=dict[str, object])
    location: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """A model that a run logged.

    Args:
        source_run_id: What the source calls its run; None: it is of no run.
        location: Where the source keeps its files.
    """

    source_id: str
    name: str
    created_ns: int
    state: ModelState
    source_run_id: str | None = None
    model_type: str = ""
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict[str, str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    metrics: tuple[ModelMetricValue, ...] = ()
    location: str = ""


@dataclass(frozen=True, kw_only=True)
class TraceRecord:
    """A trace, without its spans.

    Args:
        trace: Its ``experiment_id`` means nothing.
        runs: What the source calls the runs that it is linked to.
        spans: How many it has; None: not known before they are read.
        location: Where the source keeps its files.
    """

    trace: Trace
    runs: tuple[str, ...] = ()
    spans: int | None = None
    location: str = ""


@dataclass(frozen=True)
class FileRecord:
    """A file of a run or model.

    Args:
        path: What it is called below its owner.
        size_bytes: None: not known before it is fetched.
        fetch: Gives a local file with its bytes: the file itself, or the one that is named, which
            it writes.
    """

    path: str
    size_bytes: int | None
    fetch: Callable[[Path], Path]


@dataclass(frozen=True)
class MediaItem:
    """A media record with the bytes of its blob; None: it has none."""

    record: MediaRecord
    data: bytes | None = None


def goes_on(paths: Iterable[Path]) -> bool:
    """Whether a run that has no word of its end may still be written to: it was, lately."""
    newest_s = max(map(_changed_s, paths), default=0.0)
    return time.time() - newest_s < LATELY_S


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone meanwhile, as what is written to has files that go
        return 0.0


class Source(Protocol):
    """Where runs come from. What is read of a run is read only when it is asked for.

    Every method raises ``SourceError``, with what to do, when the source cannot be read. What
    has no place and is not part of a record is told to the report. A source that has no such
    thing leaves the method as it is here.

    Args:
        kind: Which program kept it; part of the ids that are made for runs without one of ours.
        label: What it is called in messages and reports; holds no secrets.
    """

    kind: ClassVar[str]
    label: str

    def experiments(self) -> Iterable[ExperimentRecord]:
        """Every experiment, deleted ones too."""
        ...

    def runs(self, experiment: ExperimentRecord) -> Iterable[RunRecord]:
        """Every run of an experiment, deleted ones too."""
        ...

    def points(self, run: RunRecord) -> Iterable[Point]:
        """Every point of every metric of a run; keys, steps and times are unchecked."""
        ...

    def files(self, run: RunRecord, report: Report) -> Iterable[FileRecord]:
        """The files of a run."""
        ...

    def media(self, run: RunRecord, report: Report) -> Iterable[MediaItem]:  # noqa: ARG002 - none
        """Every media record of a run; keys, steps and times are unchecked."""
        return ()

    def event_files(self, run: RunRecord) -> Iterable[FileRecord]:  # noqa: ARG002 - none
        """The tf.events files of a run, whose scalars are not among its points."""
        return ()

    def bring_more(self, client: Client, run: RunRecord, report: Report) -> None:
        """Bring of a run what only this source has; before its final state, and at each repeat."""

    def models(
        self,
        experiment: ExperimentRecord,  # noqa: ARG002 - none
        report: Report,  # noqa: ARG002 - none
    ) -> Iterable[ModelRecord]:
        """The models that runs of an experiment logged."""
        return ()

    def model_files(
        self,
        model: ModelRecord,  # noqa: ARG002 - none
        report: Report,  # noqa: ARG002 - none
    ) -> Iterable[FileRecord]:
        """The files of a model."""
        return ()

    def traces(
        self,
        experiment: ExperimentRecord,  # noqa: ARG002 - none
        report: Report,  # noqa: ARG002 - none
    ) -> Iterable[TraceRecord]:
        """The traces of an experiment; asked for when all runs have been brought."""
        return ()

    def spans(self, trace: TraceRecord) -> Iterable[bytes]:  # noqa: ARG002 - none
        """The documents of a trace's spans (``domain.span_documents``)."""
        return ()

    def trace_files(
        self,
        trace: TraceRecord,  # noqa: ARG002 - none
        report: Report,  # noqa: ARG002 - none
    ) -> Iterable[FileRecord]:
        """The files of a trace."""
        return ()

    def tell_the_rest(self, report: Report) -> None:
        """Say what the source holds beside all this; asked for at the end."""
