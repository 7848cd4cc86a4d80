"""The unmodified mlflow client against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_server import LiveServer
from mlflow_world import MlflowClientProcess, client_python, plugin_python


@pytest.fixture(scope="session")
def mlflow_python() -> Path:
    """The Python of the client's environment, built when it is missing."""
    return client_python()


@pytest.fixture(scope="session", params=["http", "seafloor+http"])
def mlflow_client(
    request: pytest.FixtureRequest,
    shared_server: LiveServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MlflowClientProcess]:
    """A process with mlflow in it that speaks to the shared server, as it is and by our plugin."""
    work = tmp_path_factory.mktemp("mlflow")
    if request.param == "http":
        process = MlflowClientProcess(client_python(), shared_server.url, work)
    else:
        home = str(work / "home")
        url = f"seafloor+{shared_server.url}"
        process = MlflowClientProcess(plugin_python(), url, work, SEAFLOOR_HOME=home)
    yield process
    process.close()
