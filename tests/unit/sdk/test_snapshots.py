"""Working folders over HTTP."""

from __future__ import annotations

from pathlib import Path

from scripted_server import Answer, ScriptedServer
from seafloor.sdk.client import Client


def test_exists__of_another_size__was_cut_and_does_not_count(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.answer = lambda asked: Answer(
        200,
        b"12345" if asked.method == "HEAD" else {"sha256": "", "size_bytes": 7, "created": True},
    )
    snapshots = Client(scripted.url, "").snapshots
    archive = tmp_path / "archive"
    archive.write_bytes(b"1234567")

    assert snapshots.exists("a" * 64)
    assert snapshots.exists("a" * 64, size_bytes=5)
    assert not snapshots.exists("a" * 64, size_bytes=7)
    assert snapshots.ensure("a" * 64, archive)
    assert scripted.asked[-1].method == "PUT"
    assert scripted.asked[-1].body == b"1234567"
    archive.write_bytes(b"12345")
    assert not snapshots.ensure("a" * 64, archive)
