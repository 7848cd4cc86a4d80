"""What an export tells while it goes on, and what it asks."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from export_world import batch
from live_server import LiveServer
from seafloor.sdk.client import Client
from seafloor.sdk.exports.exporter import Exported, ExportOptions, export
from seafloor.wire.runs import EventPage, RunCreate, RunUpdate

pytestmark = pytest.mark.timeout(300)

POINTS = 200_000
FILE_BYTES = 8 * 1024 * 1024 - 1


def a_run(client: Client) -> str:
    return client.runs.create(RunCreate(experiment=uuid.uuid4().hex, name="r")).id


def test_export__of_one_large_run__tells_how_far_it_is_within_it(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    """Nothing was told until the run was there: minutes, of ten million points or 50 GB."""
    client = Client(shared_server.url, "")
    run_id = a_run(client)
    for begin in range(0, POINTS, 50_000):
        points = [("loss", begin + step, 7, 0.5) for step in range(50_000)]
        client.metrics.append_columns(run_id, batch(points, 0))
    large = tmp_path / "large"
    large.write_bytes(bytes(FILE_BYTES))
    client.artifacts.put(run_id, "large", large)
    points: set[int] = set()
    file_bytes: list[int] = []

    def told(done: Exported) -> None:
        if done.runs == 0:
            points.add(done.points)
            file_bytes.append(done.file_bytes + done.coming_bytes)

    _, done = export(client, tmp_path / "made", ExportOptions(runs=(run_id,)), told)
    assert done.points == max(points) == POINTS
    assert len(points) > 3
    assert file_bytes == sorted(file_bytes)
    assert file_bytes[-1] == done.file_bytes == FILE_BYTES
    assert len(set(file_bytes)) > 3
    assert done.coming_bytes == 0


def test_export__of_a_run_of_few_events__asks_for_them_once(
    shared_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(shared_server.url, "")
    run_id = a_run(client)
    asked: list[int] = []
    events = client.runs.events

    def counted(run_id: str, *, after: int = 0) -> EventPage:
        asked.append(after)
        return events(run_id, after=after)

    monkeypatch.setattr(client.runs, "events", counted)
    export(client, tmp_path / "made", ExportOptions(runs=(run_id,)), lambda _: None)
    assert asked == [0]


def test_iterate_events__of_several_pages__has_each_once(
    shared_server: LiveServer,
) -> None:
    client = Client(shared_server.url, "")
    run_id = a_run(client)
    for _ in range(502):  # each is an event
        client.runs.update(run_id, RunUpdate(state="failed"))
        client.runs.update(run_id, RunUpdate(state="running"))
    found = [event.sequence for event in client.runs.iterate_events(run_id)]
    assert len(client.runs.events(run_id).items) == 1000
    assert found == list(range(1, 1 + 1 + 2 * 502))
