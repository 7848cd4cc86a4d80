"""The launcher of clusters against a real API server; the test plays the kubelet."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kube.cluster.cluster_world import (
    PATIENCE_S,
    POLICY,
    Namespace,
    PlainApi,
    authority_of,
    ended,
    kubeconfig,
    own_namespace,
    running,
)
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service

from seafloor.domain.errors import ClusterUnavailable, Forbidden, PodRejected
from seafloor.domain.ids import WorkloadId
from seafloor.domain.specs import parse_experiment
from seafloor.domain.workloads import Ending
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.kubernetes import status
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.kubernetes.launcher import KubernetesLauncher
from seafloor.launch.kubernetes.policy import read_policy
from seafloor.launch.protocol import (
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskKey,
    TaskLaunch,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.testing.fault_proxy import Answer, Cut, FaultProxy

pytestmark = pytest.mark.timeout(900)

TOKEN = "this-is-the-runs-token"
KEY = TaskKey(WorkloadId("0123456789abcdef" * 2), 1)


@pytest.fixture
def config(service: Callable[[str], Service]) -> str:
    return service("kubernetes_api").env["KUBECONFIG"]


@pytest.fixture
def namespace(config: str) -> Iterator[Namespace]:
    with own_namespace(Kubernetes.of_kubeconfig(config)) as made:
        yield made


@pytest.fixture
def proxy(config: str) -> Iterator[FaultProxy]:
    plain = PlainApi(Kubernetes.of_kubeconfig(config), authority_of(config))
    with FaultProxy(plain.port) as made:
        yield made
    plain.close()


@asynccontextmanager
async def launcher_of(
    config: Path | str, namespace: Namespace, *, place: str = "p", **policy: Any
) -> AsyncIterator[KubernetesLauncher]:
    connection = Connection(read_config(Path(config)), tries_max=8)
    text = json.dumps({**POLICY, **policy, "namespaces": [namespace.name]})
    launcher = KubernetesLauncher(
        Cluster(connection),
        read_policy(text),
        place=place,
        url="http://seafloor.example:7340",
        on_change=lambda: None,
        environments=EnvironmentCache(Path("/nowhere")),
    )
    try:
        yield launcher
    finally:
        await launcher.close()
        await connection.close()


def launch(key: TaskKey = KEY, **spec: Any) -> TaskLaunch:
    parsed = parse_experiment({"name": "train", "command": "python train.py", **spec})
    return TaskLaunch(
        key=key,
        api_path=f"/api/v1/runs/{key.workload_id}",
        command="python train.py",
        code=None,
        environment=None,
        env={"SEAFLOOR_RUN_ID": key.workload_id, "SEAFLOOR_TOKEN": TOKEN},
        token=TOKEN,
        name="night-owl",
        spec=parsed,
    )


async def until(look: Callable[[], Awaitable[object]], *, what: str) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await look():
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"waited for {what}") from error


async def seen(launcher: KubernetesLauncher, kind: type[TaskObservation]) -> Any:
    """Wait until a task is seen so."""

    async def look() -> bool:
        return isinstance(await launcher.observe(KEY), kind)

    await until(look, what=kind.__name__)
    return await launcher.observe(KEY)


async def test_start__repeated__makes_each_object_once_and_all_are_owned(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        pod = namespace.only_pod()
        await launcher.start(launch())
        assert namespace.only_pod()["metadata"]["uid"] == pod["metadata"]["uid"]
        (anchor,) = namespace.all("configmaps")
        (secret,) = namespace.all("secrets")
        for made in (pod, secret):
            (owner,) = made["metadata"]["ownerReferences"]
            assert owner["uid"] == anchor["metadata"]["uid"]
        assert base64.b64decode(secret["data"]["token"]).decode() == TOKEN
        assert TOKEN not in json.dumps([pod, anchor])
        (main,) = pod["spec"]["containers"]
        variables = {one["name"]: one for one in main["env"]}
        assert variables["SEAFLOOR_RUN_ID"]["value"] == KEY.workload_id
        reference = variables["SEAFLOOR_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert reference["name"] == secret["metadata"]["name"]
        assert await launcher.tasks() == (KEY,)


async def test_start__by_another_life_of_the_server__finds_what_is_there(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
    namespace.set_status(running())
    async with launcher_of(config, namespace) as launcher:
        assert isinstance(await launcher.observe(KEY), TaskAlive)
        await launcher.start(launch())
    assert len(namespace.all("pods")) == 1


async def test_observe__while_the_pod_goes_its_way__says_so(
    config: str, namespace: Namespace
) -> None:
    pools = {"any": {"tolerations": [{"operator": "Exists"}]}}
    async with launcher_of(config, namespace, node_pools=pools, default_pool="any") as launcher:
        with namespace.node_without_gpus():
            await launcher.start(launch(resources={"gpu": 2}))
            assert isinstance(await launcher.observe(KEY), TaskPreparing)

            async def look() -> bool:
                found = await launcher.observe(KEY)
                return isinstance(found, TaskPreparing) and "No node has 2 GPUs" in found.words

            await until(look, what="the scheduler's words on GPUs")
        namespace.set_status({**running(), "conditions": None})
        await seen(launcher, TaskAlive)
        namespace.set_status(ended(3))
        assert await seen(launcher, TaskEnded) == TaskEnded(Ending(exit_code=3), delivered=True)


async def test_observe__pod_deleted_by_somebody__says_so(config: str, namespace: Namespace) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        namespace.set_status(running())
        await seen(launcher, TaskAlive)
        namespace.delete_pod()
        found = await seen(launcher, TaskAbsent)
        assert "somebody deleted it" in found.reason
        assert await launcher.tasks() == (KEY,)  # what is left of it


async def test_observe__pod_ended_and_gone_at_once__says_how_it_ended(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        namespace.set_status(running())
        await seen(launcher, TaskAlive)
        namespace.set_status(ended(7))
        namespace.delete_pod()
        await until(lambda: pod_is_gone(launcher), what="the pod to go")
        found = await launcher.observe(KEY)
        assert isinstance(found, TaskEnded)
        assert "The pod was told to end" in found.ending.reason
        assert "exit code 7" in found.ending.reason


async def pod_is_gone(launcher: KubernetesLauncher) -> bool:
    """Whether the launcher has been told that there is no pod any more."""
    return launcher._pods.get(KEY) is None


async def test_observe__node_says_nothing_of_a_pod_that_was_to_end__is_lost(
    config: str, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_UNANSWERED_S", 0.0)
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        name = namespace.only_pod()["metadata"]["name"]
        path = f"{namespace.path}/pods/{name}"
        node = {"apiVersion": "v1", "kind": "Node", "name": "nowhere"}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        namespace.kubernetes.call("POST", f"{path}/binding", {**body, "target": node})
        namespace.set_status(running())
        await seen(launcher, TaskAlive)
        namespace.kubernetes.call("DELETE", f"{path}?gracePeriodSeconds=1")
        found = await seen(launcher, TaskLost)
        assert "The node (nowhere) does not answer" in found.reason


async def test_release__of_a_task_that_ended__removes_all(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        namespace.set_status(ended(0))
        await seen(launcher, TaskEnded)
        await launcher.release(KEY)
        assert await launcher.tasks() == ()

        async def look() -> bool:
            kinds = ("pods", "configmaps", "secrets")
            return not any(namespace.all(kind) for kind in kinds)

        await until(look, what="the cluster's own cleaning")
        await seen(launcher, TaskAbsent)


async def test_tasks__to_be_kept_after_their_end__are_not_released_yet(
    config: str, namespace: Namespace
) -> None:
    limits = {"clean_up_after": "1h"}
    async with launcher_of(config, namespace, limits=limits) as launcher:
        await launcher.start(launch())
        assert await launcher.tasks() == (KEY,)
        namespace.set_status(ended(0, finishedAt="2999-01-01T00:00:00Z"))
        await seen(launcher, TaskEnded)
        assert await launcher.tasks() == ()
        namespace.set_status(ended(0, finishedAt="2020-01-01T00:00:00Z"))

        async def look() -> bool:
            return await launcher.tasks() == (KEY,)

        await until(look, what="the end of its time")


async def test_stop__of_a_pod__has_it_deleted(config: str, namespace: Namespace) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        await launcher.stop(KEY)
        await seen(launcher, TaskAbsent)
        await launcher.stop(KEY)
        assert namespace.all("pods") == []


async def test_tasks__of_another_place__are_not_seen(config: str, namespace: Namespace) -> None:
    async with launcher_of(config, namespace, place="other") as other:
        await other.start(launch())
        async with launcher_of(config, namespace) as launcher:
            assert await launcher.tasks() == ()
            assert isinstance(await launcher.observe(KEY), TaskAbsent)


async def test_start__quota_is_used_up__is_tried_again_later(
    config: str, namespace: Namespace
) -> None:
    namespace.set_quota("none", "pods", "0", of="pods")
    async with launcher_of(config, namespace) as launcher:
        with pytest.raises(ClusterUnavailable, match="quota") as refused:
            await launcher.start(launch())
        assert refused.value.retry_after_s
        namespace.kubernetes.call("DELETE", f"{namespace.path}/resourcequotas/none")

        async def started() -> bool:
            try:
                await launcher.start(launch())
            except ClusterUnavailable:
                return False
            return True

        await until(started, what="the start without a quota")
    assert len(namespace.all("pods")) == 1


async def test_start__what_the_cluster_refuses__is_rejected_with_its_words(
    config: str, namespace: Namespace
) -> None:
    security = {"service_account": "nobody-made-it"}
    async with launcher_of(config, namespace, security=security) as launcher:
        with pytest.raises(PodRejected, match="nobody-made-it"):
            await launcher.start(launch())


async def test_admit__what_the_policy_forbids__names_the_rule(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace, resources={"maximum": {"gpu": 1}}) as launcher:
        parsed = parse_experiment({"name": "t", "command": "true", "resources": {"gpu": 2}})
        with pytest.raises(Forbidden, match=r"resources\.maximum"):
            launcher.admit(parsed, None, {})
        smaller = msgspec.structs.replace(parsed.resources, gpu=1)
        launcher.admit(msgspec.structs.replace(parsed, resources=smaller), None, {})


# A bad line ------------------------------------------------------------------------------------

SAID = json.dumps({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


def over(proxy: FaultProxy, config: str, tmp_path: Path) -> Path:
    kubernetes = Kubernetes.of_kubeconfig(config)
    url = f"http://127.0.0.1:{proxy.port}"
    return kubeconfig(tmp_path / "kubeconfig", url=url, token=kubernetes.token)


@pytest.mark.parametrize(
    "fault",
    [
        Answer(429, (("Retry-After", "0"),)),
        Answer(500),
        Answer(503),
        Cut(after_bytes=0),
        Cut(after_bytes=100),
    ],
    ids=["429", "500", "503", "cut before the answer", "cut in the answer"],
)
async def test_start__over_a_bad_line__makes_each_object_once(
    config: str, namespace: Namespace, proxy: FaultProxy, tmp_path: Path, fault: Any
) -> None:
    async with launcher_of(over(proxy, config, tmp_path), namespace) as launcher:
        proxy.plan(fault, connections=3)
        await launcher.start(launch())
        assert proxy.planned == 0
        await seen(launcher, TaskPreparing)
    assert len(namespace.all("pods")) == len(namespace.all("configmaps")) == 1


async def test_watch__cut_again_and_again__goes_on_without_listing_anew(
    config: str, namespace: Namespace, proxy: FaultProxy, tmp_path: Path
) -> None:
    async with launcher_of(over(proxy, config, tmp_path), namespace) as launcher:
        await launcher.start(launch())
        await seen(launcher, TaskPreparing)
        proxy.cut_all()
        namespace.set_status(running())
        await seen(launcher, TaskAlive)
        proxy.cut_all()
        namespace.set_status(ended(7))
        assert (await seen(launcher, TaskEnded)).ending.exit_code == 7
        assert launcher.pod_lists == 1


async def test_watch__from_a_version_that_is_forgotten__lists_anew(
    config: str, namespace: Namespace, proxy: FaultProxy, tmp_path: Path
) -> None:
    async with launcher_of(over(proxy, config, tmp_path), namespace) as launcher:
        await launcher.start(launch())
        await seen(launcher, TaskPreparing)
        # Both watches, of pods and of anchors, meet it.
        gone = Answer(410, (("Content-Type", "application/json"),), SAID.encode())
        proxy.plan(gone, connections=2)
        namespace.set_status(running())
        await seen(launcher, TaskAlive)

        async def listed() -> bool:
            return launcher.pod_lists >= 2

        await until(listed, what="another list")
        namespace.set_status(ended(7))
        assert (await seen(launcher, TaskEnded)).ending.exit_code == 7


async def test_observe__while_the_cluster_is_away__says_what_was_and_then_what_is(
    config: str, namespace: Namespace, proxy: FaultProxy, tmp_path: Path
) -> None:
    async with launcher_of(over(proxy, config, tmp_path), namespace) as launcher:
        await launcher.start(launch())
        namespace.set_status(running())
        await seen(launcher, TaskAlive)
        proxy.go_down()
        namespace.set_status(ended(1, reason="OOMKilled"))
        assert isinstance(await launcher.observe(KEY), TaskAlive)
        proxy.come_up()
        found = await seen(launcher, TaskEnded)
        assert found.ending.memory_exceeded


async def test_observe__node_is_lost__is_lost_with_the_reason(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch())
        namespace.set_status({**running(), "reason": "NodeLost"})
        found = await seen(launcher, TaskLost)
        assert "does not answer the cluster" in found.reason


async def test_release__pod_whose_node_says_nothing__is_left_to_its_node(
    config: str, namespace: Namespace
) -> None:
    kubernetes = namespace.kubernetes

    def of_pod() -> str:
        return f"{namespace.path}/pods/{namespace.only_pod()['metadata']['name']}"

    async with launcher_of(config, namespace) as launcher:
        with namespace.node_without_gpus():
            await launcher.start(launch())
            namespace.bind(f"{namespace.name}-node")
            # What becomes of the pods of a node that nobody hears of.
            ready = {"type": "Ready", "status": "False"}
            conditions = [ready, {"type": "ContainersReady", "status": "True"}]
            namespace.set_status({**running(), "conditions": conditions})

            async def is_threatened() -> bool:
                observed = await launcher.observe(KEY)
                return isinstance(observed, TaskAlive) and "does not answer" in observed.words

            await until(is_threatened, what="a word of it")
            kubernetes.call("DELETE", f"{of_pod()}?gracePeriodSeconds=1")
            found = await seen(launcher, TaskLost)
            assert "is lost" in found.reason
            await launcher.release(KEY)
            # Another server, which has not released anything, leaves it alone as well.
            async with launcher_of(config, namespace) as another:

                async def is_nothing_to_do() -> bool:
                    return await another.tasks() == ()

                await until(is_nothing_to_do, what="nobody to be told of it")
            assert namespace.only_pod()["metadata"]["deletionTimestamp"]
            kubernetes.remove(f"{of_pod()}?gracePeriodSeconds=0")


# Several tasks ----------------------------------------------------------------------------------

TASKS = {"worker": {"replicas": 2, "command": "train"}}
WORKERS = [msgspec.structs.replace(KEY, task=f"worker-{number}") for number in range(2)]


async def test_start__of_several_tasks_over_a_bad_line__makes_each_object_once(
    config: str, namespace: Namespace, proxy: FaultProxy, tmp_path: Path
) -> None:
    async with launcher_of(over(proxy, config, tmp_path), namespace) as launcher:
        proxy.plan(Answer(503), connections=2)
        await launcher.start(launch(command=None, tasks=TASKS))
        uids = {pod["metadata"]["uid"] for pod in namespace.all("pods")}
        await launcher.start(launch(command=None, tasks=TASKS))
    assert {pod["metadata"]["uid"] for pod in namespace.all("pods")} == uids
    assert (len(uids), len(namespace.all("services"))) == (2, 1)


async def test_release__one_of_several_tasks__the_others_go_on_and_the_last_takes_all(
    config: str, namespace: Namespace
) -> None:
    async with launcher_of(config, namespace) as launcher:
        await launcher.start(launch(command=None, tasks=TASKS))
        names = {
            pod["metadata"]["labels"]["seafloor/task"]: pod["metadata"]["name"]
            for pod in namespace.all("pods")
        }
        assert set(await launcher.tasks()) == set(WORKERS)
        namespace.set_status(ended(0), pod=names["worker-0"])

        async def over_is(number: int) -> bool:
            return isinstance(await launcher.observe(WORKERS[number]), TaskEnded)

        await until(lambda: over_is(0), what="the first to end")
        await launcher.release(WORKERS[0])
        await until(
            lambda: asyncio.to_thread(lambda: len(namespace.all("pods")) == 1),
            what="its pod to go",
        )
        assert namespace.only_pod()["metadata"]["name"] == names["worker-1"]
        namespace.set_status(ended(0), pod=names["worker-1"])
        await until(lambda: over_is(1), what="the second to end")
        await launcher.release(WORKERS[1])

        def gone() -> bool:
            kinds = ("pods", "configmaps", "secrets", "services")
            return not any(namespace.all(kind) for kind in kinds)

        await until(lambda: asyncio.to_thread(gone), what="all to go")


async def test_tasks__several_to_be_kept_after_their_end__are_not_released_yet(
    config: str, namespace: Namespace
) -> None:
    limits = {"clean_up_after": "1h"}
    async with launcher_of(config, namespace, limits=limits) as launcher:
        await launcher.start(launch(command=None, tasks=TASKS))
        for pod in namespace.all("pods"):
            status = ended(0, finishedAt="2999-01-01T00:00:00Z")
            namespace.set_status(status, pod=pod["metadata"]["name"])

        async def look() -> bool:
            return await launcher.tasks() == ()

        await until(look, what="all to be kept")
