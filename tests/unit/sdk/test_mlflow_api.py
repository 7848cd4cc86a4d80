"""An MLflow server that is read from: what it does to connections loses nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.imports.mlflow import api
from seafloor.sdk.imports.mlflow.api import Credentials, MlflowApi


class _HangsUp(BaseHTTPRequestHandler):
    """Answers so many requests of a connection, and at the next one closes it."""

    protocol_version = "HTTP/1.1"
    answers_max: ClassVar[int] = 1
    asked: ClassVar[list[str]] = []
    answered = 0

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.answered == self.answers_max:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.answered += 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> type[_HangsUp]:
    monkeypatch.setattr(api, "_BACK_OFF_FIRST_S", 0.001)
    return type("Handler", (_HangsUp,), {"asked": []})


@pytest.fixture
def mlflow(handler: type[_HangsUp]) -> Iterator[MlflowApi]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    made = MlflowApi(f"http://127.0.0.1:{server.server_port}", Credentials())
    yield made
    made.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_get__connection_is_closed_as_it_is_asked__is_asked_again(
    mlflow: MlflowApi, handler: type[_HangsUp]
) -> None:
    for path in ("/a", "/b"):
        assert mlflow.get(path, {}, dict[str, str]) == {}
    assert handler.asked == ["/a", "/b", "/b"]


def test_get__connection_is_closed_whenever_it_is_asked__says_that_it_does_not_answer(
    mlflow: MlflowApi, handler: type[_HangsUp]
) -> None:
    handler.answers_max = 0
    with pytest.raises(StoreUnavailable, match="does not answer"):
        mlflow.get("/a", {}, dict[str, str])
    assert len(handler.asked) == 1 + api._REPEATS_MAX
