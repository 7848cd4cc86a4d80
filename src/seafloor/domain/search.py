"""Search: what is asked of runs, as a tree. ``search_grammar`` reads the text users write."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from seafloor.domain.workloads import WorkloadKind, WorkloadState


class Subject(StrEnum):
    """What an identifier speaks of."""

    METRIC = "metric"  # the last value of a series
    PARAM = "param"
    TAG = "tag"
    ATTRIBUTE = "attribute"
    DATASET = "dataset"


class Operator(StrEnum):
    """How an identifier is compared. LIKE is case-sensitive with ``%`` and ``_``; ILIKE is not."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    LIKE = "LIKE"
    ILIKE = "ILIKE"
    IN = "IN"
    NOT_IN = "NOT IN"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


ATTRIBUTES = {
    "id": "text",
    "name": "text",
    "state": "text",
    "user": "text",
    "project": "text",
    "environment": "text",
    "origin": "text",
    "experiment_id": "number",
    "created_ns": "number",
    "started_ns": "number",
    "ended_ns": "number",
    "updated_ns": "number",
}
"""The attributes of a workload that can be searched and ordered by, with their type."""


class Identifier(msgspec.Struct, frozen=True):
    """A thing to compare or order by.

    Args:
        subject: What it speaks of.
        key: Key of the metric, param or tag; one of ATTRIBUTES; ``name``, ``digest`` or
            ``context`` of a dataset.
    """

    subject: Subject
    key: str


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """One clause. A missing key never matches, not even ``!=``; only IS NULL does.

    Args:
        value: A number for metrics and numeric attributes; a text otherwise; several for IN and
            NOT IN; None for IS NULL and IS NOT NULL.
    """

    left: Identifier
    operator: Operator
    value: float | int | str | tuple[str, ...] | None = None


class AllOf(msgspec.Struct, frozen=True, tag="all"):
    """Every part holds; true when there is none."""

    parts: tuple[Filter, ...]


class AnyOf(msgspec.Struct, frozen=True, tag="any"):
    """At least one part holds."""

    parts: tuple[Filter, ...]


Filter = Comparison | AllOf | AnyOf


class Order(msgspec.Struct, frozen=True):
    """One key to order by: values first, then NaN, then missing, in both directions."""

    by: Identifier
    descending: bool = False


class Lifecycle(StrEnum):
    """Which of the living and the deleted."""

    ACTIVE = "active"
    DELETED = "deleted"
    ALL = "all"


class WorkloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of workloads.

    Args:
        kind: Of which kind.
        project: Only of this project; None: of all.
        experiment_ids: Only of these; None: of all.
        states: Only in these states; None: in all.
        filter: Only those for which it holds.
        order: Ties are broken by ``created_ns`` descending, then id ascending.
        lifecycle: Living, deleted or both.
        limit: 1..50,000.
        cursor: ``next`` of the page before; only valid with the same query.
    """

    kind: WorkloadKind = WorkloadKind.RUN
    project: str | None = None
    experiment_ids: tuple[int, ...] | None = None
    states: tuple[WorkloadState, ...] | None = None
    filter: Filter | None = None
    order: tuple[Order, ...] = ()
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    limit: int = 100
    cursor: str | None = None
