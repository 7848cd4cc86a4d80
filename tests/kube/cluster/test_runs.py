"""Rendered runs on a real node: code from each source, several tasks, secrets, any user."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.kube.cluster.conftest import READY_S, Namespace
from tests.kube.coded_runs import EXIT_CODE, GIVEN, SOURCES, CodedRuns
from tests.kube.restricted import violations

from live_server import wait_for

pytestmark = pytest.mark.timeout(900)

OWNED = ("Pod", "Service")

# Each task says its rank to all that ask, and asks all others by their names.
TALK = """
import json, os, socket, threading, time
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
listening = socket.create_server(("0.0.0.0", 2222))
def answer():
    for _ in range(size):
        with listening.accept()[0] as asked:
            asked.sendall(str(rank).encode())
answering = threading.Thread(target=answer)
answering.start()
ranks = []
for address in cluster:
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + 150
    while True:
        try:
            with socket.create_connection((host, int(port)), 10) as asking:
                ranks.append(int(asking.recv(10)))
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
answering.join()
print(json.dumps({"rank": rank, "ranks": ranks, "master": os.environ["MASTER_ADDR"]}))
"""


@pytest.mark.parametrize("source", SOURCES)
def test_run__its_code_from_each_source__is_what_the_source_has(
    runs: CodedRuns, namespace: Namespace, user: int, source: str
) -> None:
    security = {"run_as_user": user, "fs_group": user, "read_only_root": True}
    manifests = runs.render(runs.run(source), namespaces=[namespace.name], security=security)
    pod = manifests[-1]
    assert violations(pod["spec"]) == []

    namespace.create(runs.secret(), *manifests)
    log = namespace.run_to_end(pod["metadata"]["name"], EXIT_CODE)

    seen = runs.check(source, log, user=user)
    assert seen["given"] == GIVEN


def test_run__of_three_tasks__find_each_other_by_name(
    runs: CodedRuns, namespace: Namespace
) -> None:
    worker = {"replicas": 3, "command": ["python3", "-c", TALK]}
    spec = {"experiment": {"name": "talk", "environment": "python", "tasks": {"worker": worker}}}
    manifests = runs.render(spec, namespaces=[namespace.name])
    namespace.create(runs.secret(), *manifests)
    pods = [one["metadata"]["name"] for one in manifests if one["kind"] == "Pod"]
    said: list[dict[str, Any]] = [json.loads(namespace.run_to_end(name, 0)) for name in pods]
    assert sorted(one["rank"] for one in said) == [0, 1, 2]
    assert {tuple(one["ranks"]) for one in said} == {(0, 1, 2)}


def test_run__anchor_deleted__everything_of_it_goes(runs: CodedRuns, namespace: Namespace) -> None:
    worker = {"replicas": 2, "command": "trap 'exit 0' TERM; sleep 1000 & wait"}
    spec = {"experiment": {"name": "long", "environment": "python", "tasks": {"worker": worker}}}
    anchor = runs.render(spec, namespaces=[namespace.name])[0]
    namespace.create(runs.secret(), anchor)
    name = anchor["metadata"]["name"]
    uid = namespace.get("ConfigMap", name)["metadata"]["uid"]
    _, *owned = runs.render(spec, "--owner-uid", uid, namespaces=[namespace.name])
    namespace.create(*owned)
    for pod in (one for one in owned if one["kind"] == "Pod"):
        namespace.wait_pod(pod["metadata"]["name"], "Running")

    namespace.kubernetes.call("DELETE", namespace.path("ConfigMap", name))

    def left() -> list[str]:
        found = [namespace.kubernetes.call("GET", namespace.path(kind)) for kind in OWNED]
        return [one["metadata"]["name"] for listed in found for one in listed["items"]]

    wait_for(lambda: not left(), timeout_s=READY_S, what="the pods and the service to go")
