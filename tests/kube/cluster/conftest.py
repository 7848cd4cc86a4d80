"""The cluster that the tests here share, and ways to put things into it and to see them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError

import pytest
from tests.kube.cluster.launched_world import Launching
from tests.kube.coded_runs import CodedRuns, coded_runs
from tests.services import kubernetes as kubernetes_service
from tests.services._kubernetes_client import Kubernetes
from tests.services._kubernetes_plane import PARTS_VARIABLE, Parts
from tests.services._service import Service
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from live_server import T, wait_for

_PLURALS = {
    "ConfigMap": "api/v1",
    "Deployment": "apis/apps/v1",
    "PersistentVolumeClaim": "api/v1",
    "Pod": "api/v1",
    "Secret": "api/v1",
    "Service": "api/v1",
    "StatefulSet": "apis/apps/v1",
}
READY_S = 300.0
"""For a pod on a machine that does much else."""


class Namespace:
    """A namespace of a test's own, and what is in it.

    Args:
        kubernetes: The cluster.
        name: Of the namespace.
    """

    def __init__(self, kubernetes: Kubernetes, name: str) -> None:
        self.kubernetes, self.name = kubernetes, name

    def path(self, kind: str, name: str = "") -> str:
        """Of a kind's objects, or of one."""
        plural = f"{kind.lower()}s"
        return f"/{_PLURALS[kind]}/namespaces/{self.name}/{plural}" + (f"/{name}" if name else "")

    def create(self, *manifests: dict[str, Any]) -> None:
        """Create objects, in that order."""
        for manifest in manifests:
            self.kubernetes.call("POST", self.path(manifest["kind"]), manifest)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.kubernetes.call("GET", self.path(kind, name))

    def pods(self) -> list[dict[str, Any]]:
        return self.kubernetes.call("GET", self.path("Pod"))["items"]

    def wait_pod(self, name: str, *phases: str) -> dict[str, Any]:
        """Wait until a pod is in one of some phases."""
        seen: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            seen.update(self.get("Pod", name))
            return dict(seen) if seen["status"]["phase"] in phases else None

        try:
            return wait_for(look, timeout_s=READY_S, what=f"{name} to be {phases}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen['status']}\n{self._all_logs(seen)}") from error

    def wait_ready(self, kind: str, name: str, replicas: int) -> None:
        """Wait until a workload says that so many replicas are ready."""

        def look() -> bool:
            return self.get(kind, name)["status"].get("readyReplicas", 0) == replicas

        self._wait(look, f"{name} to be ready")

    def wait_pods(self, count: int, *, but: str = "") -> list[dict[str, Any]]:
        """Wait until so many pods are ready, but for the one of a uid; give them."""

        def look() -> list[dict[str, Any]] | None:
            ready = [pod for pod in self.pods() if _is_ready(pod) and pod["metadata"]["uid"] != but]
            return ready if len(ready) == count else None

        return self._wait(look, f"{count} pods to be ready")

    def _wait(self, look: Callable[[], T | None], what: str) -> T:
        try:
            return wait_for(look, timeout_s=READY_S, what=what)
        except AssertionError as error:
            told = [(pod["status"], self._all_logs(pod)) for pod in self.pods()]
            raise AssertionError(f"{error}: {told}") from error

    def run_to_end(self, name: str, exit_code: int) -> str:
        """Wait until a pod has ended, with that code of its command; give its log."""
        ended = self.wait_pod(name, "Succeeded", "Failed")
        (main,) = ended["status"]["containerStatuses"]
        code = main["state"].get("terminated", {}).get("exitCode")
        assert code == exit_code, f"{ended['status']}\n{self._all_logs(ended)}"
        return self.log(name)

    def log(self, pod: str, container: str = "main") -> str:
        return self.kubernetes.call("GET", f"{self.path('Pod', pod)}/log?container={container}")

    def _all_logs(self, pod: dict[str, Any]) -> str:
        spec = pod["spec"]
        text = ""
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            try:
                printed = self.log(pod["metadata"]["name"], container["name"])
            except HTTPError as error:
                printed = f"({error.read().decode(errors='replace')[:300]})"
            text += f"--- {container['name']}\n{printed[-3000:]}\n"
        return text


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True"


_WITHOUT_NODE = {
    "test_distributed",
    "test_exec_credentials",
    "test_launcher",
    "test_role",
    "test_server",
    "test_volume_snapshots",
    "test_volumes",
}
"""Modules that leave the node alone, so that they run beside those that use it or kill it."""


class _BesideTheNode(LoadScopeScheduling):
    """Of two processes one has the tests of the node, one by one, and one those without it."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePosixPath(nodeid.partition("::")[0]).stem
        return "without" if module in _WITHOUT_NODE else "node"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _BesideTheNode:
    return _BesideTheNode(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.stem in _WITHOUT_NODE and "cluster" in getattr(item, "fixturenames", ()):
        raise pytest.UsageError(f"{item.path.name} is of the modules that leave the node alone.")


@pytest.fixture(scope="session")
def cluster(service: Callable[[str], Service]) -> Service:
    """A cluster with a node."""
    return service("kubernetes")


@pytest.fixture(scope="session")
def kubernetes(cluster: Service) -> Kubernetes:
    return Kubernetes.of_kubeconfig(cluster.env["KUBECONFIG"])


@pytest.fixture
def parts(cluster: Service) -> Parts:
    """What of the cluster can be killed; each test starts again what it killed."""
    return Parts(cluster.env[PARTS_VARIABLE])


@pytest.fixture(scope="session")
def runs(
    cluster: Service, service: Callable[[str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CodedRuns]:
    """Servers of code that pods reach."""
    with coded_runs(
        tmp_path_factory.mktemp("coded"),
        host=cluster.env[kubernetes_service.GATEWAY],
        image=cluster.env[kubernetes_service.DEBIAN],
        seafloor=cluster.env[kubernetes_service.SEAFLOOR],
        service=service,
    ) as made:
        yield made


@contextmanager
def fresh_namespace(kubernetes: Kubernetes) -> Iterator[Namespace]:
    """A namespace of its own; what is in it goes with it."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    made = {"metadata": {"name": name}}
    kubernetes.call("POST", "/api/v1/namespaces", made)
    wait_for(
        lambda: kubernetes.takes_pods(name), timeout_s=READY_S, what="the token of its account"
    )
    yield Namespace(kubernetes, name)
    for pod in Namespace(kubernetes, name).pods():
        path = f"/api/v1/namespaces/{name}/pods/{pod['metadata']['name']}"
        kubernetes.remove(f"{path}?gracePeriodSeconds=0")
    kubernetes.remove(f"/api/v1/namespaces/{name}")


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> Iterator[Namespace]:
    """A fresh namespace for one test."""
    with fresh_namespace(kubernetes) as made:
        yield made


@pytest.fixture
def user() -> int:
    """An id that no list of users has."""
    chosen = random.SystemRandom().randint(100_000, 900_000)
    print(f"user {chosen}")
    return chosen


class Disk:
    """A folder of this machine that a claim of a namespace gets as its volume.

    Args:
        kubernetes: The cluster.
        folder: Any user may write to it.
        namespace: Whose claim it is for.
    """

    STORAGE_CLASS = "of-the-test"

    def __init__(self, kubernetes: Kubernetes, folder: Path, namespace: str) -> None:
        self.folder = folder
        self._kubernetes, self._namespace = kubernetes, namespace
        self._names: list[str] = []

    def offer(self, claim: str) -> None:
        """Offer it to the claim of that name."""
        name = f"{self._namespace}-{claim}"
        spec = {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "storageClassName": self.STORAGE_CLASS,
            "hostPath": {"path": str(self.folder)},
            "claimRef": {"namespace": self._namespace, "name": claim},
        }
        volume = {"metadata": {"name": name}, "spec": spec}
        self._kubernetes.call("POST", "/api/v1/persistentvolumes", volume)
        self._names.append(name)

    def remove(self) -> None:
        """Take it back; what is in the folder stays."""
        for name in self._names:
            self._kubernetes.remove(f"/api/v1/persistentvolumes/{name}")


@pytest.fixture
def disk(kubernetes: Kubernetes, namespace: Namespace, tmp_path: Path) -> Iterator[Disk]:
    """A disk for a claim of the test's namespace."""
    folder = tmp_path / "disk"
    folder.mkdir()
    folder.chmod(0o777)
    made = Disk(kubernetes, folder, namespace.name)
    yield made
    made.remove()


@pytest.fixture
def launching(cluster: Service, namespace: Namespace, tmp_path: Path) -> Iterator[Launching]:
    """Starts servers whose runs are pods of the test's namespace."""
    with ExitStack() as stack:
        yield Launching(cluster, namespace.name, tmp_path, stack)
