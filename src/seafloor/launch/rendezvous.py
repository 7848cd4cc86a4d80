"""How the tasks of a distributed run find each other: the variables of torch and TensorFlow. Pure.

A launcher says where the tasks are; what they are told is the same on a cluster and on one machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from seafloor.domain.members import APART, Member

_TENSORFLOW: Final = frozenset({"chief", "master", "worker", "ps", "evaluator"})


class Rendezvous(msgspec.Struct, frozen=True):
    """Where the tasks of an attempt are.

    Args:
        host, port: Of torch's master, the first of ``world_of``.
        addresses: ``<host>:<port>`` of each task by its name, for TensorFlow.
    """

    host: str
    port: int
    addresses: Mapping[str, str]


def world_of(members: Sequence[Member]) -> tuple[Member, ...]:
    """The tasks that are torch's world, by rank."""
    return tuple(one for one in members if one.role not in APART)


def variables_of(
    members: Sequence[Member], member: Member, rendezvous: Rendezvous
) -> dict[str, str]:
    """What torch (and torchrun, whose arguments ``PET_…`` are) and TensorFlow read in a task."""
    made = {"SEAFLOOR_TASK": member.name}
    world = world_of(members)
    if member in world:
        rank, size = str(world.index(member)), str(len(world))
        address, port = rendezvous.host, str(rendezvous.port)
        made |= {
            "MASTER_ADDR": address,
            "MASTER_PORT": port,
            "WORLD_SIZE": size,
            "RANK": rank,
            "NNODES": size,
            "NODE_RANK": rank,
            "PET_MASTER_ADDR": address,
            "PET_MASTER_PORT": port,
            "PET_NNODES": size,
            "PET_NODE_RANK": rank,
        }
    if {one.role for one in members} <= _TENSORFLOW:
        made["TF_CONFIG"] = _tensorflow(members, member, rendezvous)
    return made


def _tensorflow(members: Sequence[Member], member: Member, rendezvous: Rendezvous) -> str:
    """``TF_CONFIG``. An evaluator is told of the cluster and is no part of it."""
    cluster: dict[str, list[str]] = {}
    for one in members:
        if one.role != "evaluator":
            cluster.setdefault(one.role, []).append(rendezvous.addresses[one.name])
    task = {"type": member.role, "index": member.index}
    return json.dumps({"cluster": cluster, "task": task}, separators=(",", ":"))
