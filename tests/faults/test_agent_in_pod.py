"""The agent as the first process of a pod's container: any user, its variables, one message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_world import PATH, RUN_ID, wait_until
from seafloor.agent.bundle import write_agent
from seafloor.testing.task_receiver import Delivery, Reply, TaskReceiver

STDOUT = 0
RECEIPT = {"format_version": 2, "kind": "git", "folder": "job", "files": 1, "size_bytes": 2}


class Container:
    """What a kubelet would start."""

    def __init__(self, folder: Path, **env: str) -> None:
        server = json.loads((folder / "server.json").read_bytes())
        self.processes: list[subprocess.Popen[bytes]] = []
        self.agent = folder / "agent"
        self.agent.mkdir(mode=0o777)
        self.message = folder / "termination-log"
        self.message.touch()
        self.code = folder / "code"
        self.code.mkdir()
        (self.code / ".receipt.json").write_text(json.dumps(RECEIPT))
        write_agent(self.agent / "agent.pyz")
        self.env = {
            "PATH": PATH,
            "HOME": "/tmp",
            "SEAFLOOR_URL": server["url"],
            "SEAFLOOR_CODE_DIR": str(self.code),
            "SEAFLOOR_OUTPUT_DIR": str(self.agent / "output"),
            "TEAM_SECRET": "from-a-secret",
            **env,
        }

    def start(self, *command: str, **options: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-I", "-S", str(self.agent / "agent.pyz"), "pod"]
        given = {
            "--folder": str(self.agent),
            "--api-path": f"/api/v1/runs/{RUN_ID}",
            "--attempt": "1",
            "--task": "main",
            "--message": str(self.message),
            **{f"--{name.replace('_', '-')}": value for name, value in options.items()},
        }
        for name, value in given.items():
            arguments += [name, value]
        started = subprocess.Popen(
            [*arguments, "--", *command],
            env=self.env,
            cwd=self.code,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(started)
        return started

    def close(self) -> None:
        """End what a failed test left."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def said(self) -> dict[str, Any]:
        return json.loads(self.message.read_bytes())


@pytest.fixture
def container(tmp_path: Path, receiver: TaskReceiver) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    made.close()


def ended(process: subprocess.Popen[bytes]) -> int:
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    return process.returncode


def test_pod__command_with_the_containers_variables__is_delivered_whole(
    container: Container, receiver: TaskReceiver
) -> None:
    script = 'pwd; echo "$TEAM_SECRET"; echo 7 > "$SEAFLOOR_OUTPUT_DIR/model"; exit 3'
    code = ended(container.start("/bin/sh", "-c", script))
    received = receiver.run(RUN_ID)
    assert code == 3
    assert received.printed(STDOUT) == f"{container.code}\nfrom-a-secret\n".encode()
    assert received.artifacts["model"] == b"7\n"
    (start,) = received.starts
    assert start["receipts"] == {"job": RECEIPT}
    (end,) = received.ends
    assert end["ending"]["exit_code"] == 3
    said = container.said()
    assert (said["seafloor_agent"], said["delivered"]) == (1, True)
    assert said["ending"]["exit_code"] == 3


def test_pod__server_away_when_the_command_ends__waits_and_says_how_it_ended(
    container: Container, receiver: TaskReceiver
) -> None:
    receiver.trouble = lambda _: (503, {"code": "store_unavailable", "message": "Away."})
    process = container.start("/bin/sh", "-c", "echo kept")
    wait_until(lambda: container.message.read_bytes()[-1:] == b"}", what="the message")
    said = container.said()
    assert (said["ending"]["exit_code"], said["delivered"]) == (0, False)
    assert process.poll() is None
    receiver.trouble = lambda _: None
    assert ended(process) == 0
    assert receiver.run(RUN_ID).printed(STDOUT) == b"kept\n"
    assert container.said()["delivered"] is True


def test_pod__receipt_is_not_taken__is_started_all_the_same_and_says_so(
    container: Container, receiver: TaskReceiver
) -> None:
    def trouble(delivery: Delivery) -> Reply | None:
        if b"receipts" in delivery.body and delivery.path.endswith("/start"):
            return 400, {"code": "invalid_value", "message": "No receipt."}
        return None

    receiver.trouble = trouble
    assert ended(container.start("true")) == 0
    received = receiver.run(RUN_ID)
    (start,) = received.starts
    assert "receipts" not in start
    assert any("receipt" in sentence for sentence in received.said())


def test_pod__told_to_end__ends_the_command_and_delivers_all_the_same(
    container: Container, receiver: TaskReceiver
) -> None:
    process = container.start("/bin/sh", "-c", "echo ready; exec sleep 600", grace_s="20")
    wait_until(lambda: b"ready" in receiver.run(RUN_ID).printed(STDOUT), what="the command")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # some runtimes repeat themselves
    code = ended(process)
    (end,) = receiver.run(RUN_ID).ends
    assert "The pod was told to end" in end["ending"]["reason"]
    assert code in (128 + signal.SIGTERM, 128 + signal.SIGKILL)
    assert container.said()["delivered"] is True


def test_pod__command_takes_too_long__is_ended_by_the_agent(
    container: Container, receiver: TaskReceiver
) -> None:
    ended(container.start("sleep", "600", timeout_s="0.2"))
    (end,) = receiver.run(RUN_ID).ends
    assert end["ending"]["timed_out"]


def test_pod__no_receipt_no_message_file__runs_all_the_same(
    container: Container, receiver: TaskReceiver
) -> None:
    (container.code / ".receipt.json").unlink()
    code = ended(container.start("true", message="/nonexistent/termination-log"))
    assert code == 0
    (start,) = receiver.run(RUN_ID).starts
    assert "receipts" not in start


@pytest.mark.parametrize("missing", ["--folder", "--attempt"])
def test_pod__wrong_arguments__are_said(
    tmp_path: Path, receiver: TaskReceiver, missing: str
) -> None:
    write_agent(tmp_path / "agent.pyz")
    given = {"--folder": str(tmp_path), "--api-path": "/a", "--attempt": "1", "--task": "main"}
    given.pop(missing)
    arguments = [word for pair in given.items() for word in pair]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "agent.pyz"), "pod", *arguments, "--", "true"],
        capture_output=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 2
    assert missing in done.stderr.decode()


class Gate:
    """What is answered to the question whether the command may be started."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Reply | None = (200, {"state": "waiting"})

    def __call__(self, delivery: Delivery) -> Reply | None:
        if delivery.method != "GET":
            return None
        self.asked += 1
        return self.answer


def test_pod__one_of_several__begins_when_all_were_let_in(
    container: Container, receiver: TaskReceiver
) -> None:
    receiver.trouble = gate = Gate()
    container.env["SEAFLOOR_EVENTS_DIR"] = str(container.agent / "events/worker-1")
    container.env["SEAFLOOR_OUTPUT_DIR"] = str(container.agent / "output/worker-1")
    script = 'echo 7 > "$SEAFLOOR_OUTPUT_DIR/m"; echo > "$SEAFLOOR_EVENTS_DIR/x"; echo ran'
    process = container.start("/bin/sh", "-c", script, task="worker-1")
    wait_until(lambda: gate.asked > 1, what="a second question")
    # Once told to wait it waits, also for a server that is away for a while.
    gate.answer = (503, {"code": "store_unavailable", "message": "Away."})
    asked = gate.asked
    wait_until(lambda: gate.asked > asked + 1, what="more questions")
    received = receiver.run(RUN_ID)
    assert received.starts == received.ends == []
    gate.answer = (200, {"state": "preparing"})
    assert ended(process) == 0
    assert received.printed(STDOUT, "worker-1") == b"ran\n"
    assert received.artifacts == {"worker-1/m": b"7\n"}


def test_pod__told_to_end_while_it_waits_for_others__was_never_there(
    container: Container, receiver: TaskReceiver
) -> None:
    receiver.trouble = gate = Gate()
    process = container.start("/bin/sh", "-c", "echo ran", task="worker-1")
    wait_until(lambda: gate.asked > 0, what="the question")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 1
    received = receiver.run(RUN_ID)
    assert received.logs == {}
    assert received.starts == received.ends == []
    assert container.message.read_bytes() == b""
