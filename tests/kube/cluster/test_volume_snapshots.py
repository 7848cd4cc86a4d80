"""Snapshots of claims on a real API server; the test plays the snapshot controller."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.kube.cluster.cluster_world import PATIENCE_S, POLICY, Namespace, own_namespace
from tests.kube.cluster.snapshot_api import SnapshotApi, snapshot_api
from tests.kube.cluster.volume_world import (
    claims,
    offered,
    storage_class,
)
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service

from live_server import LiveServer, wait_for
from seafloor.domain.errors import Conflict, Forbidden, InvalidValue, NotSupported
from seafloor.domain.leases import Claim
from seafloor.domain.volumes import (
    AccessMode,
    OperationKind,
    Volume,
    VolumeOperation,
    VolumeSnapshot,
)
from seafloor.launch.kubernetes.claims import claim_manifest, snapshot_manifest
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.cluster_volumes import ClusterVolumes, Patience
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.kubernetes.policy import Policy, read_policy
from seafloor.launch.volumes import Progress

pytestmark = pytest.mark.timeout(900)

DATA = "/api/v1/volumes/data"
PLACE = "p"


@pytest.fixture(scope="module")
def config(service: Callable[[str], Service]) -> str:
    return service("kubernetes_api").env["KUBECONFIG"]


@pytest.fixture(scope="module")
def objects(config: str) -> Iterator[SnapshotApi]:
    """The cluster knows VolumeSnapshots while these tests run, and no longer."""
    with snapshot_api(Kubernetes.of_kubeconfig(config)) as made:
        yield made


@pytest.fixture
def namespace(config: str, objects: SnapshotApi) -> Iterator[Namespace]:
    assert objects
    with own_namespace(Kubernetes.of_kubeconfig(config)) as made:
        yield made


@pytest.fixture
def disks(namespace: Namespace) -> Iterator[str]:
    """A storage class with two disks."""
    with ExitStack() as stack:
        made = stack.enter_context(
            storage_class(namespace.kubernetes, namespace.name, "now", at_once=True)
        )
        for number in (1, 2):
            stack.enter_context(offered(namespace.kubernetes, made, number=number))
        yield made


@pytest.fixture
def server(config: str, namespace: Namespace, disks: str, tmp_path: Path) -> Iterator[LiveServer]:
    """A server with the volume ``data``, whose claim is bound."""
    storage = {"default_class": disks, "snapshot_class": "daily"}
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps({**POLICY, "storage": storage, "namespaces": [namespace.name]}))
    made = LiveServer(
        tmp_path / "data",
        env={
            "SEAFLOOR_LAUNCH__KIND": "kubernetes",
            "SEAFLOOR_LAUNCH__KUBECONFIG": config,
            "SEAFLOOR_LAUNCH__POLICY": str(file),
        },
    ).start()
    made.post("/api/v1/volumes", {"name": "data", "size": "20Gi"})
    wait_for(
        lambda: made.get(DATA)["claim"]["state"] == "bound",
        timeout_s=PATIENCE_S,
        what="it to be bound",
    )
    yield made
    made.stop()


def idle(server: LiveServer) -> Any:
    return wait_for(
        lambda: None if (seen := server.get(DATA))["under_way"] else seen,
        timeout_s=PATIENCE_S,
        what="the end of what is under way",
    )


def begin(server: LiveServer, what: str, body: Any = None) -> None:
    """Have something begin; a server that has only just started is asked again."""

    def ask() -> bool:
        status, answer = server.request("POST", f"{DATA}/{what}", body)
        assert status in (202, 503), answer
        return status == 202

    wait_for(ask, timeout_s=PATIENCE_S, what="the server to begin")


def snapshotted(server: LiveServer, objects: SnapshotApi, namespace: Namespace) -> Any:
    begin(server, "snapshots")
    asked = objects.wait_one(namespace.name)
    objects.set_status(asked, readyToUse=True, restoreSize="25Gi")
    assert idle(server)["problem"] == ""
    return asked


def test_snapshot__restored__is_another_claim_and_removal_takes_all(
    server: LiveServer, namespace: Namespace, objects: SnapshotApi
) -> None:
    asked = snapshotted(server, objects, namespace)
    (first,) = claims(namespace)
    assert asked["spec"] == {
        "source": {"persistentVolumeClaimName": first["metadata"]["name"]},
        "volumeSnapshotClassName": "daily",
    }
    (kept,) = server.get(f"{DATA}/snapshots")["items"]
    assert (kept["number"], kept["sha256"], kept["size_bytes"]) == (1, None, 25 << 30)

    begin(server, "restore", {"snapshot": 1})

    found = idle(server)
    assert found["problem"] == ""
    assert found["claim"]["state"] == "bound"
    wait_for(lambda: len(claims(namespace)) == 1, timeout_s=PATIENCE_S, what="the old claim to go")
    (second,) = claims(namespace)
    assert found["claim"]["name"] == second["metadata"]["name"] != first["metadata"]["name"]
    assert second["spec"]["dataSource"]["name"] == asked["metadata"]["name"]
    assert second["spec"]["resources"]["requests"] == {"storage": "25Gi"}
    attached = [{"volume": "data", "path": "/data"}]
    run = server.launch("true", volumes=attached)
    pod = wait_for(lambda: namespace.all("pods"), timeout_s=PATIENCE_S, what="the pod")[0]
    assert second["metadata"]["name"] in json.dumps(pod["spec"]["volumes"])
    for what, body in (("snapshots", None), ("restore", {"snapshot": 1})):
        status, answer = server.request("POST", f"{DATA}/{what}", body)
        assert (status, run["id"] in answer["message"]) == (409, True)
    server.post(f"/api/v1/runs/{run['id']}/stop")
    server.wait_state(run["id"], "stopped", timeout_s=PATIENCE_S)
    status, answer = server.request("DELETE", DATA)
    assert (status, "--with-snapshots" in answer["message"]) == (409, True)
    assert server.request("DELETE", f"{DATA}?with_snapshots=true")[0] == 200
    wait_for(
        lambda: not claims(namespace) and not objects.all(namespace.name),
        timeout_s=PATIENCE_S,
        what="all of it to go",
    )


def test_server__killed_in_a_snapshot_and_in_a_restore__leaves_the_volume_as_it_was(
    server: LiveServer, namespace: Namespace, objects: SnapshotApi
) -> None:
    begin(server, "snapshots")
    objects.wait_one(namespace.name)
    server.kill()
    server.start()
    seen = idle(server)
    assert "went away while making snapshot 1" in seen["problem"]
    wait_for(
        lambda: not objects.all(namespace.name),
        timeout_s=PATIENCE_S,
        what="the half snapshot to go",
    )
    assert server.get(f"{DATA}/snapshots")["items"] == []
    snapshotted(server, objects, namespace)
    (kept,) = server.get(f"{DATA}/snapshots")["items"]
    assert kept["number"] == 2
    before = server.get(DATA)["claim"]["name"]
    (disk,) = _free_disks(namespace)
    namespace.kubernetes.call("DELETE", f"/api/v1/persistentvolumes/{disk}")  # nothing to bind to
    begin(server, "restore", {"snapshot": 2})
    wait_for(lambda: len(claims(namespace)) == 2, timeout_s=PATIENCE_S, what="the second claim")
    server.kill()
    server.start()
    assert "went away while restoring snapshot 2" in idle(server)["problem"]
    wait_for(
        lambda: len(claims(namespace)) == 1, timeout_s=PATIENCE_S, what="the second claim to go"
    )
    found = server.get(DATA)
    assert (found["claim"]["name"], found["claim"]["state"]) == (before, "bound")
    assert len(objects.all(namespace.name)) == 1


def _free_disks(namespace: Namespace) -> list[str]:
    found = namespace.kubernetes.call("GET", "/api/v1/persistentvolumes")["items"]
    return [
        one["metadata"]["name"]
        for one in found
        if one["metadata"]["name"].startswith(namespace.name)
        and one["status"]["phase"] == "Available"
    ]


# Beside a server -------------------------------------------------------------------------------


@asynccontextmanager
async def contents_of(
    config: Path | str, namespace: Namespace, **storage: Any
) -> AsyncIterator[ClusterVolumes]:
    connection = Connection(read_config(Path(config)))
    at_once = Patience(look_s=0.05, failing_s=0.0, nobody_s=0.0)
    volumes = ClusterVolumes(
        Cluster(connection), policy_of(namespace, **storage), place=PLACE, patience=at_once
    )
    try:
        yield volumes
    finally:
        await connection.close()


def policy_of(namespace: Namespace, **storage: Any) -> Policy:
    return read_policy(json.dumps({"namespaces": [namespace.name], "storage": storage}))


def volume_in(namespace: Namespace, storage_class: str | None = None) -> Volume:
    return Volume(
        id="0123456789abcdef" * 2,
        project="default",
        name="data",
        access_mode=AccessMode.RWO,
        created_ns=1,
        size_bytes=1 << 30,
        storage_class=storage_class,
        namespace=namespace.name,
    )


def operation_of(kind: OperationKind, content: int = 0) -> VolumeOperation:
    return VolumeOperation(kind, 1, content, Claim("here", 1), started_ns=7)


KEPT = VolumeSnapshot(number=1, sha256=None, size_bytes=1, files=0, content_bytes=0, created_ns=1)


async def test_keep__nobody_takes_care_of_it__says_so_and_leaves_nothing(
    config: str, namespace: Namespace, objects: SnapshotApi
) -> None:
    async with contents_of(config, namespace) as contents:
        operation = operation_of(OperationKind.SNAPSHOT)
        with pytest.raises(Conflict, match="snapshot controller"):
            await contents.keep(volume_in(namespace), operation, Progress())
    assert objects.all(namespace.name) == []


async def test_restore__that_cannot_be__says_why(
    config: str, namespace: Namespace, objects: SnapshotApi
) -> None:
    policy = policy_of(namespace)
    operation = operation_of(OperationKind.RESTORE, content=2)
    with storage_class(namespace.kubernetes, namespace.name, "later", at_once=False) as later:
        volume = volume_in(namespace, later)
        async with contents_of(config, namespace) as contents:
            with pytest.raises(Conflict, match="somebody deleted it"):
                await contents.restore(volume, operation, KEPT, Progress())
            made = snapshot_manifest(volume, 1, policy, PLACE, asked_ns=7)
            objects.add(namespace.name, made)
            missing = replace(volume, id="1" * 32, storage_class="no-such-class")
            made = snapshot_manifest(missing, 1, policy, PLACE, asked_ns=7)
            objects.add(namespace.name, made)
            with pytest.raises(Conflict, match='no storage class "no-such-class"'):
                await contents.restore(missing, operation, KEPT, Progress())
            # Another class waits for a first consumer: so it is filled when a run comes.
            await contents.restore(volume, operation, KEPT, Progress())
            again = replace(operation, started_ns=8)
            with pytest.raises(Conflict, match="made for something else"):
                await contents.restore(volume, again, KEPT, Progress())


async def test_make__what_the_cluster_does_not_take__is_refused_with_its_words(
    config: str, namespace: Namespace
) -> None:
    async with contents_of(config, namespace) as contents:
        with pytest.raises(InvalidValue, match="does not take the claim"):
            await contents.make(replace(volume_in(namespace), size_bytes=0), 1)
        counted = "persistentvolumeclaims"
        namespace.set_quota("few", counted, "1", of=counted)
        await contents.make(volume_in(namespace), 1)
        await contents.make(volume_in(namespace), 1)
        with pytest.raises(Forbidden, match="exceeded quota"):
            await contents.make(replace(volume_in(namespace), id="2" * 32), 1)
    assert len(claims(namespace)) == 1


async def test_snapshots__of_what_is_not_bound__are_refused(
    config: str, namespace: Namespace
) -> None:
    volume = volume_in(namespace)
    async with contents_of(config, namespace) as contents:
        await contents.make(volume, 1)
        with pytest.raises(Conflict, match="nothing to keep"):
            await contents.check_snapshots(volume, OperationKind.SNAPSHOT)
        await contents.check_snapshots(volume, OperationKind.RESTORE)
        with pytest.raises(NotSupported):
            await contents.count(volume)


def test_claim__restored__keeps_to_the_larger_size(namespace: Namespace) -> None:
    volume, policy = volume_in(namespace), policy_of(namespace)
    made = claim_manifest(
        volume, 2, policy, PLACE, asked_ns=1, source="a-snapshot", least_bytes=3 << 30
    )
    assert made["spec"]["resources"]["requests"]["storage"] == "3Gi"
    made = claim_manifest(volume, 1, policy, PLACE, asked_ns=1)
    assert made["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert "dataSource" not in made["spec"]
