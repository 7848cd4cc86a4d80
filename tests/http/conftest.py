"""What the tests of the API share: requests as bytes, a server with a token, runs to write to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from http_world import TOKEN, Answer, ask
from live_server import LiveServer
from seafloor.app.application import Application
from seafloor.boot.data_folder import DataFolder
from seafloor.boot.settings import load
from seafloor.boot.wiring import open_application
from seafloor.http.server import create_asgi

IN_PROCESS = "http://localhost:7340"


@pytest.fixture
def call(shared_server: LiveServer) -> Callable[..., Answer]:
    """Make requests to the shared server."""

    def make(method: str, path: str, body: Any = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(shared_server.url, method, path, body=body, headers=given)

    return make


@pytest.fixture
def run_id(shared_server: LiveServer) -> str:
    """A tracked run of its own."""
    return shared_server.post("/api/v1/runs", {"experiment": "http tests"})["id"]


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that asks for a token."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    server = LiveServer(folder / "data", env={"SEAFLOOR_SERVER__TOKEN": TOKEN}).start()
    yield server
    server.stop()


@pytest.fixture
def with_token(guarded_server: LiveServer) -> Callable[..., Answer]:
    """Make requests to the server that asks for a token, with one (None: with none)."""

    def make(method: str, path: str, body: Any = None, *, token: str | None = TOKEN) -> Answer:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return ask(guarded_server.url, method, path, body=body, headers=headers)

    return make


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    """An application in this process, whose inside a test can look into."""
    settings = load(data_dir=tmp_path / "data", flags={}, variables={})
    with contextlib.closing(DataFolder(settings.data_dir)) as folder:
        async with open_application(settings, folder, url=IN_PROCESS) as application:
            yield application


@pytest.fixture
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """Asks that application."""
    transport = httpx.ASGITransport(app=create_asgi(application))
    async with httpx.AsyncClient(transport=transport, base_url=IN_PROCESS) as client:
        yield client
