"""Twenty runs at once, each printing and logging a lot: nothing missing, nothing doubled."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from live_server import LiveServer

RUNS = 20
LINES = 100_000
POINTS = 10_000

SCRIPT = f"""
import sys
import seafloor

seafloor.start_run()
points = iter(range({POINTS}))
for line in range({LINES}):
    print(f"line {{line}} of {{sys.argv[1]}} æøå")
    if line % {LINES // POINTS} == 0:
        step = next(points)
        seafloor.log_metrics({{"loss": 1 / (step + 1)}}, step=step)
seafloor.end_run()
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_runs__twenty_at_once__every_line_and_point_is_there_once(
    server: LiveServer, tmp_path: Path
) -> None:
    script = tmp_path / "print_and_log.py"
    script.write_text(SCRIPT)
    runs = [
        server.launch(["python", str(script), f"run-{number}"], run_name=f"run-{number}")
        for number in range(RUNS)
    ]
    for run in runs:
        ended = server.wait_state(
            run["id"], "succeeded", "failed", "lost", "stopped", timeout_s=1200
        )
        assert ended["state"] == "succeeded", server.get(f"/api/v1/runs/{run['id']}/events")
    for run in runs:
        lines = server.log_lines(run["id"], stream="out")
        assert [line["text"] for line in lines] == [
            f"line {number} of {run['name']} æøå" for number in range(LINES)
        ]
        numbers = [line["number"] for line in lines]
        assert numbers == sorted(set(numbers))
        series = server.get(f"/api/v1/runs/{run['id']}/metrics/series?key=loss&limit=50000")
        assert [point[0] for point in series["points"]] == list(range(POINTS))
        assert all(math.isclose(point[2], 1 / (point[0] + 1)) for point in series["points"])
        (summary,) = server.get(f"/api/v1/runs/{run['id']}/metrics")["items"].values()
        assert summary["points"] == POINTS
