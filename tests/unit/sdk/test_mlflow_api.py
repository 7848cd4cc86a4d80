"""An MLflow server that is read from: what it does to connections loses nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import SourceError, StoreUnavailable
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
    monkeypatch.setattr(api, "_FIRST_S", 0.1)
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
    assert len(handler.asked) > 4


@pytest.fixture
def busy(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """A server that is asked again at once."""
    monkeypatch.setattr(api, "_BACK_OFF_FIRST_S", 0.001)
    monkeypatch.setattr(api, "_BACK_OFF_MAX_S", 0.001)
    return scripted


def test_get__server_is_busy_for_a_while__is_asked_until_it_answers(busy: ScriptedServer) -> None:
    """After three seconds of a restart every run that was asked for was a failure."""

    def answer(_: Asked) -> Answer:
        count = len(busy.asked)
        if count == 1 or count > 30:
            return Answer(body={"a": "b"})
        return Answer((429, 502, 503, 504)[count % 4], headers={"Retry-After": "0"})

    busy.answer = answer
    mlflow = MlflowApi(busy.url, Credentials(), patience_s=60)
    for _ in range(2):
        assert mlflow.get("/a", {}, dict[str, str]) == {"a": "b"}


def test_get__server_wants_to_be_asked_later__is_not_asked_before(busy: ScriptedServer) -> None:
    busy.answer = lambda _: Answer(503, headers={"Retry-After": "3600"})
    with pytest.raises(StoreUnavailable, match="does not answer"):
        MlflowApi(busy.url, Credentials()).get("/a", {}, dict[str, str])
    assert len(busy.asked) == 1


def test_download__is_cut__comes_whole_from_the_beginning(
    busy: ScriptedServer, tmp_path: Path
) -> None:
    """One answer that was cut ended the import."""
    content = bytes(range(256)) * 100
    busy.answer = lambda _: Answer(body=content, cut_after=999 if len(busy.asked) < 3 else None)
    mlflow = MlflowApi(busy.url, Credentials())
    assert mlflow.download("/file", [], tmp_path / "file").read_bytes() == content
    assert len(busy.asked) == 3


@pytest.mark.parametrize("is_well", [True, False])
def test_get__one_thing_is_never_given__is_of_that_thing_if_others_are(
    busy: ScriptedServer, *, is_well: bool
) -> None:
    """A file that the server cannot send, or a query that its proxy gives up, ended the import."""

    def answer(asked: Asked) -> Answer:
        if asked.path == "/bad" or (not is_well and len(busy.asked) > 1):
            return Answer(504)
        return Answer(body={})

    busy.answer = answer
    mlflow = MlflowApi(busy.url, Credentials(), patience_s=0.05)
    mlflow.get("/good", {}, dict[str, str])
    with pytest.raises(SourceError if is_well else StoreUnavailable, match="busy, 504"):
        mlflow.get("/bad", {}, dict[str, str])
