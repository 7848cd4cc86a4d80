"""What the launcher of a cluster lets go, and when; and that it keeps nothing of it in memory."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
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


LONG_AGO, NEVER = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


def described(name: str, **more: Any) -> dict[str, Any]:
    labels = {"seafloor/place": "p", "seafloor/id": RUN, "seafloor/attempt": "1"}
    metadata = {"name": name, "uid": name, "namespace": "ml", "labels": labels, **more}
    return {"metadata": metadata}


def pod(task: str, *, ended: str | None, prepared: str = LONG_AGO) -> dict[str, Any]:
    """A task's; None: it runs."""
    made = described(f"run-{task}")
    made["metadata"]["labels"]["seafloor/task"] = task
    before = {"terminated": {"exitCode": 0, "finishedAt": prepared}}
    state = {"running": {}} if ended is None else {"terminated": {"finishedAt": ended}}
    made["status"] = {
        "phase": "Running" if ended is None else "Succeeded",
        "initContainerStatuses": [{"name": "git-localize", "state": before}],
        "containerStatuses": [{"name": "main", "state": state}],
    }
    return made


class OneRun:
    """A cluster with the pods of one run; what is deleted is gone when told so.

    Args:
        keep: What its anchor says of how long it is kept.
    """

    def __init__(self, *pods: dict[str, Any], keep: str = "") -> None:
        anchor = described("run", annotations={"seafloor/delete-after-end-s": keep})
        self.objects = {"Pod": list(pods), "ConfigMap": [anchor]}
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


def launcher_of(cluster: OneRun) -> KubernetesLauncher:
    return KubernetesLauncher(
        cast("Cluster", cluster),
        read_policy(json.dumps({**POLICY, "namespaces": ["ml"]})),
        place="p",
        url="http://seafloor.example:7340",
        on_change=lambda: None,
        environments=EnvironmentCache(Path("/nowhere")),
        logs=MemoryLogStore(),
    )


@pytest.mark.parametrize(
    ("pods", "due"),
    [
        ([pod("worker-0", ended=LONG_AGO), pod("worker-1", ended=NEVER)], []),
        ([pod("worker-0", ended=LONG_AGO), pod("worker-1", ended=LONG_AGO)], list(TASKS[:2])),
        # It has not ended, so that it is stopped when its run has.
        ([pod("worker-0", ended=NEVER), pod("worker-1", ended=None, prepared=NEVER)], [TASKS[1]]),
    ],
    ids=["until the last one's time is over", "not for ever", "not one that runs"],
)
async def test_tasks__to_be_kept_after_their_end__are_for_as_long_as_the_run_is(
    pods: list[dict[str, Any]], due: list[str]
) -> None:
    launcher = launcher_of(OneRun(*pods, keep="3600"))
    try:
        assert sorted(key.task for key in await launcher.tasks()) == due
    finally:
        await launcher.close()


async def test_release__of_all_tasks_at_once__forgets_all_of_them() -> None:
    cluster = OneRun(*(pod(one, ended=LONG_AGO) for one in TASKS))
    launcher = launcher_of(cluster)
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


@pytest.mark.parametrize(
    ("ended", "forgotten", "stopped"),
    [
        ((None, LONG_AGO), False, ["Pod run-worker-0"]),
        ((LONG_AGO, LONG_AGO), True, []),
    ],
    ids=["one lives", "none does"],
)
async def test_forget__of_some_that_live__these_are_to_go_and_are_left_alone_without(
    ended: tuple[str | None, ...], *, forgotten: bool, stopped: list[str]
) -> None:
    """Records that were brought back may not know them, and are no reason to end them."""
    cluster = OneRun(*(pod(name, ended=at) for name, at in zip(TASKS, ended, strict=False)))
    launcher = launcher_of(cluster)
    try:
        keys = await launcher.tasks()
        assert [await launcher.is_forgotten(key) for key in keys] == [forgotten] * 2
        await launcher.forget(WorkloadId("f" * 32))
        assert cluster.deleted == []
        await launcher.forget(RUN)
        assert cluster.deleted == stopped
    finally:
        await launcher.close()


async def test_is_forgotten__pod_that_was_told_to_go__it_is() -> None:
    going = pod("worker-0", ended=None)
    going["metadata"]["deletionTimestamp"] = NEVER
    launcher = launcher_of(OneRun(going))
    try:
        (key,) = await launcher.tasks()
        assert await launcher.is_forgotten(key)
    finally:
        await launcher.close()
