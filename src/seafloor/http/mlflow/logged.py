"""What MLflow's clients log, as they write it: the shapes that the short way decodes.

Imports little: the process that reads large batches starts with it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from seafloor.domain.metrics import Point


class LoggedMetric(
    Point, frozen=True, array_like=False, kw_only=True, gc=False, rename={"time_ms": "timestamp"}
):
    """A point as MLflow's clients write it."""

    key: str
    value: float
    time_ms: int
    step: int = 0
    model_id: Literal[""] = ""


class OneMetric(LoggedMetric, frozen=True, gc=False, kw_only=True):
    """The body of ``log-metric``."""

    run_id: str


class Label(msgspec.Struct, frozen=True, gc=False):
    """A param or a tag."""

    key: str
    value: str


class OneLabel(Label, frozen=True, gc=False, kw_only=True):
    """The body of ``log-parameter`` and of ``set-tag``."""

    run_id: str


class LoggedBatch(msgspec.Struct, frozen=True):
    """The body of ``log-batch``."""

    run_id: str
    metrics: list[LoggedMetric] = []
    params: list[Label] = []
    tags: list[Label] = []


UNDECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises of a body that is odd."""
