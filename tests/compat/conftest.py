"""The unmodified mlflow client against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_server import LiveServer
from mlflow_world import MlflowClientProcess, client_python


@pytest.fixture(scope="session")
def mlflow_python() -> Path:
    """The Python of the client's environment, built when it is missing."""
    return client_python()


@pytest.fixture(scope="session")
def mlflow_client(
    shared_server: LiveServer, mlflow_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowClientProcess]:
    """A process with mlflow in it that speaks to the shared server."""
    work = tmp_path_factory.mktemp("mlflow")
    process = MlflowClientProcess(mlflow_python, shared_server.url, work)
    yield process
    process.close()
