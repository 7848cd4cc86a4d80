"""Schemathesis against the native API: no 5xx, no undocumented status, no answer off its schema.

It runs with a fixed seed and a bounded number of examples; ``SEAFLOOR_SCHEMATHESIS_EXAMPLES`` and
``SEAFLOOR_SCHEMATHESIS_SEED`` look longer and elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from live_server import LiveServer

NOT_CHECKED = {
    "positive_data_acceptance": "a schema cannot say what a name, a filter or a spec may be",
    "use_after_free": "what was deleted stays readable until it is purged, on purpose",
    "allow_header_conformance": "the framework's own answers to OPTIONS, which no client asks",
}
NEVER_ENDS = "/follow$"  # a live log; tests/http/test_logs_api.py reads it


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_native_api__under_schemathesis__keeps_what_its_document_says(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    server = make_server()
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/openapi.json"),
        *("--phases", "coverage,fuzzing,stateful"),
        *("--checks", "all", "--exclude-checks", ",".join(NOT_CHECKED)),
        *("--exclude-path-regex", NEVER_ENDS),
        *("--max-examples", os.environ.get("SEAFLOOR_SCHEMATHESIS_EXAMPLES", "12")),
        *("--seed", os.environ.get("SEAFLOOR_SCHEMATHESIS_SEED", "20240521")),
        *("--request-timeout", "120", "--generation-database", "none", "--no-color"),
    ]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**server.environment, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    log = (server.data / "server.log").read_text(errors="replace")
    bugs = [line for line in log.splitlines() if '"request met a bug"' in line]
    assert ended.returncode == 0, f"{ended.stdout[-8000:]}\n{ended.stderr[-2000:]}\n{bugs[:3]}"
    assert not bugs
