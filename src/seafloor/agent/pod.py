"""``pod``: run one command as the container of a pod does, with nobody who wrote its ``task.json``.

What a launcher writes into a task's folder elsewhere comes here from the arguments and the
container's own variables. The folder is one that only this pod has; what is not delivered when the
pod ends is lost with it, so that everything is delivered before. How the command ended becomes the
termination message of the container, for whoever asks the cluster while the server is away.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, Dict, List, NamedTuple, Optional

from .endings import Ending
from .environment import fit_environment
from .execute import Means, execute
from .folder import TaskFolder
from .task import TASK_FILE, Abandoned

MESSAGE_VERSION = 1
_MESSAGE_BYTES_MAX = 4000  # Kubernetes keeps 4096
_SHELL = ["/bin/sh", "-c"]


class PodTask(NamedTuple):
    """What a pod is asked to do.

    Args:
        folder: Empty, for this pod only.
        api_path: Of the workload on the server.
        attempt, task: Which.
        timeout_s: None: no limit.
        grace_s: Between SIGTERM and SIGKILL.
        message: File of the termination message.
        command: Arguments.
    """

    folder: str
    api_path: str
    attempt: int
    task: str
    timeout_s: Optional[float]
    grace_s: float
    message: str
    command: List[str]


def run_pod(pod: PodTask, variables: Dict[str, str]) -> int:
    """Run the command with the container's variables; see ``execute``.

    Returns:
        The command's exit code; 128 and the number of a signal that ended it.

    Raises:
        BadTask, AlreadyStarted, OSError: see ``execute``.
    """
    folder = TaskFolder(os.path.join(pod.folder, "task"))
    for name in ("task", "output", "events", "client"):
        os.makedirs(os.path.join(pod.folder, name), exist_ok=True)
    for name in ("SEAFLOOR_OUTPUT_DIR", "SEAFLOOR_EVENTS_DIR"):  # below the others, for a task
        if variables.get(name, "").startswith(pod.folder + os.sep):
            os.makedirs(variables[name], exist_ok=True)
    server_file = folder.file("server.json")
    folder.write("server.json", {"url": variables.get("SEAFLOOR_URL", "")})
    folder.write(TASK_FILE, _document(pod, variables, server_file))
    if folder.lock() is None:
        raise OSError(11, "another agent has the task", folder.path)
    refused = fit_environment(variables)
    if refused is not None:
        _write_message(pod.message, Ending(refused), delivered=True)
        return 1
    noted: List[Ending] = []

    def note(ending: Ending) -> None:
        noted.append(ending)
        _write_message(pod.message, ending, delivered=False)

    means = Means(note_ending=note, receipts=_receipts(variables))
    try:
        execute(folder, ready_fd=None, means=means)
    except Abandoned:
        return _exit_code(noted[-1]) if noted else 1
    _write_message(pod.message, noted[-1], delivered=True)
    return _exit_code(noted[-1])


def _document(pod: PodTask, variables: Dict[str, str], server_file: str) -> Dict[str, Any]:
    command = pod.command
    return {
        "workload_id": pod.api_path.rsplit("/", 1)[-1],
        "attempt": pod.attempt,
        "task": pod.task,
        "api_path": pod.api_path,
        "command": command[2] if command[:2] == _SHELL and len(command) == 3 else command,
        "cwd": os.getcwd(),
        "env": variables,
        "output_dir": os.path.join(pod.folder, "output"),
        "events_dir": os.path.join(pod.folder, "events"),
        "server_file": server_file,
        "token": variables.get("SEAFLOOR_TOKEN"),
        "timeout_s": pod.timeout_s,
        "grace_s": pod.grace_s,
        # The container is limited by the cluster.
        "memory_bytes": None,
        "cpu_count": None,
        "code_mount": None,
        "sync_command": ["python3", "-m", "seafloor.cli", "sync"],
        "sync_dir": os.path.join(pod.folder, "client", "spool"),
        "in_pod": True,
    }


def _receipts(variables: Dict[str, str]) -> Dict[str, Any]:
    """What was localised, by its folder; empty when whoever did it wrote no receipt."""
    path = os.path.join(variables.get("SEAFLOOR_CODE_DIR", "/code"), ".receipt.json")
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read())
        return {str(found["folder"]): found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_message(path: str, ending: Ending, *, delivered: bool) -> None:
    said = {
        "seafloor_agent": MESSAGE_VERSION,
        "ending": ending.document(),
        "delivered": delivered,
    }
    content = json.dumps(said).encode()
    if len(content) > _MESSAGE_BYTES_MAX:
        short = ending._replace(reason=ending.reason[:500])
        content = json.dumps(dict(said, ending=short.document())).encode()
    # Not every runtime has the file; the exit code of the container says the most of it.
    with suppress(OSError), open(path, "wb") as stream:
        stream.write(content)


def _exit_code(ending: Ending) -> int:
    if ending.exit_code is not None:
        return ending.exit_code
    import signal

    number = getattr(signal, ending.signal or "", None)
    return 1 if number is None else 128 + int(number)
