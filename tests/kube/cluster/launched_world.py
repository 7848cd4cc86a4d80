"""Servers whose runs are pods of a namespace with a real node, and what they say of their runs."""

from __future__ import annotations

import json
import socket
import uuid
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.services import kubernetes as kubernetes_service
from tests.services._forward import forwarded
from tests.services._service import Service, free_port

from live_server import LiveServer, wait_for

PATIENCE_S = 480.0


class TokenServer(LiveServer):
    """A server that pods reach too, so that it asks for a token; the test has it."""

    def __init__(self, data: Path, *, env: dict[str, str]) -> None:
        self.token = uuid.uuid4().hex
        super().__init__(data, env={**env, "SEAFLOOR_SERVER__TOKEN": self.token})

    def request(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """As ``LiveServer.request``, with the token."""
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return super().request(method, path, body, headers=sent)


class Gate:
    """What a command in a pod waits at, however long its beginning took to be seen.

    Args:
        host: Address by which pods reach this machine.
    """

    def __init__(self, host: str) -> None:
        self._listening = socket.create_server((host, 0))
        self._listening.settimeout(PATIENCE_S)

    def wait(self) -> str:
        """Python's words for it, for the command."""
        return f"__import__('socket').create_connection({self._listening.getsockname()!r}).recv(1)"

    def open(self) -> None:
        """Let the command go on, which comes to it at some time."""
        self._listening.accept()[0].close()

    def close(self) -> None:
        """Have none any more."""
        self._listening.close()


class Launching:
    """Starts servers.

    Args:
        cluster: With a node.
        namespace: Of their pods.
        folder: For their data.
        stack: What is to be closed.
    """

    def __init__(self, cluster: Service, namespace: str, folder: Path, stack: ExitStack) -> None:
        self.env, self.namespace = cluster.env, namespace
        self._folder, self._stack = folder, stack

    def gate(self) -> Gate:
        """What commands of the test can wait at."""
        return self._stack.enter_context(closing(Gate(self.env[kubernetes_service.GATEWAY])))

    def start(
        self,
        *,
        image: str | None = None,
        agent: bool = False,
        policy: dict[str, Any] | None = None,
        env: dict[str, str] | None = None,
    ) -> TokenServer:
        """Start a server.

        Args:
            image: Of runs without environment; None: Python's.
            agent: Whether the policy names Seafloor's image, so that runs have the agent; it finds
                the server by the gateway. Without it, what is told is what the cluster says.
            policy: Further parts.
            env: Further variables.
        """
        images = {"default": image or self.env[kubernetes_service.DEBIAN], "pull_policy": "Never"}
        rules: dict[str, Any] = {
            "namespaces": [self.namespace],
            "resources": {
                "default": {"cpu": "50m", "memory": "256Mi"},
                "init": {"cpu": "50m", "memory": "512Mi"},
            },
        }
        port = free_port()
        if agent:
            images["seafloor"] = self.env[kubernetes_service.SEAFLOOR]
            gateway = self.env[kubernetes_service.GATEWAY]
            reached = self._stack.enter_context(forwarded((gateway, port), port))
            rules["server"] = {"url": f"http://{reached}"}
        more = dict(policy or {})
        rules |= {"images": {**images, **more.pop("images", {})}, **more}
        file = self._folder / "policy.yaml"
        file.write_text(json.dumps(rules))
        server = TokenServer(
            self._folder / "data",
            env={
                "SEAFLOOR_LAUNCH__KIND": "kubernetes",
                "SEAFLOOR_LAUNCH__KUBECONFIG": self.env["KUBECONFIG"],
                "SEAFLOOR_LAUNCH__POLICY": str(file),
                **(env or {}),
            },
        )
        self._stack.callback(server.stop)
        server.start("--port", str(port))
        return server


def said(server: LiveServer, run_id: str) -> list[str]:
    """What the user reads of a run."""
    return [one["message"] for one in server.get(f"/api/v1/runs/{run_id}/events")["items"]]


def wait_said(server: LiveServer, run_id: str, *words: str) -> None:
    """Wait until one sentence has all the words."""

    def look() -> bool:
        return any(all(word in one for word in words) for one in said(server, run_id))

    try:
        wait_for(look, timeout_s=PATIENCE_S, what=f"{words} to be said")
    except AssertionError as error:
        raise AssertionError(f"{error}: {said(server, run_id)}") from error


def wait_state(server: LiveServer, run_id: str, state: str) -> dict[str, Any]:
    try:
        return server.wait_state(run_id, state, timeout_s=PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {said(server, run_id)}") from error
