"""Runs of several tasks on a real API server; the test plays the kubelet and the agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster.cluster_world import (
    IMAGE,
    PATIENCE_S,
    POLICY,
    Namespace,
    ended,
    own_namespace,
    running,
)
from tests.kube.cluster.gang_programs import MEET
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service, free_port

from client_process import Client
from live_server import LiveServer, wait_for

pytestmark = pytest.mark.timeout(900)

MET = "met [0, 1, 2]\n"
GANGS = int(os.environ.get("SEAFLOOR_KUBE_GANGS", "6"))
KILLS = 3


@pytest.fixture(scope="module")
def config(service: Callable[[str], Service]) -> str:
    return service("kubernetes_api").env["KUBECONFIG"]


@pytest.fixture(scope="module")
def namespace(config: str) -> Iterator[Namespace]:
    with own_namespace(Kubernetes.of_kubeconfig(config)) as made:
        yield made


@pytest.fixture(scope="module")
def one_server(
    config: str, namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("distributed")
    policy = folder / "policy.yaml"
    images = {**POLICY["images"], "seafloor": IMAGE}
    policy.write_text(json.dumps({**POLICY, "images": images, "namespaces": [namespace.name]}))
    made = LiveServer(
        folder / "data",
        env={
            "SEAFLOOR_LAUNCH__KIND": "kubernetes",
            "SEAFLOOR_LAUNCH__KUBECONFIG": config,
            "SEAFLOOR_LAUNCH__POLICY": str(policy),
        },
    )
    yield made.start()
    made.stop()


@pytest.fixture
def server(one_server: LiveServer, namespace: Namespace) -> Iterator[LiveServer]:
    """The one server; what a test leaves in the cluster goes with it."""
    yield one_server
    for run in one_server.get("/api/v1/runs?limit=500")["items"]:
        one_server.post(f"/api/v1/runs/{run['id']}/stop")
    wait_no_objects(namespace)


def submit(server: LiveServer, roles: dict[str, int] | None = None, **spec: Any) -> str:
    """Submit a run of three workers, or of what is said."""
    counts = roles or {"worker": 3}
    tasks = {name: {"replicas": count, "command": "train"} for name, count in counts.items()}
    body = {"name": "gang", "tasks": tasks, **spec}
    return str(server.post("/api/v1/runs", {"spec": body})["id"])


def pods_of(namespace: Namespace, run_id: str, attempt: int = 1) -> dict[str, str]:
    """Names of the pods of an attempt that are there, by task."""
    return {
        pod["metadata"]["labels"]["seafloor/task"]: pod["metadata"]["name"]
        for pod in namespace.all("pods")
        if pod["metadata"]["labels"]["seafloor/id"] == run_id
        and pod["metadata"]["labels"]["seafloor/attempt"] == str(attempt)
    }


def wait_pods(namespace: Namespace, run_id: str, count: int, attempt: int = 1) -> dict[str, str]:
    def look() -> dict[str, str] | None:
        found = pods_of(namespace, run_id, attempt)
        return found if len(found) == count else None

    return wait_for(look, timeout_s=PATIENCE_S, what=f"{count} pods of attempt {attempt}")


def said(server: LiveServer, run_id: str) -> list[str]:
    """What the user reads of a run."""
    found = server.get(f"/api/v1/runs/{run_id}/events")
    return [event["message"] for event in found["items"]]


def wait_said(server: LiveServer, run_id: str, words: str) -> None:
    wait_for(
        lambda: any(words in one for one in said(server, run_id)),
        timeout_s=PATIENCE_S,
        what=f"{words!r} to be said",
    )


def tasks_of(server: LiveServer, run_id: str, attempt: int = 1) -> dict[str, dict[str, Any]]:
    found = server.get(f"/api/v1/runs/{run_id}/attempts")
    return {one["name"]: one for one in found.get("tasks", ()) if one["attempt"] == attempt}


def agent(server: LiveServer, run_id: str, task: str, what: str, **body: Any) -> Any:
    """Report as the agent of a task of the first attempt."""
    path = f"/api/v1/runs/{run_id}/attempts/1/tasks/{task}/{what}"
    return server.post(path, body)


def wait_no_objects(namespace: Namespace) -> None:
    kinds = ("pods", "configmaps", "secrets", "services")
    wait_for(
        lambda: not any(namespace.all(kind) for kind in kinds),
        timeout_s=PATIENCE_S,
        what="the objects to go",
    )


def test_run__of_three_tasks__goes_its_way_as_one(server: LiveServer, namespace: Namespace) -> None:
    run_id = submit(server)
    pods = wait_pods(namespace, run_id, 3)
    assert pods.keys() == {"worker-0", "worker-1", "worker-2"}
    (service,) = namespace.all("services")
    assert service["spec"]["clusterIP"] == "None"
    wait_said(server, run_id, "0 of 3 tasks run; worker-0 and 2 others: ")
    for task in ("worker-0", "worker-2"):
        namespace.set_status(running(), pod=pods[task])
    wait_for(
        lambda: sum(one["state"] == "running" for one in tasks_of(server, run_id).values()) == 2,
        timeout_s=PATIENCE_S,
        what="two tasks to run",
    )
    assert server.get(f"/api/v1/runs/{run_id}")["state"] == "preparing"
    namespace.set_status(running(), pod=pods["worker-1"])
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    for task in ("worker-1", "worker-0"):
        namespace.set_status(ended(0), pod=pods[task])
    wait_for(
        lambda: sum(one["state"] == "succeeded" for one in tasks_of(server, run_id).values()) == 2,
        timeout_s=PATIENCE_S,
        what="two tasks to end",
    )
    assert server.get(f"/api/v1/runs/{run_id}")["state"] == "running"
    namespace.set_status(ended(0), pod=pods["worker-2"])
    found = server.wait_state(run_id, "succeeded", timeout_s=PATIENCE_S)
    assert found["ending"]["exit_code"] == 0
    assert "All 3 tasks ended with exit code 0." in said(server, run_id)
    wait_no_objects(namespace)


def test_run__one_task_fails__the_others_are_stopped_and_it_is_tried_again(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = submit(server, retries=1)
    pods = wait_pods(namespace, run_id, 3)
    for name in pods.values():
        namespace.set_status(running(), pod=name)
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    agent(server, run_id, "worker-1", "end", time_ns=1_000, ending={"exit_code": 3})
    second = wait_pods(namespace, run_id, 3, attempt=2)
    assert not second.keys() - pods.keys()
    assert not set(second.values()) & set(pods.values())
    first, _ = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
    assert first["state"] == "failed"
    assert first["ending"]["exit_code"] == 3
    assert first["ending"]["reason"].startswith("worker-1 ended with exit code 3.")
    states = {name: task["state"] for name, task in tasks_of(server, run_id).items()}
    assert states == {"worker-0": "stopped", "worker-1": "failed", "worker-2": "stopped"}
    wait_for(
        lambda: not pods_of(namespace, run_id, 1), timeout_s=PATIENCE_S, what="the first to go"
    )
    server.post(f"/api/v1/runs/{run_id}/stop")
    server.wait_state(run_id, "stopped", timeout_s=PATIENCE_S)


def test_run__a_role_with_its_own_environment__has_the_version_of_its_submission(
    server: LiveServer, namespace: Namespace, tmp_path: Path
) -> None:
    packed = {"spec": {"name": "packed", "pip": []}}
    digest = server.post("/api/v1/environments", packed)["environment"]["digest"]
    tasks = {
        "chief": {"command": "train"},
        "worker": {"replicas": 2, "command": "train", "environment": "packed"},
    }
    plan = server.post("/api/v1/plans", {"spec": {"name": "gang", "tasks": tasks}})
    assert "Use the environment packed@1 for worker." in plan["steps"]
    run_id = submit(server, tasks=tasks, retries=1)
    server.post("/api/v1/environments", {"spec": {"name": "packed", "pip": ["six==1.17.0"]}})

    wait_pods(namespace, run_id, 3)

    assert server.get(f"/api/v1/runs/{run_id}")["spec"]["tasks"]["worker"] == {
        "replicas": 2,
        "command": "train",
        "environment": "packed@1",
    }
    fetched = {
        pod["metadata"]["labels"]["seafloor/task"]: digest in json.dumps(pod["spec"])
        for pod in namespace.all("pods")
    }
    assert fetched == {"chief-0": False, "worker-0": True, "worker-1": True}
    parts = Client(tmp_path / "home", server.url).cli("reproduce", run_id).stdout
    assert "packed@1: Python" in parts
    unknown = {"worker": {"command": "train", "environment": "none-of-that-name"}}
    status, answer = server.request(
        "POST", "/api/v1/runs", {"spec": {"name": "gang", "tasks": unknown}}
    )
    assert (status, answer["code"]) == (404, "not_found")


def test_run__a_pod_is_gone__is_lost_as_a_whole(server: LiveServer, namespace: Namespace) -> None:
    run_id = submit(server)
    pods = wait_pods(namespace, run_id, 3)
    for name in pods.values():
        namespace.set_status(running(), pod=name)
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    namespace.kubernetes.call("DELETE", f"{namespace.path}/pods/{pods['worker-1']}")
    found = server.wait_state(run_id, "lost", timeout_s=PATIENCE_S)
    assert "worker-1: The pod is gone" in found["ending"]["reason"]
    wait_no_objects(namespace)


def test_run__its_chief_has_succeeded__the_servers_are_stopped(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = submit(server, {"chief": 1, "ps": 1})
    pods = wait_pods(namespace, run_id, 2)
    for name in pods.values():
        namespace.set_status(running(), pod=name)
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    namespace.set_status(ended(0), pod=pods["chief-0"])
    server.wait_state(run_id, "succeeded", timeout_s=PATIENCE_S)
    assert tasks_of(server, run_id)["ps-0"]["state"] == "stopped"


def test_run__its_tasks__have_logs_and_receipts_of_their_own(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = submit(server)
    wait_pods(namespace, run_id, 3)
    receipt = {"kind": "git", "url": "u", "files": 1, "size_bytes": 2, "duration_s": 0.1}
    receipt |= {"cached": False}
    for number, task in enumerate(("worker-0", "worker-1")):
        own = {"job": {**receipt, "commit": str(number) * 40}}
        agent(server, run_id, task, "start", time_ns=5, receipts=own)
    found = tasks_of(server, run_id)
    commits = [found[f"worker-{n}"]["receipts"]["job"]["commit"] for n in range(2)]
    assert commits == ["0" * 40, "1" * 40]
    (attempt,) = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
    assert attempt["receipts"]["job"]["commit"] == "0" * 40
    assert server.get(f"/api/v1/runs/{run_id}/logs")["task"] == "worker-0"
    assert server.get(f"/api/v1/runs/{run_id}/logs?task=worker-2")["task"] == "worker-2"
    status, answer = server.request("GET", f"/api/v1/runs/{run_id}/logs?task=main")
    assert (status, answer["code"]) == (404, "not_found")
    assert "worker-0" in answer["message"]


class Containers:
    """The main containers of pods, started here as a kubelet would, each in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, str(free_port())
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, pod: dict[str, Any]) -> None:
        """Bring the agent, and start the container."""
        name = pod["metadata"]["labels"]["seafloor/task"]
        folder = self._folder / name
        folder.mkdir()

        def here(words: list[str]) -> list[str]:
            return [
                word.replace("/seafloor/agent", str(folder)).replace("$$", "$") for word in words
            ]

        (init,), (main,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
        subprocess.run([sys.executable, *here(init["command"])[1:]], check=True)
        variables = {
            one["name"]: here([one["value"]])[0]
            for one in main["env"]
            if one.get("value") is not None
        }
        # The name of a pod is known in its cluster only, and its ports are its own.
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._port}
        self._started[name] = subprocess.Popen(
            [sys.executable, *here(main["command"])[1:]],
            env={"PATH": os.environ["PATH"], **variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )

    def codes(self) -> dict[str, int]:
        """Wait for their ends; give the exit code of each."""
        return {name: one.wait(timeout=PATIENCE_S) for name, one in self._started.items()}

    def close(self) -> None:
        """End what a failed test left."""
        for one in self._started.values():
            if one.poll() is None:
                one.kill()
            one.wait()


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    made = Containers(tmp_path)
    yield made
    made.close()


def test_run__its_agents_are_started_here__meet_and_leave_each_its_own(
    server: LiveServer, namespace: Namespace, containers: Containers, tmp_path: Path
) -> None:
    worker = {"replicas": 3, "command": ["python3", "-c", MEET]}
    body = {"name": "gang", "tasks": {"worker": worker}}
    run_id = server.post("/api/v1/runs", {"spec": body})["id"]
    wait_pods(namespace, run_id, 3)
    for pod in namespace.all("pods"):
        containers.start(pod)
    found = server.wait_state(run_id, "succeeded", timeout_s=PATIENCE_S)
    names = ("worker-0", "worker-1", "worker-2")
    assert containers.codes() == dict.fromkeys(names, 0)
    assert found["ending"]["reason"] == "All 3 tasks ended with exit code 0."
    for rank, name in enumerate(names):
        lines = server.get(f"/api/v1/runs/{run_id}/logs?task={name}&stream=out")["lines"]
        assert [line["text"] for line in lines] == ["met [0, 1, 2]"], name
        metrics = server.get(f"/api/v1/runs/{run_id}/metrics")["items"]
        assert metrics[f"rank-{rank}"]["last"] == rank
    files = server.get(f"/api/v1/runs/{run_id}/artifacts?recursive=true")["items"]
    assert {one["path"] for one in files} == {f"{name}/rank" for name in names}
    events = server.get(f"/api/v1/runs/{run_id}/event-files")["items"]
    assert {one["path"] for one in events} == {f"{name}/events.out.tfevents.1" for name in names}
    typed = Client(tmp_path / "home", server.url)
    assert typed.cli("logs", run_id, "--task", "worker-1", "--stream", "out").stdout == MET
    first = typed.cli("logs", run_id, "--stream", "out")
    assert first.stdout == MET
    assert "This is the log of worker-0, of 3 tasks." in first.stderr
    assert typed.cli("logs", run_id, "--task", "worker-3").returncode != 0
    shown = typed.cli("runs", "show", run_id).stdout.splitlines()
    assert sum("worker-" in line and "exit code 0" in line for line in shown) == 3


def test_run__a_quota_lets_in_some__none_stays_and_none_begins(
    server: LiveServer, namespace: Namespace
) -> None:
    namespace.set_quota("few", "pods", "2", of="pods")
    run_id = submit(server)
    wait_said(server, run_id, "The quota of the namespace")
    wait_for(lambda: not pods_of(namespace, run_id), timeout_s=PATIENCE_S, what="none to stay")
    # What an agent asks before it begins the command.
    question = f"/api/v1/runs/{run_id}/attempts/1/tasks/worker-0/start"
    assert server.get(question)["state"] == "waiting"
    namespace.change_quota("few", "pods", "3")
    wait_pods(namespace, run_id, 3)
    wait_for(
        lambda: server.get(question)["state"] == "preparing",
        timeout_s=PATIENCE_S,
        what="the tasks to be let in",
    )
    namespace.kubernetes.call("DELETE", f"{namespace.path}/resourcequotas/few")


def test_runs__server_killed_again_and_again__each_pod_is_made_once(
    server: LiveServer, namespace: Namespace
) -> None:
    births: dict[tuple[str, str, str], set[str]] = {}

    def watch() -> None:
        query = urllib.parse.urlencode({"watch": "true"})
        for pod in namespace.kubernetes.watch(f"{namespace.path}/pods?{query}"):
            labels = pod["metadata"]["labels"]
            key = (labels["seafloor/id"], labels["seafloor/attempt"], labels["seafloor/task"])
            births.setdefault(key, set()).add(pod["metadata"]["uid"])

    threading.Thread(target=watch, daemon=True).start()
    runs = [submit(server) for _ in range(GANGS)]
    for number in range(KILLS):
        wanted = 1 + 3 * GANGS * number // KILLS
        wait_for(
            lambda wanted=wanted: len(births) >= wanted,
            timeout_s=PATIENCE_S,
            what=f"{wanted} pods",
        )
        server.kill()
        server.start()
    for run_id in runs:
        wait_pods(namespace, run_id, 3)
        wait_for(
            lambda run_id=run_id: len(tasks_of(server, run_id)) == 3,
            timeout_s=PATIENCE_S,
            what="the tasks to be let in",
        )
    names = ("worker-0", "worker-1", "worker-2")
    expected = {(run_id, "1", name) for run_id in runs for name in names}
    # The watch may be behind what was seen without it.
    wait_for(
        lambda: {one for one in tuple(births) if one[0] in runs} >= expected,
        timeout_s=PATIENCE_S,
        what="the births of all pods",
    )
    assert {one for one in tuple(births) if one[0] in runs} == expected
    assert all(len(uids) == 1 for uids in births.values())


def test_run__server_killed_after_one_failed__ends_as_that_one_did(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = submit(server)
    pods = wait_pods(namespace, run_id, 3)
    for name in pods.values():
        namespace.set_status(running(), pod=name)
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    server.kill()
    # While nobody looks one fails, and then all pods are gone but those that wait to be stopped.
    namespace.set_status(ended(7), pod=pods["worker-1"])
    server.start()
    found = server.wait_state(run_id, "failed", timeout_s=PATIENCE_S)
    assert found["ending"]["exit_code"] == 7
    assert found["ending"]["reason"] == (
        "worker-1 ended with exit code 7. The other tasks were stopped."
    )
    wait_no_objects(namespace)
