"""Whole files of objects, applied to a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError

import yaml
from tests.services._kubernetes_client import Kubernetes

Manifest = dict[str, Any]

_EARLIER: Final = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
"""What the tests' cluster, of version 1.20, calls groups whose objects are the same."""

_NEVER: Final = {"ServiceMonitor"}
"""The kind of an operator. That API server, made by a newer Go than it was written for, dies of any
object of such a kind; their schema is tests/kube/service_monitors.py."""


def path_of(manifest: Manifest, namespace: str) -> str:
    """Where an object is; all of ours are called by a regular plural."""
    version = manifest["apiVersion"]
    root = "/apis" if "/" in version else "/api"
    kind = manifest["kind"].lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    plural = plural if kind != "ingress" else "ingresses"
    return f"{root}/{version}/namespaces/{namespace}/{plural}/{manifest['metadata']['name']}"


def apply(kubernetes: Kubernetes, manifest: Manifest, namespace: str, *, dry: bool = False) -> Any:
    """Apply an object, whoever has set what of it; give it as it is now."""
    metadata = {**manifest["metadata"], "namespace": namespace}
    query = f"?fieldManager=test&force=true{'&dryRun=All' if dry else ''}"
    path, body = path_of(manifest, namespace) + query, {**manifest, "metadata": metadata}
    try:
        return kubernetes.call("PATCH", path, body, kind="apply-patch+yaml")
    except HTTPError as error:
        raise AssertionError(f"{path}: {error.read().decode()}") from error


def read(file: Path) -> list[Manifest]:
    """The objects of a file, by the versions that the cluster has; not those that it has not."""
    return [
        {**one, "apiVersion": _EARLIER.get(one["apiVersion"], one["apiVersion"])}
        for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        if one["kind"] not in _NEVER
    ]
