"""Tasks of distributed runs in memory."""

from __future__ import annotations

from collections.abc import Sequence

from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.workloads import Task
from seafloor.stores.metadata.memory.leases import check_claim
from seafloor.stores.metadata.memory.rows import Rows


class MemoryTasks:
    """``TaskRecords`` in memory."""

    _rows: Rows

    async def tasks_record(
        self, workload_id: WorkloadId, tasks: Sequence[Task], *, claim: Claim | None = None
    ) -> tuple[Task, ...]:
        """See ``TaskRecords``."""
        if not tasks:
            return ()
        number = tasks[0].attempt
        rows = self._rows.workloads.get(workload_id)
        if rows is None or number not in rows.attempts:
            raise NotFound(f"The run has no attempt {number}.", field="attempt")
        if claim is not None:
            check_claim(self._rows, rows, claim, number=number)
        made: list[Task] = []
        for one in tasks:
            before = rows.tasks.get((number, one.name))
            rows.tasks[number, one.name] = one if before is None else before.told(one)
            made.append(rows.tasks[number, one.name])
        return tuple(made)

    async def task_list(
        self, workload_ids: Sequence[WorkloadId], *, newest: bool, name: str | None = None
    ) -> dict[WorkloadId, tuple[Task, ...]]:
        """See ``TaskRecords``."""
        found: dict[WorkloadId, tuple[Task, ...]] = {}
        for workload_id in workload_ids:
            rows = self._rows.workloads.get(workload_id)
            if rows is None:
                continue
            tasks = tuple(
                task
                for (number, _), task in sorted(rows.tasks.items())
                if (not newest or number == rows.workload.attempt) and name in (None, task.name)
            )
            if tasks:
                found[workload_id] = tasks
        return found
