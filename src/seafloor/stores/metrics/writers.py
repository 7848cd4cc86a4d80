"""Which batches of which writer were applied: one that is sent again is known by its number.

Kept of each writer of a run is the last batch that was applied: its sequence, and the SHA-256 of
what it held. From that follows what becomes of a batch:

- above the last: it is applied. Numbers may be left out;
- the last again, with the same points: nothing, and no point is looked at;
- the last again with other points: refused, as two senders share one name;
- below the last: it is not known what it held, so its points are compared with those stored, as
  of an append that has no number. One that was applied changes nothing, one that was overtaken
  on its way is not lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from seafloor.domain.errors import Conflict
from seafloor.domain.metrics import BatchId, Point, check_batch_id
from seafloor.stores.metrics.columns import PointColumns, columns_of


@dataclass(frozen=True, slots=True)
class Applied:
    """What is kept of a writer's batch.

    Args:
        sequence: Its number.
        sha256: Of its points, as ``applied`` makes it.
    """

    sequence: int
    sha256: str

    def is_repeat_of(self, last: Applied | None) -> bool:
        """Whether it is the batch that was applied last.

        Raises:
            Conflict: it has the number of that one and other points.
        """
        if last is None or self.sequence != last.sequence:
            return False
        if self.sha256 != last.sha256:
            raise Conflict(
                f"Batch {self.sequence} of this writer was accepted with other points. "
                "Do two senders share the name? Give each its own.",
                field="sequence",
            )
        return True

    def is_above(self, last: Applied | None) -> bool:
        """Whether it is to be kept in the place of another."""
        return last is None or self.sequence > last.sequence


def applied(batch: BatchId, points: Sequence[Point] | PointColumns) -> Applied:
    """Make what is kept of a batch.

    The points count in the order in which they are given, and the names of their keys.

    Raises:
        InvalidValue: the batch's name is none, or the points are none.
    """
    check_batch_id(batch)
    columns = points if isinstance(points, PointColumns) else columns_of(points)
    found = hashlib.sha256("\n".join(columns.keys).encode(errors="surrogatepass"))
    for column in (columns.key, columns.step, columns.time_ms, columns.value):
        found.update(column.tobytes())
    return Applied(batch.sequence, found.hexdigest())
