"""What a cluster has for volumes: classes, disks that the test offers, and who makes snapshots."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

from tests.kube.cluster.cluster_world import Namespace
from tests.services._kubernetes_client import Kubernetes

from live_server import wait_for

_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_DISKS = "/api/v1/persistentvolumes"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SNAPSHOTS = "/apis/snapshot.storage.k8s.io/v1"


@contextlib.contextmanager
def storage_class(namespace: Namespace, name: str, *, at_once: bool) -> Iterator[str]:
    """A storage class without a provisioner, named after the namespace."""
    mode = "Immediate" if at_once else "WaitForFirstConsumer"
    full = f"{namespace.name}-{name}"
    made = {
        "metadata": {"name": full},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": mode,
    }
    namespace.kubernetes.call("POST", _CLASSES, made)
    try:
        yield full
    finally:
        namespace.kubernetes.call("DELETE", f"{_CLASSES}/{full}")


@contextlib.contextmanager
def offered(namespace: Namespace, storage_class: str, size: str = "30Gi") -> Iterator[str]:
    """A disk of a class, which the cluster binds to a claim; give its name."""
    name = f"{storage_class}-disk"
    spec = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": storage_class,
        "hostPath": {"path": "/tmp/seafloor-no-such-disk"},
    }
    namespace.kubernetes.call("POST", _DISKS, {"metadata": {"name": name}, "spec": spec})
    try:
        yield name
    finally:
        take_away(namespace.kubernetes, name)


def take_away(kubernetes: Kubernetes, disk: str) -> None:
    """Remove a disk, though a claim has it."""
    path = f"{_DISKS}/{disk}"
    if not kubernetes.is_there(path):
        return
    kubernetes.call("DELETE", path)
    if kubernetes.is_there(path):
        nobody = {"metadata": {"finalizers": None}}
        kubernetes.call("PATCH", path, nobody, kind="merge-patch+json")
    wait_for(lambda: not kubernetes.is_there(path), what="the disk to go")


def claims(namespace: Namespace, volume: str | None = None) -> list[dict[str, Any]]:
    """The claims of Seafloor's volumes, or of one."""
    found = namespace.all("persistentvolumeclaims")
    return [
        one
        for one in found
        if volume in (None, one["metadata"]["annotations"]["seafloor/name"])
        and "deletionTimestamp" not in one["metadata"]
    ]


@contextlib.contextmanager
def snapshot_crd(kubernetes: Kubernetes) -> Iterator[None]:
    """The published kind VolumeSnapshot, of which the fields are written that Seafloor uses."""
    name = "volumesnapshots.snapshot.storage.k8s.io"
    text = {"type": "string"}
    source = {
        "type": "object",
        "properties": {"persistentVolumeClaimName": text, "volumeSnapshotContentName": text},
    }
    spec = {
        "type": "object",
        "required": ["source"],
        "properties": {"source": source, "volumeSnapshotClassName": text},
    }
    error = {"type": "object", "properties": {"message": text, "time": text}}
    status = {
        "type": "object",
        "properties": {
            "readyToUse": {"type": "boolean"},
            "restoreSize": {**text, "x-kubernetes-int-or-string": True, "type": None},
            "boundVolumeSnapshotContentName": text,
            "creationTime": {**text, "format": "date-time"},
            "error": error,
        },
    }
    del status["properties"]["restoreSize"]["type"]
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": spec, "status": status},
    }
    names = {
        "kind": "VolumeSnapshot",
        "listKind": "VolumeSnapshotList",
        "plural": "volumesnapshots",
        "singular": "volumesnapshot",
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": name,
            # Such a group wants a word on its review; this is the kubernetes-csi project's.
            "annotations": {
                "api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/665"
            },
        },
        "spec": {
            "group": "snapshot.storage.k8s.io",
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }
    kubernetes.call("POST", _CRDS, crd)
    try:
        wait_for(lambda: kubernetes.is_there(SNAPSHOTS), timeout_s=60, what="the new kind")
        path = f"{SNAPSHOTS}/volumesnapshots"
        wait_for(lambda: kubernetes.is_there(path), timeout_s=60, what="the new kind's list")
        yield
    finally:
        kubernetes.call("DELETE", f"{_CRDS}/{name}")
        wait_for(lambda: not kubernetes.is_there(SNAPSHOTS), timeout_s=60, what="it to go")


class SnapshotObjects:
    """VolumeSnapshots of a namespace; the test plays the snapshot controller."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.path = f"{SNAPSHOTS}/namespaces/{namespace.name}/volumesnapshots"

    def all(self) -> list[dict[str, Any]]:
        """Those of Seafloor's volumes."""
        query = urllib.parse.urlencode({"labelSelector": "app.kubernetes.io/managed-by=seafloor"})
        return self._namespace.kubernetes.call("GET", f"{self.path}?{query}")["items"]

    def wait_one(self) -> dict[str, Any]:
        """Wait until there is one that nobody has seen to."""

        def look() -> dict[str, Any] | None:
            return next((one for one in self.all() if "status" not in one), None)

        return wait_for(look, timeout_s=60, what="a snapshot to be asked for")

    def set_status(self, name: str, **status: Any) -> None:
        """Say of one what the controller would."""
        self._namespace.kubernetes.call(
            "PATCH", f"{self.path}/{name}/status", {"status": status}, kind="merge-patch+json"
        )
