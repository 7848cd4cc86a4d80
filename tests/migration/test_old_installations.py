"""What older versions left is opened with all that is in it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.migration.keep_installation import KEPT

from installation_world import differences, seen
from live_server import LiveServer

ARCHIVES = sorted(KEPT.glob("*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The data folder of an older version."""
    with tarfile.open(request.param) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from 3.11.4 on
        archive.extractall(tmp_path / "data")  # noqa: S202  # our own archive
    return tmp_path / "data"


@pytest.fixture
def server(data: Path) -> Iterator[LiveServer]:
    server = LiveServer(data)
    yield server
    server.stop()


def test_open__data_of_an_older_version__all_is_seen_as_it_was(
    server: LiveServer, data: Path
) -> None:
    wanted = json.loads((data / "seen.json").read_bytes())
    assert len(wanted["runs"]) == 6
    server.start()
    assert not differences(seen(server), wanted, may_have_more=True)


def test_open__data_of_an_older_version__a_run_goes_on(server: LiveServer, data: Path) -> None:
    wanted = json.loads((data / "seen.json").read_bytes())
    server.start()
    run = next(run for run in wanted["runs"] if wanted["runs"][run]["run"]["state"] == "running")
    before = server.get(f"/api/v1/runs/{run}/metrics")["items"]["loss"]
    point = ["loss", 0.125, before["last_step"] + 1, before["last_time_ms"] + 1]
    server.post(f"/api/v1/runs/{run}/metrics", {"points": [point]})
    series = server.get(f"/api/v1/runs/{run}/metrics/series?key=loss&limit=50000")
    known = wanted["runs"][run]["series"]["loss"]["points"]
    assert len(series["points"]) == len(known) + 1
    assert series["points"][:-1] == known
