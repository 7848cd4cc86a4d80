"""What somebody who submits code should know."""

from __future__ import annotations

import pytest

from seafloor.app.code_sources import names_code_folder
from seafloor.domain.specs import ExperimentSpec, TaskSpec


@pytest.mark.parametrize(
    ("command", "named"),
    [("python /code/t.py", True), (["python", "/code/t.py"], True), ("python ./code/t.py", False)],
)
def test_names_code_folder__by_the_command_of_a_run_or_of_a_task(
    command: str | list[str], named: bool
) -> None:
    assert names_code_folder(ExperimentSpec(name="x", command=command)) is named
    tasks = {"ps": TaskSpec(command="python -m ps"), "worker": TaskSpec(command=command)}
    assert names_code_folder(ExperimentSpec(name="x", tasks=tasks)) is named
