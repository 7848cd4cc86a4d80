"""A distributed run on one machine: from the launch of the whole to one for each task. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from seafloor.domain.errors import NotFound
from seafloor.domain.members import Member, members_of, resources_of
from seafloor.domain.specs import TaskSpec
from seafloor.launch.protocol import EnvironmentLockRef, TaskKey, TaskLaunch
from seafloor.launch.rendezvous import Rendezvous, variables_of

LOOPBACK: Final = "127.0.0.1"


def keys_of(launch: TaskLaunch) -> tuple[TaskKey, ...]:
    """The tasks of a launch, the first one first."""
    members = members_of(launch.spec.tasks)
    return tuple(replace(launch.key, task=one.name) for one in members) or (launch.key,)


def port_count(launch: TaskLaunch) -> int:
    """How many ports the tasks of a launch need: torch's, and one for each task; none alone."""
    members = members_of(launch.spec.tasks)
    return len(members) + 1 if members else 0


def environments_of(launch: TaskLaunch) -> tuple[EnvironmentLockRef, ...]:
    """The environments that the tasks of a launch have, each once.

    Raises:
        NotFound: that of a role is gone.
    """
    tasks = launch.spec.tasks.values()
    found = [_environment_of(launch, task) for task in tasks] if tasks else [launch.environment]
    return tuple({one.digest: one for one in found if one is not None}.values())


def _environment_of(launch: TaskLaunch, task: TaskSpec) -> EnvironmentLockRef | None:
    if task.environment is None:
        return launch.environment
    found = launch.role_environments.get(task.environment)
    if found is None:
        raise NotFound(
            f'The environment "{task.environment}" that the run was submitted with is gone.',
            field="tasks",
        )
    return found


def launches_of(launch: TaskLaunch, ports: Sequence[int]) -> tuple[TaskLaunch, ...]:
    """A launch for each task, with what makes the tasks find each other; of one task, itself.

    Args:
        ports: As many as ``port_count`` says.

    Raises:
        NotFound: the environment of a role is gone.
    """
    members = members_of(launch.spec.tasks)
    if not members:
        return (launch,)
    master, *others = ports
    addresses = {one.name: f"{LOOPBACK}:{port}" for one, port in zip(members, others, strict=True)}
    rendezvous = Rendezvous(LOOPBACK, master, addresses)
    return tuple(_launch_of(launch, members, one, rendezvous) for one in members)


def _launch_of(
    launch: TaskLaunch, members: Sequence[Member], member: Member, rendezvous: Rendezvous
) -> TaskLaunch:
    resources = resources_of(launch.spec, member)
    return replace(
        launch,
        key=replace(launch.key, task=member.name),
        command=member.task.command or "",
        environment=_environment_of(launch, member.task),
        env={**variables_of(members, member, rendezvous), **launch.env},
        cpu_count=resources.cpu_count,
        memory_bytes=resources.memory_bytes,
    )
