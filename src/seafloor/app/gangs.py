"""Distributed runs as the reconciler sees them: many tasks, looked at and stopped as one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog
from msgspec.structs import replace

from seafloor.app.clock import Clock
from seafloor.app.folding import Folded, Rows, Seen, fold, news_of
from seafloor.app.leavings import Leavings, is_left
from seafloor.app.task_trouble import of_one_task
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.members import Member, members_of_spec
from seafloor.domain.workloads import Task, Workload, WorkloadState
from seafloor.launch.protocol import (
    Launcher,
    TaskAlive,
    TaskEnded,
    TaskKey,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.stores.metadata.protocol import MetadataStore

_log = structlog.get_logger(__name__)

SALVAGES_MAX: Final = 5
"""How often what a task left is tried to be delivered before its run ends without."""

_ASKED_AGAIN_S: Final = 5.0
"""After so long what agents told is read again, though nothing is seen to have changed."""


@dataclass
class _Looked:
    """What the last look at an attempt was, so that the same again costs no question."""

    at_s: float
    state: WorkloadState
    seen: Seen
    folded: Folded


class Gangs:
    """Looks at all tasks of an attempt, keeps what became known, and says what they are together.

    What it keeps in memory can be lost: it saves questions only.
    """

    def __init__(self, metadata: MetadataStore, launcher: Launcher, clock: Clock) -> None:
        self._metadata = metadata
        self._launcher = launcher
        self._clock = clock
        self._looked: dict[TaskKey, _Looked] = {}
        self._members: dict[WorkloadId, tuple[Member, ...]] = {}
        self._stops_asked: set[TaskKey] = set()
        self._salvages: dict[TaskKey, asyncio.Task[None]] = {}
        self._tries: dict[TaskKey, int] = {}
        self._leavings = Leavings(metadata, launcher, clock)
        self._given_up: set[TaskKey] = set()

    def members(self, workload: Workload) -> tuple[Member, ...]:
        """The tasks of a run; none: it is not distributed."""
        if not workload.spec.get("tasks"):
            return ()
        found = self._members.get(workload.id)
        if found is None:
            found = self._members[workload.id] = members_of_spec(workload.spec)
        return found

    def forget(self, driven: dict[WorkloadId, int]) -> None:
        """Forget runs that are not driven any more."""
        for workload_id in self._members.keys() - driven.keys():
            del self._members[workload_id]
        for key in [one for one in self._looked if driven.get(one.workload_id) != one.attempt]:
            del self._looked[key]
        over = {one for one in self._stops_asked if driven.get(one.workload_id) != one.attempt}
        self._stops_asked -= over
        for key in [one for one in self._salvages if driven.get(one.workload_id) != one.attempt]:
            self._salvages.pop(key).cancel()
            del self._tries[key]
            self._given_up.discard(key)

    async def observe(self, workload: Workload, claim: Claim) -> Folded:
        """Say how the newest attempt of a distributed run fares; stop its rest when it is decided.

        Cost: a look at each task; where nothing changed, a question to the store every few seconds.

        Raises:
            StaleLease: the claim is none any more.
            TaskTrouble: one of them cannot be looked at, or told to stop.
        """
        members = self.members(workload)
        key = TaskKey(workload.id, workload.attempt)
        seen = {one.name: await self._look(replace(key, task=one.name), claim) for one in members}
        last, now_s = self._looked.pop(key, None), time.monotonic()
        same = last is not None and (last.state, last.seen) == (workload.state, seen)
        if last is not None and same and now_s - last.at_s < _ASKED_AGAIN_S:
            self._looked[key] = last
            return last.folded
        found = await self._metadata.task_list([workload.id], newest=True)
        rows: dict[str, Task] = {task.name: task for task in found.get(workload.id, ())}
        stopping = workload.state is WorkloadState.STOPPING
        news = news_of(members, rows, seen, now_ns=self._clock.now_ns(), stopping=stopping)
        for task in await self._metadata.tasks_record(workload.id, news, claim=claim):
            rows[task.name] = task
        folded = fold(members, rows, seen, stopping=stopping)
        if folded.stop:
            await self._stop(key, seen, rows)
        elif isinstance(folded.observation, TaskAlive | TaskPreparing):
            self._looked[key] = _Looked(now_s, workload.state, seen, folded)
        return folded

    async def _look(self, key: TaskKey, claim: Claim) -> TaskObservation:
        """Look at one task; it lives until what it left is delivered, or was often tried to be.

        What a task that is lost may have left running is ended by that too.
        """
        with of_one_task():
            look = await self._launcher.observe(key)
        match look:
            case TaskEnded(delivered=False):
                tries_max = SALVAGES_MAX
            case TaskLost():
                tries_max = SALVAGES_MAX if is_left(look) else 1
            case _:
                return look
        salvage, tries = self._salvages.get(key), self._tries.get(key, 0)
        if salvage is None or salvage.done():
            if tries >= tries_max:
                if is_left(look) and key not in self._given_up:
                    await self._leavings.give_up(key, claim=claim)
                    self._given_up.add(key)
                return look
            work = self._launcher.salvage(key)
            salvage = self._salvages[key] = asyncio.create_task(work, name=f"salvage {key.task}")
            salvage.add_done_callback(_noted)
            self._tries[key] = tries + 1
        if isinstance(look, TaskEnded) and look.started:
            return TaskAlive()
        return TaskPreparing("It is over, and what it left is being delivered.")

    async def close(self) -> None:
        """End what is under way in the background."""
        salvages = tuple(self._salvages.values())
        self._salvages.clear()
        self._tries.clear()
        for task in salvages:
            task.cancel()
        await asyncio.gather(*salvages, return_exceptions=True)

    async def let_in(self, workload: Workload, claim: Claim) -> None:
        """Keep that all tasks of the newest attempt were let in: their commands may begin.

        Raises:
            StaleLease: the claim is none any more.
        """
        tasks = [Task(attempt=workload.attempt, name=one.name) for one in self.members(workload)]
        await self._metadata.tasks_record(workload.id, tasks, claim=claim)
        self._looked.pop(TaskKey(workload.id, workload.attempt), None)

    async def _stop(self, key: TaskKey, seen: Seen, rows: Rows) -> None:
        """Have each task end that lives; its own end follows at a later look."""
        for name, look in seen.items():
            one = replace(key, task=name)
            lives = isinstance(look, TaskAlive | TaskPreparing) and one not in self._salvages
            over = name in rows and rows[name].state.is_final
            if lives and not over and one not in self._stops_asked:
                with of_one_task():
                    await self._launcher.stop(one)
                self._stops_asked.add(one)


def _noted(salvage: asyncio.Task[None]) -> None:
    if not salvage.cancelled() and (error := salvage.exception()) is not None:
        _log.warning("what a task left was not delivered", why=str(error))
