"""A stored environment that is replaced while a pod fetches it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.boot import environment
from seafloor.boot.environment import FetchCommand, run
from seafloor.domain.errors import NotFound, StoreCorrupt
from seafloor.environments.stored import FORMAT, RECORD_FILE, StoredEnvironment

DIGEST = "d" * 64


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    monkeypatch.setattr(environment, "_PAUSE_S", 0.0)
    with made.running():
        monkeypatch.setenv("SEAFLOOR_URL", made.url)
        yield made


def record(sha256: str = "a" * 64) -> bytes:
    made = StoredEnvironment(
        format=FORMAT,
        digest=DIGEST,
        python="3.11.2",
        platform="linux",
        lock="",
        sha256=sha256,
        size_bytes=1,
        created_ns=1,
    )
    return msgspec.json.encode(made)


def not_there() -> Answer:
    words = {"code": "not_found", "message": "It is not there.", "request_id": "r"}
    return Answer(404, words, {"Content-Type": "application/json"})


def answers(server: ScriptedServer, *records: bytes) -> list[str]:
    """Have a server give these records, one after the other, and never an archive."""
    left = list(records)
    names: list[str] = []

    def answer(asked: Asked) -> Answer:
        names.append(asked.path.rpartition("/")[2])
        return Answer(200, left.pop(0)) if names[-1] == RECORD_FILE and left else not_there()

    server.answer = answer
    return names


def test_fetch__archive_replaced_after_its_record_was_read__reads_the_record_again(
    tmp_path: Path, server: ScriptedServer
) -> None:
    names = answers(server, record(), record("b" * 64))
    with pytest.raises(NotFound):
        run(FetchCommand(DIGEST, tmp_path / "to"))
    assert names == [
        RECORD_FILE,
        f"{'a' * 64}.frames",
        RECORD_FILE,
        f"{'b' * 64}.frames",
        RECORD_FILE,
    ]


def test_fetch__record_gone_after_it_was_there__says_that_the_archive_was_withdrawn(
    tmp_path: Path, server: ScriptedServer
) -> None:
    answers(server, record())
    words = "was damaged and was withdrawn: start the run again and it is built anew"
    with pytest.raises(NotFound, match=words):
        run(FetchCommand(DIGEST, tmp_path / "to"))


def test_fetch__archive_gone_that_its_record_names__ends_after_a_minute(
    tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = answers(server, *[record()] * 1000)
    monkeypatch.setattr(environment, "_GONE_S", 0.05)
    with pytest.raises(NotFound, match="is gone from the object store: start the run again"):
        run(FetchCommand(DIGEST, tmp_path / "to"))
    assert names.count(RECORD_FILE) > 1


@pytest.mark.parametrize(
    ("text", "words"), [(b'{"format":3}', "later version"), (b"{", "cannot be read")]
)
def test_fetch__record_of_no_use__says_why(
    tmp_path: Path, server: ScriptedServer, text: bytes, words: str
) -> None:
    answers(server, text)
    with pytest.raises(StoreCorrupt, match=words):
        run(FetchCommand(DIGEST, tmp_path / "to"))
