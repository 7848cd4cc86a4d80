"""A stored environment that is replaced while a pod fetches it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.boot import environment
from seafloor.boot.environment import FetchCommand, run
from seafloor.domain.errors import NotFound
from seafloor.environments.stored import FORMAT, StoredEnvironment

DIGEST = "d" * 64


def test_fetch__archive_replaced_after_its_record_was_read__reads_the_record_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = StoredEnvironment(
        format=FORMAT,
        digest=DIGEST,
        python="3.11.2",
        platform="linux",
        lock="",
        sha256="a" * 64,
        size_bytes=1,
        created_ns=1,
    )
    records = [msgspec.json.encode(made)]

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/environment.json") and records:
            return Answer(200, records.pop())
        words = {"code": "not_found", "message": "It is not there.", "request_id": "r"}
        return Answer(404, words, {"Content-Type": "application/json"})

    server = ScriptedServer()
    server.answer = answer
    monkeypatch.setattr(environment, "_PAUSE_S", 0.0)
    with server.running():
        monkeypatch.setenv("SEAFLOOR_URL", server.url)
        with pytest.raises(NotFound, match="It is not there"):
            run(FetchCommand(DIGEST, tmp_path / "to"))
    names = [asked.path.rpartition("/")[2] for asked in server.asked]
    assert names == ["environment.json", f"{'a' * 64}.frames", "environment.json"]
