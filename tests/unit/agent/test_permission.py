"""What an agent asks before it begins a command, and what is no answer to that."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from seafloor.agent.permission import refusal
from seafloor.agent.task import Task

REFUSED = b'{"code": "stale", "message": "It was begun anew."}'


class Listener:
    """Answers one request with some bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(self.answer)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def asked(listener: Listener, folder: Path) -> str | None:
    server_file = folder / "server.json"
    server_file.write_text(json.dumps({"url": listener.url}))
    task = SimpleNamespace(waits=False, server_file=str(server_file), task_path="/t", token="t")
    return refusal(cast("Task", task), told_to_end=lambda: False)


def test_refusal__clear_no__is_given_in_its_words(listener: Listener, tmp_path: Path) -> None:
    listener.answer = b"HTTP/1.0 409 Conflict\r\n\r\n" + REFUSED
    assert asked(listener, tmp_path) == "It was begun anew."


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.",
        b"HTTP/1.1 409 Conflict\r\n\r\n<html>no</html>",
        b"HTTP/1.1 409 Conflict\r\n\r\nnull",
        b"HTTP/1.1 409 Conflict\r\n\r\n[1]",
        b"HTTP/1.1 409 Conflict\r\n\r\n7",
        b"HTTP/1.1 no Conflict\r\n\r\n" + REFUSED,
    ],
    ids=["nothing", "cut", "page", "null", "list", "number", "no status"],
)
def test_refusal__anything_else__keeps_no_command_from_being_started(
    listener: Listener, tmp_path: Path, answer: bytes
) -> None:
    listener.answer = answer
    assert asked(listener, tmp_path) is None
