"""The control plane that the tests have: it takes pods, and comes back when it was killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.services import kubernetes_api
from tests.services._kubernetes_client import Kubernetes
from tests.services._kubernetes_plane import PARTS_VARIABLE, Parts
from tests.services._service import Service

pytestmark = pytest.mark.timeout(900)

POD = {
    "metadata": {"name": "waits"},
    "spec": {"containers": [{"name": "main", "image": "localhost/none:1"}]},
}
PODS = "/api/v1/namespaces/default/pods"


def test_control_plane__without_a_node__keeps_a_pod_pending(
    service: Callable[[str], Service],
) -> None:
    kubernetes = Kubernetes.of_kubeconfig(service("kubernetes_api").env["KUBECONFIG"])
    kubernetes.call("POST", PODS, POD)
    try:
        assert kubernetes.call("GET", f"{PODS}/waits")["status"]["phase"] == "Pending"
    finally:
        kubernetes.call("DELETE", f"{PODS}/waits")


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
