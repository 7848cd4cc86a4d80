"""What init containers print, read from a server that answers as a cluster does."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kube.cluster.cluster_world import kubeconfig

from seafloor.domain.ids import WorkloadId
from seafloor.launch.kubernetes import setup_logs
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.kubernetes.container_reader import ContainerReader
from seafloor.launch.kubernetes.observed import Pod
from seafloor.launch.kubernetes.setup_logs import SetupLogs
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.memory import MemoryLogStore
from seafloor.stores.logs.protocol import LogKey, LogStore

KEY = TaskKey(WorkloadId("0123456789abcdef" * 2), 1)
OVER: dict[str, Any] = {"terminated": {"exitCode": 0}}
RUNS: dict[str, Any] = {"running": {}}
WAITS: dict[str, Any] = {"waiting": {"reason": "PodInitializing"}}


def printed(count: int, *, start: int = 0) -> str:
    """Lines as a node has them, two of them at each time."""
    return "".join(
        f"2026-11-28T10:00:{number // 2:02}.000000001Z line {number}\n"
        for number in range(start, count)
    )


class Node:
    """Answers for logs; counts who asks.

    Attributes:
        logs: What each container printed.
        refusals: Answered first, one to a request: a status and headers.
        cut: After how many bytes the next answers break off, one to a request.
        live: Those whose answer stays open, until the test ends.
    """

    def __init__(self) -> None:
        self.logs: dict[str, str] = {}
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        self.cut: list[int] = []
        self.live: set[str] = set()
        self.over = threading.Event()
        self.asked: list[str] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = re.search(r"container=([a-z-]+)", self.path)
                name = found[1] if found else ""
                node.asked.append(name)
                if node.refusals:
                    status, headers, message = node.refusals.pop(0)
                    self._begin(status, headers)
                    self._piece(json.dumps({"message": message}).encode())
                    self._piece(b"")
                    return
                self._begin(200, {})
                data = node.logs[name].encode()
                if node.cut:
                    self._piece(data[: node.cut.pop(0)])
                    self.close_connection = True
                    return
                if data:
                    self._piece(data)
                if name in node.live:
                    node.over.wait(60)
                self._piece(b"")

            def _begin(self, status: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for header, value in {**headers, "Transfer-Encoding": "chunked"}.items():
                    self.send_header(header, value)
                self.end_headers()

            def _piece(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Not to the test's output."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.over.set()
    made.server.shutdown()
    made.server.server_close()


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


async def until(look: Callable[[], object | Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while True:
            found = look()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


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
    node: Node, tmp_path: Path, status: int
) -> None:
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
