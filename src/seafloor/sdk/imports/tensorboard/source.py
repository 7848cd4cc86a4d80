"""A folder of tf.events files as a source: each folder with some is a run, as in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.domain.errors import SourceError
from seafloor.domain.metrics import Point
from seafloor.sdk.imports.records import (
    ExperimentRecord,
    FileRecord,
    RunRecord,
    RunState,
    Source,
    goes_on,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.tensorboard.event_files import Summary
from seafloor.sdk.imports.walking import local_file

MARK: Final = "tfevents"
"""What the name of an event file holds, as TensorBoard tells them."""

_FAR_S: Final = 1e11
"""Beyond all times that can stand here; a writer's time may be any number."""


@dataclass(frozen=True)
class _Run:
    """A folder.

    Args:
        name: Its path below the root, ``.`` for the root itself.
        files: Its event files by name; so they begin with the oldest.
    """

    name: str
    files: tuple[Path, ...]

    @property
    def source_id(self) -> str:
        """What stays when the root is moved and when the run goes on."""
        return f"{self.name}/{self.files[0].name}"


class TensorBoardSource(Source):
    """The runs below a folder. Nothing is written there.

    Args:
        root: The folder, as given to ``tensorboard --logdir``; or one event file.
        report: Told of what has no place.

    Raises:
        SourceError: there is no event file.
    """

    kind = "tensorboard"

    def __init__(self, root: Path, report: Report) -> None:
        self.label = f"the event files in {root}"
        self._report = report
        self._others: list[Path] = []
        if root.is_file():
            self._runs = [_Run(".", (root,))] if MARK in root.name else []
            root = root.parent
        elif root.is_dir():
            self._runs = list(self._walk(root))
        else:
            raise SourceError(f'There is no folder or file "{root}".')
        if not self._runs:
            raise SourceError(
                f'"{root}" holds no tf.events file (a name with "{MARK}"): give the folder that '
                "tensorboard --logdir is given."
            )
        self._name = root.resolve().name or "tensorboard"
        self._brought: dict[str, _Run] = {}

    def _walk(self, root: Path) -> Iterator[_Run]:
        been: set[str] = set()

        def bad(error: OSError) -> None:
            why = error.strerror or str(error)
            self._report.fail(f"runs in {error.filename}", f"it cannot be read: {why}")

        for folder, below, names in os.walk(root, onerror=bad, followlinks=True):
            real = os.path.realpath(folder)
            if real in been:  # a link that leads back
                below.clear()
                continue
            been.add(real)
            below.sort()
            paths = [Path(folder, name) for name in sorted(names)]
            files = tuple(path for path in paths if MARK in path.name)
            self._others.extend(path for path in paths if MARK not in path.name)
            if files:
                yield _Run(Path(folder).relative_to(root).as_posix(), files)

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``: all is one, named as the folder."""
        yield ExperimentRecord(source_id=self._name, name=self._name)

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:  # noqa: ARG002 - all
        """See ``Source``."""
        for run in self._runs:
            found = Summary()
            try:
                for file in run.files:
                    found.take(file)
            except OSError as error:
                self._report.fail(f"run {run.name}", f"{error.filename}: {error.strerror}")
                continue
            self._brought[run.source_id] = run
            yield self._record(run, found)
            del self._brought[run.source_id]

    def _record(self, run: _Run, found: Summary) -> RunRecord:
        for what, count in found.others.items():
            said = f"{what}: in its event file only"
            self._report.leave_out(said, run.name, count=count)
        for path in found.torn:
            said = "event file that ends within a record, or is none from there on: kept whole"
            self._report.leave_out(said, str(path))
        return RunRecord(
            source_id=run.source_id,
            name=run.name,
            state=self._state(run, found),
            started_ns=_time_ns(found.first_s),
            ended_ns=_time_ns(found.last_s),
            params=found.params,
        )

    def _state(self, run: _Run, found: Summary) -> RunState:
        if goes_on(run.files):
            return "running"
        if found.ended == "failed":
            return "failed"
        if found.ended is None:
            said = "run that does not say how it ended, as event files do not: succeeded here"
            self._report.leave_out(said, run.name)
        return "succeeded"

    def points(self, run: RunRecord) -> Iterator[Point]:  # noqa: ARG002 - none
        """See ``Source``: the server reads them from the event files."""
        return iter(())

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:  # noqa: ARG002 - none
        """See ``Source``: only event files are of a run."""
        return iter(())

    def event_files(self, run: RunRecord) -> Iterator[FileRecord]:
        """See ``Source``."""
        for path in self._brought[run.source_id].files:
            yield local_file(path.name, path)

    def tell_the_rest(self, report: Report) -> None:
        """See ``Source``: files that TensorBoard does not show."""
        for path in self._others:
            report.leave_out("file that is no event file: of no run", str(path))


def _time_ns(time_s: float | None) -> int | None:
    if time_s is None:
        return None
    return int(max(-_FAR_S, min(time_s, _FAR_S)) * 1e9)
