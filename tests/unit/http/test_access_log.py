"""The log's line of a request."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from seafloor.http.access_log import AccessLog


def test_note__of_a_request__is_one_line_of_json_with_all_that_is_known() -> None:
    lines: list[str] = []
    AccessLog(lines.append).note(
        method="POST", path='/a "quoted"\n/ü', status=404, duration_s=0.0123456, request_id="ab"
    )
    (line,) = lines
    assert line.count("\n") == 1
    found = json.loads(line)
    told = datetime.fromisoformat(found.pop("timestamp"))
    assert timedelta(0) <= datetime.now(UTC) - told < timedelta(minutes=1)
    assert found == {
        "event": "request",
        "level": "info",
        "method": "POST",
        "path": '/a "quoted"\n/ü',
        "status": 404,
        "duration_ms": 12.35,
        "request_id": "ab",
    }
