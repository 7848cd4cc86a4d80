"""The agent is killed: its command dies with it, and every line in its spool arrives later."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent_world import AgentTask, is_alive, pids_below, wait_until
from seafloor.launch.local.agents import end_leftovers
from seafloor.testing.task_receiver import TaskReceiver

PRINTER = """
import itertools, sys, time
for number in itertools.count():
    print("line", number)
    if number % 500 == 0:
        time.sleep(0.01)
"""


def printer() -> list[str]:
    """A command that prints for ever."""
    return [sys.executable, "-c", PRINTER]


def start_quiet(task: AgentTask) -> None:
    """Start a command that printed and then is silent: a kill meets no write."""
    task.start("seq 1000; exec sleep 600")
    printed = b"".join(b"%d\n" % number for number in range(1, 1001))
    wait_until(lambda: task.printed_on_disk() == printed, what="all lines")


def kill(task: AgentTask) -> None:
    """kill -9 of the agent; wait for what the kernel does to its command."""
    pid = task.command_pid()
    task.processes[-1].kill()
    task.processes[-1].wait()
    wait_until(lambda: not is_alive(pid), what="the command's death")


def spooled_bytes(task: AgentTask) -> int:
    """Size of the spool on disk."""
    file = task.task_dir / "log.spool"
    return file.stat().st_size if file.exists() else 0


def check_lines(task: AgentTask) -> int:
    """Every line in the spool has arrived, once and in order; return how many there are."""
    printed = task.received.printed(0)
    lines = printed.decode().splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]
    assert printed == task.printed_on_disk()
    return len(lines)


def test_killed__server_away__ship_delivers_every_spooled_line(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    receiver.stop()
    agent_task.start(printer())
    wait_until(lambda: spooled_bytes(agent_task) > 500_000, what="half a megabyte")
    kill(agent_task)
    receiver.start()
    assert agent_task.spawn("ship").wait(60) == 0, agent_task.errors
    count = check_lines(agent_task)
    (said,) = agent_task.received.said()
    assert f"{count:,} lines were kept" in said
    assert agent_task.received.ends == []
    assert agent_task.document("done.json") == {
        "format_version": 1,
        "delivered": True,
        "reason": "",
        "gone": False,
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed__at_any_moment__what_arrived_is_what_was_spooled(
    agent_task: AgentTask, seed: int
) -> None:
    print("seed", seed)
    size_bytes = random.Random(seed).randrange(100, 1_000_000)
    agent_task.start(printer())
    wait_until(lambda: spooled_bytes(agent_task) > size_bytes, what="some lines")
    kill(agent_task)
    before = spooled_bytes(agent_task)
    assert agent_task.spawn("ship").wait(60) == 0, agent_task.errors
    assert check_lines(agent_task) > 0
    assert spooled_bytes(agent_task) >= before - 65_564
    assert len(agent_task.received.logs["main"]) == spooled_bytes(agent_task)


def test_ship__torn_tail__cut_off_and_numbers_go_on(agent_task: AgentTask) -> None:
    start_quiet(agent_task)
    kill(agent_task)
    whole = agent_task.spooled()
    with (agent_task.task_dir / "log.spool").open("ab") as stream:
        stream.write(b"\x12\x34" * 10)
    assert agent_task.spawn("ship").wait(60) == 0
    records = agent_task.received.records()
    assert records[: len(whole)] == whole
    assert [record.number for record in records] == list(range(1, len(whole) + 2))
    assert "damaged" not in agent_task.received.said()[0]


def test_ship__damaged_tail__cut_off_and_said(agent_task: AgentTask) -> None:
    start_quiet(agent_task)
    kill(agent_task)
    whole = agent_task.spooled()
    with (agent_task.task_dir / "log.spool").open("ab") as stream:
        stream.write(bytes(5000))  # as a file system leaves it after a crash
    assert agent_task.spawn("ship").wait(60) == 0
    assert agent_task.received.records()[: len(whole)] == whole
    (said,) = agent_task.received.said()
    assert "5,000 bytes at the end of its spool were damaged and cut off" in said


def test_ship__twice__says_and_delivers_once(agent_task: AgentTask) -> None:
    agent_task.start(printer())
    wait_until(lambda: spooled_bytes(agent_task) > 10_000, what="some lines")
    kill(agent_task)
    for _ in range(2):
        assert agent_task.spawn("ship").wait(60) == 0
    (agent_task.task_dir / "done.json").unlink()
    assert agent_task.spawn("ship").wait(60) == 0
    assert len(agent_task.received.said()) == 1
    assert check_lines(agent_task) > 0


def test_ship__ending_is_known__reported_with_events_and_outputs(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    receiver.stop()
    process = agent_task.start("echo x; echo f > $OUT/f; echo e > $EVENTS/tfevents; exit 3")
    wait_until(lambda: agent_task.document("exit.json"), what="the command's end")
    process.kill()
    process.wait()
    receiver.start()
    assert agent_task.spawn("ship").wait(60) == 0
    assert agent_task.end["ending"]["exit_code"] == 3
    assert agent_task.received.said() == []
    assert agent_task.received.artifacts == {"f": b"f\n"}
    assert agent_task.received.events == {"tfevents": bytearray(b"e\n")}


def test_ship__outputs_of_a_lost_task__delivered_as_they_are(agent_task: AgentTask) -> None:
    agent_task.start("echo half > $OUT/checkpoint; echo ready; sleep 600")
    wait_until(lambda: agent_task.printed_on_disk() == b"ready\n", what="the command")
    kill(agent_task)
    assert agent_task.spawn("ship").wait(60) == 0
    assert agent_task.received.artifacts == {"checkpoint": b"half\n"}
    assert agent_task.received.ends == []


def test_leftovers__tree_of_a_killed_agent__ended(agent_task: AgentTask) -> None:
    marker = f"86400.{os.getpid()}1"
    agent_task.start(f"sleep {marker} & sleep {marker} & wait")
    agent_task.command_pid()
    wait_until(lambda: len(pids_below(f"sleep\0{marker}")) == 2, what="the command's children")
    kill(agent_task)
    assert len(pids_below(f"sleep\0{marker}")) == 2
    assert end_leftovers(agent_task.task_dir) == 2
    wait_until(lambda: not pids_below(f"sleep\0{marker}"), what="their death")
    assert end_leftovers(agent_task.task_dir) == 0


def test_leftovers__in_a_copy_of_the_folder__the_command_lives_on(
    agent_task: AgentTask, tmp_path: Path
) -> None:
    """Somebody looks into a backup: the lock of the copy is free, the command is the original's."""
    agent_task.start(["/bin/sleep", "600"])
    pid = agent_task.command_pid()
    copy = shutil.copytree(agent_task.task_dir, tmp_path / "copy")
    assert end_leftovers(copy) == 0
    assert Path(f"/proc/{pid}").exists()
    kill(agent_task)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="its end with its agent")


@pytest.mark.parametrize("changed", ["boot_id", "command_start_ticks", "command_pid"])
def test_leftovers__process_id_of_another__left_alone(agent_task: AgentTask, changed: str) -> None:
    agent_task.start(["/bin/true"])
    assert agent_task.processes[-1].wait(60) == 0
    bystander = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        noted = agent_task.document("agent.json")
        assert noted is not None
        stat = Path(f"/proc/{bystander.pid}/stat").read_text()
        ticks = int(stat[stat.rindex(")") + 2 :].split()[19])
        forged = {**noted, "command_pid": bystander.pid, "command_start_ticks": ticks}
        if changed == "boot_id":
            forged["boot_id"] = "another boot"
        elif changed == "command_start_ticks":
            forged["command_start_ticks"] = ticks - 1
        else:
            forged["command_pid"] = None
        agent_task.write("true")
        (agent_task.task_dir / "agent.json").write_text(json.dumps(forged))
        assert end_leftovers(agent_task.task_dir) == 0
        assert bystander.poll() is None
    finally:
        bystander.send_signal(signal.SIGKILL)
        bystander.wait()


def test_ship__never_started__does_nothing(agent_task: AgentTask, receiver: TaskReceiver) -> None:
    agent_task.write("true")
    assert agent_task.spawn("ship").wait(60) == 0
    assert receiver.requests == []


def test_ship__folder_gone__says_so(agent_task: AgentTask) -> None:
    agent_task.write("true")
    process = subprocess.run(
        [
            *(agent_task.python, "-I", "-S", str(agent_task.pyz)),
            *("ship", "--task-dir", str(agent_task.folder / "gone")),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
