"""Runs that a server starts on a real node, and what users read when something befalls them.

Their policy names no image of Seafloor, so that what is told is what the cluster says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster.conftest import Namespace
from tests.services._kubernetes_plane import Parts
from tests.services._service import Service
from tests.services.kubernetes import DEBIAN

from live_server import LiveServer, wait_for

pytestmark = pytest.mark.timeout(900)

PATIENCE_S = 240.0
ABSENT = "localhost/absent@sha256:" + "0" * 64

StartServer = Callable[..., LiveServer]


@pytest.fixture
def start_server(cluster: Service, namespace: Namespace, tmp_path: Path) -> Iterator[StartServer]:
    """Start a server whose runs are pods of the namespace."""
    made: list[LiveServer] = []

    def start(*, image: str = cluster.env[DEBIAN]) -> LiveServer:
        policy = {
            "namespaces": [namespace.name],
            "images": {"default": image},
            "resources": {"default": {"cpu": "50m", "memory": "256Mi"}},
        }
        (tmp_path / "policy.yaml").write_text(json.dumps(policy))
        server = LiveServer(
            tmp_path / "data",
            env={
                "SEAFLOOR_LAUNCH__KIND": "kubernetes",
                "SEAFLOOR_LAUNCH__KUBECONFIG": cluster.env["KUBECONFIG"],
                "SEAFLOOR_LAUNCH__POLICY": str(tmp_path / "policy.yaml"),
            },
        )
        made.append(server)
        return server.start()

    yield start
    for server in made:
        server.stop()


def said(server: LiveServer, run_id: str) -> list[str]:
    """What the user reads of a run."""
    return [one["message"] for one in server.get(f"/api/v1/runs/{run_id}/events")["items"]]


def wait_said(server: LiveServer, run_id: str, *words: str) -> None:
    """Wait until one sentence has all the words."""

    def look() -> bool:
        return any(all(word in one for word in words) for one in said(server, run_id))

    try:
        wait_for(look, timeout_s=PATIENCE_S, what=f"{words} to be said")
    except AssertionError as error:
        raise AssertionError(f"{error}: {said(server, run_id)}") from error


def wait_state(server: LiveServer, run_id: str, state: str) -> dict[str, Any]:
    try:
        return server.wait_state(run_id, state, timeout_s=PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {said(server, run_id)}") from error


def test_runs__each_with_an_end_of_its_own__say_what_it_was(
    start_server: StartServer,
) -> None:
    server = start_server()
    hungry = "import time; kept = bytearray(400 << 20); kept[::4096] = b'x' * len(kept[::4096])"
    well = server.launch("python3 --version")["id"]
    failing = server.launch("exit 3")["id"]
    eating = server.launch(["python3", "-c", hungry], resources={"memory": "64Mi"})["id"]

    wait_state(server, well, "succeeded")
    assert wait_state(server, failing, "failed")["ending"]["exit_code"] == 3
    wait_state(server, eating, "failed")
    wait_said(server, eating, "more memory than its limit of", "64")


def test_run__its_image_is_not_to_be_had__says_which(start_server: StartServer) -> None:
    server = start_server(image=ABSENT)
    run_id = server.launch("true")["id"]
    wait_said(server, run_id, ABSENT, "cannot be pulled")
    server.post(f"/api/v1/runs/{run_id}/stop")
    wait_state(server, run_id, "stopped")


def test_run__no_node_has_what_it_asks_for__says_what(start_server: StartServer) -> None:
    server = start_server()
    run_id = server.launch("true", resources={"gpu": 2})["id"]
    wait_said(server, run_id, "No node has 2 GPUs")
    server.post(f"/api/v1/runs/{run_id}/stop")
    wait_state(server, run_id, "stopped")


def test_run__api_server_away_while_it_runs__ends_as_it_would_have(
    start_server: StartServer, parts: Parts
) -> None:
    server = start_server()
    run_id = server.launch("sleep 20; exit 4")["id"]
    wait_state(server, run_id, "running")
    parts.kill("api")
    try:
        # Nothing is known of it meanwhile, so nothing is said.
        assert server.get(f"/api/v1/runs/{run_id}")["state"] == "running"
    finally:
        parts.start("api")
    assert wait_state(server, run_id, "failed")["ending"]["exit_code"] == 4
