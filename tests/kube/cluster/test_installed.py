"""Everything of ``deploy/kubernetes`` at once on a node: servers, stores elsewhere, runs as pods.

Two servers on PostgreSQL and S3 that listen on this machine; the account with its Role; what
Prometheus reads; digits trained by a pod while each server is replaced, drained or killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import urllib3
import yaml
import zstandard
from prometheus_client.parser import text_string_to_metric_families
from tests.kube.cluster.applied import Manifest, apply, read
from tests.kube.cluster.conftest import Namespace, fresh_namespace
from tests.kube.cluster.shared_stores import SharedStores, secret, shared_stores
from tests.kube.deployed import FOLDER
from tests.services import kubernetes as kubernetes_service
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service, made_once

from client_process import Client
from live_server import wait_for
from seafloor.launch.kubernetes.kernels import KERNEL_PATH
from seafloor.stores.objects.open import open_objects

pytestmark = pytest.mark.timeout(1800)

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits"
SERVERS = 2
EPOCHS = 10
TOKEN = "of-the-test"
METRICS_TOKEN = "of-prometheus"
PATIENCE_S = 600.0
_FINAL = ("succeeded", "failed", "lost", "stopped")
KERNEL = "digits-kernel-1"
"""Another number whenever what is in it changes."""


class Installation:
    """An overlay on a node, seen from this machine, which reaches pods as they reach each other."""

    def __init__(self, namespace: Namespace, home: Path) -> None:
        self.namespace = namespace
        self._home = home
        self._pool = urllib3.PoolManager(retries=False, timeout=30.0)

    @property
    def _api(self) -> Kubernetes:
        return self.namespace.kubernetes

    def addresses(self) -> list[str]:
        """Where the Service sends requests now."""
        path = f"/api/v1/namespaces/{self.namespace.name}/endpoints/seafloor"
        return [
            f"http://{address['ip']}:{port['port']}"
            for subset in self._api.call("GET", path).get("subsets") or ()
            for address in subset.get("addresses") or ()
            for port in subset["ports"]
            if port["name"] == "http"
        ]

    def servers(self) -> list[Manifest]:
        """The pods of servers that are ready and not about to end."""
        found: list[Manifest] = []
        for pod in self.namespace.pods():
            ready = [
                one["status"]
                for one in pod["status"].get("conditions", ())
                if one["type"] == "Ready"
            ]
            labels = pod["metadata"].get("labels", {})
            if (
                labels.get("app.kubernetes.io/name") == "seafloor"
                and ready == ["True"]
                and "deletionTimestamp" not in pod["metadata"]
            ):
                found.append(pod)
        return found

    def wait_servers(self, *, but: Set[str] = frozenset()) -> list[Manifest]:
        """Wait until as many as there should be are ready, none with one of some uids."""

        def look() -> list[Manifest] | None:
            found = self.servers()
            new = [one for one in found if one["metadata"]["uid"] not in but]
            return new if len(found) == len(new) == SERVERS == len(self.addresses()) else None

        return wait_for(look, timeout_s=PATIENCE_S, what="all servers to be ready")

    def ask(
        self, url: str, method: str, path: str, body: Any = None, *, token: str = TOKEN
    ) -> tuple[int, bytes]:
        """Make one request of one server."""
        answer = self._pool.request(
            method,
            url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        return answer.status, answer.data

    def get(self, path: str) -> Any:
        """Ask any server, and another when that one is gone."""
        return json.loads(self.insist("GET", path))

    def insist(
        self, method: str, path: str, body: Any = None, on_repeat: Callable[[], None] = lambda: None
    ) -> bytes:
        """Ask until a server answers that can, as clients do; that must be well."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                status, content = self.ask(random.choice(self.addresses()), method, path, body)
            except (OSError, IndexError, urllib3.exceptions.HTTPError) as error:
                status, content = 503, repr(error).encode()
            if status in (200, 201):
                return content
            assert status == 503, (status, content)
            assert time.monotonic() < deadline, content
            on_repeat()
            time.sleep(0.05)

    def printed(self, run: str) -> list[str]:
        """What a run printed by now."""
        return [line["text"] for line in self.get(f"{run}/logs?limit=10000")["lines"]]

    def said(self, run: str) -> list[str]:
        """What its user reads."""
        return [one["message"] for one in self.get(f"{run}/events")["items"]]

    def wait_printed(self, run: str, beginning: str) -> None:
        """Wait until a run printed a line that begins so."""

        def look() -> bool:
            ended = self.get(run)["state"] in _FINAL
            printed = self.printed(run)
            found = any(line.startswith(beginning) for line in printed)
            assert found or not ended, (self.said(run), printed)
            return found

        wait_for(look, timeout_s=PATIENCE_S, what=f"{beginning} to be printed")

    def wait_ended(self, run: str) -> dict[str, Any]:
        """Wait until a run is at its end."""

        def look() -> dict[str, Any] | None:
            found = self.get(run)
            return found if found["state"] in _FINAL else None

        return wait_for(look, timeout_s=PATIENCE_S, what=f"the end of {run}")

    def wait_restarted(self, pod: Manifest) -> None:
        """Wait until the server of a pod was begun anew and all are ready."""
        uid = pod["metadata"]["uid"]

        def look() -> bool:
            counts = {
                one["metadata"]["uid"]: one["status"]["containerStatuses"][0]["restartCount"]
                for one in self.servers()
            }
            return len(counts) == SERVERS and counts.get(uid, 0) >= 1

        wait_for(look, timeout_s=PATIENCE_S, what="the killed server to be back")

    def user(self) -> Client:
        """Somebody with the command line, on this machine."""
        return Client(self._home, random.choice(self.addresses()))

    def roll(self) -> None:
        """Have each server replaced, as ``kubectl rollout restart`` does."""
        annotations = {"kubectl.kubernetes.io/restartedAt": uuid.uuid4().hex}
        template = {"metadata": {"annotations": annotations}}
        body = {"spec": {"template": template}}
        path = self.namespace.path("Deployment", "seafloor")
        self._api.call("PATCH", path, body, kind="strategic-merge-patch+json")

    def wait_budget(self) -> None:
        """Wait until the cluster knows that all servers are well, and that one of them may go."""
        path = f"/apis/policy/v1beta1/namespaces/{self.namespace.name}/poddisruptionbudgets"

        def look() -> bool:
            status = self._api.call("GET", f"{path}/seafloor")["status"]
            counts = (status.get("expectedPods"), status.get("currentHealthy"))
            return counts == (SERVERS, SERVERS) and status.get("disruptionsAllowed") == 1

        wait_for(look, timeout_s=PATIENCE_S, what="the budget")

    def evict(self, pod: Manifest) -> None:
        """Have a pod go, as ``kubectl drain`` does: as soon as the budget allows it."""
        metadata = {"name": pod["metadata"]["name"], "namespace": self.namespace.name}
        path = f"{self.namespace.path('Pod', metadata['name'])}/eviction"
        body = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": metadata}

        def ask() -> bool:
            try:
                self._api.call("POST", path, body)
            except HTTPError as error:
                error.close()
                if error.code != 429:
                    raise
                return False
            return True

        wait_for(ask, timeout_s=PATIENCE_S, what="the budget to let a server go")

    def kill(self, pod: Manifest) -> None:
        """``kill -9`` of a server's process."""
        uid = pod["metadata"]["uid"]
        found: list[int] = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                group = (process / "cgroup").read_text()
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue  # it ended
            if f"pod{uid}" in group and b"seafloor" in words:
                found.append(int(process.name))
        assert found
        for number in found:
            with suppress(ProcessLookupError):  # it went with the first
                os.kill(number, signal.SIGKILL)


class Caller(threading.Thread):
    """A client that logs a point again and again, and asks another server when one is gone."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(daemon=True)
        self._installation = installation
        self._stopping = threading.Event()
        content = installation.insist(
            "POST", "/api/v1/runs", {"experiment": "calls", "name": "caller"}
        )
        self._run = f"/api/v1/runs/{json.loads(content)['id']}"
        self.acknowledged: list[int] = []
        self.tried_again = 0
        self._problem: BaseException | None = None

    def run(self) -> None:
        """Log until told to stop, or until a server answers otherwise than it should."""
        try:
            while not self._stopping.wait(0.05):
                self._log(len(self.acknowledged) + 1)
        except BaseException as error:  # noqa: BLE001  # told by `finish`
            self._problem = error

    def _log(self, step: int) -> None:
        body = {"points": [["value", step / 2, step, step]]}
        self._installation.insist("POST", f"{self._run}/metrics", body, self._note_repeat)
        self.acknowledged.append(step)

    def _note_repeat(self) -> None:
        self.tried_again += 1

    def finish(self) -> None:
        """Stop; every point that was acknowledged is there, once."""
        self._stopping.set()
        self.join()
        if self._problem is not None:
            raise self._problem
        found = self._installation.get(f"{self._run}/metrics/series?key=value&limit=50000")
        assert [step for step, _, _ in found["points"]] == self.acknowledged


# Links that lead out of an archive are refused, so it is no virtual environment.
_PYTHON = f"""\
#!/bin/sh
export PYTHONPATH={KERNEL_PATH}/lib/python3.11/site-packages
exec /usr/bin/python3 "$@"
"""


def _kernel(folder: Path) -> None:
    """What digits need, as it is to lie in a pod whose image has Python 3.11."""
    root = folder / "kernel"
    packages = root / "lib/python3.11/site-packages"
    (root / "bin").mkdir(parents=True)
    python = root / "bin/python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    uv = [
        *(
            str(Path(sys.executable).parent / "uv"),
            "pip",
            "install",
            "--quiet",
            "--python-version=3.11",
            f"--target={packages}",
        ),
        f"--requirements={EXAMPLE / 'requirements.txt'}",
    ]
    subprocess.run(uv, check=True, capture_output=True)
    packed = folder / "kernel.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(packed), "."], check=True)
    with packed.open("rb") as plain, (folder / "kernel.tar.zst").open("wb") as file:
        zstandard.ZstdCompressor(level=3, threads=2).copy_stream(plain, file)
    packed.unlink()
    shutil.rmtree(root)


def _policy(namespace: str, cluster: Service, kernel: dict[str, Any]) -> str:
    debian, seafloor = (
        cluster.env[one] for one in (kubernetes_service.DEBIAN, kubernetes_service.SEAFLOOR)
    )
    rules = {
        "namespaces": [namespace],
        "images": {"seafloor": seafloor, "default": debian, "pull_policy": "Never"},
        "environments": {"digits": {"image": debian, "kernel": kernel}},
        "archives": {"secret": "seafloor-object-store"},
        "resources": {
            "default": {"cpu": "1", "memory": "1Gi"},
            "init": {"cpu": "500m", "memory": "512Mi"},
        },
        "server": {"url": "http://seafloor:7340"},
    }
    return yaml.safe_dump(rules)


def _adapt(manifest: Manifest, image: str, policy: str) -> Manifest:
    """What an administrator's own overlay would change."""
    if "policy.yaml" in manifest.get("data", {}):
        return {**manifest, "data": {"policy.yaml": policy}}
    if manifest["kind"] == "RoleBinding":
        for subject in manifest["subjects"]:
            subject.pop("namespace")
    if manifest["kind"] == "Deployment":
        manifest["spec"]["replicas"] = SERVERS
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        container["image"] = image
        container["resources"]["requests"]["cpu"] = "50m"  # two processors are all there are
    return manifest


async def _put(stores: SharedStores, name: str, content: bytes) -> None:
    objects = open_objects(stores.objects, stores.variables)
    await objects.put(name, content)
    await objects.close()


@pytest.fixture(scope="module")
def installation(
    cluster: Service,
    kubernetes: Kubernetes,
    service: Callable[[str], Service],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    digest = hashlib.sha256((EXAMPLE / "requirements.txt").read_bytes()).hexdigest()[:16]
    archive = made_once(f"{KERNEL}-{digest}", _kernel) / "kernel.tar.zst"
    kernel = archive.read_bytes()
    with ExitStack() as stack:
        namespace = stack.enter_context(fresh_namespace(kubernetes))
        stores = stack.enter_context(shared_stores(cluster, service))
        asyncio.run(_put(stores, "kernel.tar.zst", kernel))
        policy = _policy(
            namespace.name,
            cluster,
            {
                "url": f"{stores.objects}/kernel.tar.zst",
                "sha256": hashlib.sha256(kernel).hexdigest(),
            },
        )
        namespace.create(
            secret("seafloor-token", token=TOKEN),
            secret("seafloor-metrics", token=METRICS_TOKEN),
            *stores.secrets(),
        )
        for manifest in read(FOLDER / "everything.yaml"):
            adapted = _adapt(manifest, cluster.env[kubernetes_service.SEAFLOOR], policy)
            apply(kubernetes, adapted, namespace.name)
        made = Installation(namespace, tmp_path_factory.mktemp("home"))
        made.wait_servers()
        yield made


def test_metrics__of_each_server__are_what_prometheus_reads(installation: Installation) -> None:
    (monitor,) = [
        one
        for one in yaml.safe_load_all((FOLDER / "everything.yaml").read_text())
        if one["kind"] == "ServiceMonitor"
    ]
    (endpoint,) = monitor["spec"]["endpoints"]
    installation.wait_servers()
    for url in installation.addresses():
        assert installation.ask(url, "GET", endpoint["path"], token="another")[0] == 401
        status, content = installation.ask(url, "GET", endpoint["path"], token=METRICS_TOKEN)
        assert status == 200
        families = {one.name: one for one in text_string_to_metric_families(content.decode())}
        assert {"seafloor_requests", "seafloor_info"} <= set(families)
        # That token opens nothing else.
        assert installation.ask(url, "GET", "/api/v1/runs", token=METRICS_TOKEN)[0] in (401, 403)


METRICS = {
    "train/loss": 45 * EPOCHS,
    "tb/loss": 45 * EPOCHS,
    "tb/accuracy": EPOCHS,
    "val/loss": EPOCHS,
    "val/accuracy": EPOCHS,
    "epoch": EPOCHS,
}
"""How many points of each the digits have."""


def test_digits__while_servers_are_replaced_drained_and_killed__are_trained_as_ever(
    installation: Installation, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "digits")
    installation.wait_servers()
    started = installation.user().cli(
        *("run", "--detach", "--env", "digits", "--name", "trained"),
        *("--", "python", "train.py", "--epochs", str(EPOCHS)),
        cwd=tmp_path / "digits",
        SEAFLOOR_TOKEN=TOKEN,
    )
    assert started.returncode == 0, started
    (run,) = installation.get("/api/v1/runs")["items"]
    path = f"/api/v1/runs/{run['id']}"
    installation.wait_printed(path, "epoch  1:")
    caller = Caller(installation)
    caller.start()

    before = installation.wait_servers()
    installation.roll()
    gone = {one["metadata"]["uid"] for one in before}
    first, _ = installation.wait_servers(but=gone)

    installation.wait_budget()
    installation.evict(first)
    gone |= {first["metadata"]["uid"]}
    killed, *_ = installation.wait_servers(but=gone)

    installation.kill(killed)
    installation.wait_restarted(killed)
    caller.finish()

    seen = installation.wait_ended(path)
    assert seen["state"] == "succeeded", installation.said(path)
    assert seen["attempt"] == 1
    _check_digits(installation, path)
    said = f"{len(caller.acknowledged)} points, {caller.tried_again} tries again"
    print(said)
    record_property("client", said)


def _check_digits(installation: Installation, path: str) -> None:
    """See that there is all that digits leave."""
    metrics = installation.get(f"{path}/metrics")["items"]
    assert {key: metric["points"] for key, metric in metrics.items()} == METRICS
    assert metrics["val/accuracy"]["last"] > 0.9
    files = installation.get(f"{path}/artifacts?recursive=true&limit=1000")["items"]
    assert {"report.json", "weights.npz", "plots/confusion.png"} <= {one["path"] for one in files}
    epochs = [line.split(":")[0] for line in installation.printed(path) if ": train loss" in line]
    assert epochs == [f"epoch {number:2}" for number in range(1, EPOCHS + 1)]
    (attempt,) = installation.get(f"{path}/attempts")["items"]
    assert len(attempt["receipts"]) == 1
