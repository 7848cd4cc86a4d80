"""Limits of memory and processors: by a control group where one can be made, else by watching."""

from __future__ import annotations

import math
import os
from typing import Dict, List, NamedTuple, Optional

from .processes import proportional_bytes, session_members

_CGROUP_ROOT = "/sys/fs/cgroup"
_CPU_PERIOD_US = 100_000
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ContainerGroup:
    """The control group (v2) of the container that this process is in, which the cluster limits."""

    def __init__(self, path: str = _CGROUP_ROOT) -> None:
        self._path = path

    def killed_for_memory(self) -> bool:
        """Whether the kernel killed one of its processes for want of memory."""
        return _oom_kills(self._path) > 0

    def shown_limit(self) -> str:
        """How much memory there is, for the user."""
        try:
            with open(os.path.join(self._path, "memory.max"), encoding="ascii") as stream:
                return "{:,} bytes".format(int(stream.read()))
        except (OSError, ValueError):  # another version of groups, or no limit
            return "its container"


def _oom_kills(path: str) -> int:
    try:
        with open(os.path.join(path, "memory.events"), encoding="ascii") as stream:
            counts = dict(line.split() for line in stream)
    except OSError:  # no memory controller: only processors are limited
        return 0
    return int(counts.get("oom_kill", "0"))


class ControlGroup:
    """A control group (v2) for one command.

    Args:
        path: Its folder, made and limited.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def procs(self) -> str:
        """Where a process writes to join it."""
        return os.path.join(self.path, "cgroup.procs")

    def killed_for_memory(self) -> bool:
        """Whether the kernel killed one of its processes for want of memory."""
        return _oom_kills(self.path) > 0

    def remove(self) -> None:
        """Remove it; a group that still has processes stays."""
        try:
            os.rmdir(self.path)
        except OSError:
            # EBUSY: something the command left running is in it. It costs nothing to leave it.
            return


def make_control_group(
    name: str,
    *,
    memory_bytes: Optional[int],
    cpu_count: Optional[float],
    root: str = _CGROUP_ROOT,
    own: Optional[str] = None,
) -> Optional[ControlGroup]:
    """Make a group below this process's own, or beside it.

    Args:
        name: Of the group.
        root: Where the v2 hierarchy is mounted.
        own: This process's group below root; None: what ``/proc`` says.

    Returns:
        The group; None where the system, or the rights of this user, do not allow one.
    """
    if not os.path.exists(os.path.join(root, "cgroup.controllers")):
        return None
    own = _own_group() if own is None else own
    wanted: Dict[str, Dict[str, str]] = {}
    if memory_bytes is not None:
        wanted["memory"] = {"memory.max": str(memory_bytes), "memory.oom.group": "1"}
    if cpu_count is not None:
        quota_us = max(1000, int(cpu_count * _CPU_PERIOD_US))
        wanted["cpu"] = {"cpu.max": "{} {}".format(quota_us, _CPU_PERIOD_US)}
    base = os.path.normpath(os.path.join(root, own.lstrip("/")))
    for parent in (base, os.path.dirname(base)):
        if parent.startswith(root) and _offers(parent, list(wanted)):
            made = _make(os.path.join(parent, name), wanted)
            if made is not None:
                return made
    return None


def _own_group() -> str:
    with open("/proc/self/cgroup", encoding="ascii", errors="surrogateescape") as stream:
        for line in stream:
            if line.startswith("0::"):
                return line[3:].strip()
    return "/"


def _offers(parent: str, controllers: List[str]) -> bool:
    """Whether groups made in parent have these controllers."""
    control = os.path.join(parent, "cgroup.subtree_control")
    try:
        with open(control, encoding="ascii") as stream:
            there = stream.read().split()
    except OSError:
        return False
    missing = [name for name in controllers if name not in there]
    if not missing:
        return True
    try:
        with open(control, "w", encoding="ascii") as stream:
            stream.write(" ".join("+" + name for name in missing))
    except OSError:  # not ours to change, or a group with processes of its own
        return False
    return True


def _make(path: str, wanted: Dict[str, Dict[str, str]]) -> Optional[ControlGroup]:
    try:
        os.mkdir(path)
    except OSError:
        return None
    group = ControlGroup(path)
    try:
        for settings in wanted.values():
            for name, value in settings.items():
                with open(os.path.join(path, name), "w", encoding="ascii") as stream:
                    stream.write(value)
        return group if os.access(group.procs, os.W_OK) else _unmake(group)
    except OSError:
        return _unmake(group)


def _unmake(group: ControlGroup) -> None:
    group.remove()


class Limits(NamedTuple):
    """How a command is limited.

    Args:
        env: Its variables.
        cpus: Processors it is held to, None for all.
        group: The control group, None when there is none.
        watched_bytes: Memory to watch by hand, None when not.
        said: What the user is told of it, one sentence each.
    """

    env: Dict[str, str]
    cpus: Optional[List[int]]
    group: Optional[ControlGroup]
    watched_bytes: Optional[int]
    said: List[str]


def arrange_limits(
    env: Dict[str, str], name: str, *, memory_bytes: Optional[int], cpu_count: Optional[float]
) -> Limits:
    """Choose the strongest means there are.

    Args:
        env: The command's variables.
        name: For a control group.
    """
    if memory_bytes is None and cpu_count is None:
        return Limits(env, None, None, None, [])
    if cpu_count is not None:
        threads = str(max(1, int(cpu_count)))
        env = dict(dict.fromkeys(_THREAD_VARIABLES, threads), **env)
    group = make_control_group(name, memory_bytes=memory_bytes, cpu_count=cpu_count)
    if group is not None:
        said = "Limits are held by the control group {}.".format(group.path)
        return Limits(env, None, group, None, [said])
    said_list: List[str] = []
    cpus = None
    if cpu_count is not None:
        cpus = _some_cpus(cpu_count)
        said_list.append(_said_of_cpus(cpu_count, cpus))
    if memory_bytes is not None:
        said_list.append(
            "No control group can be made here: memory is looked at twice a second, and the "
            "command is killed when it has more than {:,} bytes.".format(memory_bytes)
        )
    return Limits(env, cpus, None, memory_bytes, said_list)


def _some_cpus(cpu_count: float) -> Optional[List[int]]:
    """Processors to be held to, None for all; which ones differs from run to run, so that many
    small runs spread."""
    there = sorted(os.sched_getaffinity(0))
    wanted = max(1, math.ceil(cpu_count))
    if wanted >= len(there):
        return None
    first = os.getpid()
    return [there[(first + further) % len(there)] for further in range(wanted)]


def _said_of_cpus(cpu_count: float, cpus: Optional[List[int]]) -> str:
    if cpus is None:
        return (
            "No control group can be made here: the limit of {:g} processors is given to numeric "
            "libraries only (OMP_NUM_THREADS)."
        ).format(cpu_count)
    numbers = ", ".join(str(cpu) for cpu in sorted(cpus))
    return "No control group can be made here: the command is held to processors {}.".format(
        numbers
    )


def used_bytes(session: int, limit_bytes: int) -> int:
    """Memory of a session's processes.

    Shared pages count once per process as long as that stays within the limit (cheap); beyond it
    they are shared out, so that workers that share a data set are not taken for many data sets.
    Processes are read one after another: when one starts or ends between two reads, shares do not
    add up to what there is. So only what two looks find counts as beyond the limit.
    """
    found = _used_bytes(session, limit_bytes)
    return found if found <= limit_bytes else min(found, _used_bytes(session, limit_bytes))


def _used_bytes(session: int, limit_bytes: int) -> int:
    members = session_members(session)
    resident = sum(member.resident_bytes for member in members)
    if resident <= limit_bytes:
        return resident
    total = 0
    for member in members:
        proportional = proportional_bytes(member.pid)
        total += member.resident_bytes if proportional is None else proportional
    return total
