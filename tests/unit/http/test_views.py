"""Runs as they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from seafloor.http.views import shown_commands


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({}, None),
        ({"command": "a  b"}, "a  b"),
        ({"command": ["a", "b"]}, "a b"),
        (
            {"tasks": {"worker": {"replicas": 2, "command": "t"}, "ps": {"command": ["p", "1"]}}},
            "2 worker: t; 1 ps: p 1",
        ),
    ],
)
def test_shown_commands__of_one_task_or_of_several(spec: dict[str, Any], shown: str | None) -> None:
    assert shown_commands(spec) == shown
