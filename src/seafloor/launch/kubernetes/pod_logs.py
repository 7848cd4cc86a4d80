"""Logs of pods that have no agent: followed through the API server, into the store of all logs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import structlog

from seafloor.domain.errors import Closed, NotFound, SeafloorError
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.container_log import Entry, EntryReader, Tail
from seafloor.launch.kubernetes.observed import Pod
from seafloor.launch.kubernetes.status import has_agent, main_began, main_is_over
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.protocol import LogKey, LogStore

_log = structlog.get_logger(__name__)

AT_ONCE_MAX: Final = 100
"""How many logs are followed at the same time; when there are more they take turns."""

_TURN_S: Final = 300.0
_SHORT_TURN_S: Final = 5.0
_APPEND_BYTES: Final = 1 << 20
_PAUSE_MIN_S: Final = 0.3
_PAUSE_MAX_S: Final = 10.0
_FORGOTTEN_AFTER_S: Final = 60.0


class _Follower:
    """What is known of one log."""

    def __init__(self, key: TaskKey, uid: str) -> None:
        self.key, self.uid = key, uid
        self.tail: Tail | None = None
        self.asked_s = time.monotonic()
        self.done = False
        self.problem: str | None = None
        self.task: asyncio.Task[None] | None = None


class PodLogs:
    """Follows logs. It keeps nothing that matters: how far a log is, the log says.

    Args:
        pod_of: The pod of a task as it is now; None: it is gone.
        on_change: Called when all of a log is in the store.
    """

    def __init__(
        self,
        cluster: Cluster,
        logs: LogStore,
        *,
        pod_of: Callable[[TaskKey], Pod | None],
        on_change: Callable[[], None],
        at_once_max: int = AT_ONCE_MAX,
        turn_s: float = _TURN_S,
    ) -> None:
        self._cluster = cluster
        self._logs = logs
        self._pod_of = pod_of
        self._on_change = on_change
        self._slots = asyncio.Semaphore(at_once_max)
        self._turn_s = turn_s
        self._followers: dict[TaskKey, _Follower] = {}

    def follow(self, key: TaskKey, pod: Pod) -> bool:
        """Have the log of a pod followed, and go on with that for as long as this is repeated.

        Returns:
            Whether all of it is in the store; True also where its agent sees to that.
        """
        if has_agent(pod) or not main_began(pod):
            return True
        found = self._followers.get(key)
        if found is None or found.uid != pod.metadata.uid:
            found = self._followers[key] = _Follower(key, pod.metadata.uid)
        found.asked_s = time.monotonic()
        if not found.done and (found.task is None or found.task.done()):
            found.task = asyncio.create_task(self._follow(found), name=f"log of {key.workload_id}")
        return found.done

    def is_reading(self, key: TaskKey) -> bool:
        """Whether more may come of a log, also of one whose pod is gone."""
        found = self._followers.get(key)
        return found is not None and found.task is not None and not found.task.done()

    def problem(self, key: TaskKey) -> str | None:
        """Why a log cannot be read just now; None: it can, as far as is known."""
        found = self._followers.get(key)
        return None if found is None or found.done else found.problem

    async def finish(self, key: TaskKey, *, within_s: float) -> None:
        """Wait for the rest of the log of a pod that ended, but not for ever."""
        found = self._followers.get(key)
        if found is not None and found.task is not None:
            await asyncio.wait({found.task}, timeout=within_s)

    def forget(self, key: TaskKey) -> None:
        """Stop following one."""
        found = self._followers.pop(key, None)
        if found is not None and found.task is not None:
            found.task.cancel()

    async def close(self) -> None:
        """Stop following."""
        tasks = [one.task for one in self._followers.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, one: _Follower) -> None:
        """Read one log to its end, whatever happens to the cluster."""
        pause_s = _PAUSE_MIN_S
        while time.monotonic() - one.asked_s < _FORGOTTEN_AFTER_S:
            pod = self._pod_of(one.key)
            if pod is None or pod.metadata.uid != one.uid:
                return
            over = main_is_over(pod)
            try:
                async with self._slots:
                    await self._read(one, pod, follow=not over)
                one.problem, pause_s = None, _PAUSE_MIN_S
                one.done = over
            except (Closed, NotFound):  # the log takes no more, or there is none any more
                one.done = True
            except SeafloorError as error:
                one.tail = None
                self._note(one, error.message)
                pause_s = min(_PAUSE_MAX_S, pause_s * 2)
            except Exception:  # noqa: BLE001  # edge: background task
                one.tail = None
                _log.exception("following a log failed", run_id=one.key.workload_id)
                pause_s = _PAUSE_MAX_S
            if one.done:
                self._on_change()
                return
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311

    def _note(self, one: _Follower, message: str) -> None:
        if one.problem != message:
            _log.warning(
                "a log cannot be read and will be asked for again",
                run_id=one.key.workload_id,
                message=message,
            )
        one.problem = message

    async def _read(self, one: _Follower, pod: Pod, *, follow: bool) -> None:
        """Read on from where the log is, until it ends or the turn is over."""
        tail = one.tail
        one.tail = None  # what is broken off is looked at anew
        if tail is None:
            tail = await self._tail_of(one.key)
        tail.begin()
        reader = EntryReader()
        turn_s = _SHORT_TURN_S if self._slots.locked() else self._turn_s
        ends_s = time.monotonic() + turn_s
        chunks = self._cluster.log(
            pod.metadata.namespace,
            pod.metadata.name,
            follow=follow,
            since_s=None if tail.last_ns is None else tail.last_ns // 10**9,
        )
        async with aclosing(chunks):
            while True:
                try:
                    async with asyncio.timeout(max(0.0, ends_s - time.monotonic())):
                        data = await anext(chunks, None)
                except TimeoutError:
                    break
                if data is None:
                    break
                await self._append(one.key, tail, reader.feed(data))
        if not follow:
            await self._append(one.key, tail, reader.finish())
        one.tail = tail

    async def _append(self, key: TaskKey, tail: Tail, entries: list[Entry]) -> None:
        made = bytearray()
        offset = tail.size_bytes
        for entry in entries:
            made += tail.add(entry)
            if len(made) >= _APPEND_BYTES:
                offset = await self._put(key, offset, made)
                made = bytearray()
        if made:
            await self._put(key, offset, made)

    async def _put(self, key: TaskKey, offset: int, made: bytearray) -> int:
        return await self._logs.append(_log_key(key), offset=offset, data=bytes(made))

    async def _tail_of(self, key: TaskKey) -> Tail:
        tail = Tail()
        async for data in self._logs.records(_log_key(key)):
            tail.read(data)
        return tail


def _log_key(key: TaskKey) -> LogKey:
    return LogKey(key.workload_id, key.attempt, key.task)
