"""What all tests share: real servers, and the profiles of hypothesis."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.services._service import Missing, Service
from tests.services._supervisor import SOCKET_VARIABLE, Supervisor, ask

from live_server import LiveServer
from missing import skip_missing

settings.register_profile(
    "dev", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci",
    max_examples=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))


_supervisor = pytest.StashKey[Supervisor]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that starts real servers; the session's own processes share it.

    Where a shell started us in the background, Ctrl-C is ignored here and in all processes that we
    start, so also in those whose answer to Ctrl-C is tested.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if SOCKET_VARIABLE not in os.environ:
        supervisor = Supervisor()
        config.stash[_supervisor] = supervisor
        os.environ[SOCKET_VARIABLE] = supervisor.socket


def pytest_collection_finish() -> None:
    """Leave what was collected out of each later search for garbage: it stays to the end."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started."""
    if _supervisor in config.stash:
        config.stash[_supervisor].close()
        os.environ.pop(SOCKET_VARIABLE)


def real_service(name: str) -> Service:
    """A real server of the session's, started when it is first asked for.

    Where it cannot run the test is skipped with the reason; in CI that is a failure, unless it is
    the machine that refuses.
    """
    try:
        return ask(os.environ[SOCKET_VARIABLE], name)
    except Missing as error:
        skip_missing(name, error)


@pytest.fixture(scope="session")
def service() -> Callable[[str], Service]:
    """Real servers by name."""
    return real_service


@pytest.fixture(params=("sqlite", "postgresql", "mariadb"))
def database_kind(
    request: pytest.FixtureRequest, tmp_path: Path, service: Callable[[str], Service]
) -> Iterator[str]:
    """Each kind of database in turn: a fresh one for the stores over ``tmp_path``."""
    from tests.databases import database_in  # only some tests need what it imports

    with database_in(tmp_path, request.param, service):
        yield request.param


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Start servers on folders of their own; they are stopped, with what they launched, after."""
    made: list[LiveServer] = []

    def make(name: str = "data", **env: str) -> LiveServer:
        server = LiveServer(tmp_path / name, env=env)
        made.append(server)
        return server.start()

    yield make
    for server in made:
        _end_tasks(server)
        if server.process is not None:
            server.stop()


@pytest.fixture
def server(make_server: Callable[..., LiveServer]) -> LiveServer:
    """One real server, fresh for this test."""
    return make_server()


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One real server for the tests of a module; whoever kills it starts it again."""
    server = LiveServer(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    _end_tasks(server)
    server.stop()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[LiveServer]:
    """One real server for the tests that can share one."""
    folder = Path(tempfile.mkdtemp(prefix="seafloor-tests-"))
    server = LiveServer(folder / "data").start()
    yield server
    _end_tasks(server)
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _end_tasks(server: LiveServer) -> None:
    """Stop what a test left running; its agents outlive the server by design."""
    if server.process is None:
        return
    for state in ("queued", "preparing", "running"):
        page = server.get(f"/api/v1/runs?state={state}&limit=1000")
        for run in page["items"]:
            if run["origin"] == "launched":
                server.post(f"/api/v1/runs/{run['id']}/stop")
                server.wait_state(run["id"], "stopped", "failed", "succeeded", "lost")
