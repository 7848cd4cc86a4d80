"""A namespace of the real API server, somebody who plays the kubelet, and a bad line to both."""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from tests.services._kubernetes_client import Kubernetes

from live_server import wait_for

IMAGE = "registry.example/team/train@sha256:" + "0" * 64
POLICY = {"images": {"default": IMAGE}, "resources": {"default": {"cpu": "100m"}}}
PATIENCE_S = 300.0
"""For what the cluster's controllers see to, on a machine that does much else."""

BEAT_S = 5.0
_PROBE = {"metadata": {"name": "probe"}}
_PROBES: dict[str, dict[str, Any]] = {
    "pods": {
        **_PROBE,
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": IMAGE}],
        },
    },
    "persistentvolumeclaims": {
        **_PROBE,
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    },
}
"""Objects that count against quotas."""


class Namespace:
    """A namespace of its own, whose pods are moved by the test, since there is no node."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.kubernetes = kubernetes
        self.name = f"t-{secrets.token_hex(4)}"
        kubernetes.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        self.path = f"/api/v1/namespaces/{self.name}"
        wait_for(
            lambda: kubernetes.takes_pods(self.name),
            timeout_s=PATIENCE_S,
            what="the token of the namespace's account",
        )

    def all(self, plural: str) -> list[dict[str, Any]]:
        """Objects of a kind that are Seafloor's."""
        query = urllib.parse.urlencode({"labelSelector": "app.kubernetes.io/managed-by=seafloor"})
        return self.kubernetes.call("GET", f"{self.path}/{plural}?{query}")["items"]

    def only_pod(self) -> dict[str, Any]:
        """The one pod there is."""
        (found,) = self.all("pods")
        return found

    def set_status(self, status: dict[str, Any], *, pod: str | None = None) -> None:
        """Say of a pod what a kubelet would."""
        name = pod or self.only_pod()["metadata"]["name"]
        path = f"{self.path}/pods/{name}/status"
        self.kubernetes.call("PATCH", path, {"status": status}, kind="merge-patch+json")

    def delete_pod(self) -> None:
        """``kubectl delete pod`` by somebody."""
        name = self.only_pod()["metadata"]["name"]
        self.kubernetes.call("DELETE", f"{self.path}/pods/{name}")

    def bind(self, node: str) -> None:
        """Put the pod on a node, unless the scheduler was first."""
        name = self.only_pod()["metadata"]["name"]
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
        try:
            self.kubernetes.call("POST", f"{self.path}/pods/{name}/binding", binding)
        except HTTPError as error:
            if error.code != 409:
                raise

    def set_quota(self, name: str, what: str, most: str, *, of: str) -> None:
        """Have a quota, and the API server keep to it when this returns.

        It does so by a copy, which is behind the quota that one can read.

        Args:
            what, most: Such as ``pods`` and ``2``.
            of: The plural of objects that count against it.
        """
        path = f"{self.path}/resourcequotas"
        none = {"metadata": {"name": name}, "spec": {"hard": {what: "0"}}}
        self.kubernetes.call("POST", path, none)
        self._wait_quota(of, taken=False)
        if most != "0":
            self.change_quota(name, what, most)
            self._wait_quota(of, taken=True)

    def change_quota(self, name: str, what: str, most: str) -> None:
        """Let a quota be another; the API server keeps to it soon."""
        body = {"spec": {"hard": {what: most}}}
        path = f"{self.path}/resourcequotas/{name}"
        self.kubernetes.call("PATCH", path, body, kind="merge-patch+json")

    def _wait_quota(self, of: str, *, taken: bool) -> None:
        """Wait until one more of a kind would be taken, or not be."""

        def look() -> bool:
            try:
                self.kubernetes.call("POST", f"{self.path}/{of}?dryRun=All", _PROBES[of])
            except HTTPError as error:
                said = error.read().decode()
                if "exceeded quota" not in said:
                    raise AssertionError(said) from error
                return not taken
            return taken

        wait_for(look, timeout_s=PATIENCE_S, what="the quota to hold")

    @contextlib.contextmanager
    def node_without_gpus(self) -> Iterator[None]:
        """A node that nobody runs: what the scheduler says of it is the scheduler's own word.

        Only pods that tolerate every taint are for it, so that those of other tests stay away.
        """
        name = f"{self.name}-node"
        taint = {"key": "example.com/test", "value": self.name, "effect": "NoSchedule"}
        node = {"metadata": {"name": name}, "spec": {"taints": [taint]}}
        self.kubernetes.call("POST", "/api/v1/nodes", node)
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(name, over))
        try:
            self._say_ready(name)
            beating.start()
            yield
        finally:
            over.set()
            if beating.ident is not None:
                beating.join()
            self.kubernetes.remove(f"/api/v1/nodes/{name}")

    def _beat(self, node: str, over: threading.Event) -> None:
        """Say again and again that a node is there, or the cluster takes it for lost soon."""
        while not over.wait(BEAT_S):
            self._say_ready(node)

    def _say_ready(self, node: str) -> None:
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "10"}
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        conditions = [{**condition, "lastHeartbeatTime": now}]
        status = {"capacity": amounts, "allocatable": amounts, "conditions": conditions}
        path = f"/api/v1/nodes/{node}/status"
        self.kubernetes.call("PATCH", path, {"status": status}, kind="merge-patch+json")

    def close(self) -> None:
        """Remove it with all there is."""
        self.kubernetes.remove(self.path)


def running() -> dict[str, Any]:
    """Status of a pod whose command runs."""
    return {"phase": "Running", "containerStatuses": [_container({"running": {}})]}


def ended(code: int, **more: Any) -> dict[str, Any]:
    """Status of a pod whose command ended."""
    state = {"terminated": {"exitCode": code, **more}}
    phase = "Failed" if code else "Succeeded"
    return {"phase": phase, "containerStatuses": [_container(state)]}


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "main",
        "image": IMAGE,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }


class PlainApi:
    """The API server without TLS, for a proxy that spoils what it can read."""

    def __init__(self, kubernetes: Kubernetes, authority: Path) -> None:
        self._target = urllib.parse.urlsplit(kubernetes.url)
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        host, port = self._target.hostname or "", self._target.port or 443
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection((host, port)) as plain,
            self._tls.wrap_socket(plain, server_hostname=host) as server,
        ):
            _pump(client, server)

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()


def _pump(client: socket.socket, server: ssl.SSLSocket) -> None:
    """Carry bytes both ways until one end closes.

    In one thread: OpenSSL forbids that two use a connection at once, and Python does not lock it.
    """
    while True:
        # What was decrypted already makes no socket readable.
        readable = [server] if server.pending() else select.select([client, server], [], [])[0]
        if client in readable:
            data = client.recv(65536)
            if not data:
                return
            server.sendall(data)
        if server in readable:
            # What came may be nothing to pass on, such as a ticket for another session.
            server.setblocking(False)
            try:
                data = server.recv(65536)
            except ssl.SSLWantReadError:
                continue
            finally:
                server.setblocking(True)
            if not data:
                return
            client.sendall(data)


def kubeconfig(path: Path, *, url: str, token: str, authority: Path | None = None) -> Path:
    """Write a kubeconfig."""
    cluster = {"server": url}
    if authority is not None:
        cluster["certificate-authority"] = str(authority)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    return path


def authority_of(config: str) -> Path:
    """File of the authority that a kubeconfig of the tests' clusters names."""
    (cluster,) = json.loads(Path(config).read_text())["clusters"]
    return Path(cluster["cluster"]["certificate-authority"])


@contextlib.contextmanager
def own_namespace(kubernetes: Kubernetes) -> Iterator[Namespace]:
    """A namespace for one test."""
    made = Namespace(kubernetes)
    try:
        yield made
    finally:
        made.close()
