"""The entry store: what a client logs to a workload at once, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.models import ModelMetric
from seafloor.stores.metadata.protocol import Transition
from seafloor.stores.metrics.batch import Batch
from seafloor.stores.metrics.columns import PointColumns


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged at once.

    Args:
        points: Of any keys; each kept once, as ``MetricAppend`` says. A batch was checked already.
        params, tags: As ``LabelRecords`` says.
        delete_tags: Which tags go; each must be there.
        name: The workload's new name, or None.
        model_metrics: What it measured of logged models, by their ids.
        transition: The state that the workload enters with this, in nobody's name (no claim).
    """

    points: Sequence[Point] | PointColumns | Batch = ()
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    delete_tags: Sequence[str] = ()
    name: str | None = None
    model_metrics: Mapping[str, Sequence[ModelMetric]] = {}
    transition: Transition | None = None


class EntryStore(Protocol):
    """Writing of entries."""

    async def write(self, workload_id: WorkloadId, entries: Entries, *, updated_ns: int) -> None:
        """Write entries, all or none, durable and readable when it returns.

        Repeating it is harmless: points, params and values of models that are there already stay
        as they are; a transition that was made is a Conflict. The points are of the attempt that
        the workload is at. Concurrent calls are committed together (group commit).

        Args:
            updated_ns: When, for a new name.

        Raises:
            InvalidValue: a point is out of bounds, or a text cannot be kept. Nothing was written.
            NotFound: no such workload, model, or tag to delete. Nothing was written.
            Conflict: the workload is deleted, a param has another value, or the transition is none
                that ``WorkloadRecords.workload_transition`` makes. Nothing was written.
            StoreUnavailable: unknown whether they were written. Repeat the call.
            StoreFull: no space left. Nothing was written.
        """
        ...
