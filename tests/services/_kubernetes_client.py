"""A few lines that ask an API server: what tests see does not come through what they test."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Kubernetes:
    """A cluster, asked as its administrator.

    Args:
        url: Of the API server.
        token: Of the administrator.
        authority: File of the authority that signed the server's certificate.
    """

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self.url = url
        self.token = token
        self._authority = authority

    @classmethod
    def of_kubeconfig(cls, path: str) -> Kubernetes:
        """As the kubeconfig of the tests' clusters says, which is JSON."""
        config = json.loads(Path(path).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        return cls(cluster["server"], user["token"], Path(cluster["certificate-authority"]))

    def call(self, method: str, path: str, body: Any = None, *, kind: str = "json") -> Any:
        """Ask; ``kind`` is that of the body, such as ``merge-patch+json``. Text is given as such.

        Raises:
            urllib.error.HTTPError: the server refuses; with its answer.
            OSError: no server answers.
        """
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": f"application/{kind}",
                "Accept": "application/json, */*",
            },
        )
        tls = ssl.create_default_context(cafile=str(self._authority))
        try:
            answer = urllib.request.urlopen(request, timeout=30, context=tls)
        except urllib.error.HTTPError as error:
            error.msg = f"{error.msg} ({method} {path})"  # what a test's last line shows of it
            raise
        with answer:
            is_json = answer.headers["Content-Type"].startswith("application/json")
            text = answer.read().decode()
        return json.loads(text) if is_json else text

    def remove(self, path: str) -> None:
        """Delete an object, as a test's end does; one that has gone meanwhile is no error.

        Raises:
            urllib.error.HTTPError: the server refuses; with its answer.
            OSError: no server answers.
        """
        try:
            self.call("DELETE", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def watch(self, path: str) -> Iterator[Any]:
        """Objects of a watch, as they change, until the server ends it or goes away."""
        request = urllib.request.Request(
            f"{self.url}{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        tls = ssl.create_default_context(cafile=str(self._authority))
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            urllib.request.urlopen(request, context=tls) as answer,
        ):
            for line in answer:
                yield json.loads(line)["object"]

    def is_ready(self) -> bool:
        """Whether the API server says that it is."""
        try:
            return self.call("GET", "/readyz") == "ok"
        except OSError:
            return False

    def takes_pods(self, namespace: str) -> bool:
        """Whether a namespace has its account, and that its token: without it pods are refused."""
        try:
            account = self.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except OSError:
            return False
        return bool(account.get("secrets"))

    def is_there(self, path: str) -> bool:
        """Whether there is an object; also false while nobody answers."""
        try:
            self.call("GET", path)
        except OSError:
            return False
        return True
