"""The clusters that the tests have: what is killed comes back, and nothing is left of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kube.cluster.conftest import READY_S
from tests.services import kubernetes_api
from tests.services._kubernetes_client import Kubernetes
from tests.services._kubernetes_node import NAME, slot
from tests.services._kubernetes_plane import PARTS_VARIABLE, Parts
from tests.services._service import Service

from live_server import wait_for

pytestmark = pytest.mark.timeout(900)

POD = {
    "metadata": {"name": "waits"},
    "spec": {"containers": [{"name": "main", "image": "localhost/none:1"}]},
}
PODS = "/api/v1/namespaces/default/pods"


ROOT = Path(__file__).resolve().parents[3]
_OWN_CLUSTER = """
import json, sys, signal
sys.path[:0] = [".", "tests"]
from tests.services import kubernetes
with kubernetes.service() as own:
    print(json.dumps([own.env["KUBECONFIG"], own.env[kubernetes.DEBIAN]]), flush=True)
    signal.pause()
"""


def test_control_plane__without_a_node__keeps_a_pod_pending(
    service: Callable[[str], Service],
) -> None:
    kubernetes = Kubernetes.of_kubeconfig(service("kubernetes_api").env["KUBECONFIG"])
    kubernetes.call("POST", PODS, POD)
    try:
        assert kubernetes.call("GET", f"{PODS}/waits")["status"]["phase"] == "Pending"
    finally:
        kubernetes.remove(f"{PODS}/waits")


def test_control_plane__api_server_killed_and_started__has_what_it_had() -> None:
    with kubernetes_api.service() as own:
        kubernetes = Kubernetes.of_kubeconfig(own.env["KUBECONFIG"])
        kubernetes.call("POST", PODS, POD)
        parts = Parts(own.env[PARTS_VARIABLE])
        parts.kill("api")
        assert not kubernetes.is_ready()
        parts.start("api")
        assert kubernetes.is_there(f"{PODS}/waits")
        with pytest.raises(RuntimeError, match="nothing"):
            parts.kill("nothing")
    assert not kubernetes.is_ready()


def _processes_of(folder: str) -> list[str]:
    """Processes that a folder is an argument of, and those in containers of its node."""
    group = Path(folder).name.rpartition("-")[0]
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue  # it ended
        if folder in words or f"/{group}/" in groups:
            found.append(words)
    return found


def test_cluster__node_killed__is_not_ready_until_it_is_back(
    kubernetes: Kubernetes, parts: Parts
) -> None:
    def is_ready() -> bool:
        node = kubernetes.call("GET", f"/api/v1/nodes/{NAME}")
        return any(
            (one["type"], one["status"]) == ("Ready", "True")
            for one in node["status"]["conditions"]
        )

    # A busy one may have been missed for a moment.
    wait_for(is_ready, timeout_s=READY_S, what="the node to be ready")
    parts.kill("kubelet")
    try:
        wait_for(lambda: not is_ready(), timeout_s=READY_S, what="the node to be missed")
    finally:
        parts.start("kubelet")
        wait_for(is_ready, timeout_s=READY_S, what="the node to be back")


def test_cluster__whose_tests_are_killed__leaves_nothing_that_the_next_does_not_remove(
    service: Callable[[str], Service],
) -> None:
    service("kubernetes")  # skipped here where there can be none
    with subprocess.Popen(
        [sys.executable, "-c", _OWN_CLUSTER], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as tests:
        assert tests.stdout is not None
        kubeconfig, image = json.loads(tests.stdout.readline())
        kubernetes = Kubernetes.of_kubeconfig(kubeconfig)
        waits = {"name": "main", "image": image, "command": ["sleep", "1000"]}
        kubernetes.call(
            "POST", PODS, {"metadata": {"name": "runs"}, "spec": {"containers": [waits]}}
        )
        wait_for(
            lambda: kubernetes.call("GET", f"{PODS}/runs")["status"]["phase"] == "Running",
            timeout_s=READY_S,
            what="the pod",
        )
        tests.kill()
    folder = str(Path(kubeconfig).parent)
    wait_for(lambda: not _processes_of(folder), timeout_s=READY_S, what="the end of all")
    assert folder not in Path("/proc/self/mountinfo").read_text()
    with slot():
        assert not Path(folder).exists()  # and all that is removed before it
