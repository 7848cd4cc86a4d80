"""What init containers print, read from a server that answers as a cluster does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kube.cluster.cluster_world import kubeconfig
from tests.kube.log_node import Node, printed, until

from seafloor.domain.ids import WorkloadId
from seafloor.launch.kubernetes import setup_logs
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.kubernetes.container_reader import ContainerReader
from seafloor.launch.kubernetes.observed import Metadata, Pod
from seafloor.launch.kubernetes.setup_logs import SetupLogs
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.memory import MemoryLogStore
from seafloor.stores.logs.protocol import LogKey, LogStore

KEY = TaskKey(WorkloadId("0123456789abcdef" * 2), 1)
OVER: dict[str, Any] = {"terminated": {"exitCode": 0}}
RUNS: dict[str, Any] = {"running": {}}
WAITS: dict[str, Any] = {"waiting": {"reason": "PodInitializing"}}


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


def pod_of(phase: str = "Pending", **states: dict[str, Any]) -> Pod:
    """A pod whose init containers are in some states."""
    containers = [{"name": name.replace("_", "-"), "state": at} for name, at in states.items()]
    document = {
        "metadata": {"name": "run", "namespace": "ml", "uid": "u"},
        "status": {"phase": phase, "initContainerStatuses": containers},
    }
    return msgspec.convert(document, Pod)


class World:
    """One life of a server that reads the logs of one pod."""

    def __init__(self, setups: SetupLogs, pod: Pod) -> None:
        self.setups, self.pod = setups, pod

    async def all_read(self) -> None:
        await until(lambda: self.setups.follow(KEY, self.pod))


@asynccontextmanager
async def life(folder: Path, node: Node, logs: LogStore, pod: Pod) -> AsyncIterator[World]:
    config = kubeconfig(folder / "kubeconfig", url=node.url, token="t")
    connection = Connection(read_config(config), tries_max=1)
    held: list[World] = []
    reader = ContainerReader(Cluster(connection), logs)
    setups = SetupLogs(
        reader, logs, pod_of=lambda _: held[0].pod if held else None, on_change=lambda: None
    )
    held.append(World(setups, pod))
    yield held[0]
    await setups.close()
    await connection.close()


def key_of(name: str) -> LogKey:
    return LogKey(KEY.workload_id, KEY.attempt, KEY.task, name)


async def lines(logs: LogStore, name: str, stream: str | None = None) -> list[str]:
    page = await logs.page(key_of(name), from_line=1, limit=1000, stream=stream)
    return [line.text for line in page.lines]


async def test_follow__containers_that_ended__are_read_once_and_cost_nothing_after(
    node: Node, tmp_path: Path
) -> None:
    node.logs = {"agent": "", "git-localize": printed(10)}
    logs = MemoryLogStore()
    async with life(tmp_path, node, logs, pod_of("Running", agent=OVER, git_localize=OVER)) as one:
        await one.all_read()  # what runs after them was not told of yet
        one.pod = pod_of("Succeeded", agent=OVER, git_localize=OVER)
        for _ in range(1_000):
            assert one.setups.follow(KEY, one.pod)
    assert await lines(logs, "git-localize") == [f"line {number}" for number in range(10)]
    assert (await logs.state(key_of("git-localize"))).finished
    async with life(tmp_path, node, logs, one.pod) as again:  # another life of the server
        await again.all_read()
    assert node.asked == ["agent", "git-localize"]


async def test_follow__answers_that_break_off_and_a_server_that_dies__has_each_line_once(
    node: Node, tmp_path: Path
) -> None:
    whole = printed(60)
    node.logs = {"git-localize": whole}
    node.cut = [len(whole) // 3 + 5, 2 * len(whole) // 3]
    logs = MemoryLogStore()
    pod = pod_of("Failed", git_localize=OVER)
    async with life(tmp_path, node, logs, pod) as one:
        assert not one.setups.follow(KEY, pod)
        await until(lambda: lines(logs, "git-localize"))
    async with life(tmp_path, node, logs, pod) as again:
        await again.all_read()
    assert await lines(logs, "git-localize") == [f"line {number}" for number in range(60)]


async def test_follow__one_that_runs_for_long__is_followed_while_it_does(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_logs, "LIVE_AFTER_S", 0.0)
    node.logs = {"kernel-fetch": printed(4)}
    node.live = {"kernel-fetch"}
    logs = MemoryLogStore()
    async with life(tmp_path, node, logs, pod_of(kernel_fetch=RUNS, agent=WAITS)) as one:
        assert not one.setups.follow(KEY, one.pod)
        await until(lambda: lines(logs, "kernel-fetch"))
        assert not (await logs.state(key_of("kernel-fetch"))).finished
        one.pod = pod_of("Failed", kernel_fetch=OVER, agent=WAITS)
        node.logs = {"kernel-fetch": printed(6)}
        node.live = set()
        node.over.set()
        await one.all_read()
    assert await lines(logs, "kernel-fetch") == [f"line {number}" for number in range(6)]
    assert node.asked == ["kernel-fetch"] * 2


async def test_follow__one_that_runs_for_a_moment__is_not_asked_for_before_it_ended(
    node: Node, tmp_path: Path
) -> None:
    node.logs = {"agent": printed(1)}
    async with life(tmp_path, node, MemoryLogStore(), pod_of(agent=RUNS)) as one:
        assert one.setups.follow(KEY, one.pod)
        assert node.asked == []
        one.pod = pod_of("Failed", agent=OVER)
        await one.all_read()
    assert node.asked == ["agent"]


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_follow__logs_that_may_not_be_read__says_so_in_the_log_and_goes_on(
    node: Node, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_logs, "MISSING_TRIES_MAX", 1)
    node.refusals = [(status, {}, 'pods "run" is forbidden: User "seafloor" cannot get pods/log')]
    node.logs = {"agent": printed(1)}
    logs = MemoryLogStore()
    pod = pod_of("Failed", git_localize=OVER, agent=OVER)
    async with life(tmp_path, node, logs, pod) as one:
        await one.all_read()
    (said,) = await lines(logs, "git-localize", "agent")
    assert "pod was gone" in said if status == 404 else "cannot get pods/log" in said
    assert await lines(logs, "agent") == ["line 0"]
    assert (await logs.state(key_of("git-localize"))).finished
    assert node.asked == ["git-localize", "agent"]


async def test_follow__kubelet_that_does_not_know_its_pods_yet__is_asked_again(
    node: Node, tmp_path: Path
) -> None:
    node.refusals = [(404, {}, 'pod "run" does not exist')] * 2
    node.logs = {"agent": printed(2)}
    logs = MemoryLogStore()
    async with life(tmp_path, node, logs, pod_of("Failed", agent=OVER)) as one:
        await one.all_read()
    assert await lines(logs, "agent") == ["line 0", "line 1"]
    assert node.asked == ["agent"] * 3


async def test_follow__pod_that_goes_before_its_log_was_read__says_so(
    node: Node, tmp_path: Path
) -> None:
    node.refusals = [(404, {}, 'pods "run" not found')] * 100
    logs = MemoryLogStore()
    async with life(tmp_path, node, logs, pod_of("Failed", agent=OVER)) as one:
        assert not one.setups.follow(KEY, one.pod)
        await until(lambda: node.asked)
        one.pod = msgspec.structs.replace(one.pod, metadata=Metadata(name="run", uid="another"))
        await until(lambda: not one.setups.is_reading(KEY))
    (said,) = await lines(logs, "agent", "agent")
    assert "pod was gone" in said
    assert (await logs.state(key_of("agent"))).finished


async def test_follow__too_many_requests__comes_again_when_it_may(
    node: Node, tmp_path: Path
) -> None:
    node.refusals = [(429, {"Retry-After": "1"}, "too many requests")]
    node.logs = {"agent": printed(2)}
    logs = MemoryLogStore()
    async with life(tmp_path, node, logs, pod_of("Failed", agent=OVER)) as one:
        await one.all_read()
    assert await lines(logs, "agent") == ["line 0", "line 1"]
    assert node.asked == ["agent"] * 2


async def test_follow__a_node_that_removed_the_container__is_asked_some_times_only(
    node: Node, tmp_path: Path
) -> None:
    node.logs = {"agent": "unable to retrieve container logs for containerd://77"}
    logs = MemoryLogStore()
    async with life(tmp_path, node, logs, pod_of("Failed", agent=OVER)) as one:
        await one.all_read()
    (said,) = await lines(logs, "agent", "agent")
    assert "unable to retrieve container logs" in said
    assert 1 < len(node.asked) < 10


async def test_close_logs__of_a_pod_that_was_deleted_meanwhile__ends_them(
    node: Node, tmp_path: Path
) -> None:
    logs = MemoryLogStore()
    await ContainerReader(Cluster.__new__(Cluster), logs).say(key_of("agent"), "begun")
    async with life(tmp_path, node, logs, pod_of()) as one:
        await one.setups.close_logs([KEY])
    assert (await logs.state(key_of("agent"))).finished
    assert not (await logs.state(key_of(""))).finished
