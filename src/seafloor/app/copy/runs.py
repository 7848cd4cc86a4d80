"""Logs and event files, by the protocols of their stores: each side keeps them in its own way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from seafloor.app.copy.journal import Journal
from seafloor.app.copy.progress import Progress
from seafloor.app.copy.sides import AHEAD, AT_ONCE, Side, digest_of
from seafloor.app.copy.window import in_order
from seafloor.domain.errors import NotFound, StoreCorrupt
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.events.protocol import EventFile, EventFileKey
from seafloor.stores.logs.protocol import LogKey
from seafloor.stores.metadata.sql.copy import pages, workload_rows

RUNS: Final = "runs"


class _Damaged(Exception):
    """The source does not give all of an event file."""


class RunStreams:
    """Copies what runs printed and their tf.events files; every one is read again at the target.

    Args:
        source, target: From where to where.
        journal: Of this copy.
        progress: Where it is counted.
        skip_damaged: Whether what is damaged ends where its damage begins. Else it is left open
            at the target, so that the rest can follow when the source has it again.
    """

    def __init__(
        self,
        source: Side,
        target: Side,
        journal: Journal,
        progress: Progress,
        *,
        skip_damaged: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._journal = journal
        self._progress = progress
        self._skip_damaged = skip_damaged

    async def copy(self) -> None:
        """Copy those of every workload. Their rows must be there.

        Raises:
            StoreCorrupt: the target gives back other bytes than it was given.
        """
        reached = self._journal.reached(RUNS)
        self._progress.runs.add(reached.size_bytes, items=reached.items)
        runs = self._runs(reached.upto)
        damaged_before = len(self._progress.damaged)
        async with aclosing(
            in_order(runs, self._copy_run, at_once=AT_ONCE, ahead=AHEAD)
        ) as finished:
            async for (workload_id, _), size_bytes in finished:
                self._progress.runs.add(0)
                if len(self._progress.damaged) == damaged_before:
                    await self._journal.advance(RUNS, (workload_id,), size_bytes=size_bytes)
        await self._journal.save()

    async def _runs(
        self, after: tuple[str, ...] | None
    ) -> AsyncIterator[tuple[WorkloadId, WorkloadState]]:
        async for page in pages(self._source.database, workload_rows(), after=after):
            for workload_id, state in page:
                yield WorkloadId(workload_id), WorkloadState(state)

    async def _copy_run(self, run: tuple[WorkloadId, WorkloadState]) -> int:
        """Copy all of one run; return the bytes."""
        workload_id, state = run
        size_bytes = 0
        # What its client sent of a run that no launcher started has no log to say that it is over.
        finished = {0} if state.is_final else set[int]()
        for key in await self._source.logs.keys(workload_id):
            size_bytes += await self._copy_log(key, finished)
        return size_bytes + await self._copy_event_files(workload_id, finished)

    async def _copy_event_files(self, workload_id: WorkloadId, finished: set[int]) -> int:
        """Copy those of one run, and finish those of the attempts that are; return the bytes."""
        files = {
            EventFileKey(workload_id, file.attempt, file.path): file
            for file in await self._source.event_files.list(workload_id)
        }
        there = {
            (file.attempt, file.path): file.size_bytes
            for file in await self._target.event_files.list(workload_id)
        }
        damaged: set[EventFileKey] = set()
        for key, file in files.items():
            try:
                await self._copy_events(key, file, there.get((file.attempt, file.path), 0))
            except _Damaged:
                self._tell_damage(key)
                damaged.add(key)
        # A run's last words finish its log and its event files together.
        open_ = set[int]() if self._skip_damaged else {key.attempt for key in damaged}
        for attempt in (finished - open_) & {key.attempt for key in files}:
            await self._target.event_files.finish(workload_id, attempt)
        for key, file in files.items():
            if key in damaged:
                continue
            try:
                await self._compare_events(key, file)
            except _Damaged:  # since an earlier go copied it
                self._tell_damage(key)
        return sum(file.size_bytes for file in files.values())

    async def _copy_log(self, key: LogKey, finished: set[int]) -> int:
        source, target = self._source.logs, self._target.logs
        state = await source.state(key)
        at = (await target.state(key)).size_bytes
        is_damaged = False
        try:
            async for data in source.records(key, start=at):
                await target.append(key, offset=at, data=data)
                at += len(data)
                self._progress.runs.add(len(data), items=0)
        except StoreCorrupt:
            is_damaged = True
            self._progress.damaged.append(
                f"The log of task {key.stem} of {key.workload_id} (attempt {key.attempt}) is "
                "damaged in the source: what comes before the damage is copied."
            )
        if state.finished:
            if self._skip_damaged or not is_damaged:
                await target.finish(key)
            if not key.setup:  # what prepared a task ends before the task does
                finished.add(key.attempt)
        if not is_damaged:
            self._check(
                await digest_of(source.records(key)),
                await digest_of(target.records(key)),
                what=f"the log of {key.workload_id}",
            )
        self._progress.logs += 1
        return state.size_bytes

    async def _copy_events(self, key: EventFileKey, file: EventFile, at: int) -> None:
        if at >= file.size_bytes:
            return
        async for data in self._event_bytes(key, file, start=at):
            await self._target.event_files.append(key, offset=at, data=data)
            at += len(data)
            self._progress.runs.add(len(data), items=0)

    async def _event_bytes(
        self, key: EventFileKey, file: EventFile, *, start: int = 0
    ) -> AsyncIterator[bytes]:
        """Read an event file of the source; _Damaged where it ends too early."""
        at = start
        try:
            async for data in self._source.event_files.read(key, start=start):
                yield data
                at += len(data)
        except (NotFound, StoreCorrupt) as error:
            raise _Damaged from error
        if at < file.size_bytes:  # it may have more: a crash left its row behind
            raise _Damaged

    async def _compare_events(self, key: EventFileKey, file: EventFile) -> None:
        self._check(
            await digest_of(self._event_bytes(key, file)),
            await digest_of(self._target.event_files.read(key)),
            what=f'the event file "{key.path}" of {key.workload_id}',
        )
        self._progress.event_files += 1

    def _tell_damage(self, key: EventFileKey) -> None:
        self._progress.damaged.append(
            f'The event file "{key.path}" of {key.workload_id} (attempt {key.attempt}) is damaged '
            "in the source, or gone from it: what comes before the damage is copied."
        )

    def _check(self, put: str, found: str, *, what: str) -> None:
        if put != found:
            raise StoreCorrupt(
                f"The target gives back other bytes of {what} than it was given: check its "
                "database and object store, and give the same command again."
            )
        self._progress.digests += 1
