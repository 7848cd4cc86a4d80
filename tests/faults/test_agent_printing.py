"""Whatever a command prints arrives, byte for byte and in order, and costs little."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world import AgentTask, wait_until
from seafloor.stores.logs.record import FLAG_CONTINUED
from seafloor.testing.task_receiver import Delivery, Reply, TaskReceiver

OUT, ERR = 0, 1
MEMORY_BYTES_MAX = 60 << 20


def python(code: str) -> list[str]:
    """A command that runs Python."""
    return [sys.executable, "-c", code]


def peak_bytes(pid: int) -> int:
    """The most memory a process has had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_exec__two_streams__numbered_in_order_with_their_stream(agent_task: AgentTask) -> None:
    end = agent_task.run("echo one; echo two >&2; printf three")
    records = agent_task.received.records()
    assert [record.number for record in records] == [1, 2, 3]
    assert agent_task.received.printed(OUT) == b"one\nthree"
    assert agent_task.received.printed(ERR) == b"two\n"
    assert end["ending"]["exit_code"] == 0
    assert (end["lines"], end["lines_lost"]) == (3, 0)
    assert end["log_bytes"] == len(agent_task.received.logs["main"])


def test_exec__lines_one_by_one__streams_interleave_as_printed(agent_task: AgentTask) -> None:
    # Each waits for the other's line to be on disk, so the order is that of printing.
    code = f"""
import os, sys, time
def wait(text):
    while text not in open({str(agent_task.task_dir / "log.spool")!r}, "rb").read():
        time.sleep(0.002)
for number in range(20):
    stream = sys.stderr if number % 2 else sys.stdout
    print(f"line-{{number}}-", file=stream, flush=True)
    wait(f"line-{{number}}-".encode())
"""
    agent_task.run(python(code))
    shown = [record.payload.decode() for record in agent_task.received.records()]
    assert shown == [f"line-{number}-" for number in range(20)]


def test_exec__progress_bar__every_state_is_a_line(agent_task: AgentTask) -> None:
    code = "import sys\nfor i in range(50): sys.stderr.write(f'\\r{i}%')\nsys.stderr.write('\\n')"
    agent_task.run(python(code))
    bars = [record.payload for record in agent_task.received.records()]
    assert bars == [b"", *(f"{i}%".encode() for i in range(50))]
    wanted = b"".join(f"\r{i}%".encode() for i in range(50)) + b"\n"
    assert agent_task.received.printed(ERR) == wanted


def test_exec__return_and_then_silence__line_is_spooled_at_once(agent_task: AgentTask) -> None:
    process = agent_task.start("printf 'half way\\r'; while [ ! -e go ]; do sleep 0.05; done")
    wait_until(lambda: agent_task.printed_on_disk() == b"half way\r", what="the line")
    (agent_task.folder / "work" / "go").touch()
    assert process.wait(60) == 0


def test_exec__return_and_newline_apart__one_terminator(agent_task: AgentTask) -> None:
    # Far closer together than the agent waits for the second half.
    agent_task.run(["/usr/bin/printf", "a\\r\\nb\\rc\\n"])
    assert [(r.payload, r.end) for r in agent_task.received.records()] == [
        (b"a", 3),
        (b"b", 2),
        (b"c", 1),
    ]


def test_exec__binary__arrives_byte_for_byte(agent_task: AgentTask, tmp_path: Path) -> None:
    noise = os.urandom(1_000_000)
    (tmp_path / "noise").write_bytes(noise)
    agent_task.run(["/bin/cat", str(tmp_path / "noise")])
    assert agent_task.received.printed(OUT) == noise


@pytest.mark.slow
def test_exec__100_mb_in_one_line__bounded_memory_and_every_byte(agent_task: AgentTask) -> None:
    # The last piece waits for what ends the line.
    size_bytes = (100 << 20) - 65536
    code = """
import os, sys, time
for number in range(100):
    sys.stdout.buffer.write(b"%02d" % number * (1 << 19))
sys.stdout.flush()
while not os.path.exists("go"):
    time.sleep(0.02)
"""
    process = agent_task.start(python(code))
    file = agent_task.task_dir / "log.spool"
    wait_until(
        lambda: file.exists() and file.stat().st_size >= size_bytes, timeout_s=120, what="100 MB"
    )
    wait_until(
        lambda: len(agent_task.received.logs.get("main", b"")) >= size_bytes,
        timeout_s=120,
        what="100 MB shipped",
    )
    peak = peak_bytes(process.pid)
    (agent_task.folder / "work" / "go").touch()
    assert process.wait(120) == 0, agent_task.errors
    assert peak < MEMORY_BYTES_MAX
    records = agent_task.received.records()
    assert all(record.flags == FLAG_CONTINUED for record in records[:-1])
    assert records[-1].flags == 0
    digest = hashlib.sha256()
    for number in range(100):
        digest.update(b"%02d" % number * (1 << 19))
    assert hashlib.sha256(agent_task.received.printed(OUT)).digest() == digest.digest()


@pytest.mark.slow
def test_exec__flood__pipe_holds_it_back_and_nothing_is_lost(
    agent_task: AgentTask, receiver: TaskReceiver
) -> None:
    def hold_end(delivery: Delivery) -> Reply | None:
        away = (503, {"code": "store_unavailable", "message": "Away."})
        return away if delivery.path.endswith("/end") else None

    receiver.trouble = hold_end
    process = agent_task.start("yes 2>/dev/null | head -n 1000000")
    wait_until(lambda: agent_task.document("exit.json"), timeout_s=120, what="the end")
    peak = peak_bytes(process.pid)
    receiver.trouble = lambda _: None
    assert process.wait(180) == 0, agent_task.errors
    assert peak < MEMORY_BYTES_MAX
    assert agent_task.end["lines"] == 1_000_000
    assert agent_task.received.printed(OUT) == b"y\n" * 1_000_000


def test_exec__100_000_lines_unbuffered__cost_less_than_a_second(agent_task: AgentTask) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    agent_task.run("seq 1 100000 | sed -u 's/^/a line of an ordinary length, number /'")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime - before.ru_utime
    assert agent_task.end["lines"] == 100_000
    # The agent's own, with all its imports and the delivery: the command is its child, waited for
    # by it, and counts as well. Generous, since the machine is shared.
    assert spent_s < 3.0
    numbers = [record.number for record in agent_task.received.records()]
    assert numbers == list(range(1, 100_001))


@pytest.mark.slow
def test_exec__20_agents_with_20_000_lines__each_line_exactly_once(
    make_task: Callable[..., AgentTask],
) -> None:
    tasks = [make_task(run_id=f"{number:032x}") for number in range(20)]
    code = "for i in range(20000): print('line', i)"
    processes = [task.start(python(code)) for task in tasks]
    wanted = b"".join(f"line {i}\n".encode() for i in range(20_000))
    for task, process in zip(tasks, processes, strict=True):
        assert process.wait(240) == 0, task.errors
        assert task.received.printed(OUT) == wanted
        assert [r.number for r in task.received.records()] == list(range(1, 20_001))
        assert (task.end["lines"], task.end["lines_lost"]) == (20_000, 0)
