"""The tasks of a distributed run: their names, their order, and whose success is the run's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from seafloor.domain.specs import ExperimentSpec, ResourcesSpec, TaskSpec, task_names

APART: Final = frozenset({"ps", "evaluator"})
"""Roles that take no part in torch's world, and whose end nobody waits for."""

MAIN: Final = "main"
"""The task of a run that is not distributed."""

_FIRST: Final = ("master", "chief")
_CHIEF: Final = "chief"


class Member(msgspec.Struct, frozen=True):
    """One task of a distributed run.

    Args:
        role, index: Which.
        task: What the spec says of the role.
    """

    role: str
    index: int
    task: TaskSpec

    @property
    def name(self) -> str:
        """``<role>-<index>``; in a cluster also its host name."""
        return f"{self.role}-{self.index}"


def members_of(tasks: Mapping[str, TaskSpec]) -> tuple[Member, ...]:
    """All tasks; the first is torch's master: of a role of that name, else of the first role."""
    roles = sorted(tasks, key=lambda role: role not in _FIRST)
    roles.sort(key=lambda role: role in APART)
    return tuple(
        Member(role, index, tasks[role])
        for role in roles
        for index in range(len(task_names(role, tasks[role].replicas)))
    )


def members_of_spec(spec: Mapping[str, Any]) -> tuple[Member, ...]:
    """Those of an experiment as it was accepted; none: it is not distributed."""
    tasks = spec.get("tasks")
    return members_of(msgspec.convert(tasks, dict[str, TaskSpec])) if tasks else ()


def task_names_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of all tasks of an experiment as it was accepted, the first one first.

    >>> task_names_of({"tasks": {"worker": {"replicas": 2}, "master": {}}})
    ('master-0', 'worker-0', 'worker-1')
    >>> task_names_of({"command": "true"})
    ('main',)
    """
    return tuple(member.name for member in members_of_spec(spec)) or (MAIN,)


def deciders_of(members: Sequence[Member]) -> tuple[Member, ...]:
    """Whose success is the whole's: the chief's; without one, that of all who come to an end.

    Parameter servers serve until they are stopped; a run of nothing else waits for each of them.
    """
    chief = tuple(one for one in members if one.role == _CHIEF)
    ending = tuple(one for one in members if one.role not in APART)
    return chief or ending or tuple(members)


def resources_of(spec: ExperimentSpec, member: Member) -> ResourcesSpec:
    """What a task asks for: what its role says, above what the run says."""
    asked = member.task.resources
    said = {
        name: value
        for name in asked.__struct_fields__
        if (value := getattr(asked, name)) is not None
    }
    return msgspec.structs.replace(spec.resources, **said)
