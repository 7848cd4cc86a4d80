"""What a pod without an agent prints, read from a server that answers as a cluster does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.kube.cluster.cluster_world import kubeconfig
from tests.kube.log_node import Node, printed, until

from seafloor.domain.ids import WorkloadId
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.kubernetes.container_reader import ContainerReader
from seafloor.launch.kubernetes.observed import Pod
from seafloor.launch.kubernetes.pod_logs import PodLogs
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.memory import MemoryLogStore
from seafloor.stores.logs.protocol import LogKey

KEY = TaskKey(WorkloadId("0123456789abcdef" * 2), 1)
ENDED = msgspec.convert(
    {
        "metadata": {"name": "run", "namespace": "ml", "uid": "u"},
        "status": {
            "phase": "Succeeded",
            "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}],
        },
    },
    Pod,
)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


@asynccontextmanager
async def following(folder: Path, node: Node, logs: MemoryLogStore) -> AsyncIterator[PodLogs]:
    config = kubeconfig(folder / "kubeconfig", url=node.url, token="t")
    connection = Connection(read_config(config), tries_max=1)
    reader = ContainerReader(Cluster(connection), logs)
    made = PodLogs(reader, pod_of=lambda _: ENDED, on_change=lambda: None)
    yield made
    await made.close()
    await connection.close()


async def lines(logs: MemoryLogStore) -> list[str]:
    key = LogKey(KEY.workload_id, KEY.attempt, KEY.task)
    return [line.text for line in (await logs.page(key, from_line=1, limit=1000)).lines]


async def test_follow__kubelet_that_does_not_know_its_pods_yet__is_asked_again(
    node: Node, tmp_path: Path
) -> None:
    node.refusals = [(404, {}, 'pod "run" does not exist')] * 2
    node.logs = {"main": printed(3)}
    logs = MemoryLogStore()
    async with following(tmp_path, node, logs) as one:
        assert not one.follow(KEY, ENDED)
        await until(lambda: one.problem(KEY) is not None)
        assert one.is_reading(KEY)
        await until(lambda: one.follow(KEY, ENDED))
    assert await lines(logs) == ["line 0", "line 1", "line 2"]
    assert node.asked == ["main"] * 3


async def test_follow__answers_that_break_off__has_each_line_once(
    node: Node, tmp_path: Path
) -> None:
    whole = printed(60)
    node.logs = {"main": whole}
    node.cut = [len(whole) // 3 + 5, 2 * len(whole) // 3]
    logs = MemoryLogStore()
    async with following(tmp_path, node, logs) as one:
        await until(lambda: one.follow(KEY, ENDED))
    assert await lines(logs) == [f"line {number}" for number in range(60)]
