"""What a task left and nobody could deliver: kept where it is, and told to its user."""

from __future__ import annotations

from dataclasses import dataclass

from seafloor.app.clock import Clock
from seafloor.app.task_trouble import of_one_task
from seafloor.domain.errors import NotFound
from seafloor.domain.leases import Claim
from seafloor.domain.members import MAIN
from seafloor.launch.protocol import Launcher, TaskEnded, TaskKey, TaskLost, TaskObservation
from seafloor.stores.metadata.protocol import MetadataStore, NewEvent


def is_left(observed: TaskObservation) -> bool:
    """Whether something of a task is yet to be delivered, as far as anybody knows."""
    match observed:
        case TaskEnded(delivered=delivered):
            return not delivered
        case TaskLost(undelivered_bytes=undelivered_bytes, left=left):
            return left or undelivered_bytes > 0
        case _:
            return False


@dataclass(frozen=True)
class Leavings:
    """Gives up delivering: a loss is never silent, and what is lost to the server is not removed.

    Args:
        metadata: Where runs have their events.
        launcher: Where the tasks are.
    """

    metadata: MetadataStore
    launcher: Launcher
    clock: Clock

    async def give_up(self, key: TaskKey, *, claim: Claim | None = None) -> bool:
        """Have what a task left kept, and say so in the events of its run.

        Args:
            claim: Of whoever ends the run; None: it is over, and was told of where nothing is kept.

        Returns:
            Whether it is kept; else there is no place for it, or its run was purged.

        Raises:
            StaleLease: the claim is none any more.
            TaskTrouble: it cannot be kept now.
        """
        try:
            await self.metadata.workload_get(key.workload_id)
        except NotFound:  # where it was not purged, the records were brought back from before it
            return not await self.launcher.is_forgotten(key)
        with of_one_task():
            kept = await self.launcher.keep(key)
        if not kept and claim is None:
            return False
        whose = "" if key.task == MAIN else f"{key.task}: "
        event = NewEvent(
            self.clock.now_ns(),
            "launcher",
            f"{whose}What it left could not be delivered{kept}.",
            kind="warning",
        )
        await self.metadata.event_append(key.workload_id, event, claim=claim)
        return bool(kept)
