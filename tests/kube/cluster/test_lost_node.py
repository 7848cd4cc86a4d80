"""A node that is lost for good while runs are on it: what users read, keep, and get anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster.conftest import Namespace
from tests.kube.cluster.launched_world import Launching, wait_said, wait_state
from tests.kube.cluster.test_befallen import wait_line
from tests.services import kubernetes as kubernetes_service
from tests.services._kubernetes_client import Kubernetes
from tests.services._kubernetes_node import NAME, SECOND, TAINT
from tests.services._kubernetes_plane import Parts
from tests.services._service import Service

from live_server import LiveServer

pytestmark = pytest.mark.timeout(900)

ON_THE_NODE = "case $SEAFLOOR_ATTEMPT in 1) echo begun; exec sleep 1000;; esac; echo again"


@pytest.fixture
def second(parts: Parts, cluster: Service) -> Iterator[str]:
    """A second node, which is in the cluster for this test only."""
    try:
        parts.add_node(SECOND)
        yield SECOND
    finally:
        parts.remove_node(SECOND)
        assert not _processes(cluster)


def _processes(cluster: Service) -> list[str]:
    """What runs on the second node in containers."""
    slot = Path(cluster.env["KUBECONFIG"]).parent.name.rpartition("-")[0]
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"/{slot}/{SECOND}/" in (process / "cgroup").read_text():
                found.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue  # it ended
    return found


class Marked:
    """Nodes with a label of the test's own, for runs that go to no other."""

    def __init__(self, kubernetes: Kubernetes, label: str) -> None:
        self.label = label
        self._kubernetes = kubernetes

    def set(self, node: str, value: str | None) -> None:
        body = {"metadata": {"labels": {self.label: value}}}
        path = f"/api/v1/nodes/{node}"
        self._kubernetes.call("PATCH", path, body, kind="merge-patch+json")


@pytest.fixture
def marked(kubernetes: Kubernetes, namespace: Namespace) -> Iterator[Marked]:
    made = Marked(kubernetes, f"tests/{namespace.name}")
    yield made
    made.set(NAME, None)


def _policy(marked: Marked, bare: str) -> dict[str, Any]:
    """Runs go where the label is, and their nodes are given up at once when they are silent."""
    silent = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    pool = {
        "node_selector": {marked.label: "yes"},
        "tolerations": [
            {"key": TAINT, "operator": "Exists"},
            {**silent, "tolerationSeconds": 1},
        ],
    }
    return {
        "images": {"without_python": [bare]},
        "environments": {"bare": {"image": bare}},
        "default_pool": "of-the-test",
        "node_pools": {"of-the-test": pool},
        "limits": {"clean_up_after": "1h"},
    }


def _nodes(namespace: Namespace, run_id: str) -> dict[str, str]:
    """Nodes of the pods of a run, by attempt."""
    return {
        labels["seafloor/attempt"]: pod["spec"]["nodeName"]
        for pod in namespace.pods()
        if (labels := pod["metadata"]["labels"])["seafloor/id"] == run_id
    }


def _lines(server: LiveServer, run_id: str, *, attempt: int) -> list[str]:
    """What an attempt printed."""
    return [one["text"] for one in server.log_lines(run_id, attempt=attempt, stream="out")]


def test_runs__on_a_node_that_is_lost_for_good__say_so_and_are_tried_on_another(
    launching: Launching,
    namespace: Namespace,
    parts: Parts,
    second: str,
    marked: Marked,
) -> None:
    marked.set(second, "yes")
    bare = launching.env[kubernetes_service.BARE]
    server = launching.start(agent=True, policy=_policy(marked, bare))
    again = server.launch(ON_THE_NODE, retries=1)["id"]
    once = server.launch(ON_THE_NODE, environment="bare")["id"]
    for run_id in (again, once):
        wait_line(server, run_id, "begun")
        assert _nodes(namespace, run_id) == {"1": second}

    marked.set(NAME, "yes")
    parts.kill("node2")  # and everything on it, for good

    for run_id in (again, once):
        wait_said(server, run_id, f"The node ({second}) does not answer the cluster.")
        wait_said(server, run_id, f"The node ({second}) is lost")
    wait_said(server, again, "Attempt 2 of 2 begins")
    wait_state(server, again, "succeeded")
    assert _nodes(namespace, again) == {"1": second, "2": NAME}
    assert _lines(server, again, attempt=1) == ["begun"]
    assert _lines(server, again, attempt=2) == ["again"]
    lost = wait_state(server, once, "lost")
    assert f"The node ({second}) is lost" in lost["ending"]["reason"]
    assert _lines(server, once, attempt=1) == ["begun"]
