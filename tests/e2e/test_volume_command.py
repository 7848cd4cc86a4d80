"""``seafloor volume``, as the how-to page has it, against a real server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from client_process import Client
from live_server import LiveServer

SPEC = """\
experiment:
  name: volumes
  command: {command}
  volumes: [{{volume: {name}, path: {path}, read_only: {read_only}}}]
"""


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


def run(user: Client, folder: Path, name: str, command: str, *, read_only: bool = False) -> str:
    """Run a command with a volume, and give its state."""
    spec = folder / "spec.yaml"
    place = "/tmp/seafloor-volume-of-a-command"  # no task's own, wherever tests write
    text = SPEC.format(command=command, name=name, path=place, read_only=str(read_only).lower())
    spec.write_text(text)
    return str(user.json("run", "-f", str(spec))["state"])


def test_volume__through_its_life__is_what_was_asked_for(user: Client, tmp_path: Path) -> None:
    name = f"team-{uuid.uuid4().hex[:8]}"
    variable = f"$SEAFLOOR_VOLUME_{name.upper().replace('-', '_')}"
    made = user.json("volume", "create", name, "--size", "1Gi")
    assert (made["access_mode"], made["size_bytes"]) == ("RWO", 1 << 30)
    assert run(user, tmp_path, name, f"echo first > {variable}/file") == "succeeded"
    assert run(user, tmp_path, name, f"grep first {variable}/file", read_only=True) == "succeeded"

    assert user.json("volume", "snapshot", name)["number"] == 1
    assert run(user, tmp_path, name, f"echo second > {variable}/file") == "succeeded"
    refused = user.cli("volume", "restore", name, "1")
    assert refused.returncode != 0
    assert "Replace what" in refused.stderr
    told = user.cli("volume", "restore", name, "1", "--yes").stdout
    assert told == f"{name} is as in snapshot 1\n"
    assert run(user, tmp_path, name, f"grep first {variable}/file", read_only=True) == "succeeded"

    shown = user.cli("volume", "show", name).stdout
    assert "holds 1 file, 6 B" in shown
    assert "which nothing enforces on this machine" in shown
    assert name in user.cli("volume", "list").stdout
    told = user.cli("volume", "resize", name, "2Gi").stdout
    assert told == f"{name}  meant to hold 2.0 GiB, which nothing enforces on this machine\n"
    refused = user.cli("volume", "rm", name, "--yes")
    assert refused.returncode != 0
    assert "--with-snapshots" in refused.stderr
    user.cli("volume", "rm", name, "--yes", "--with-snapshots")
    missing = user.cli("volume", "show", name)
    assert "seafloor volume create" in missing.stderr
