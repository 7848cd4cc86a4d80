"""Writes series as they come, and around what is damaged of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

from seafloor.domain.errors import SeafloorError, StoreCorrupt, StoreUnavailable
from seafloor.domain.metrics import STEP_MIN
from seafloor.sdk.client import Client
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.exports.damage import Losses, first_where
from seafloor.sdk.exports.folder import Table
from seafloor.sdk.exports.manifest import schema

CUTS_MAX: Final = 3
"""How often an answer may be cut before its next point has come, until that is called damaged."""


@dataclass
class _Place:
    """How far a series is.

    Args:
        step: Of the last point, or where to go on; None: at the beginning.
        at_step: How many points of that step are written.
        points: How many are.
    """

    step: int | None = None
    at_step: int = 0
    points: int = 0


class SeriesWriter:
    """Writes series without looking at their points.

    Args:
        client: The server.
        table: Gets them.
        losses: Told of points that the server cannot give.
        wrote: Told how many further points were written.
    """

    def __init__(
        self, client: Client, table: Table, losses: Losses, wrote: Callable[[int], None]
    ) -> None:
        self._client = client
        self._table = table
        self._losses = losses
        self._wrote = wrote
        self._schema = schema("metrics")

    def write(self, run_id: str, key: str, step_last: int) -> None:
        """Write a series, without the steps that are damaged.

        A connection that breaks is made again, and goes on behind the last point.

        Args:
            run_id, key: Which.
            step_last: Its last step.

        Raises:
            StoreUnavailable: the server went away.
        """
        place = _Place()
        cuts = 0
        while True:
            before = place.points
            try:
                self._write_from(place, run_id, key)
                return
            except (StoreCorrupt, StoreUnavailable) as error:
                if not self._losses.is_loss(error):
                    raise
                cuts = cuts + 1 if place.points == before else 0
                if error.retryable and cuts < CUTS_MAX:
                    continue  # it goes on where it was
                if not self._pass_damage(place, run_id, key, step_last, error):
                    return
                cuts = 0

    def _pass_damage(
        self, place: _Place, run_id: str, key: str, step_last: int, why: SeafloorError
    ) -> bool:
        """Write what stands before the next damage, and go behind it; False: nothing is there."""
        begin = STEP_MIN if place.step is None else place.step
        last = max(begin, step_last)
        bad = first_where(begin, last, lambda step: not self._can_read(run_id, key, begin, step))
        if bad is None:
            raise StoreUnavailable(
                f"Metric {key} of run {run_id} could not be read, and now it can: repeat the "
                "export.",
                detail=why.message,
            )
        if bad > begin:
            self._write_from(place, run_id, key, bad - 1)
        good = None
        if bad < last:
            good = first_where(bad + 1, last, lambda step: self._can_begin(run_id, key, step))
        begins = f" from step {bad:,} on" if place.points else ""
        ends = "" if good is None else f" up to step {good - 1:,}"
        self._losses.tell(f"points of metric {key} of run {run_id}{begins}{ends}", why)
        if good is None:
            return False
        place.step, place.at_step = good, 0
        return True

    def _can_read(self, run_id: str, key: str, first: int, last: int) -> bool:
        """Whether all points of some steps can be read."""
        for is_last in (False, True):
            try:
                for _ in self._batches(run_id, key, first, last):
                    pass
            except (StoreCorrupt, StoreUnavailable) as error:
                if not self._losses.is_loss(error):
                    raise
                if is_last or not error.retryable:
                    return False
            else:
                return True
        raise AssertionError  # the last try returned

    def _can_begin(self, run_id: str, key: str, step: int) -> bool:
        """Whether the first point from a step on can be read."""
        try:
            self._client.metrics.page(run_id, key, limit=1, step_min=step)
        except StoreCorrupt:
            return False
        return True

    def _write_from(
        self, place: _Place, run_id: str, key: str, step_max: int | None = None
    ) -> None:
        """Write the points from a place on, which goes with them."""
        known = place.at_step
        for batch in self._batches(run_id, key, place.step, step_max):
            fresh = batch.slice(known)
            known -= batch.num_rows - fresh.num_rows
            if not fresh.num_rows:
                continue
            self._table.add_batch(self._rows(run_id, key, fresh))
            steps = fresh.column("step")
            last = steps[-1].as_py()
            at_last = arrow(".compute").sum(arrow(".compute").equal(steps, last)).as_py()
            place.at_step = at_last + (
                place.at_step if steps[0].as_py() == last == place.step else 0
            )
            place.step = last
            place.points += fresh.num_rows
            self._wrote(fresh.num_rows)

    def _rows(self, run_id: str, key: str, batch: Any) -> Any:
        pa = arrow()
        columns = [
            pa.repeat(pa.scalar(run_id, pa.string()), batch.num_rows),
            pa.repeat(pa.scalar(key, pa.string()), batch.num_rows),
            batch.column("attempt"),
            batch.column("step"),
            batch.column("time_ms").view(self._schema.field("time").type),
            batch.column("value"),
        ]
        return pa.record_batch(columns, schema=self._schema)

    def _batches(
        self, run_id: str, key: str, step_min: int | None, step_max: int | None
    ) -> Generator[Any]:
        """Read some steps of a series, as they come.

        Raises:
            StoreUnavailable: the answer was cut.
            StoreError: what the server says of the points that it could not give.
        """
        import urllib3

        pa = arrow()
        metrics = self._client.metrics
        with metrics.open_arrow(run_id, key, step_min=step_min, step_max=step_max) as response:
            try:
                yield from arrow(".ipc").open_stream(response)
            except (urllib3.exceptions.HTTPError, OSError, pa.ArrowInvalid) as error:
                raise StoreUnavailable(
                    f"Metric {key} of run {run_id} was cut: the connection broke.",
                    detail=repr(error),
                ) from error
