"""Runs that a server starts on a real node, and what users read when something befalls them.

Their policy names no image of Seafloor, so that what is told is what the cluster says.
"""

from __future__ import annotations

import os
import time

import pytest
from tests.kube.cluster.launched_world import Launching, wait_said, wait_state
from tests.services._kubernetes_plane import Parts

pytestmark = pytest.mark.timeout(900)

AWAY_S = float(os.environ.get("SEAFLOOR_KUBE_AWAY_S", "6"))
"""How long the API server is away."""

ABSENT = "localhost/absent@sha256:" + "0" * 64


def test_runs__each_with_an_end_of_its_own__say_what_it_was(
    launching: Launching,
) -> None:
    server = launching.start()
    hungry = "import time; kept = bytearray(400 << 20); kept[::4096] = b'x' * len(kept[::4096])"
    well = server.launch("python3 --version")["id"]
    failing = server.launch("exit 3")["id"]
    eating = server.launch(["python3", "-c", hungry], resources={"memory": "64Mi"})["id"]

    wait_state(server, well, "succeeded")
    assert wait_state(server, failing, "failed")["ending"]["exit_code"] == 3
    wait_state(server, eating, "failed")
    wait_said(server, eating, "more memory than its limit of", "64")


def test_run__its_image_is_not_to_be_had__says_which(launching: Launching) -> None:
    server = launching.start(image=ABSENT, policy={"images": {"pull_policy": "IfNotPresent"}})
    run_id = server.launch("true")["id"]
    wait_said(server, run_id, ABSENT, "cannot be pulled")
    server.post(f"/api/v1/runs/{run_id}/stop")
    wait_state(server, run_id, "stopped")


def test_run__no_node_has_what_it_asks_for__says_what(launching: Launching) -> None:
    server = launching.start()
    run_id = server.launch("true", resources={"gpu": 2})["id"]
    wait_said(server, run_id, "No node has 2 GPUs")
    server.post(f"/api/v1/runs/{run_id}/stop")
    wait_state(server, run_id, "stopped")


def test_run__api_server_away_while_it_runs__ends_as_it_would_have(
    launching: Launching, parts: Parts
) -> None:
    server, gate = launching.start(), launching.gate()
    run_id = server.launch(["python3", "-c", f"{gate.wait()}; raise SystemExit(4)"])["id"]
    wait_state(server, run_id, "running")
    parts.kill("api")
    back_s = time.monotonic() + AWAY_S
    try:
        # Nothing is known of it meanwhile, so nothing is said.
        while time.monotonic() < back_s:
            assert server.get(f"/api/v1/runs/{run_id}")["state"] == "running"
            time.sleep(0.2)
    finally:
        parts.start("api")
    gate.open()
    assert wait_state(server, run_id, "failed")["ending"]["exit_code"] == 4
