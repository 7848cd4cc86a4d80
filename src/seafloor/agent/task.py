"""What an agent is asked to do: ``task.json``."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Union, cast

from .folder import FORMAT_VERSION, TaskFolder

TASK_FILE = "task.json"


class BadTask(Exception):
    """``task.json`` is missing or is not one that this agent understands."""


class Abandoned(Exception):
    """Delivery ends here; what is on disk can be delivered later."""


class Volume:
    """A volume of a task.

    Args:
        document: ``source``, its folder; ``path``, where it is wanted; ``read_only``;
            ``variable``, which tells where it is.

    Raises:
        BadTask: a field is missing or of the wrong type.
    """

    def __init__(self, document: Dict[str, Any]) -> None:
        self.source: str = _field(document, "source", str)
        self.path: str = _field(document, "path", str)
        self.read_only: bool = _field(document, "read_only", bool)
        self.variable: str = _field(document, "variable", str)


class Task:
    """One task.

    Args:
        document: ``task.json``:
            ``api_path`` of the workload on the server; ``attempt`` and ``task``, which one;
            ``command``, a shell line or arguments; ``cwd``, where it starts; ``env``, all its
            variables; ``output_dir`` and ``events_dir``, what it leaves; ``server_file``, where
            the server's address stands; ``token`` or null; ``timeout_s``, ``memory_bytes``,
            ``cpu_count``, limits or null; ``code_mount``, null or what is to be at ``/code`` and
            how (see ``CodeMount``); ``volumes``, see ``Volume`` (missing: none), with a ``stage``
            for them, empty when they are not to be at their paths; ``grace_s`` between SIGTERM
            and SIGKILL;
            ``sync_command``, which delivers what the client library left in ``sync_dir`` (``[]``:
            there is none); ``in_pod``, whether all of this ends with a pod (missing: it does not);
            ``waits``, whether the command begins only when the server says so (missing: it does
            not); ``receipts``, reported with the start (missing: none).

    Raises:
        BadTask: a field is missing or of the wrong type.
    """

    def __init__(self, document: Dict[str, Any]) -> None:
        if document.get("format_version") != FORMAT_VERSION:
            raise BadTask("task.json has a format that this agent does not know")
        self.workload_id: str = _field(document, "workload_id", str)
        self.attempt: int = _field(document, "attempt", int)
        self.task: str = _field(document, "task", str)
        self.api_path: str = _field(document, "api_path", str)
        self.command: Union[str, List[str]] = _field(document, "command", (str, list))
        self.cwd: str = _field(document, "cwd", str)
        self.env: Dict[str, str] = _field(document, "env", dict)
        self.output_dir: str = _field(document, "output_dir", str)
        self.events_dir: str = _field(document, "events_dir", str)
        self.server_file: str = _field(document, "server_file", str)
        self.token: Optional[str] = _field(document, "token", (str, type(None)))
        self.timeout_s: Optional[float] = _number(document, "timeout_s")
        self.memory_bytes: Optional[int] = _field(document, "memory_bytes", (int, type(None)))
        self.code_mount: Optional[Dict[str, str]] = _field(
            document, "code_mount", (dict, type(None))
        )
        # Missing in what an older server wrote.
        self.volumes = [Volume(one) for one in document.get("volumes", [])]
        self.stage: str = document.get("stage", "")
        self.cpu_count: Optional[float] = _number(document, "cpu_count")
        self.grace_s: float = _number(document, "grace_s") or 0.0
        self.sync_command: List[str] = _field(document, "sync_command", list)
        self.sync_dir: str = _field(document, "sync_dir", str)
        self.in_pod: bool = document.get("in_pod") is True
        self.waits: bool = document.get("waits") is True
        self.receipts: Dict[str, Any] = document.get("receipts", {})

    @property
    def attempt_path(self) -> str:
        """Path of the attempt on the server."""
        return "{}/attempts/{}".format(self.api_path, self.attempt)

    @property
    def task_path(self) -> str:
        """Path of the task on the server."""
        return "{}/tasks/{}".format(self.attempt_path, self.task)


def read_task(folder: TaskFolder) -> Task:
    """Read the task of a folder.

    Raises:
        BadTask: there is none, or it is damaged.
    """
    try:
        document = folder.read(TASK_FILE)
    except ValueError as error:
        raise BadTask("task.json cannot be read: {}".format(error)) from error
    if document is None:
        raise BadTask("there is no task.json in {}".format(folder.path))
    return Task(document)


def _field(document: Dict[str, Any], name: str, kind: Any) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        raise BadTask("task.json: {} is missing or of the wrong type".format(name))
    return cast(Any, value)


def _number(document: Dict[str, Any], name: str) -> Optional[float]:
    value = _field(document, name, (int, float, type(None)))
    return None if value is None else float(value)
