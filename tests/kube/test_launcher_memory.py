"""What the launcher of a cluster keeps of pods: nothing, once they are gone."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import msgspec
from tests.kube.cluster.cluster_world import POLICY
from tests.kube.log_node import printed, until

from seafloor.domain.ids import WorkloadId
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.kubernetes.cluster import Cluster, Listed
from seafloor.launch.kubernetes.connection import Change
from seafloor.launch.kubernetes.launcher import KubernetesLauncher
from seafloor.launch.kubernetes.policy import read_policy
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.memory import MemoryLogStore

RUN = WorkloadId("0123456789abcdef" * 2)
TASKS = ("worker-0", "worker-1", "worker-2")


def described(kind: str, name: str, task: str | None = None) -> dict[str, Any]:
    labels = {"seafloor/place": "p", "seafloor/id": RUN, "seafloor/attempt": "1"}
    if task is not None:
        labels["seafloor/task"] = task
    ended = {"terminated": {"exitCode": 0}}
    return {
        "kind": kind,
        "metadata": {"name": name, "uid": name, "namespace": "ml", "labels": labels},
        "status": {
            "phase": "Succeeded",
            "initContainerStatuses": [{"name": "git-localize", "state": ended}],
            "containerStatuses": [{"name": "main", "state": ended}],
        },
    }


class EndedRun:
    """A cluster in which all tasks of a run have ended; what is deleted is gone when told so."""

    def __init__(self) -> None:
        self.objects = {"Pod": [described("Pod", f"run-{one}", one) for one in TASKS]}
        self.objects["ConfigMap"] = [described("ConfigMap", "run")]
        self.deleted: list[str] = []
        self.over = asyncio.Event()

    async def list(self, kind: str, _namespace: str, _selector: str) -> Listed:
        return Listed(tuple(msgspec.Raw(json.dumps(one)) for one in self.objects[kind]), "5")

    async def watch(
        self, kind: str, _namespace: str, _selector: str, *, version: str
    ) -> AsyncGenerator[Change]:
        await self.over.wait()
        for one in self.objects[kind]:
            one["metadata"]["resourceVersion"] = f"{version}1"
            yield Change("DELETED", msgspec.Raw(json.dumps(one)))
        await asyncio.Event().wait()

    async def log(self, *_what: object, **_how: object) -> AsyncGenerator[bytes]:
        yield printed(3).encode()

    async def delete(self, kind: str, _namespace: str, name: str) -> None:
        self.deleted.append(f"{kind} {name}")


def kept() -> list[str]:
    """What is still known of pods and of their logs."""
    gc.collect()
    names = [type(one).__name__ for one in gc.get_objects()]
    return sorted(name for name in names if name in {"_Follower", "_Seen", "_Setup"})


async def test_release__of_all_tasks_at_once__forgets_all_of_them() -> None:
    cluster = EndedRun()
    launcher = KubernetesLauncher(
        cast("Cluster", cluster),
        read_policy(json.dumps({**POLICY, "namespaces": ["ml"]})),
        place="p",
        url="http://seafloor.example:7340",
        on_change=lambda: None,
        environments=EnvironmentCache(Path("/nowhere")),
        logs=MemoryLogStore(),
    )
    assert kept() == []

    async def let_go(key: TaskKey) -> None:
        await launcher.observe(key)
        await launcher.salvage(key)
        await launcher.release(key)

    keys = await launcher.tasks()
    assert sorted(key.task for key in keys) == list(TASKS)
    await asyncio.gather(*map(let_go, keys))
    for key in keys:  # who looks once more at one that was released has it read once more
        await launcher.observe(key)
    assert cluster.deleted == ["ConfigMap run"]
    cluster.over.set()

    async def all_gone() -> bool:
        return await launcher.tasks() == () and not kept()

    try:
        await until(all_gone)
    finally:
        await launcher.close()
