"""The control plane of a Kubernetes: etcd, API server, controllers, scheduler, on loopback.

Its parts can be killed and started again, also from another process: by a socket that takes
``kill NAME`` and ``start NAME``, and ``add NAME`` and ``remove NAME`` for further nodes.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.services._kubernetes_build import kubernetes_programs
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Daemon, Missing, accepts, free_port

PARTS_VARIABLE: Final = "SEAFLOOR_TEST_KUBERNETES_PARTS"
AUDIT_VARIABLE: Final = "SEAFLOOR_TEST_KUBERNETES_AUDIT"
"""File with what accounts of namespaces asked the API server, a line of JSON each."""

SERVICE_NET: Final = "10.96.0.0/24"
_READY_S: Final = 300.0
_PATIENCE_S: Final = 900.0


class Plane:
    """A control plane in a folder of its own; ``close`` ends it.

    Args:
        folder: Exists, is empty, and is removed by whoever made it.
        services: The network of the addresses of services.

    Raises:
        Missing: its programs cannot be had on this machine.
    """

    def __init__(self, folder: Path, *, services: str = SERVICE_NET) -> None:
        self.folder = folder
        self.programs = kubernetes_programs()
        self.parts: dict[str, Daemon] = {}
        self._services = services
        self.port = free_port()
        self._authority = folder / "certificates/apiserver.crt"
        url, token = f"https://127.0.0.1:{self.port}", secrets.token_hex(16)
        self.kubernetes = Kubernetes(url, token, self._authority)
        self.kubeconfig = folder / "kubeconfig"
        self.audit = folder / "audit.log"
        self._write_keys()

    def start(self) -> None:
        """Start all of it; return once pods would be taken."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        etcd, peers = free_port(), free_port()
        self.run("etcd", self._etcd(etcd, peers)).wait_until(
            lambda: accepts(etcd), timeout_s=_READY_S
        )
        server = self.run("api", self._api(etcd))
        server.wait_until(self.kubernetes.is_ready, timeout_s=_READY_S)
        self._write_kubeconfig()
        controllers = self.run("controllers", self._controllers())
        self.run("scheduler", self._scheduler())
        controllers.wait_until(lambda: self.kubernetes.takes_pods("default"), timeout_s=_READY_S)

    def run(self, name: str, command: Sequence[str]) -> Daemon:
        """Start a part; ``close`` ends it, with -9. However this process ends, so does the part."""
        command = ["setpriv", "--pdeathsig=SIGKILL", "--", *command]
        self.parts[name] = Daemon(command, self.folder / f"{name}.log")
        return self.parts[name]

    def kill(self, name: str) -> None:
        """End a part with -9."""
        self.parts[name].kill()

    def restart(self, name: str) -> None:
        """Start a part again that was killed; the API server answers on return."""
        self.parts[name].restart()
        if name == "api":
            self.parts[name].wait_until(self.kubernetes.is_ready, timeout_s=_READY_S)

    def close(self) -> None:
        """End all parts. Safe to repeat."""
        for part in reversed(self.parts.values()):
            part.kill()

    def _write_keys(self) -> None:
        key, public = self.folder / "accounts.key", self.folder / "accounts.pub"
        for command in (
            ["openssl", "genrsa", "-out", str(key), "2048"],
            ["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)],
        ):
            subprocess.run(command, check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text(
            f'{self.kubernetes.token},admin,admin,"system:masters"\n'
        )
        accounts = {"level": "Metadata", "userGroups": ["system:serviceaccounts"]}
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [accounts, {"level": "None"}],
        }
        (self.folder / "audit.json").write_text(json.dumps(policy))

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [
                {
                    "name": "tests",
                    "cluster": {
                        "server": self.kubernetes.url,
                        "certificate-authority": str(self._authority),
                    },
                }
            ],
            "users": [{"name": "admin", "user": {"token": self.kubernetes.token}}],
            "contexts": [
                {
                    "name": "tests",
                    "context": {"cluster": "tests", "user": "admin", "namespace": "default"},
                }
            ],
        }
        self.kubeconfig.write_text(json.dumps(config, indent=1))

    def _etcd(self, port: int, peers: int) -> list[str]:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
        return [
            *("etcd", "--name=tests", f"--data-dir={self.folder / 'etcd'}"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster=tests={peer}",
        ]

    def _api(self, etcd: int) -> list[str]:
        return [
            str(self.programs / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--insecure-port=0",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--service-cluster-ip-range={self._services}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={self.folder / 'audit.json'}",
            f"--audit-log-path={self.audit}",
        ]

    def _controllers(self) -> list[str]:
        return [
            str(self.programs / "kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--port=0",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}",
            "--leader-elect=false",
            f"--cert-dir={self.folder / 'controllers-certificates'}",
            f"--root-ca-file={self._authority}",
            # A node that is lost is noticed soon. Pods that are to leave it soon say so: others
            # stay for minutes, as one that is only busy may be missed for a moment.
            "--node-monitor-grace-period=25s",
        ]

    def _scheduler(self) -> list[str]:
        return [
            str(self.programs / "kube-scheduler"),
            f"--kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--port=0",
            "--leader-elect=false",
            f"--cert-dir={self.folder / 'scheduler-certificates'}",
        ]


class Parts:
    """The parts of a cluster that runs in another process: they can be killed and started again.

    Args:
        path: The socket, as the variable ``PARTS_VARIABLE`` of the service says.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def kill(self, name: str) -> None:
        """End a part with -9: ``api``, ``etcd``, ``controllers``, ``scheduler``, ``kubelet`` …"""
        self._ask(f"kill {name}")

    def start(self, name: str) -> None:
        """Start a part that was killed; the API server answers on return."""
        self._ask(f"start {name}")

    def add_node(self, name: str) -> None:
        """Have a further node; on return it takes pods. Whoever adds one removes it."""
        self._ask(f"add {name}")

    def remove_node(self, name: str) -> None:
        """Take such a node out, also one that was killed. Safe to repeat."""
        self._ask(f"remove {name}")

    def _ask(self, line: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(self._path)
            with connection.makefile("rw") as stream:
                stream.write(line + "\n")
                stream.flush()
                answer = stream.readline().rstrip("\n")
        if answer != "done":
            raise RuntimeError(f"{line}: {answer or 'no answer'}")


class FurtherNode(Protocol):
    """A node that is there only for a while."""

    def start(self) -> None: ...
    def remove(self) -> None: ...


_NONE: Final[Mapping[str, FurtherNode]] = {}


@contextmanager
def parts_socket(plane: Plane, nodes: Mapping[str, FurtherNode] = _NONE) -> Iterator[str]:
    """Let other processes kill and start the parts, one at a time; give the socket's path.

    Args:
        plane: Whose parts.
        nodes: Those that may be added.
    """
    verbs: dict[str, Callable[[str], None]] = {
        "kill": plane.kill,
        "start": plane.restart,
        "add": lambda name: nodes[name].start(),
        "remove": lambda name: nodes[name].remove(),
    }
    path = str(plane.folder / "parts")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    answering = threading.Thread(target=_answer_all, args=(listening, verbs), daemon=True)
    answering.start()
    try:
        yield path
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        answering.join()
        listening.close()


def _answer_all(listening: socket.socket, verbs: dict[str, Callable[[str], None]]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return  # it was shut down
        with connection, connection.makefile("rw") as stream:
            verb, _, name = stream.readline().strip().partition(" ")
            try:
                verbs[verb](name)
                answer = "done"
            except (KeyError, AssertionError, RuntimeError, OSError, Missing) as error:
                answer = f"{type(error).__name__}: {error}".replace("\n", " ")
            stream.write(answer + "\n")
            stream.flush()
