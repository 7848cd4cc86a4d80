"""A server whose runs are pods: submitted, watched, killed, and driven on by its next life."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.databases import fresh_database
from tests.kube.cluster.cluster_world import (
    IMAGE,
    PATIENCE_S,
    POLICY,
    Namespace,
    authority_of,
    ended,
    kubeconfig,
    own_namespace,
    running,
)
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service

from live_server import LiveServer, wait_for
from seafloor.boot.cluster import check_cluster
from seafloor.boot.settings import load
from seafloor.launch.kubernetes.observed import Pod
from seafloor.launch.kubernetes.status import observation_of
from seafloor.launch.protocol import TaskEnded

pytestmark = pytest.mark.timeout(1800)

RUNS = int(os.environ.get("SEAFLOOR_KUBE_RUNS", "200"))
TASKS = int(os.environ.get("SEAFLOOR_KUBE_TASKS", "1"))
"""Of each of them."""
KILLS = int(os.environ.get("SEAFLOOR_KUBE_KILLS", "3"))
IDLE_CORE_MAX = 0.10
WINDOW_S = 5.0 if RUNS < 1000 else 20.0


@pytest.fixture
def config(service: Callable[[str], Service]) -> str:
    return service("kubernetes_api").env["KUBECONFIG"]


@pytest.fixture
def namespace(config: str) -> Iterator[Namespace]:
    with own_namespace(Kubernetes.of_kubeconfig(config)) as made:
        yield made


@pytest.fixture
def settings(config: str, namespace: Namespace, tmp_path: Path) -> dict[str, str]:
    """Variables of a server whose runs are pods of the namespace."""
    policy = tmp_path / "policy.yaml"
    images = {**POLICY["images"], "seafloor": IMAGE}
    policy.write_text(json.dumps({**POLICY, "images": images, "namespaces": [namespace.name]}))
    return {
        "SEAFLOOR_LAUNCH__KIND": "kubernetes",
        "SEAFLOOR_LAUNCH__KUBECONFIG": config,
        "SEAFLOOR_LAUNCH__POLICY": str(policy),
        "SEAFLOOR_LAUNCH__STARTS_AT_ONCE_MAX": "16",
    }


@pytest.fixture
def server(settings: dict[str, str], tmp_path: Path) -> Iterator[LiveServer]:
    made = LiveServer(tmp_path / "data", env=settings)
    yield made.start()
    made.stop()


@pytest.fixture
def servers(
    settings: dict[str, str], service: Callable[[str], Service], tmp_path: Path
) -> Iterator[tuple[LiveServer, LiveServer]]:
    """Two on one database and one object store, the first of which came first."""
    with fresh_database(service("postgresql")) as database:
        stores = {
            "SEAFLOOR_STORES__METADATA": database,
            "SEAFLOOR_STORES__OBJECTS": f"file://{tmp_path / 'objects'}",
        }
        made = [LiveServer(tmp_path / name, env={**settings, **stores}) for name in ("a", "b")]
        yield (made[0].start(), made[1].start())
        for one in made:
            one.stop()


def pod_of(namespace: Namespace, run_id: str, attempt: int = 1) -> dict[str, Any]:
    """Wait for the pod of an attempt."""

    def look() -> dict[str, Any] | None:
        for pod in namespace.all("pods"):
            labels = pod["metadata"]["labels"]
            if (labels["seafloor/id"], labels["seafloor/attempt"]) == (run_id, str(attempt)):
                return pod
        return None

    return wait_for(look, timeout_s=PATIENCE_S, what=f"the pod of attempt {attempt}")


def wait_well(server: LiveServer) -> None:
    """Wait until a server is well; one that takes a lease over is not for a moment."""
    wait_for(
        lambda: server.request("GET", "/health")[1]["status"] == "ok",
        timeout_s=PATIENCE_S,
        what=f"{server.url} to be well",
    )


def messages(server: LiveServer, run_id: str) -> list[str]:
    """What the user reads of a run."""
    found = server.get(f"/api/v1/runs/{run_id}/events")
    return [event["message"] for event in found["items"]]


def test_run__as_a_pod__goes_its_way_and_is_removed(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = server.launch("python train.py")["id"]
    pod = pod_of(namespace, run_id)
    wait_for(
        lambda: any("node" in message for message in messages(server, run_id)),
        timeout_s=PATIENCE_S,
        what="what the run waits for",
    )
    assert server.get(f"/api/v1/runs/{run_id}")["state"] == "preparing"
    namespace.set_status(running(), pod=pod["metadata"]["name"])
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    namespace.set_status(ended(0), pod=pod["metadata"]["name"])
    found = server.wait_state(run_id, "succeeded", timeout_s=PATIENCE_S)
    assert found["attempt"] == 1
    wait_for(
        lambda: not namespace.all("configmaps") and not namespace.all("pods"),
        timeout_s=PATIENCE_S,
        what="the objects to go",
    )


def test_run__pod_deleted_by_somebody__is_lost_and_tried_again(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = server.launch("python train.py", retries=1)["id"]
    first = pod_of(namespace, run_id)
    namespace.set_status(running(), pod=first["metadata"]["name"])
    server.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    namespace.kubernetes.call("DELETE", f"{namespace.path}/pods/{first['metadata']['name']}")
    second = pod_of(namespace, run_id, attempt=2)
    assert second["metadata"]["name"] != first["metadata"]["name"]
    assert any("somebody deleted it" in message for message in messages(server, run_id))
    server.post(f"/api/v1/runs/{run_id}/stop")
    server.wait_state(run_id, "stopped", timeout_s=PATIENCE_S)
    wait_for(
        lambda: not namespace.all("configmaps"), timeout_s=PATIENCE_S, what="the objects to go"
    )


def test_run__code_cannot_be_fetched__fails_with_the_reason(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = server.launch("python train.py")["id"]
    name = pod_of(namespace, run_id)["metadata"]["name"]
    init = {
        "name": "git-localize",
        "image": IMAGE,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": {"exitCode": 1, "message": "fatal: no such ref"}},
    }
    namespace.set_status({"phase": "Failed", "initContainerStatuses": [init]}, pod=name)
    server.wait_state(run_id, "failed", timeout_s=PATIENCE_S)
    said = messages(server, run_id)
    assert "Fetching the code failed (git-localize, exit code 1): fatal: no such ref." in said
    # There is no node that has its log: the run says so in its place.
    (line,) = server.log_lines(run_id, setup="git-localize")
    assert (line["stream"], "cannot be read from the cluster" in line["text"]) == ("agent", True)
    assert "Started." not in said


def test_objects__of_a_run_that_nobody_knows__stay_while_it_runs_and_others_for_ever(
    server: LiveServer, namespace: Namespace
) -> None:
    run_id = server.launch("python train.py")["id"]
    pod = pod_of(namespace, run_id)
    labels = {**pod["metadata"]["labels"], "seafloor/id": "f" * 32}
    stranger = {"metadata": {"name": "unknown", "labels": labels}}
    elsewhere = {**labels, "seafloor/place": "another-installation"}
    kept = {"metadata": {"name": "not-ours", "labels": elsewhere}}
    spec = {"containers": [{"name": "main", "image": IMAGE}]}
    namespace.kubernetes.call("POST", f"{namespace.path}/pods", {**stranger, "spec": spec})
    for made in (stranger, kept):
        namespace.kubernetes.call("POST", f"{namespace.path}/configmaps", made)
    known, every = {pod["metadata"]["name"], "not-ours"}, ("configmaps", "pods")

    def names() -> set[str]:
        return {one["metadata"]["name"] for kind in every for one in namespace.all(kind)}

    # The records may have been brought back from before it began: whoever started it waits for it.
    wait_for(
        lambda: "a task is left alone" in (server.data / "server.log").read_text(),
        timeout_s=PATIENCE_S,
        what="the server to say so",
    )
    assert names() == known | {"unknown"}
    namespace.set_status(ended(0), pod="unknown")
    wait_for(
        lambda: names() == known,
        timeout_s=PATIENCE_S,  # what was released is looked at again after a while
        what="what is left of it to go",
    )
    assert pod_of(namespace, run_id)["metadata"]["uid"] == pod["metadata"]["uid"]


def test_servers__two__are_both_well_and_the_other_goes_on_where_one_was_killed(
    servers: tuple[LiveServer, LiveServer], namespace: Namespace
) -> None:
    first, second = servers
    run_id = second.launch("python train.py")["id"]
    pod = pod_of(namespace, run_id)
    for one in servers:
        wait_well(one)
    first.kill()
    namespace.set_status(running(), pod=pod["metadata"]["name"])
    second.wait_state(run_id, "running", timeout_s=PATIENCE_S)
    wait_well(second)
    namespace.set_status(ended(0), pod=pod["metadata"]["name"])
    assert second.wait_state(run_id, "succeeded", timeout_s=PATIENCE_S)["attempt"] == 1


def test_submission__that_the_policy_forbids__is_refused_with_the_rule(
    server: LiveServer, namespace: Namespace
) -> None:
    body = {"name": "t", "command": "true", "environment": "unheard-of"}
    status, answer = server.request("POST", "/api/v1/runs", {"spec": body})
    assert (status, answer["code"]) == (404, "not_found")
    body = {"name": "t", "command": "true", "resources": {"pool": "no-such"}}
    status, answer = server.request("POST", "/api/v1/runs", {"spec": body})
    assert (status, answer["code"]) == (403, "forbidden")
    assert "node_pools" in answer["message"]
    assert namespace.all("configmaps") == []


def test_doctor__with_an_account_without_rights__says_which(
    config: str, namespace: Namespace, server: LiveServer, tmp_path: Path
) -> None:
    def checks(file: str) -> dict[str, tuple[str, str]]:
        settings = load(
            data_dir=tmp_path / "data",
            flags={},
            variables={
                "SEAFLOOR_LAUNCH__KIND": "kubernetes",
                "SEAFLOOR_LAUNCH__KUBECONFIG": file,
                "SEAFLOOR_LAUNCH__POLICY": str(tmp_path / "policy.yaml"),
            },
        )
        return {one.name: (one.state, one.said) for one in asyncio.run(check_cluster(settings))}

    well = checks(config)
    assert well["cluster"][0] == "ok"
    assert well[f"cluster: {namespace.name}"] == ("ok", "all rights that runs need")
    kubernetes = namespace.kubernetes
    account = kubernetes.call("GET", f"{namespace.path}/serviceaccounts/default")
    secret = wait_for(lambda: account.get("secrets"), what="the account's token")[0]["name"]
    data = kubernetes.call("GET", f"{namespace.path}/secrets/{secret}")["data"]
    token = base64.b64decode(data["token"]).decode()
    weak = kubeconfig(
        tmp_path / "weak", url=kubernetes.url, token=token, authority=authority_of(config)
    )
    state, said = checks(str(weak))[f"cluster: {namespace.name}"]
    assert state == "fail"
    assert "create secrets" in said
    away = kubeconfig(tmp_path / "away", url="https://127.0.0.1:9", token=token)
    state, said = checks(str(away))["cluster"]
    assert state == "fail"
    assert "does not answer" in said


def test_run__with_the_agent__delivers_log_outputs_and_receipt(
    server: LiveServer, namespace: Namespace, tmp_path: Path
) -> None:
    """The containers of the pod are started here, as a kubelet would, in folders of the test."""
    script = 'echo "as $SEAFLOOR_RUN_ID"; echo 7 > "$SEAFLOOR_OUTPUT_DIR/model"; exit 3'
    run_id = server.launch(script)["id"]
    pod = pod_of(namespace, run_id)
    spec = pod["spec"]
    (init,), (main,) = spec["initContainers"], spec["containers"]
    folder = tmp_path / "agent"
    folder.mkdir(mode=0o777)
    code = tmp_path / "code"
    code.mkdir()
    receipt = {"format_version": 2, "kind": "git", "url": "https://g/j.git", "files": 1}
    receipt |= {
        "folder": "job",
        "commit": "1" * 40,
        "size_bytes": 2,
        "duration_s": 0.1,
        "cached": False,
    }
    (code / ".receipt.json").write_text(json.dumps(receipt))

    def here(words: list[str]) -> list[str]:
        return [word.replace("/seafloor/agent", str(folder)).replace("$$", "$") for word in words]

    variables = {
        one["name"]: here([one["value"]])[0] for one in main["env"] if one.get("value") is not None
    }
    subprocess.run([sys.executable, *here(init["command"])[1:]], check=True)
    message = tmp_path / "termination-log"
    command = here(main["command"])
    at = command.index("--")
    command[at:at] = ["--message", str(message)]
    done = subprocess.run(
        [sys.executable, *command[1:]],
        env={"PATH": os.environ["PATH"], **variables, "SEAFLOOR_CODE_DIR": str(code)},
        check=False,
        cwd=code,
    )
    assert done.returncode == 3
    found = server.wait_state(run_id, "failed", timeout_s=PATIENCE_S)
    assert [line["text"] for line in server.log_lines(run_id, stream="out")] == [f"as {run_id}"]
    (attempt,) = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
    assert attempt["receipts"]["job"]["commit"] == "1" * 40
    assert found["attempt"] == 1
    files = server.get(f"/api/v1/runs/{run_id}/artifacts")["items"]
    assert [one["path"] for one in files] == ["model"]
    # The cluster says the same, should the server have been away.
    status = ended(3, message=message.read_text())
    seen = observation_of(msgspec.convert({**pod, "status": status}, Pod))
    assert isinstance(seen, TaskEnded)
    assert seen.ending.exit_code == 3


class Births(threading.Thread):
    """An independent watch of every pod that is ever made in a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(daemon=True)
        self._namespace = namespace
        self.seen: dict[tuple[str, ...], set[str]] = {}
        self.start()

    def run(self) -> None:
        """Note uids by run and attempt, whatever becomes of the pods."""
        for pod in self._namespace.kubernetes.watch(
            f"{self._namespace.path}/pods?" + urllib.parse.urlencode({"watch": "true"})
        ):
            labels = pod["metadata"]["labels"]
            key = tuple(labels[f"seafloor/{part}"] for part in ("id", "attempt", "task"))
            self.seen.setdefault(key, set()).add(pod["metadata"]["uid"])


def test_runs__server_killed_again_and_again__each_pod_is_made_once(
    server: LiveServer, namespace: Namespace, record_property: Callable[[str, object], None]
) -> None:
    births = Births(namespace)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: _launch(server), range(RUNS)))
    pods = RUNS * TASKS
    for number in range(KILLS):
        wanted = pods * (number + 1) // (KILLS + 2)
        wait_for(
            lambda wanted=wanted: len(births.seen) >= wanted,
            timeout_s=600,
            what=f"{wanted} pods of {pods}",
        )
        server.kill()
        server.start()
    wait_for(lambda: len(births.seen) >= pods, timeout_s=900, what=f"{pods} pods")
    wait_for(
        lambda: _states(server) == {"preparing": RUNS},
        timeout_s=PATIENCE_S,
        what="all runs to be pods",
    )
    assert {key[:2] for key in births.seen} == {(run_id, "1") for run_id in runs}
    assert all(len(uids) == 1 for uids in births.seen.values())
    assert len(namespace.all("pods")) == len(births.seen) == pods
    share = _idle_share(server)
    record_property("idle share of a core", share)
    print(f"{pods} pods that do not change: {share:.1%} of a core")
    assert share <= IDLE_CORE_MAX


def _launch(server: LiveServer) -> str:
    if TASKS == 1:
        return str(server.launch("true")["id"])
    tasks = {"worker": {"replicas": TASKS, "command": "true"}}
    return str(server.post("/api/v1/runs", {"spec": {"name": "tests", "tasks": tasks}})["id"])


def _states(server: LiveServer) -> dict[str, int]:
    found: dict[str, int] = {}
    cursor = ""
    while True:
        page = server.get(f"/api/v1/runs?limit=500{cursor}")
        for run in page["items"]:
            found[run["state"]] = found.get(run["state"], 0) + 1
        if not page.get("next"):
            return found
        cursor = f"&cursor={urllib.parse.quote(page['next'])}"


def _idle_share(server: LiveServer) -> float:
    """Processor time of the server for each second in which nothing happens.

    The scheduler tries pods again now and then: the first window without that is looked for.
    """
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    share = 1.0
    for _ in range(int(60 / WINDOW_S)):
        begun, begun_s = process.cpu_times(), time.monotonic()
        wait_for(
            lambda begun_s=begun_s: time.monotonic() - begun_s >= WINDOW_S,
            timeout_s=WINDOW_S + 30,
            what="the window",
        )
        now = process.cpu_times()
        used = now.user + now.system - begun.user - begun.system
        share = used / (time.monotonic() - begun_s)
        if share <= IDLE_CORE_MAX:
            break
    return share
