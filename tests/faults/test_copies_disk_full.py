"""Exports to a disk that fills up, and imports to a server whose disk does: a repeat goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from export_world import filled, seafloor
from exported import content
from live_server import LiveServer
from seafloor.domain.errors import StoreFull
from seafloor.sdk.client import Client
from seafloor.sdk.exports.exporter import ExportOptions, export
from seafloor.testing.small_disk import small_disk

pytestmark = pytest.mark.timeout(900)

RUNS = 4
FILE_BYTES = 500_000


@pytest.fixture(scope="module")
def source(module_server: LiveServer) -> Client:
    """A server with some runs with something of every kind and a file of half a megabyte."""
    client = Client(module_server.url, "")
    for number in range(RUNS):
        run = {
            "name": f"r{number}",
            "params": {"p": "1"},
            "tags": {},
            "points": {0: [("loss", step, step, step / 7) for step in range(100)]},
            "state": "succeeded",
            "deleted": False,
            "text": "t",
            "file": os.urandom(FILE_BYTES),
        }
        filled(client, "default", "full", run)
    return client


def test_export__to_a_disk_that_fills_up__says_so_and_a_repeat_is_whole(
    source: Client, tmp_path: Path
) -> None:
    export(source, tmp_path / "wanted", ExportOptions(), lambda _: None)
    with small_disk(tmp_path / "disk", size_bytes=16 << 20) as disk:
        folder = disk.path / "made"
        leave_bytes, said = 0, ""
        while True:
            disk.fill(leave_bytes=leave_bytes)
            try:
                export(source, folder, ExportOptions(), lambda _: None)
            except StoreFull as error:
                said = error.message
            else:
                break
            assert str(folder) in said
            assert "make room and repeat" in said
            assert not (folder / "manifest.json").exists()
            assert list(folder.rglob("blobs/*.part")) == []
            leave_bytes += 96 << 10
        assert said
        # Blobs that came were kept, so it was not all made with what was left at last.
        assert leave_bytes < RUNS * FILE_BYTES
        assert content(folder) == content(tmp_path / "wanted")


def test_import__to_a_server_whose_disk_fills_up__says_so_and_a_repeat_brings_the_rest(
    source: Client, make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    export(source, folder, ExportOptions(), lambda _: None)
    with small_disk(tmp_path / "disk", size_bytes=48 << 20) as disk:
        there = make_server("disk/data")
        for leave_bytes in (FILE_BYTES // 2, 3 * FILE_BYTES):
            disk.fill(leave_bytes=leave_bytes)
            found = seafloor(there, "import", "seafloor", str(folder))
            assert found.returncode not in (0, 1), found.stderr
            *_, goes_on, said = found.stderr.splitlines()
            assert "space" in said
            assert "the same command goes on" in goes_on
            assert "Traceback" not in found.stderr
        disk.free()
        found = seafloor(there, "import", "seafloor", str(folder))
        assert found.returncode == 0, found.stderr
        export(Client(there.url, ""), tmp_path / "back", ExportOptions(), lambda _: None)
        assert content(tmp_path / "back") == content(folder)
        there.stop()
