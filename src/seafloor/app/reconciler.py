"""The reconciler: drives every launched run from ``queued`` to its end.

It keeps nothing in memory that matters: each pass reads what the records say and what the launcher
sees, and does the next step. So a server that was killed goes on where it stopped, and tasks that
outlived it are found again.

Several servers may share the records. Each drives the runs of its own place, and claims queued ones
for it; all it writes carries the claim, which the store refuses once another server has taken over.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import assert_never

import structlog

from seafloor.app.clock import Clock
from seafloor.app.folding import waiting_mark
from seafloor.app.gangs import SALVAGES_MAX, Gangs
from seafloor.app.launches import Launches
from seafloor.app.leavings import Leavings, is_left
from seafloor.app.places import Living, LostPlaces, OwnPlace
from seafloor.app.strangers import Strangers
from seafloor.app.task_trouble import TaskTrouble, of_one_task
from seafloor.app.tasks import TaskReport, Tasks
from seafloor.app.wakeup import Wakeup
from seafloor.domain.code import CodeSource, ImageCode, Receipt
from seafloor.domain.errors import Conflict, NotFound, SeafloorError, StaleLease
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.members import MAIN
from seafloor.domain.search import (
    Comparison,
    Identifier,
    Lifecycle,
    Operator,
    Subject,
    WorkloadQuery,
)
from seafloor.domain.workloads import Ending, Workload, WorkloadState
from seafloor.launch.protocol import (
    Launcher,
    Prepared,
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskKey,
    TaskLaunch,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.stores.metadata.protocol import MetadataStore, NewEvent, Transition

_log = structlog.get_logger(__name__)

_DRIVEN = WorkloadQuery(
    states=(
        WorkloadState.QUEUED,
        WorkloadState.PREPARING,
        WorkloadState.RUNNING,
        WorkloadState.STOPPING,
    ),
    filter=Comparison(Identifier(Subject.ATTRIBUTE, "origin"), Operator.EQ, "launched"),
    lifecycle=Lifecycle.ALL,
    limit=1000,
)


class Reconciler:
    """Drives launched runs.

    Args:
        place: Whose runs it drives.
        lost_places: Sees to the runs of servers that are gone.
        interval_s: Between two passes when nobody rings.
        starts_at_once_max: How many runs are prepared at the same time.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        tasks: Tasks,
        launches: Launches,
        launcher: Launcher,
        wakeup: Wakeup,
        clock: Clock,
        *,
        place: OwnPlace,
        lost_places: LostPlaces,
        interval_s: float = 1.0,
        starts_at_once_max: int = 4,
    ) -> None:
        self._metadata = metadata
        self._tasks = tasks
        self._launches = launches
        self._launcher = launcher
        self._wakeup = wakeup
        self._clock = clock
        self._gangs = Gangs(metadata, launcher, clock)
        self._leavings = Leavings(metadata, launcher, clock)
        self._strangers = Strangers(metadata, launcher)
        self._place = place
        self._lost_places = lost_places
        self._fence: int | None = None
        self._interval_s = interval_s
        self._starts_at_once_max = starts_at_once_max
        self._starting: dict[WorkloadId, asyncio.Task[None]] = {}
        self._finishing: dict[WorkloadId, asyncio.Task[None]] = {}
        self._releasing: dict[TaskKey, asyncio.Task[None]] = {}
        self._salvages: dict[TaskKey, int] = {}
        self._stops_asked: set[TaskKey] = set()
        self._said: dict[WorkloadId, str] = {}
        self._run_problem: SeafloorError | None = None
        self.problem: str | None = None

    async def run(self) -> None:
        """Drive runs until cancelled. What it started goes on without it."""
        async with self._place.holder.holding():
            try:
                while True:
                    await self._guarded_pass()
                    await self._wakeup.wait(timeout_s=self._interval_s)
            finally:
                await self._drop_all()

    async def _drop_all(self) -> None:
        """End what is under way in the background; whoever drives the runs now begins it anew."""
        under_way = [
            *self._starting.values(),
            *self._finishing.values(),
            *self._releasing.values(),
        ]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._gangs.close()

    async def _guarded_pass(self) -> None:
        try:
            await self.reconcile()
        except SeafloorError as error:
            if self.problem != error.message:  # what lasts is no news at each pass
                _log.warning(
                    "reconciling failed and will be repeated", error=error.code, exc_info=True
                )
            self.problem = error.message
        except Exception:  # noqa: BLE001  # edge: background task
            self.problem = "The reconciler met an error of its own; the log says more."
            _log.exception("reconciling failed and will be repeated")
        else:
            self.problem = None

    async def reconcile(self) -> None:
        """Do one pass: the next step of every run of this place that is not at its end.

        Does nothing while the lease of the place is not held.

        Raises:
            SeafloorError: the next step of some runs cannot be done now; those of the others are.
                Or a store is away, and nobody knows how far the pass came.
        """
        self._run_problem = None
        newest = self._place.holder.newest
        if newest is None or newest.fence != self._fence:
            await self._drop_all()  # begun under a fence that is not ours any more
            self._fence = None if newest is None else newest.fence
        claim = self._place.claim
        if claim is None:
            if (problem := self._place.problem) is not None:
                raise StaleLease(problem)
            return
        cursor = None
        seen: dict[WorkloadId, int] = {}
        others: list[Living] = []
        while True:
            page = await self._metadata.workload_search(_with_cursor(cursor))
            attempts = await self._metadata.attempts_newest([one.id for one in page.items])
            # Oldest first: whoever waited longest is prepared first.
            for workload in reversed(page.items):
                seen[workload.id] = workload.attempt
                attempt = attempts.get(workload.id)
                if attempt is None or self._place.has(attempt):
                    await self._step(workload, claim)
                else:
                    others.append(Living(workload, attempt))
            cursor = page.next
            if cursor is None:
                break
        await self._lost_places.look(others)
        for workload_id in self._said.keys() - seen.keys():
            del self._said[workload_id]
        self._gangs.forget(seen)
        await self._end_starts_of_ended(seen)
        await self._release_ended(seen)
        if self._run_problem is not None:
            raise self._run_problem

    async def _step(self, workload: Workload, claim: Claim) -> None:
        """Do the next step of a run; what stands in its way does not keep the others waiting.

        Raises:
            SeafloorError: the database or the cluster is away, which may take long to be known, and
                would for each of a thousand runs.
        """
        try:
            await self._do_step(workload, claim)
        except TaskTrouble as trouble:
            self._run_problem = trouble.cause
        except SeafloorError as error:
            if error.retryable:
                raise
            self._run_problem = error

    async def _do_step(self, workload: Workload, claim: Claim) -> None:
        key = TaskKey(workload.id, workload.attempt)
        try:
            match workload.state:
                case WorkloadState.QUEUED:
                    await self._begin(workload, claim)
                case WorkloadState.PREPARING:
                    await self._resume_preparing(workload, key, claim)
                case WorkloadState.RUNNING:
                    await self._watch(workload, key, claim)
                case WorkloadState.STOPPING:
                    await self._see_to_stop(workload, key, claim)
                case _:
                    pass
        except StaleLease as error:
            _log.warning("a run is another server's now", run_id=key.workload_id, why=error.message)

    async def _begin(self, workload: Workload, claim: Claim) -> None:
        if workload.id in self._starting or len(self._starting) >= self._starts_at_once_max:
            return
        now_ns = self._clock.now_ns()
        try:
            entered = await self._metadata.workload_transition(
                workload.id,
                Transition(
                    expected=(WorkloadState.QUEUED,),
                    state=WorkloadState.PREPARING,
                    event=NewEvent(
                        now_ns, "server", "Preparing code and environment.", kind="state"
                    ),
                    attempt=workload.attempt,
                    claim=claim,
                ),
            )
        except Conflict:  # stopped, or claimed by another server, at this very moment
            return
        self._spawn_start(entered, claim)

    async def _resume_preparing(self, workload: Workload, key: TaskKey, claim: Claim) -> None:
        """Go on with a preparation that another life of this server began."""
        if workload.id in self._starting:
            return
        observed = await self._observe(workload, key, claim)
        if isinstance(observed, TaskAbsent):
            if len(self._starting) < self._starts_at_once_max:
                self._spawn_start(workload, claim)
        else:
            await self._see_started(workload, key, observed, claim)

    async def _observe(self, workload: Workload, key: TaskKey, claim: Claim) -> TaskObservation:
        """Look at an attempt, of one task or of several."""
        if not self._gangs.members(workload):
            with of_one_task():
                return await self._launcher.observe(key)
        folded = await self._gangs.observe(workload, claim)
        if folded.words:
            await self._say(workload, folded.words, claim, kind="warning")
        return folded.observation

    async def _see_started(
        self, workload: Workload, key: TaskKey, observed: TaskObservation, claim: Claim
    ) -> None:
        """Note how far a task is that was started: its command may be yet to begin."""
        if isinstance(observed, TaskPreparing):
            await self._say(workload, observed.words, claim)
        elif isinstance(observed, TaskEnded) and not observed.started:
            self._spawn_finish(key, observed, claim)
        else:
            now_ns = self._clock.now_ns()
            await self._tasks.started(workload.id, workload.attempt, time_ns=now_ns, claim=claim)

    async def _say(
        self, workload: Workload, words: str, claim: Claim, *, kind: str = "note"
    ) -> None:
        """Tell the user what a run waits for; once, until it is something else."""
        several = self._gangs.members(workload)
        mark = waiting_mark(words) if several else words
        if self._said.get(workload.id) != mark:
            await self._note(workload, words, claim, kind=kind)
            self._said[workload.id] = mark

    def _spawn_start(self, workload: Workload, claim: Claim) -> None:
        key = TaskKey(workload.id, workload.attempt)
        work = self._guarded(self._start(workload, claim), "starting a run", key)
        task = asyncio.create_task(work, name=f"start {workload.id}")
        self._starting[workload.id] = task
        task.add_done_callback(lambda _: self._start_is_over(workload.id))

    def _start_is_over(self, workload_id: WorkloadId) -> None:
        self._starting.pop(workload_id, None)
        self._wakeup.ring()

    async def _start(self, workload: Workload, claim: Claim) -> None:
        """Prepare and start one run; whatever goes wrong is said to its user."""
        try:
            launch = await self._launches.launch_for(workload)
            await self._prepare(workload, launch, claim)
            # By a clock of our own: this process may have been paused a moment ago.
            self._place.holder.check(claim.number)
            await self._launcher.start(launch)
            if self._gangs.members(workload):
                await self._gangs.let_in(workload, claim)
            observed = await self._observe(workload, launch.key, claim)
            await self._see_started(workload, launch.key, observed, claim)
        except StaleLease as error:
            _log.warning("a start was left to others", run_id=workload.id, why=error.message)
        except TaskTrouble as trouble:
            await self._start_again(workload, trouble.cause, claim)
        except SeafloorError as error:
            await self._start_again(workload, error, claim)
        except Exception:  # noqa: BLE001  # edge: background task
            mark = uuid.uuid4().hex[:12]
            _log.exception("starting a run failed", run_id=workload.id, mark=mark)
            message = f"Seafloor met an error of its own (see {mark} in the server's log)."
            await self._fail(workload, message, claim)

    async def _start_again(self, workload: Workload, error: SeafloorError, claim: Claim) -> None:
        """Say what was in the way of a start; give up what will never be otherwise."""
        if not error.retryable:
            await self._fail(workload, error.message, claim)
            return
        _log.warning(
            "starting a run failed and will be repeated",
            run_id=workload.id,
            error=error.code,
            message=error.message,
        )
        await self._say(workload, f"{error.message} Trying again.", claim, kind="warning")
        await asyncio.sleep(error.retry_after_s or 5.0)

    async def _prepare(self, workload: Workload, launch: TaskLaunch, claim: Claim) -> None:
        loop = asyncio.get_running_loop()
        notes: list[asyncio.Task[None]] = []

        def note(message: str) -> None:
            notes.append(loop.create_task(self._note(workload, _sentence(message), claim)))

        def progress(message: str) -> None:
            loop.call_soon_threadsafe(note, message)

        try:
            prepared = await self._launcher.prepare(launch, progress=progress)
        finally:
            told = await asyncio.gather(*notes, return_exceptions=True)
        for one in told:
            if isinstance(one, BaseException):
                raise one
        if prepared.here:
            await self._note(workload, _prepared_message(prepared), claim)
        receipt = prepared.receipt
        environment = launch.environment
        # The last thing before its agent is started: from here on it is this place's for good.
        await self._metadata.attempt_record(
            workload.id,
            workload.attempt,
            receipts=_receipts(launch.code, receipt),
            environment=environment.reference if environment is not None else None,
            environment_digest=environment.digest if environment is not None else None,
            launching_ns=self._clock.now_ns(),
            claim=claim,
        )

    async def _note(
        self, workload: Workload, message: str, claim: Claim, *, kind: str = "note"
    ) -> None:
        new = NewEvent(self._clock.now_ns(), "launcher", message, kind=kind)
        await self._metadata.event_append(workload.id, new, claim=claim)

    async def _fail(self, workload: Workload, message: str, claim: Claim) -> None:
        now_ns = self._clock.now_ns()
        found = await self._metadata.workload_get(workload.id)
        stopping = found.state is WorkloadState.STOPPING
        if found.state.is_final or found.attempt != workload.attempt:
            return
        await self._metadata.workload_transition(
            workload.id,
            Transition(
                expected=(found.state,),
                state=WorkloadState.STOPPED if stopping else WorkloadState.FAILED,
                event=NewEvent(now_ns, "launcher", message, kind="state"),
                ending=Ending(reason=message),
                ended_ns=now_ns,
                attempt=workload.attempt,
                claim=claim,
            ),
        )
        await self._tasks.close_log(workload.id, workload.attempt)

    async def _watch(self, workload: Workload, key: TaskKey, claim: Claim) -> None:
        if workload.id not in self._finishing:
            observed = await self._observe(workload, key, claim)
            await self._see(workload, key, observed, claim)

    async def _see(
        self, workload: Workload, key: TaskKey, observed: TaskObservation, claim: Claim
    ) -> None:
        """Say how a task fares; end its run with it."""
        match observed:
            case TaskAlive(words=words):
                if words:
                    await self._say(workload, words, claim, kind="warning")
            case TaskPreparing():
                return
            case TaskEnded() | TaskLost() | TaskAbsent():
                self._spawn_finish(key, observed, claim)
            case _:
                assert_never(observed)

    def _spawn_finish(
        self, key: TaskKey, observed: TaskEnded | TaskLost | TaskAbsent, claim: Claim
    ) -> None:
        if key.workload_id not in self._finishing:
            self._spawn_end(key, self._finish(key, observed, claim))

    def _spawn_end(self, key: TaskKey, ending: Coroutine[None, None, None]) -> None:
        """End a run beside the passes: it waits for stores that are slow, or away."""
        work = self._guarded(ending, "ending a run", key)
        task = asyncio.create_task(work, name=f"finish {key.workload_id}")
        self._finishing[key.workload_id] = task
        task.add_done_callback(lambda _: self._finishing.pop(key.workload_id, None))

    async def _guarded(self, work: Coroutine[None, None, None], what: str, key: TaskKey) -> None:
        """Do something in the background; what fails is logged, and the next pass repeats it."""
        try:
            await work
        except (SeafloorError, TaskTrouble) as met:
            error = met.cause if isinstance(met, TaskTrouble) else met
            _log.warning(
                f"{what} failed and will be repeated",
                run_id=key.workload_id,
                error=error.code,
                message=error.message,
            )
        except Exception:  # noqa: BLE001  # edge: background task
            _log.exception(f"{what} failed and will be repeated", run_id=key.workload_id)

    async def _finish(
        self, key: TaskKey, observed: TaskEnded | TaskLost | TaskAbsent, claim: Claim
    ) -> None:
        """End a run whose agent is gone: deliver what it left, then say how it ended."""
        workload_id, attempt = key.workload_id, key.attempt
        if isinstance(observed, TaskAbsent):
            await self._tasks.lost(workload_id, attempt, observed.reason, claim=claim)
            return
        if not await self._is_settled(key, observed, claim):
            return
        if isinstance(observed, TaskEnded):
            report = TaskReport(
                time_ns=self._clock.now_ns(), ending=observed.ending, started=observed.started
            )
            await self._tasks.ended(workload_id, attempt, report, claim=claim)
        else:
            await self._tasks.lost(workload_id, attempt, observed.reason, claim=claim)

    async def _is_settled(self, key: TaskKey, observed: TaskEnded | TaskLost, claim: Claim) -> bool:
        """Have what a task left delivered, or kept; say False when that must be tried again.

        An end closes the log, and the folder goes after it: so what cannot be delivered now (a
        full disk) is tried again at later passes, a bounded number of times.
        """
        if isinstance(observed, TaskEnded) and observed.delivered:
            return True
        await self._launcher.salvage(key)
        if is_left(await self._launcher.observe(key)):
            if self._is_to_be_tried_again(key):
                return False
            await self._leavings.give_up(key, claim=claim)
        self._salvages.pop(key, None)
        return True

    def _is_to_be_tried_again(self, key: TaskKey) -> bool:
        self._salvages[key] = self._salvages.get(key, 0) + 1
        _log.warning("what a task left is not delivered", run_id=key.workload_id)
        return self._salvages[key] < SALVAGES_MAX

    async def _see_to_stop(self, workload: Workload, key: TaskKey, claim: Claim) -> None:
        if workload.id in self._finishing:
            return
        starting = self._starting.get(workload.id)
        several = bool(self._gangs.members(workload))
        observed = await self._observe(workload, key, claim)
        if isinstance(observed, TaskAbsent) or several:
            if starting is not None:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
            # It may have been started between the look and the cancellation.
            observed = await self._observe(workload, key, claim)
            if isinstance(observed, TaskAbsent):
                began = workload.started_ns is not None
                words = "Stopped." if began else "Stopped before the command was started."
                self._spawn_end(key, self._fail(workload, words, claim))
                return
        alive = isinstance(observed, TaskAlive | TaskPreparing)
        if alive and not several and key not in self._stops_asked:
            with of_one_task():
                await self._launcher.stop(key)
            self._stops_asked.add(key)
        # As it was before the stop: one that is gone by now went for it, as the next pass says.
        if workload.id not in self._finishing:
            await self._see(workload, key, observed, claim)

    async def _end_starts_of_ended(self, driven: dict[WorkloadId, int]) -> None:
        for workload_id, task in list(self._starting.items()):
            if workload_id in driven or task.done():
                continue
            try:
                is_over = (await self._metadata.workload_get(workload_id)).state.is_final
            except NotFound:  # records of before it were brought back meanwhile
                is_over = True
            if is_over:
                task.cancel()

    async def _release_ended(self, driven: dict[WorkloadId, int]) -> None:
        """Remove the working folders of attempts that are over and were delivered."""
        found = await self._launcher.tasks()
        self._strangers.keep(found)
        for key in found:
            if key in self._releasing or driven.get(key.workload_id) == key.attempt:
                continue
            if key.workload_id in driven and await self._is_newest(key):
                continue
            # Beside the passes: delivering what is left may take its time, and nobody waits for it.
            work = self._guarded(self._release(key), "removing a task's folder", key)
            self._releasing[key] = asyncio.create_task(work, name=f"release {key.workload_id}")
            self._releasing[key].add_done_callback(
                lambda _, key=key: self._releasing.pop(key, None)
            )

    async def _release(self, key: TaskKey) -> None:
        if await self._strangers.has(key):
            return
        observed = await self._launcher.observe(key)
        if isinstance(observed, TaskAlive | TaskPreparing):
            await self._stop_if_given_up(key, begun=isinstance(observed, TaskAlive))
            return
        if isinstance(observed, TaskEnded | TaskLost) and await self._is_kept(key, observed):
            return
        self._salvages.pop(key, None)
        self._stops_asked.discard(key)
        await self._launcher.release(key)

    async def _is_kept(self, key: TaskKey, observed: TaskEnded | TaskLost) -> bool:
        """Whether the folder of a task that is over stays: something in it was not delivered.

        What the server refused of one that nobody waited for any more is not kept: that it may be
        missing was said when the attempt was given up.
        """
        if not (observed.left or (isinstance(observed, TaskEnded) and not observed.delivered)):
            return False
        await self._launcher.salvage(key)
        now = await self._launcher.observe(key)
        if not isinstance(now, TaskEnded | TaskLost):
            return isinstance(now, TaskAlive)
        if now.left:
            return self._is_to_be_tried_again(key) or await self._leavings.give_up(key)
        refused = isinstance(now, TaskEnded) and not now.delivered
        if not refused or await self._is_given_up(key, begun=True):
            return False
        return await self._leavings.give_up(key)

    async def _stop_if_given_up(self, key: TaskKey, *, begun: bool) -> None:
        """Stop a task that lives though its run goes on, or ended, without it."""
        if key in self._stops_asked:
            return
        if await self._is_given_up(key, begun=begun):
            await self._launcher.stop(key)
            self._stops_asked.add(key)

    async def _is_given_up(self, key: TaskKey, *, begun: bool) -> bool:
        try:
            found = await self._metadata.workload_get(key.workload_id)
        except NotFound:
            return await self._launcher.is_forgotten(key)
        if found.attempt < key.attempt:  # a stranger's, since a moment ago
            return False
        if found.attempt != key.attempt or found.state is WorkloadState.LOST:
            return True
        if not found.state.is_final:
            return False
        if not begun or key.task != MAIN:
            return True  # nothing comes of it any more; of several tasks none outlives the whole
        # One that began delivers what is left. One whose beginning nobody noted was stopped at the
        # moment of its start, and nobody waits for it.
        newest = (await self._metadata.attempts_newest([key.workload_id])).get(key.workload_id)
        return newest is None or newest.started_ns is None

    async def _is_newest(self, key: TaskKey) -> bool:
        found = await self._metadata.workload_get(key.workload_id)
        return found.attempt == key.attempt


def _with_cursor(cursor: str | None) -> WorkloadQuery:
    return WorkloadQuery(
        states=_DRIVEN.states,
        filter=_DRIVEN.filter,
        lifecycle=_DRIVEN.lifecycle,
        limit=_DRIVEN.limit,
        cursor=cursor,
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _receipts(code: CodeSource | None, receipt: Receipt | None) -> dict[str, Receipt] | None:
    """Receipts by folder under ``/code``; None: there is none to record."""
    if receipt is None or code is None or isinstance(code, ImageCode):
        return None
    return {code.folder: receipt}


def _prepared_message(prepared: Prepared) -> str:
    parts: list[str] = []
    receipt = prepared.receipt
    if receipt is not None:
        cached = ", from the cache" if receipt.cached else ""
        files = f"{receipt.files:,} file{'' if receipt.files == 1 else 's'}"
        parts.append(f"Code: {files}, {receipt.size_bytes:,} bytes{cached}.")
    if prepared.environment_cached is not None:
        came = "fetched" if prepared.environment_fetched else "built"
        came = "from the cache" if prepared.environment_cached else came
        parts.append(f"Environment: {came}.")
    parts.append(f"Prepared in {prepared.duration_s:.2f} s.")
    return " ".join(parts)
