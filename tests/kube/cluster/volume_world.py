"""What a cluster has for volumes: classes, and disks that the test offers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

from tests.kube.cluster.cluster_world import PATIENCE_S, Namespace
from tests.services._kubernetes_client import Kubernetes

from live_server import wait_for

_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_DISKS = "/api/v1/persistentvolumes"


@contextlib.contextmanager
def storage_class(
    kubernetes: Kubernetes, namespace: str, name: str, *, at_once: bool, expands: bool = False
) -> Iterator[str]:
    """A storage class without a provisioner, named after a namespace.

    Args:
        expands: Whether it allows claims to ask for more; nothing sees to it.
    """
    mode = "Immediate" if at_once else "WaitForFirstConsumer"
    full = f"{namespace}-{name}"
    made = {
        "metadata": {"name": full},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": mode,
        "allowVolumeExpansion": expands,
    }
    kubernetes.call("POST", _CLASSES, made)
    try:
        yield full
    finally:
        kubernetes.remove(f"{_CLASSES}/{full}")


@contextlib.contextmanager
def offered(
    kubernetes: Kubernetes,
    storage_class: str,
    *,
    folder: str = "/tmp/seafloor-no-such-disk",
    number: int = 1,
) -> Iterator[str]:
    """A disk of a class, a folder of the node that the cluster binds to a claim; give its name."""
    name = f"{storage_class}-disk-{number}"
    spec = {
        "capacity": {"storage": "30Gi"},
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": storage_class,
        "hostPath": {"path": folder},
    }
    kubernetes.call("POST", _DISKS, {"metadata": {"name": name}, "spec": spec})
    try:
        yield name
    finally:
        take_away(kubernetes, name)


def take_away(kubernetes: Kubernetes, disk: str) -> None:
    """Remove a disk, though a claim has it."""
    path = f"{_DISKS}/{disk}"
    kubernetes.remove(path)
    nobody = {"metadata": {"finalizers": None}}
    try:
        kubernetes.call("PATCH", path, nobody, kind="merge-patch+json")
    except HTTPError as error:  # the cluster may take it away by itself, at any moment
        if error.code != 404:
            raise
    wait_for(lambda: not kubernetes.is_there(path), timeout_s=PATIENCE_S, what="the disk to go")


def claims(namespace: Namespace, volume: str | None = None) -> list[dict[str, Any]]:
    """The claims of Seafloor's volumes, or of one."""
    found = namespace.all("persistentvolumeclaims")
    return [
        one
        for one in found
        if volume in (None, one["metadata"]["annotations"]["seafloor/name"])
        and "deletionTimestamp" not in one["metadata"]
    ]
