"""A task's folder, an agent in a process of its own, and a receiver for what it delivers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seafloor.stores.logs.record import Record, RecordDecoder
from seafloor.testing.task_receiver import Received, TaskReceiver

RUN_ID = "0190f5d2c0007a000000000000000001"
PATH = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin:/usr/bin:/bin"))


def wait_until(look: Callable[[], object], *, timeout_s: float = 60.0, what: str = "it") -> None:
    """Look until it is so; fail after a time."""
    deadline_s = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.01)


@dataclass
class AgentTask:
    """One task.

    Args:
        folder: Of the attempt.
        pyz: The agent.
        receiver: Where it delivers to.
        run_id: Which run.
    """

    folder: Path
    pyz: Path
    receiver: TaskReceiver
    server_file: Path
    run_id: str = RUN_ID
    python: str = sys.executable
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("output", "events", "work", "task"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def task_dir(self) -> Path:
        return self.folder / "task"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def events(self) -> Path:
        return self.folder / "events"

    @property
    def received(self) -> Received:
        return self.receiver.run(self.run_id)

    @property
    def end(self) -> dict[str, Any]:
        """The one report of the ending."""
        (end,) = self.received.ends
        return end

    def write(self, command: str | list[str], **more: Any) -> None:
        env = {
            "PATH": PATH,
            "OUT": str(self.output),
            "EVENTS": str(self.events),
            **more.pop("env", {}),
        }
        document = {
            "format_version": 1,
            "workload_id": self.run_id,
            "attempt": 1,
            "task": "main",
            "api_path": f"/api/v1/runs/{self.run_id}",
            "command": command,
            "cwd": str(self.folder / "work"),
            "env": env,
            "code_dir": str(self.folder / "work"),
            "output_dir": str(self.output),
            "events_dir": str(self.events),
            "server_file": str(self.server_file),
            "token": None,
            "timeout_s": None,
            "grace_s": 5.0,
            "memory_bytes": None,
            "cpu_count": None,
            "sync_command": [],
            "sync_dir": "",
            **more,
        }
        (self.task_dir / "task.json").write_text(json.dumps(document))

    def start(self, command: str | list[str], **more: Any) -> subprocess.Popen[bytes]:
        """Write ``task.json`` and start an agent."""
        self.write(command, **more)
        return self.spawn("exec")

    def spawn(self, verb: str) -> subprocess.Popen[bytes]:
        with (self.task_dir / "agent.err").open("ab") as stream:
            process = subprocess.Popen(
                [self.python, "-I", "-S", str(self.pyz), verb, "--task-dir", str(self.task_dir)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run(self, command: str | list[str], **more: Any) -> dict[str, Any]:
        """Run a command to the end of its delivery; return the report of its ending."""
        process = self.start(command, **more)
        assert process.wait(120) == 0, self.errors
        assert self.errors == ""
        return self.end

    @property
    def errors(self) -> str:
        return (self.task_dir / "agent.err").read_text()

    def document(self, name: str) -> dict[str, Any] | None:
        file = self.task_dir / name
        return json.loads(file.read_text()) if file.exists() else None

    def spooled(self) -> list[Record]:
        """What is in the spool on disk; fails on damaged records."""
        file = self.task_dir / "log.spool"
        return list(RecordDecoder().feed(file.read_bytes())) if file.exists() else []

    def printed_on_disk(self, stream: int = 0) -> bytes:
        return b"".join(record.printed for record in self.spooled() if record.stream == stream)

    def command_pid(self) -> int:
        """The process of the command, once it was started."""
        found: list[int] = []

        def look() -> bool:
            pid = (self.document("agent.json") or {}).get("command_pid")
            found[:] = [pid] if pid else []
            return bool(pid)

        wait_until(look, what="the command to be started")
        return found[0]

    def stop(self) -> None:
        """What the launcher writes to have a command ended."""
        part = self.task_dir / "stop.json.part"
        part.write_text("{}")
        part.replace(self.task_dir / "stop.json")

    def close(self) -> None:
        """End what a failed test has left running."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def is_alive(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    return state_of(pid) not in "ZX"


def state_of(pid: int) -> str:
    """The letter of a process's state, as ``T`` of one that was stopped; ``X`` of none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return stat[stat.rindex(")") + 2]


def pids_below(marker: str) -> list[int]:
    """Living processes with a marker on their command line."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if marker.encode() in line and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found
