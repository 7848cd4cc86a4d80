"""Tasks of distributed runs in the metadata store: the protocol. Joined in ``protocol``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.workloads import Task


class TaskRecords(Protocol):
    """What is known of each task of an attempt that has several."""

    async def tasks_record(
        self, workload_id: WorkloadId, tasks: Sequence[Task], *, claim: Claim | None = None
    ) -> tuple[Task, ...]:
        """Add what became known of tasks, all or none; a repeat changes nothing.

        A task that nobody told of before is there from now on. Of the others the first start and
        the first end stay (``Task.told``), and receipts join.

        Args:
            tasks: Of one attempt, each name once.
            claim: In whose name; see ``AttemptRecords``.

        Returns:
            The same tasks as they are now, in that order.

        Raises:
            NotFound: no such attempt. Nothing was written.
            StaleLease: the claim is none any more. Nothing was written.
        """
        ...

    async def task_list(
        self, workload_ids: Sequence[WorkloadId], *, newest: bool, name: str | None = None
    ) -> dict[WorkloadId, tuple[Task, ...]]:
        """Tasks of workloads, by attempt and name; workloads without any are left out.

        Args:
            newest: Only of the newest attempt of each.
            name: Only those of this name; None: all, of which there may be a thousand.
        """
        ...
