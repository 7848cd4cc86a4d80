"""What MLflow's clients log, as they write it: the shapes that the short way decodes.

A field that they do not send may be one of ours by its other name (``spellings``): it is odd.

Imports little: the process that reads large batches starts with it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from seafloor.domain.metrics import Point


class _Measured(
    Point,
    frozen=True,
    array_like=False,
    kw_only=True,
    gc=False,
    rename={"time_ms": "timestamp"},
    forbid_unknown_fields=True,
):
    """What every metric has."""

    key: str
    value: float
    time_ms: int
    step: int = 0
    model_id: Literal[""] = ""
    dataset_name: Literal[""] = ""
    dataset_digest: Literal[""] = ""


class LoggedMetric(_Measured, frozen=True, gc=False, kw_only=True):
    """A point as MLflow's clients write it in a batch."""

    run_id: str = ""


class OneMetric(_Measured, frozen=True, gc=False, kw_only=True):
    """The body of ``log-metric``."""

    run_id: str
    run_uuid: str = ""


class Label(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A param or a tag."""

    key: str
    value: str


class OneLabel(Label, frozen=True, gc=False, kw_only=True):
    """The body of ``log-parameter`` and of ``set-tag``."""

    run_id: str
    run_uuid: str = ""


class LoggedBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``log-batch``."""

    run_id: str
    metrics: list[LoggedMetric] = []
    params: list[Label] = []
    tags: list[Label] = []


UNDECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises of a body that is odd."""
