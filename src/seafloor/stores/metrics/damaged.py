"""What is damaged of the points of runs: left where it is, and told, while the rest goes on.

Nothing is removed: a backup may bring back what is missing, and somebody has to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.ids import WorkloadId

AGAIN_S = 600.0
"""A damaged row is looked at again after so long, and each further time after twice as long."""
_AGAIN_S_MAX = 86_400.0

Name = int | str
"""Of a row of the journal its sequence, of a row of what is sealed its id."""


@dataclass
class _Known:
    workload_id: WorkloadId
    error: StoreCorrupt
    pause_s: float
    due_s: float


class DamagedRows:
    """The rows that were found to be damaged by this server.

    Args:
        clock_s: Rises steadily.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._known: dict[Name, _Known] = {}

    def __contains__(self, name: Name) -> bool:
        return name in self._known

    def add(self, name: Name, workload_id: WorkloadId, error: StoreCorrupt) -> None:
        """Set a row aside."""
        self._known[name] = _Known(workload_id, error, AGAIN_S, self._clock_s() + AGAIN_S)

    def still(self, name: Name) -> None:
        """A row was looked at again and is no better."""
        found = self._known[name]
        found.pause_s = min(2 * found.pause_s, _AGAIN_S_MAX)
        found.due_s = self._clock_s() + found.pause_s

    def forget(self, name: Name) -> WorkloadId:
        """Take up a row that is whole again, or gone; say whose it is."""
        return self._known.pop(name).workload_id

    def of_journal(self, workload_id: WorkloadId) -> tuple[int, ...]:
        """The rows of the journal of a workload."""
        known = list(self._known.items())
        return tuple(
            name
            for name, found in known
            if isinstance(name, int) and found.workload_id == workload_id
        )

    def due(self) -> Iterator[Name]:
        """The rows that are to be looked at again by now."""
        now_s = self._clock_s()
        return iter([name for name, found in self._known.items() if found.due_s <= now_s])

    def told(self) -> StoreCorrupt | None:
        """What is wrong, in one error; None: nothing is known to be."""
        found = next(iter(self._known.values()), None)
        if found is None:
            return None
        others = len(self._known) - 1
        if not others:
            return found.error
        return StoreCorrupt(
            f"{found.error.message} Damaged as well: {others} more.", detail=found.error.detail
        )
