"""An agent with a real receiver, for the tests that do it harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world import RUN_ID, AgentTask
from seafloor.agent.bundle import build_agent
from seafloor.testing.task_receiver import TaskReceiver


@pytest.fixture(scope="session")
def agent_pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as it is shipped."""
    return build_agent(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[TaskReceiver]:
    """Where agents deliver to."""
    made = TaskReceiver(tmp_path / "server.json")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def make_task(
    tmp_path: Path, agent_pyz: Path, receiver: TaskReceiver
) -> Iterator[Callable[..., AgentTask]]:
    """Make tasks; what they left running is ended after the test."""
    made: list[AgentTask] = []

    def make(folder: Path | None = None, run_id: str = RUN_ID) -> AgentTask:
        made.append(
            AgentTask(
                folder or tmp_path / f"task-{len(made)}",
                agent_pyz,
                receiver,
                tmp_path / "server.json",
                run_id,
            )
        )
        return made[-1]

    yield make
    for task in made:
        task.close()


@pytest.fixture
def agent_task(make_task: Callable[..., AgentTask]) -> AgentTask:
    """One task."""
    return make_task()
