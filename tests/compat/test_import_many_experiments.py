"""Sources of very many experiments, and others who make the same ones meanwhile."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from import_world import RunsFolder, import_command
from live_server import LiveServer
from seafloor.sdk.client import Client
from seafloor.sdk.imports.importer import Importer, ImportOptions
from seafloor.sdk.imports.records import ExperimentRecord, FileRecord, RunRecord, Source
from seafloor.sdk.imports.report import Report
from seafloor.wire.experiments import ExperimentCreate, ExperimentList


class Experiments(Source):
    """Experiments of some names with a run each, and whatever is done before one is told."""

    kind = "test"
    label = "the test"

    def __init__(self, names: list[str], before: Any = lambda _: None) -> None:
        self._names = names
        self._before = before

    def experiments(self) -> Iterator[ExperimentRecord]:
        for name in self._names:
            self._before(name)
            yield ExperimentRecord(source_id=name, name=name)

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        yield RunRecord(source_id=experiment.name, created_ns=1, ended_ns=2)

    def points(self, run: RunRecord) -> tuple[()]:
        return ()

    def files(self, run: RunRecord, report: Report) -> tuple[FileRecord, ...]:
        return ()


def bring(client: Client, source: Source, project: str) -> Report:
    report = Report(source="", server="")
    Importer(client, source, report, ImportOptions(project=project), lambda _: None).bring_all()
    return report


def names_of(count: int) -> list[str]:
    return [f"e{number} {uuid.uuid4().hex}" for number in range(count)]


@pytest.fixture
def client(shared_server: LiveServer) -> Iterator[Client]:
    made = Client(shared_server.url, "")
    yield made
    made.close()


def test_import__of_many_experiments__lists_those_here_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that were here were listed for each that came: 10,000 took hours, not minutes."""
    listed: list[str | None] = []
    every = client.experiments.list

    def counted(*, project: str | None = None, deleted: str | None = None) -> ExperimentList:
        listed.append(project)
        return every(project=project, deleted=deleted)

    monkeypatch.setattr(client.experiments, "list", counted)
    names = names_of(20)
    client.experiments.create(ExperimentCreate(names[7]))
    for known in (0, 20):
        report = bring(client, Experiments(names), "default")
        assert (report.experiments, report.failures) == (20, [])
        assert (report.runs, report.runs_known) == (20 - known, known)
    assert listed == ["default", "default"]


def test_import__of_an_experiment_that_another_makes_meanwhile__goes_into_it(
    client: Client,
) -> None:
    """Of what was listed once something is new by then."""
    names = names_of(3)
    made: dict[str, int] = {}

    def before(name: str) -> None:
        if name != names[0]:
            made[name] = client.experiments.create(ExperimentCreate(name)).id

    report = bring(client, Experiments(names, before), "default")
    assert (report.experiments, report.runs, report.failures) == (3, 3, [])
    found = {run.experiment.name: run.experiment.id for run in client.runs.iterate()}
    assert {name: found[name] for name in made} == made


class Overtaken(Experiments):
    """One of which another import brings all while this one brings a run."""

    def __init__(self, names: list[str], other: Any) -> None:
        super().__init__(names)
        self._other = other

    def files(self, run: RunRecord, report: Report) -> tuple[FileRecord, ...]:
        self._other()
        return ()


def test_import__that_another_of_the_same_overtakes__says_that_the_run_is_here(
    client: Client,
) -> None:
    """Of the runs that the other ended first it said that they did not come."""
    names = names_of(1)
    reports: list[Report] = []
    source = Overtaken(names, lambda: reports.append(bring(client, Experiments(names), "default")))
    reports.append(bring(client, source, "default"))
    assert [one.failures for one in reports] == [[], []]
    assert [(one.runs, one.runs_known) for one in reports] == [(1, 0), (0, 1)]


def test_import__begun_in_the_same_second_as_another__keeps_a_report_of_its_own(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    """The one that ended last had written over the others' reports."""
    folder = RunsFolder(tmp_path)
    home = tmp_path / "home"
    with subprocess.Popen(
        import_command(shared_server, "mlflow", folder.root),
        env={**shared_server.environment, "SEAFLOOR_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.wait(250) == 0
    (report,) = (home / "imports").iterdir()
    assert report.stem.endswith(f"-{process.pid}")
