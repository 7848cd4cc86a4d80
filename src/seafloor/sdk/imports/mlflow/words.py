"""MLflow's words as ours, and where the files of its runs lie."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.sdk.imports.records import FileRecord, ModelState, RunState
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.walking import local_files

KIND: Final = "mlflow"
NAME_TAG: Final = "mlflow.runName"
USER_TAG: Final = "mlflow.user"
CHANGED_LATER: Final = "time of the last change of an experiment or model: that of the import"
DELETED_AT: Final = "time at which a run was deleted: that of the import"
SCHEDULED: Final = "run that is scheduled: running here"

_RUN_STATES: Final[Mapping[str, RunState]] = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "succeeded",
    "FAILED": "failed",
    "KILLED": "stopped",
}
_MODEL_STATES: Final[Mapping[str, ModelState]] = {
    "LOGGED_MODEL_PENDING": "pending",
    "LOGGED_MODEL_READY": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "upload_failed",
}
RUN_STATUSES: Final = ("", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""By the numbers that MLflow's files hold."""
MODEL_STATUSES: Final = (
    "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "LOGGED_MODEL_PENDING",
    "LOGGED_MODEL_READY",
    "LOGGED_MODEL_UPLOAD_FAILED",
)
"""By the numbers that MLflow's databases and files hold."""
_OLD_FIELDS: Final = {
    "source_type": "mlflow.source.type",
    "source_name": "mlflow.source.name",
    "source_version": "mlflow.source.git.commit",
    "entry_point_name": "mlflow.project.entryPoint",
}


def run_state(status: str, *, report: Report, run_id: str) -> RunState:
    """The state of a run that MLflow says has a status; one that is unknown is running."""
    if status == "SCHEDULED":
        report.leave_out(SCHEDULED, run_id)
    return _RUN_STATES.get(status, "running")


def model_state(status: str) -> ModelState:
    """The state of a model; one that is unknown is pending."""
    return _MODEL_STATES.get(status, "pending")


def time_ns(time_ms: int | None) -> int | None:
    """Milliseconds as nanoseconds; MLflow's old ``0`` is no time."""
    return None if not time_ms else int(time_ms) * 1_000_000


def without_own(tags: Mapping[str, str], *, name: str, user: str) -> dict[str, str]:
    """Tags without those that only repeat the name and the user, which the server tells itself."""
    own = {NAME_TAG: name, USER_TAG: user}
    return {key: value for key, value in tags.items() if own.get(key) != value}


def told_location(uri: str) -> str:
    """The location of an experiment's files, where it says more than that a server keeps them."""
    return "" if uri.startswith("mlflow-artifacts:/") else uri


def old_fields(fields: Mapping[str, object], tags: Mapping[str, str]) -> dict[str, object]:
    """What MLflow 0.x and 1.x said of a run's source, where no tag says the same today."""
    return {
        field: fields[field]
        for field, tag in _OLD_FIELDS.items()
        if fields.get(field) not in (None, "", "UNKNOWN", "LOCAL", 1000, 4, tags.get(tag))
    }


@dataclass(frozen=True)
class Locations:
    """Where the URIs of artifacts lead on this machine.

    Args:
        base: What relative paths are relative to.
        artifacts: The folder behind ``mlflow-artifacts:``; None: unknown.
    """

    base: Path
    artifacts: Path | None = None

    def files(
        self, uri: str, *, owner: str, report: Report, else_: Path | None = None
    ) -> Iterator[FileRecord]:
        """The files below a URI; what cannot be reached from here is told to the report.

        Where the URI leads to no folder those below ``else_`` are meant: the store was moved.
        """
        try:
            folder = self._folder(uri)
        except ValueError as error:
            report.fail(f"files of {owner}", f"their location {uri[:200]!r} is none: {error}")
            return
        if else_ is not None and _is_dir(else_) and (folder is None or not _is_dir(folder)):
            folder = else_
        if not uri and folder is None:
            report.leave_out("files: MLflow's record does not say where they are", owner)
        elif folder is None:
            where = uri.partition(":")[0]
            fix = "give --artifacts DIR" if where == "mlflow-artifacts" else "none"
            report.leave_out(
                f"files behind {where}: cannot be reached from here; import from the URL of the "
                f"MLflow server instead{'' if fix == 'none' else ', or ' + fix}",
                owner,
            )
        else:
            yield from local_files(folder, report, owner=owner)

    def _folder(self, uri: str) -> Path | None:
        """The folder of a URI here; None: it leads elsewhere.

        Raises:
            ValueError: it is no URI.
        """
        if not uri:  # as a path it would be all there is
            return None
        if "\0" in uri:
            raise ValueError("it holds a NUL character")
        scheme, separator, rest = uri.partition(":")
        if not separator or len(scheme) == 1:  # a path; C: is a drive
            return self.base / uri
        if scheme == "file":
            return Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path))
        if scheme == "mlflow-artifacts" and self.artifacts is not None:
            return self.artifacts / artifact_path(f"{scheme}:{rest}")
        return None


def _is_dir(folder: Path) -> bool:
    """Whether there is a folder, as far as one may know."""
    try:
        return folder.is_dir()
    except OSError:
        return True  # reading it says what is wrong


def artifact_path(uri: str) -> str:
    """The path of a ``mlflow-artifacts:`` URI below the root that the server keeps.

    >>> artifact_path("mlflow-artifacts:/1/ab/artifacts")
    '1/ab/artifacts'
    """
    return urllib.parse.urlsplit(uri).path.lstrip("/")
