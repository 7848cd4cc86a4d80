"""What befalls runs on a real node: pods deleted, the kubelet killed, code that cannot be had."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster.conftest import Namespace
from tests.kube.cluster.launched_world import PATIENCE_S, Launching, said, wait_said, wait_state
from tests.kube.coded_runs import CodedRuns
from tests.services._kubernetes_plane import Parts

from client_process import Client
from live_server import LiveServer, wait_for

pytestmark = pytest.mark.timeout(900)

CANARIES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def wait_line(server: LiveServer, run_id: str, text: str) -> None:
    wait_for(
        lambda: any(one["text"] == text for one in server.log_lines(run_id)),
        timeout_s=PATIENCE_S,
        what=f"{text!r} in the log ({said(server, run_id)})",
    )


def setup_lines(server: LiveServer, run_id: str, container: str) -> list[dict[str, Any]]:
    """Wait until all that an init container printed is kept; give it."""

    def look() -> bool:
        found = server.get(f"/api/v1/runs/{run_id}/logs/setups")["items"]
        return any(one["setup"] == container and one["finished"] for one in found)

    wait_for(look, timeout_s=PATIENCE_S, what=f"what {container} printed")
    return server.log_lines(run_id, setup=container)


def wait_attempt(server: LiveServer, run_id: str, attempt: int, state: str) -> None:
    def look() -> bool:
        found = server.get(f"/api/v1/runs/{run_id}")
        return (found["attempt"], found["state"]) == (attempt, state)

    wait_for(look, timeout_s=PATIENCE_S, what=f"attempt {attempt} to be {state}")


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "bare"])
def test_run__pod_deleted_by_somebody__says_so_and_is_tried_again(
    launching: Launching, namespace: Namespace, agent: bool
) -> None:
    server = launching.start(agent=agent)
    # Who saves his state and ends well has not finished all the same.
    command = "trap 'echo saved; exit 0' TERM; echo begun; sleep 1000 & wait"
    run_id = server.launch(command, retries=1)["id"]
    wait_line(server, run_id, "begun")
    (pod,) = namespace.pods()

    namespace.kubernetes.call("DELETE", namespace.path("Pod", pod["metadata"]["name"]))

    wait_said(server, run_id, "The pod was told to end", "exit code 0")
    wait_said(server, run_id, "Attempt 2 of 2 begins")
    wait_attempt(server, run_id, 2, "running")
    first = server.log_lines(run_id, attempt=1, stream="out")
    assert [one["text"] for one in first] == ["begun", "saved"]
    server.post(f"/api/v1/runs/{run_id}/stop")
    wait_state(server, run_id, "stopped")


def test_run__kubelet_away_while_it_runs__ends_as_it_would_have(
    launching: Launching, parts: Parts
) -> None:
    server, gate = launching.start(), launching.gate()
    script = (
        "import time\n"
        "for number in range(1, 31):\n"
        "    print(number, flush=True)\n"
        "    time.sleep(0.3)\n"
        f"    number == 10 and {gate.wait()}\n"
        "raise SystemExit(4)\n"
    )
    run_id = server.launch(["python3", "-c", script])["id"]
    wait_line(server, run_id, "5")
    parts.kill("kubelet")
    try:
        assert server.get(f"/api/v1/runs/{run_id}")["state"] == "running"
    finally:
        parts.start("kubelet")
    gate.open()
    assert wait_state(server, run_id, "failed")["ending"]["exit_code"] == 4
    printed = server.log_lines(run_id, stream="out")
    assert [one["text"] for one in printed] == [str(number) for number in range(1, 31)]


def test_runs__code_that_cannot_be_had__say_why_and_keep_what_fetched_it_printed(
    launching: Launching, namespace: Namespace, runs: CodedRuns, tmp_path: Path
) -> None:
    namespace.create(runs.secret())
    policy = {"git": {"localizer": "seafloor"}, "archives": {"secret": runs.secret_name}}
    server = launching.start(agent=True, policy=policy)

    def submit(mode: str, code: dict[str, Any]) -> str:
        asked = {"sync_mode": mode, "url": code["url"]}
        spec = {"name": "coded", "command": "true", "code": asked}
        body = {"spec": spec, "code": {"folder": "code", **code}}
        return server.post("/api/v1/runs", body)["id"]

    vanished = submit("git", {"kind": "git", "url": runs.git, "commit": "1" * 40})
    other = submit("s3", {"kind": "archive", "url": runs.archive, "sha256": "1" * 64})
    well = submit("git", {"kind": "git", "url": runs.git, "commit": runs.commit})

    for run_id, container in ((vanished, "git-localize"), (other, "code-localize")):
        wait_state(server, run_id, "failed")
        wait_said(server, run_id, "Fetching the code failed", container)
        assert "Started." not in said(server, run_id)
    wait_said(server, vanished, "1" * 12)
    wait_said(server, other, "sha256")
    wait_state(server, well, "succeeded")

    user = Client(tmp_path / "home", server.url)
    secret = runs.secret()["data"]
    values = [base64.b64decode(secret[key]).decode() for key in (*CANARIES, "value", "token")]
    for run_id, container, words in (
        (vanished, "git-localize", "1" * 12),
        (other, "code-localize", "sha256"),
        (well, "git-localize", runs.commit),
    ):
        lines = setup_lines(server, run_id, container)
        assert any(words in line["text"] for line in lines), lines
        done = user.cli("logs", run_id, SEAFLOOR_TOKEN=server.token)
        assert done.returncode == 0, done.stderr
        for line in lines:
            assert f"{container}: {line['text']}".strip() in done.stderr
        assert not [value for value in values if value in done.stdout + done.stderr]
