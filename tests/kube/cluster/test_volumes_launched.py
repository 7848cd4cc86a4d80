"""A volume on a real node: one run writes to it, the next reads what it wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kube.cluster.conftest import Disk, Namespace
from tests.kube.cluster.launched_world import PATIENCE_S
from tests.kube.cluster.volume_world import offered, storage_class
from tests.services._service import Service
from tests.services.kubernetes import DEBIAN

from live_server import LiveServer, wait_for

pytestmark = pytest.mark.timeout(900)

VOLUME = "/api/v1/volumes/data"


@pytest.fixture
def server(cluster: Service, namespace: Namespace, tmp_path: Path) -> Iterator[LiveServer]:
    """A server whose runs are pods of the namespace."""
    policy = {
        "namespaces": [namespace.name],
        "images": {"default": cluster.env[DEBIAN]},
        "resources": {"default": {"cpu": "50m", "memory": "256Mi"}},
    }
    (tmp_path / "policy.yaml").write_text(json.dumps(policy))
    made = LiveServer(
        tmp_path / "data",
        env={
            "SEAFLOOR_LAUNCH__KIND": "kubernetes",
            "SEAFLOOR_LAUNCH__KUBECONFIG": cluster.env["KUBECONFIG"],
            "SEAFLOOR_LAUNCH__POLICY": str(tmp_path / "policy.yaml"),
        },
    )
    yield made.start()
    made.stop()


def test_volume__of_a_class_that_waits__is_written_by_one_run_and_read_by_the_next(
    server: LiveServer, namespace: Namespace, disk: Disk
) -> None:
    kubernetes = namespace.kubernetes
    at = {"volume": "data", "path": "/mnt/data"}
    with (
        storage_class(kubernetes, namespace.name, "later", at_once=False) as later,
        offered(kubernetes, later, folder=str(disk.folder)),
    ):
        body = {"name": "data", "size": "1Gi", "storage_class": later}
        server.post("/api/v1/volumes", body)
        wait_for(
            lambda: "when the first run" in server.get(VOLUME)["claim"]["words"],
            timeout_s=PATIENCE_S,
            what="it to wait for a run",
        )
        waits = "while [ ! -e /mnt/data/go ]; do sleep 1; done"
        writes = f'echo kept > "$SEAFLOOR_VOLUME_DATA/file"; {waits}'
        writer = server.launch(writes, volumes=[at])
        server.wait_state(writer["id"], "running", timeout_s=PATIENCE_S)
        found = server.get(VOLUME)
        assert (found["claim"]["state"], found["claim"]["size_bytes"]) == ("bound", 30 << 30)
        status, refused = server.request(
            "POST", "/api/v1/runs", {"spec": {"name": "n", "command": "true", "volumes": [at]}}
        )
        assert (status, writer["id"] in refused["message"]) == (409, True)
        (disk.folder / "go").touch()
        server.wait_state(writer["id"], "succeeded", timeout_s=PATIENCE_S)
        reads = "grep kept /mnt/data/file && ! touch /mnt/data/other"
        reader = server.launch(reads, volumes=[{**at, "read_only": True}])
        server.wait_state(reader["id"], "succeeded", timeout_s=PATIENCE_S)
        assert sorted(one.name for one in disk.folder.iterdir()) == ["file", "go"]
        assert server.request("DELETE", VOLUME)[0] == 200
        wait_for(
            lambda: not kubernetes.call("GET", namespace.path("PersistentVolumeClaim"))["items"],
            timeout_s=PATIENCE_S,
            what="the claim to go",
        )
