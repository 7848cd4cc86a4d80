"""An MLflow server that cannot give one thing: the others come, and it is named."""

from __future__ import annotations

from typing import Any

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.sdk.imports.mlflow.api import Credentials, MlflowApi
from seafloor.sdk.imports.mlflow.rest import RestSource
from seafloor.sdk.imports.records import ExperimentRecord
from seafloor.sdk.imports.report import Report

EXPERIMENT = ExperimentRecord(source_id="1", name="e")
API = "/api/2.0/mlflow"


def report() -> Report:
    return Report(source="", server="")


def source_of(server: ScriptedServer, told: Report, answers: dict[str, Any]) -> RestSource:
    """A server that answers by path, and everything else with nothing."""

    def answer(asked: Asked) -> Answer:
        found = answers.get(asked.path.removeprefix(API), {})
        return found if isinstance(found, Answer) else Answer(body=found)

    server.answer = answer
    return RestSource(MlflowApi(server.url, Credentials(), patience_s=0.05), told)


def test_runs__one_cannot_be_had__come_without_it(scripted: ScriptedServer) -> None:
    """It ended the import of all others, however often that was repeated."""
    told = report()
    ids = [f"{number:032x}" for number in range(4)]
    answers: dict[str, Any] = {
        "/runs/search": {"runs": [{"info": {"run_id": one}} for one in ids]},
        **{
            f"/runs/get?run_id={one}&run_uuid={one}": {"run": {"info": {"run_id": one}}}
            for one in ids
        },
        f"/runs/get?run_id={ids[1]}&run_uuid={ids[1]}": Answer(500, {"message": "no such column"}),
        f"/runs/get?run_id={ids[2]}&run_uuid={ids[2]}": Answer(404, {"message": "no such run"}),
    }
    found = [run.source_id for run in source_of(scripted, told, answers).runs(EXPERIMENT)]
    assert found == [ids[0], ids[3]]
    (failure,) = told.failures
    assert failure.name == f"run {ids[1]}"
    assert "no such column" in failure.reason
    (gone,) = told.left_out
    assert gone.names == [ids[2]]


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        (Answer(500, {"message": "the database is locked"}), 2),
        (Answer(503), 2),
        (Answer(404), 0),
        (Answer(500, {"error_code": "FEATURE_DISABLED", "message": "no registry"}), 0),
    ],
)
def test_registry__that_does_not_answer__is_a_failure_unless_there_is_none(
    scripted: ScriptedServer, answer: Answer, failures: int
) -> None:
    """Registered models were left out without a word where the server failed at them."""
    told = report()
    answers = {
        f"/{kind}/search?max_results=100": answer
        for kind in ("registered-models", "model-versions")
    }
    source_of(scripted, told, answers).tell_the_rest(told)
    assert len(told.failures) == failures
