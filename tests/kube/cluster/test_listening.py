"""Rendered notebooks and servings on a real node: they get ready and answer; disks keep."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from tests.kube.cluster.conftest import READY_S, Disk, Namespace
from tests.kube.coded_runs import FILES, CodedRuns
from tests.kube.restricted import violations

from live_server import wait_for

pytestmark = pytest.mark.timeout(900)


def _fetch(pod: dict[str, Any], port: int, path: str) -> bytes:
    with urllib.request.urlopen(
        f"http://{pod['status']['podIP']}:{port}/{path}", timeout=30
    ) as answer:
        return answer.read()


def _of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one for one in manifests if one["kind"] == kind)
    return found


def test_notebook__its_pod_deleted__comes_again_with_its_home(
    runs: CodedRuns, namespace: Namespace, disk: Disk, user: int
) -> None:
    command = (
        'echo "$HOSTNAME" >> "$HOME/starts"; cp "$SEAFLOOR_CODE_DIR"/training/train.py "$HOME/"; '
        'exec python3 -m http.server 8888 --directory "$HOME"'
    )
    code = runs.code("git")
    spec = {"name": "explore", "environment": "python", "code": code, "command": command}
    manifests = runs.render(
        {"notebook": spec},
        namespaces=[namespace.name],
        storage={"default_class": disk.STORAGE_CLASS},
        security={"run_as_user": user, "fs_group": user, "read_only_root": True},
    )
    notebook = _of_kind(manifests, "StatefulSet")
    assert violations(notebook["spec"]["template"]["spec"]) == []
    disk.offer(_of_kind(manifests, "PersistentVolumeClaim")["metadata"]["name"])
    namespace.create(runs.secret(), *manifests)
    name = notebook["metadata"]["name"]
    (pod,) = namespace.wait_pods(1)
    assert _fetch(pod, 8888, "train.py") == FILES["train.py"]
    first = pod["metadata"]["uid"]

    path = namespace.path("Pod", pod["metadata"]["name"])
    namespace.kubernetes.call("DELETE", f"{path}?gracePeriodSeconds=1")

    (again,) = namespace.wait_pods(1, but=first)
    assert _fetch(again, 8888, "starts").split() == [f"{name}-0".encode()] * 2
    assert (disk.folder / "train.py").stat().st_uid == user


def test_serving__of_two__gets_ready_when_its_health_answers(
    runs: CodedRuns, namespace: Namespace
) -> None:
    spec = {
        "name": "digits",
        "environment": "python",
        "code": runs.code("archive"),
        "command": 'exec python3 -m http.server "$PORT"',
        "replicas": 2,
        # There only when the code is.
        "health": "/digits/train.py",
    }
    manifests = runs.render({"serving": spec}, namespaces=[namespace.name])
    namespace.create(runs.secret(), *manifests)
    pods = namespace.wait_pods(2)
    for pod in pods:
        assert _fetch(pod, 8080, "digits/train.py") == FILES["train.py"]
    service = _of_kind(manifests, "Service")["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace.name}/endpoints/{service}"

    def reached() -> bool:
        subsets = namespace.kubernetes.call("GET", path).get("subsets", ())
        found = [one["ip"] for subset in subsets for one in subset.get("addresses", ())]
        return sorted(found) == sorted(pod["status"]["podIP"] for pod in pods)

    wait_for(reached, timeout_s=READY_S, what="the service to have both")


def test_volume__written_by_one_run__is_read_by_the_next_which_may_not_write(
    runs: CodedRuns, namespace: Namespace, disk: Disk
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "team-data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": disk.STORAGE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    disk.offer("team-data")
    namespace.create(runs.secret(), claim)

    def run(command: str, *, read_only: bool) -> str:
        volume = {"volume": "team-data", "path": "/data", "read_only": read_only}
        spec = {
            "name": "digits",
            "environment": "python",
            "command": command,
            "volumes": [volume],
        }
        manifests = runs.render({"experiment": spec}, namespaces=[namespace.name])
        namespace.create(*manifests)
        return namespace.run_to_end(manifests[-1]["metadata"]["name"], 0)

    run("echo 42 > /data/answer", read_only=False)
    assert run("cat /data/answer; touch /data/x || echo refused", read_only=True).split()[0] == "42"
    assert [path.name for path in disk.folder.iterdir()] == ["answer"]
