"""What the server's account may do in a cluster: all that the launcher uses, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest
import yaml
from tests.kube.cluster.cluster_world import (
    PATIENCE_S,
    Namespace,
    authority_of,
    ended,
    kubeconfig,
    own_namespace,
)
from tests.kube.cluster.snapshot_api import snapshot_api
from tests.kube.cluster.test_launcher import KEY, launch, launcher_of, seen, until
from tests.kube.cluster.test_volume_snapshots import contents_of, operation_of, volume_in
from tests.kube.cluster.volume_world import claims, offered, storage_class
from tests.kube.deployed import FOLDER
from tests.services._kubernetes_client import Kubernetes
from tests.services._kubernetes_plane import AUDIT_VARIABLE
from tests.services._service import Service

from live_server import wait_for
from seafloor.domain.errors import Conflict, Forbidden, PodRejected, SeafloorError
from seafloor.domain.specs import TaskSpec
from seafloor.domain.volumes import ClaimState, OperationKind, Volume
from seafloor.launch.kubernetes import pod_events
from seafloor.launch.kubernetes.cluster import (
    NEEDED_RIGHTS,
    SNAPSHOT_RIGHTS,
    VOLUME_RIGHTS,
    Cluster,
    Right,
)
from seafloor.launch.kubernetes.cluster_volumes import ClusterVolumes
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.protocol import TaskEnded, TaskKey, TaskPreparing
from seafloor.launch.volumes import Progress

pytestmark = pytest.mark.timeout(900)

_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
IMPLIED = {Right("create", "configmaps")}
"""What the API server asks of a patch that makes an object: it notes the patch only."""


@pytest.fixture
def api(service: Callable[[str], Service]) -> Service:
    return service("kubernetes_api")


@pytest.fixture
def namespace(api: Service) -> Iterator[Namespace]:
    with own_namespace(Kubernetes.of_kubeconfig(api.env["KUBECONFIG"])) as made:
        yield made


@pytest.fixture
def account(api: Service, namespace: Namespace, tmp_path: Path) -> Path:
    """The server's account with its role, as they are deployed: a kubeconfig."""
    kubernetes = namespace.kubernetes
    for manifest in yaml.safe_load_all((FOLDER / "everything.yaml").read_text(encoding="utf-8")):
        manifest["metadata"]["namespace"] = namespace.name
        if manifest["kind"] == "ServiceAccount":
            kubernetes.call("POST", f"{namespace.path}/serviceaccounts", manifest)
        elif manifest["kind"] == "Role":
            kubernetes.call("POST", f"{_RBAC}/{namespace.name}/roles", manifest)
        elif manifest["kind"] == "RoleBinding":
            manifest["subjects"][0]["namespace"] = namespace.name
            kubernetes.call("POST", f"{_RBAC}/{namespace.name}/rolebindings", manifest)
    wait_for(
        lambda: is_heeded(kubernetes, namespace.name),
        timeout_s=PATIENCE_S,
        what="the role to be heeded",
    )
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = kubernetes.call("POST", f"{namespace.path}/serviceaccounts/seafloor/token", asked)
    return kubeconfig(
        tmp_path / "account",
        url=kubernetes.url,
        token=answer["status"]["token"],
        authority=authority_of(api.env["KUBECONFIG"]),
    )


def is_heeded(kubernetes: Kubernetes, namespace: str) -> bool:
    """Whether the API server goes by the role of a namespace, of which it has a copy."""
    attributes = {"namespace": namespace, "verb": "list", "resource": "pods"}
    spec = {
        "user": f"system:serviceaccount:{namespace}:seafloor",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
        "resourceAttributes": attributes,
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(kubernetes.call("POST", path, {"spec": spec})["status"]["allowed"])


def asked(api: Service, namespace: str) -> dict[Right, set[int]]:
    """What the account of a namespace asked for there, and the answers' codes."""
    found: dict[Right, set[int]] = {}
    whole, _, _ = Path(api.env[AUDIT_VARIABLE]).read_text().rpartition("\n")
    for line in whole.splitlines():  # what is after them is being written
        event: dict[str, Any] = json.loads(line)
        reference = event.get("objectRef", {})
        if event["user"]["username"] == f"system:serviceaccount:{namespace}:seafloor" and (
            reference.get("namespace") == namespace
        ):
            names = (reference["resource"], reference.get("subresource"))
            resource = "/".join(name for name in names if name)
            right = Right(event["verb"], resource, reference.get("apiGroup", ""))
            found.setdefault(right, set()).add(event["responseStatus"]["code"])
    return found


def bind(namespace: Namespace, pod: str) -> None:
    """Put a pod on a node, as the scheduler would; nobody runs it there."""
    target = {"apiVersion": "v1", "kind": "Node", "name": "nowhere"}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
    namespace.kubernetes.call("POST", f"{namespace.path}/pods/{pod}/binding", body)


async def test_role__from_the_start_of_runs_to_their_end__each_right_is_used(
    api: Service, account: Path, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_events, "INTERVAL_S", 0.0)
    several = launch(TaskKey(KEY.workload_id, 2))
    workers = {"worker": TaskSpec(replicas=2, command="python train.py")}
    spec = msgspec.structs.replace(several.spec, command=None, tasks=workers)
    several = msgspec.structs.replace(several, spec=spec)
    async with launcher_of(account, namespace) as launcher:
        for _ in range(2):  # a server that was killed in the middle does it all again
            await launcher.start(launch())
            await launcher.start(several)
        await seen(launcher, TaskPreparing)
        assert {key.attempt for key in await launcher.tasks()} == {1, 2}
        (pod,) = [
            one["metadata"]["name"]
            for one in namespace.all("pods")
            if one["metadata"]["labels"]["seafloor/attempt"] == "1"
        ]
        bind(namespace, pod)

        async def told() -> bool:
            await launcher.observe(KEY)
            return Right("list", "events") in asked(api, namespace.name)

        await until(told, what="a question about a pod that does not get on")
        connection = Connection(read_config(account), tries_max=1)
        log = Cluster(connection).log(namespace.name, pod, "main", follow=False, since_s=None)
        with pytest.raises(SeafloorError):  # there is no node that has it
            await anext(log)
        await connection.close()
        namespace.set_status(ended(0), pod=pod)
        await seen(launcher, TaskEnded)
        await launcher.release(KEY)

        async def is_quiet() -> bool:
            return not launcher._events._asking

        await until(is_quiet, what="the last answer")  # one that is cut off is noted as refused
        await launcher.stop(msgspec.structs.replace(several.key, task="worker-0"))

    async def used() -> bool:
        return set(asked(api, namespace.name)) == set(NEEDED_RIGHTS) - IMPLIED

    await until(used, what="all rights to be used")  # watches are noted when they end
    answered = asked(api, namespace.name)
    del answered[Right("get", "pods/log")]
    codes = {code for found in answered.values() for code in found}
    assert codes <= {200, 201, 409}, "nothing was refused, or missed"


async def test_role__from_a_volume_to_its_removal__each_right_is_used(
    api: Service, account: Path, namespace: Namespace
) -> None:
    kubernetes = namespace.kubernetes
    with (
        snapshot_api(kubernetes) as snapshots,
        storage_class(kubernetes, namespace.name, "grows", at_once=True, expands=True) as grows,
        offered(kubernetes, grows),
    ):
        async with contents_of(account, namespace) as contents:
            volume = volume_in(namespace, grows)
            for _ in range(2):
                await contents.make(volume, 1)
            await until(_bound(contents, volume), what="the claim to be bound")
            await contents.check_resize(volume, 40 << 30)
            await contents.resize(volume, 40 << 30)
            await contents.resize(volume, 40 << 30)
            with pytest.raises(Conflict, match="snapshot controller"):
                await contents.keep(volume, operation_of(OperationKind.SNAPSHOT), Progress())
            await contents.check(volume)
            assert (await contents.look([volume]))[volume.id].claim is not None
            await contents.drop(volume, await contents.made(volume))

            async def is_gone() -> bool:
                return namespace.all("persistentvolumeclaims") == []

            # The cluster takes it away by itself; asked for again just then it would be missed.
            await until(is_gone, what="the claim to go")
            await contents.remove(volume.id)
        assert snapshots.all(namespace.name) == []
    assert claims(namespace) == []

    async def used() -> bool:
        needed = {*VOLUME_RIGHTS, *SNAPSHOT_RIGHTS, Right("list", "events")}
        return set(asked(api, namespace.name)) == needed

    await until(used, what="all rights to be used")
    codes = {code for found in asked(api, namespace.name).values() for code in found}
    assert codes <= {200, 201, 409}, "nothing was refused, or missed"


async def test_resize__where_classes_may_not_be_read__is_refused_in_the_clusters_words(
    account: Path, namespace: Namespace
) -> None:
    kubernetes = namespace.kubernetes
    with (
        storage_class(kubernetes, namespace.name, "fixed", at_once=True) as fixed,
        offered(kubernetes, fixed),
    ):
        async with contents_of(account, namespace) as contents:
            volume = volume_in(namespace, fixed)
            await contents.make(volume, 1)
            await until(_bound(contents, volume), what="the claim to be bound")
            await contents.check_resize(volume, 40 << 30)
            with pytest.raises(Forbidden, match="must support resize"):
                await contents.resize(volume, 40 << 30)


def _bound(contents: ClusterVolumes, volume: Volume) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        claim = (await contents.look([volume]))[volume.id].claim
        return claim is not None and claim.state is ClaimState.BOUND

    return look


async def test_role__without_a_right_that_a_patch_implies__starts_nothing(
    account: Path, namespace: Namespace
) -> None:
    path = f"{_RBAC}/{namespace.name}/roles/seafloor"
    role = namespace.kubernetes.call("GET", path)
    for rule in role["rules"]:
        if "configmaps" in rule["resources"]:
            rule["verbs"].remove("create")
    namespace.kubernetes.call("PUT", path, role)
    connection = Connection(read_config(account))
    cluster = Cluster(connection)

    async def taken() -> bool:
        allowed = [one for one in NEEDED_RIGHTS if await cluster.allows(one, namespace.name)]
        return set(allowed) == set(NEEDED_RIGHTS) - IMPLIED

    await until(taken, what="the smaller role")
    await connection.close()
    async with launcher_of(account, namespace) as launcher:
        with pytest.raises(
            PodRejected,
            match="is forbidden: no reason is given, as where the right to create is missing",
        ):
            await launcher.start(launch())


def test_role__what_is_not_in_it__is_refused(account: Path, namespace: Namespace) -> None:
    server = Kubernetes.of_kubeconfig(str(account))
    ours = f"/api/v1/namespaces/{namespace.name}"
    for method, path in (
        ("GET", f"{ours}/secrets"),
        ("GET", f"{ours}/secrets/seafloor-token"),
        ("DELETE", f"{ours}/secrets/seafloor-token"),
        ("DELETE", f"{ours}/services/seafloor"),
        ("GET", "/api/v1/namespaces/default/pods"),
        ("POST", "/api/v1/namespaces/default/pods"),
        ("GET", "/api/v1/nodes"),
        ("POST", f"/apis/apps/v1/namespaces/{namespace.name}/deployments"),
        ("POST", f"{_RBAC}/{namespace.name}/roles"),
        ("POST", f"{_RBAC}/{namespace.name}/rolebindings"),
        ("POST", f"{ours}/serviceaccounts/seafloor/token"),
        ("POST", f"{ours}/pods/x/exec"),
    ):
        with pytest.raises(HTTPError) as refused:
            server.call(method, path, {} if method == "POST" else None)
        refused.value.close()
        assert refused.value.code == 403, path
