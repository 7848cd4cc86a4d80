"""What is deployed, taken by a real API server; and what its service account may do there."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from tests.kube.cluster.applied import Manifest, apply, read
from tests.kube.cluster.conftest import READY_S, Namespace
from tests.kube.cluster.shared_stores import SharedStores, secret, shared_stores
from tests.kube.deployed import FOLDER
from tests.kube.golden import FOLDER as WORKLOADS
from tests.services import kubernetes as kubernetes_service
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Missing, Service

from client_process import Client
from live_server import LiveServer, wait_for
from missing import skip_missing
from seafloor.stores.objects.open import open_objects

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Place:
    """A namespace of a real cluster, and its administrator."""

    administrator: Kubernetes
    namespace: str


@pytest.fixture
def place(service: Callable[[str], Service]) -> Iterator[Place]:
    kubeconfig = service("kubernetes_api").env["KUBECONFIG"]
    administrator = Kubernetes.of_kubeconfig(kubeconfig)
    name = f"deployed-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    administrator.call("POST", "/api/v1/namespaces", body)
    yield Place(administrator, name)
    administrator.remove(f"/api/v1/namespaces/{name}")


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
    spec = {
        "priorityClassName": "research",
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "localhost/none:1"}],
    }
    pod = {"metadata": {"name": "probe"}, "spec": spec}
    probe = f"/api/v1/namespaces/{place.namespace}/pods?dryRun=All"

    def is_known() -> bool:
        """Also to what takes pods, which goes by copies of it and of the namespace's account."""
        try:
            place.administrator.call("POST", probe, pod)
        except HTTPError as error:
            error.close()
            if error.code != 403:
                raise
            return False
        return True

    wait_for(is_known, timeout_s=READY_S, what="the priority to be known")
    yield
    place.administrator.remove(f"{path}/research")


@pytest.mark.usefixtures("priority")
def test_workloads__all_that_can_be_rendered__are_taken(place: Place) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runs"}}
    apply(place.administrator, account, place.namespace)  # which a policy among the cases names
    made = 0
    for file in WORKLOADS.glob("*.yaml"):
        for manifest in read(file):
            apply(place.administrator, manifest, place.namespace, dry=True)
            made += 1
    assert made >= 100


EXAMPLE = Path(__file__).parents[3] / "examples" / "digits"
IMAGE_PYTHON = "3.11.2"
TOKEN = "of-the-test"

# What a user does, in a pod of the namespace: a run of a working folder, and a look at it.
USE = """
mkdir /tmp/digits && cd /tmp/digits
echo 'import numpy; print("trained", numpy.arange(7).sum())' > train.py
seafloor runs list
seafloor run --name first -- python train.py
seafloor runs list
"""
LOOK = "seafloor runs list"


class Deployed:
    """An overlay applied to a node, and users of it in pods of their own."""

    def __init__(self, namespace: Namespace, image: str) -> None:
        self._namespace, self._image = namespace, image

    def apply(self, name: str, *secrets: Manifest) -> None:
        """Apply it with its Secrets, and wait until a server is ready."""
        kubernetes, namespace = self._namespace.kubernetes, self._namespace.name
        self._namespace.create(secret("seafloor-token", token=TOKEN), *secrets)
        for manifest in read(FOLDER / f"{name}.yaml"):
            if manifest["kind"] == "Deployment":
                (container,) = manifest["spec"]["template"]["spec"]["containers"]
                container["image"] = self._image
            apply(kubernetes, manifest, namespace)
        self.wait()

    def url(self) -> str:
        """Where the server is, for pods and for this machine."""
        return f"http://{self.server()['status']['podIP']}:7340"

    def wait(self) -> None:
        self._namespace.wait_ready("Deployment", "seafloor", 1)

    def server(self) -> dict[str, Any]:
        """The pod of the server that is there."""
        (pod,) = [one for one in self._namespace.pods() if _is_server(one)]
        return pod

    def restart(self) -> None:
        """Delete the server's pod; wait for another."""
        before = self.server()["metadata"]
        path = self._namespace.path("Pod", before["name"])
        self._namespace.kubernetes.call("DELETE", path)

        def look() -> bool:
            pods = [one["metadata"]["uid"] for one in self._namespace.pods() if _is_server(one)]
            return len(pods) == 1 and pods != [before["uid"]]

        wait_for(look, timeout_s=READY_S, what="another pod of the server")
        # What the Deployment says may still be of the one that is gone.
        self._namespace.wait_pods(1, but=before["uid"])

    def use(self, name: str, script: str) -> str:
        """Run a script in a pod as a user, who finds the server by its address."""
        security = self.server()["spec"]["containers"][0]["securityContext"]
        token = {"secretKeyRef": {"name": "seafloor-token", "key": "token"}}
        container = {
            "name": "main",
            "image": self._image,
            "command": ["sh", "-ec", script],
            "env": [
                {"name": "SEAFLOOR_URL", "value": self.url()},
                {"name": "SEAFLOOR_TOKEN", "valueFrom": token},
            ],
            "securityContext": security,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        self._namespace.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name},
                "spec": {
                    "restartPolicy": "Never",
                    "securityContext": {"runAsNonRoot": True, "runAsUser": 123_456},
                    "containers": [container],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            }
        )
        return self._namespace.run_to_end(name, 0)


def _is_server(pod: Manifest) -> bool:
    return pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "seafloor"


@pytest.fixture
def deployed(cluster: Service, namespace: Namespace) -> Deployed:
    return Deployed(namespace, cluster.env[kubernetes_service.SEAFLOOR])


@pytest.fixture
def stores(cluster: Service, service: Callable[[str], Service]) -> Iterator[SharedStores]:
    with shared_stores(cluster, service) as made:
        yield made


@pytest.fixture
def digits(stores: SharedStores, tmp_path: Path) -> Path:
    """The example, whose packages a server on this machine built and put into the stores.

    They are for the Python of the image, which Debian 12 has as well.
    """
    python = subprocess.run(["/usr/bin/python3", "--version"], capture_output=True, check=False)
    if python.stdout.split() != [b"Python", IMAGE_PYTHON.encode()]:
        skip_missing("packages for the image", Missing(f"Python {IMAGE_PYTHON}, that of Debian 12"))
    folder = tmp_path / "digits"
    shutil.copytree(EXAMPLE, folder)
    server = LiveServer(tmp_path / "data", env=stores.settings()).start()
    try:
        user = Client(tmp_path / "home", server.url)
        for words in (
            ["env", "create", "digits", "-r", "requirements.txt", "--python", IMAGE_PYTHON],
            ["run", "--env", "digits", "--", "true"],
        ):
            done = user.cli(*words, cwd=folder)
            assert done.returncode == 0, done
        wait_for(
            lambda: asyncio.run(_stored(stores)),
            timeout_s=READY_S,
            what="the environment to be stored",
        )
    finally:
        server.stop()
    return folder


async def _stored(stores: SharedStores) -> bool:
    """Whether there is an environment that others can fetch."""
    objects = open_objects(stores.objects, stores.variables)
    page = await objects.list("environments")
    await objects.close()
    return any(one.key.endswith("/environment.json") for one in page.objects)


def test_base__applied_to_a_node__is_a_server_that_runs_the_digits(
    deployed: Deployed, stores: SharedStores, digits: Path, tmp_path: Path
) -> None:
    deployed.apply("base", *stores.secrets())
    user = Client(tmp_path / "user", deployed.url())
    done = user.cli(
        *("run", "--env", "digits", "--", "python", "train.py", "--epochs", "2"),
        cwd=digits,
        SEAFLOOR_TOKEN=TOKEN,
    )
    assert done.returncode == 0, done
    assert "done: val accuracy" in done.stdout
    # No index of packages can be reached from a pod.
    said = user.cli("runs", "show", "@last", SEAFLOOR_TOKEN=TOKEN).stdout
    assert "Environment: fetched." in said, said


@pytest.fixture
def volume_folder(tmp_path: Path) -> Path:
    """A folder that any user may write to."""
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def persistent(namespace: Namespace, volume_folder: Path) -> Iterator[None]:
    """A volume for the claim of the overlay: a folder of this machine."""
    path, name = "/api/v1/persistentvolumes", f"of-{namespace.name}"
    spec = {
        "capacity": {"storage": "20Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace.name, "name": "seafloor"},
        "hostPath": {"path": str(volume_folder)},
    }
    namespace.kubernetes.call("POST", path, {"metadata": {"name": name}, "spec": spec})
    yield
    namespace.kubernetes.remove(f"{path}/{name}")


@pytest.mark.usefixtures("persistent")
def test_laptop__its_pod_deleted__has_on_its_volume_what_it_had(deployed: Deployed) -> None:
    deployed.apply("laptop")
    assert "trained 21" in deployed.use("user", USE)
    deployed.restart()
    said = deployed.use("user-later", LOOK)
    assert "first" in said
    assert "succeeded" in said
