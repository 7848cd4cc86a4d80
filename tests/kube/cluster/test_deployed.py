"""What is deployed, taken by a real API server; and what its service account may do there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from tests.kube.deployed import FOLDER
from tests.kube.golden import FOLDER as WORKLOADS
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service

pytestmark = pytest.mark.timeout(900)

Manifest = dict[str, Any]

LATER = {("policy/v1", "PodDisruptionBudget"), ("autoscaling/v2", "HorizontalPodAutoscaler")}
"""What the tests' cluster, of version 1.20, does not know yet."""


def path_of(manifest: Manifest, namespace: str) -> str:
    """Where an object is; all of ours are called by a regular plural."""
    version = manifest["apiVersion"]
    root = "/apis" if "/" in version else "/api"
    kind = manifest["kind"].lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    plural = plural if kind != "ingress" else "ingresses"
    return f"{root}/{version}/namespaces/{namespace}/{plural}/{manifest['metadata']['name']}"


def apply(kubernetes: Kubernetes, manifest: Manifest, namespace: str, *, dry: bool = False) -> Any:
    metadata = {**manifest["metadata"], "namespace": namespace}
    query = f"?fieldManager=test&force=true{'&dryRun=All' if dry else ''}"
    path, body = path_of(manifest, namespace) + query, {**manifest, "metadata": metadata}
    try:
        return kubernetes.call("PATCH", path, body, kind="apply-patch+yaml")
    except HTTPError as error:
        raise AssertionError(f"{path}: {error.read().decode()}") from error


def read(file: Path) -> list[Manifest]:
    found: list[Manifest] = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    return [one for one in found if (one["apiVersion"], one["kind"]) not in LATER]


@dataclass(frozen=True)
class Place:
    """A namespace of a real cluster, and its administrator."""

    administrator: Kubernetes
    namespace: str
    kubeconfig: Path

    def server(self) -> Kubernetes:
        """The cluster, asked as the server would ask it."""
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/seafloor/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = self.administrator.call("POST", path, body)
        config = Kubernetes.of_kubeconfig(str(self.kubeconfig))
        return Kubernetes(config.url, answer["status"]["token"], config._authority)


@pytest.fixture
def place(service: Callable[[str], Service]) -> Iterator[Place]:
    kubeconfig = service("kubernetes_api").env["KUBECONFIG"]
    administrator = Kubernetes.of_kubeconfig(kubeconfig)
    name = f"deployed-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    administrator.call("POST", "/api/v1/namespaces", body)
    yield Place(administrator, name, Path(kubeconfig))
    administrator.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("name", ["base", "laptop", "postgresql-s3", "everything"])
def test_overlay__applied_twice__is_taken_and_the_same(place: Place, name: str) -> None:
    for manifest in read(FOLDER / f"{name}.yaml"):
        first = apply(place.administrator, manifest, place.namespace)
        again = apply(place.administrator, manifest, place.namespace)
        assert again["metadata"]["uid"] == first["metadata"]["uid"]


@pytest.fixture
def priority(place: Place) -> Iterator[None]:
    """What a policy among the cases names."""
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1}
    place.administrator.call("POST", path, {**body, "metadata": {"name": "research"}})
    yield
    place.administrator.call("DELETE", f"{path}/research")


@pytest.mark.usefixtures("priority")
def test_role__of_the_server__makes_each_workload_and_nothing_else(place: Place) -> None:
    for manifest in read(FOLDER / "base.yaml"):
        apply(place.administrator, manifest, place.namespace)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runs"}}
    apply(place.administrator, account, place.namespace)  # which a policy among the cases names
    server = place.server()

    made = 0
    for file in WORKLOADS.glob("*.yaml"):
        for manifest in read(file):
            apply(server, manifest, place.namespace, dry=True)
            made += 1
    assert made >= 100
    assert "items" in server.call("GET", f"/api/v1/namespaces/{place.namespace}/events")

    for method, path in (
        ("GET", f"/api/v1/namespaces/{place.namespace}/secrets"),
        ("GET", f"/api/v1/namespaces/{place.namespace}/secrets/seafloor-token"),
        ("GET", "/api/v1/namespaces/default/pods"),
        ("GET", "/api/v1/nodes"),
        ("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{place.namespace}/roles"),
        ("POST", f"/api/v1/namespaces/{place.namespace}/serviceaccounts/seafloor/token"),
        ("POST", f"/api/v1/namespaces/{place.namespace}/pods/x/exec"),
    ):
        with pytest.raises(HTTPError) as refused:
            server.call(method, path, {} if method == "POST" else None)
        assert refused.value.code == 403, path
