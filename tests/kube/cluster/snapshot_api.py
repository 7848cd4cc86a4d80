"""VolumeSnapshots of a real cluster, whose API the test serves behind the cluster's own server.

The tests' API server is an old one that cannot take custom resources; what it can is to pass a
group on to another server (an APIService). Who may do what, it still decides itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError

from tests.kube.cluster.cluster_world import PATIENCE_S
from tests.services._kubernetes_client import Kubernetes

from live_server import wait_for

GROUP = "snapshot.storage.k8s.io"
PATH = f"/apis/{GROUP}/v1"
_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
_DISCOVERY = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {
            "name": "volumesnapshots",
            "singularName": "volumesnapshot",
            "namespaced": True,
            "kind": "VolumeSnapshot",
            "verbs": ["create", "delete", "get", "list"],
        }
    ],
}
_OBJECT = re.compile(rf"{PATH}/namespaces/([^/]+)/volumesnapshots(?:/([^/]+))?\Z")


class SnapshotApi:
    """The objects; the test plays the snapshot controller and sets their status."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}
        self._lock = threading.Lock()

    def all(self, namespace: str) -> list[dict[str, Any]]:
        """Those of a namespace."""
        with self._lock:
            found = [one for key, one in self._kept.items() if key[0] == namespace]
            return json.loads(json.dumps(found))

    def wait_one(self, namespace: str) -> dict[str, Any]:
        """Wait until there is one that nobody has seen to."""

        def look() -> dict[str, Any] | None:
            return next((one for one in self.all(namespace) if "status" not in one), None)

        return wait_for(look, timeout_s=PATIENCE_S, what="a snapshot to be asked for")

    def set_status(self, asked: dict[str, Any], **status: Any) -> None:
        """Say of one what the controller would."""
        metadata = asked["metadata"]
        with self._lock:
            self._kept[metadata["namespace"], metadata["name"]]["status"] = status

    def add(self, namespace: str, made: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Create one; its spec has the published fields and no other."""
        spec, metadata = made["spec"], made["metadata"]
        (origin,) = spec["source"]
        if spec.keys() - {"source", "volumeSnapshotClassName"} or origin not in (
            "persistentVolumeClaimName",
            "volumeSnapshotContentName",
        ):
            return _status(422, "Invalid", f"no such field: {spec}")
        with self._lock:
            key = (namespace, metadata["name"])
            if key in self._kept:
                return _status(409, "AlreadyExists", f"{key[1]} already exists")
            metadata |= {
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "resourceVersion": str(time.monotonic_ns()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self._kept[key] = made
            return 201, made

    def get(self, namespace: str, name: str) -> tuple[int, dict[str, Any]]:
        """Read one."""
        found = {one["metadata"]["name"]: one for one in self.all(namespace)}
        return (200, found[name]) if name in found else _status(404, "NotFound", f"no {name}")

    def remove(self, namespace: str, name: str, uid: str | None) -> tuple[int, dict[str, Any]]:
        """Delete one, if it is that of the uid."""
        with self._lock:
            found = self._kept.get((namespace, name))
            if found is None:
                return _status(404, "NotFound", f"no {name}")
            if uid not in (None, found["metadata"]["uid"]):
                return _status(409, "Conflict", "another uid")
            del self._kept[namespace, name]
            return 200, found


def _status(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    made = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return code, {**made, "reason": reason, "message": message}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: SnapshotApi

    def _answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        code, answer = self._done(url, body)
        content = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _done(
        self, url: urllib.parse.SplitResult, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if url.path == PATH:
            return 200, _DISCOVERY
        found = _OBJECT.match(url.path)
        if found is None:
            return _status(404, "NotFound", f"nothing at {url.path}")
        namespace, name = found.groups()
        if self.command == "POST":
            return self.api.add(namespace, body)
        if self.command == "DELETE":
            return self.api.remove(namespace, name, body.get("preconditions", {}).get("uid"))
        if name:
            return self.api.get(namespace, name)
        return 200, self._listed(namespace, url.query)

    def _listed(self, namespace: str, query: str) -> dict[str, Any]:
        (selector,) = urllib.parse.parse_qs(query).get("labelSelector", [""])
        wanted = dict(one.split("=") for one in selector.split(",") if one)
        items = [
            one
            for one in self.api.all(namespace)
            if wanted.items() <= one["metadata"].get("labels", {}).items()
        ]
        return {"kind": "VolumeSnapshotList", "metadata": {"resourceVersion": "1"}, "items": items}

    do_GET = do_POST = do_DELETE = _answer  # their names in the library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # of the library
        """Say nothing."""


def _is_unknown(kubernetes: Kubernetes) -> bool:
    """Whether the cluster knows no VolumeSnapshots; it is not enough that nobody has them."""
    try:
        kubernetes.call("GET", PATH)
    except HTTPError as error:
        error.close()
        return error.code == 404
    return False


@contextlib.contextmanager
def snapshot_api(kubernetes: Kubernetes) -> Iterator[SnapshotApi]:
    """Have the cluster know VolumeSnapshots for a while."""
    api = SnapshotApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Own", (_Handler,), {"api": api}))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        tls.load_cert_chain(certificate, key)
    # A handshake is its connection's own affair: none waits for that of another.
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    port = server.server_address[1]
    service = f"snapshots-{port}"
    services = "/api/v1/namespaces/default/services"
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    kubernetes.call("POST", services, {"metadata": {"name": service}, "spec": spec})
    registered = f"v1.{GROUP}"
    wanted = {
        "group": GROUP,
        "version": "v1",
        "service": {"namespace": "default", "name": service, "port": port},
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 1000,
        "versionPriority": 10,
    }
    kubernetes.call("POST", _SERVICES, {"metadata": {"name": registered}, "spec": wanted})
    try:
        wait_for(
            lambda: kubernetes.is_there(PATH), timeout_s=PATIENCE_S, what="the kind to be known"
        )
        yield api
    finally:
        kubernetes.remove(f"{_SERVICES}/{registered}")
        kubernetes.remove(f"{services}/{service}")
        wait_for(lambda: _is_unknown(kubernetes), timeout_s=PATIENCE_S, what="the kind to go")
        server.shutdown()
        server.server_close()
        serving.join()
