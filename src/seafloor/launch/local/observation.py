"""What the folder of a task whose agent is gone says of it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import msgspec

from seafloor.agent.folder import TaskFolder, boot_id, open_file
from seafloor.agent.spool import survey
from seafloor.domain.workloads import Ending
from seafloor.launch.local.agents import last_words
from seafloor.launch.protocol import TaskAbsent, TaskEnded, TaskLost, TaskObservation

_SHIPPED = struct.Struct("<Q")


def observe_ended(folder: Path) -> TaskObservation:
    """Say how a task ended, its lock being free.

    Cost: for a lost task, one read of its spool.
    """
    documents = TaskFolder(str(folder))
    try:
        agent = documents.read("agent.json")
        ended = documents.read("exit.json")
        done = documents.read("done.json") or {}
        if ended is not None:
            ending = msgspec.convert(ended.get("ending"), Ending)
            return TaskEnded(ending, delivered=done.get("delivered") is True, left=not done)
    except (ValueError, msgspec.ValidationError):
        # Only a crash of the machine leaves such: nothing else can cut a document short.
        agent, done = {}, {}
    if agent is None:
        return TaskAbsent()
    return _lost(folder, agent, left=not done)


def has_begun(folder: Path) -> bool:
    """Whether the command of an agent that lives was started, or has ended without that."""
    documents = TaskFolder(str(folder))
    try:
        agent = documents.read("agent.json")
    except ValueError:
        return True
    return (agent or {}).get("command_pid") is not None or documents.has("exit.json")


def is_gone(folder: Path) -> bool:
    """Whether nothing more was delivered since the server had no records of the workload."""
    try:
        done = TaskFolder(str(folder)).read("done.json") or {}
    except ValueError:
        return False
    return done.get("gone") is True


def why_undelivered(folder: Path) -> str:
    """Say what stood in the way of delivering, in the agent's or the server's words."""
    try:
        done = TaskFolder(str(folder)).read("done.json") or {}
    except ValueError:
        done = {}
    words = str(done.get("reason") or last_words(folder))
    return words.strip().removeprefix("agent: ").rstrip(".")


def _lost(folder: Path, agent: dict[str, Any], *, left: bool) -> TaskLost:
    if agent.get("boot_id") != boot_id():
        reason = "The machine was restarted while the command ran."
    else:
        reason = "The agent that watched the command disappeared, so nobody knows how it ended."
    lines, size_bytes = _spooled(folder / "log.spool")
    return TaskLost(reason, lines, max(0, size_bytes - _shipped(folder / "shipped")), left)


def _spooled(path: Path) -> tuple[int, int]:
    """Whole lines, and bytes that are whole records."""
    try:
        fd = open_file(str(path))
    except (FileNotFoundError, ValueError):
        return 0, 0
    try:
        found = survey(fd)
    finally:
        os.close(fd)
    return found.lines, found.size_bytes


def _shipped(path: Path) -> int:
    """How much the server is known to have taken; a hint that may be too low."""
    try:
        with os.fdopen(open_file(str(path)), "rb") as stream:
            (shipped,) = _SHIPPED.unpack(stream.read(_SHIPPED.size))
    except (FileNotFoundError, ValueError, struct.error):
        return 0
    return int(shipped)
