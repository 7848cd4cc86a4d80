"""Logs of the containers that prepare a pod: read through the API server, each to its end once.

What fetches code and packages says there what it does, and the cluster forgets it with the pod. A
log that was read to its end is finished in the store, so that no later life of a server reads it
again. What cannot be read is told of in the log itself, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from typing import Final

import structlog

from seafloor.domain.errors import Closed, Forbidden, NotFound, PodRejected, SeafloorError
from seafloor.domain.members import MAIN
from seafloor.launch.kubernetes.container_log import NodeHasNone, Tail
from seafloor.launch.kubernetes.container_reader import ContainerReader
from seafloor.launch.kubernetes.observed import Pod
from seafloor.launch.kubernetes.status import SetupContainer, setup_containers, setup_is_over
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.protocol import LogKey, LogStore

_log = structlog.get_logger(__name__)

LIVE_AFTER_S: Final = 3.0
"""One that runs for longer is followed; most are over sooner, and cost one request."""

_TRIES_MAX: Final = 3
"""How often a node is asked that says it has no such log."""

MISSING_TRIES_MAX: Final = 15
"""How often, over a minute or more, when it says that it has no such pod, which the cluster has: a
kubelet that has only just begun says so of every pod until it knows its own."""

_PAUSE_MIN_S: Final = 0.3
_PAUSE_MAX_S: Final = 10.0
_FORGOTTEN_AFTER_S: Final = 60.0
_REFUSED: Final = "What this container printed cannot be read from the cluster: {why}"
_GONE: Final = "More may have been printed here: the pod was gone before all was read."


class _Setup:
    """What is known of the logs of one pod."""

    def __init__(self, key: TaskKey, uid: str) -> None:
        self.key, self.uid = key, uid
        self.asked_s = time.monotonic()
        self.running_since_s: dict[str, float] = {}
        self.done: set[str] = set()
        self.settled = False
        self.task: asyncio.Task[None] | None = None

    def due(self, pod: Pod) -> SetupContainer | None:
        """The next container that is to be read now."""
        for one in setup_containers(pod):
            if one.name in self.done:
                continue
            now_s = time.monotonic()
            since_s = self.running_since_s.setdefault(one.name, now_s)
            return one if one.over or now_s - since_s >= LIVE_AFTER_S else None
        return None

    @property
    def is_reading(self) -> bool:
        return self.task is not None and not self.task.done()


class _Reading:
    """What is known of the log of one container, and when it is to be read again.

    Attributes:
        tail: As the read before left it; None: there was none, or it broke off.
        said: Why no more is read; None: it is.
    """

    def __init__(self) -> None:
        self.tail: Tail | None = None
        self.said: str | None = None
        self._pause_s = _PAUSE_MIN_S
        self._refusals = 0
        self._missing = 0

    @property
    def is_missing(self) -> bool:
        """Whether the cluster said last that there is no such pod."""
        return self._missing > 0

    def went_well(self) -> float:
        """Take note; in how many seconds it is to be read on."""
        self._pause_s, self._missing = _PAUSE_MIN_S, 0
        return self._spread_s()

    def failed(self, error: SeafloorError) -> float:
        """Take note; in how many seconds it is to be tried again, or to be said why not."""
        self.tail = None
        match error:
            case Closed():  # it was just finished
                return 0.0
            case Forbidden() | PodRejected():
                self.said = _REFUSED.format(why=error.message)
                return 0.0
            case NotFound():
                self._missing += 1
                if self._missing >= MISSING_TRIES_MAX:
                    self.said = _GONE
                    return 0.0
            case _:
                self._refusals += isinstance(error, NodeHasNone)
                if self._refusals >= _TRIES_MAX:
                    self.said = _REFUSED.format(why=error.message)
        self._pause_s = min(_PAUSE_MAX_S, self._pause_s * 2)
        return max(error.retry_after_s or 0.0, self._spread_s())

    def _spread_s(self) -> float:
        return self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311


class SetupLogs:
    """Reads them. Of a pod whose logs are all read it costs a look into a dictionary.

    Args:
        pod_of: The pod of a task as it is now; None: it is gone.
        on_change: Called when the logs of a pod are all in the store.
    """

    def __init__(
        self,
        reader: ContainerReader,
        logs: LogStore,
        *,
        pod_of: Callable[[TaskKey], Pod | None],
        on_change: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._logs = logs
        self._pod_of = pod_of
        self._on_change = on_change
        self._setups: dict[TaskKey, _Setup] = {}

    def follow(self, key: TaskKey, pod: Pod) -> bool:
        """Have the logs of a pod read, and go on with that for as long as this is repeated.

        Returns:
            Whether all that was printed until now is in the store, as far as it can be had.
        """
        found = self._setups.get(key)
        if found is None or found.uid != pod.metadata.uid:
            self._drop(key)
            found = self._setups[key] = _Setup(key, pod.metadata.uid)
        if found.settled:
            return True
        found.asked_s = time.monotonic()
        if found.is_reading:
            return False
        if found.due(pod) is None:
            found.settled = setup_is_over(pod)
            return True
        found.task = asyncio.create_task(self._read(found), name=f"setup of {key.workload_id}")
        return False

    def is_reading(self, key: TaskKey) -> bool:
        """Whether more may come, also of a pod that is gone."""
        found = self._setups.get(key)
        return found is not None and found.is_reading

    async def finish(self, key: TaskKey, *, within_s: float) -> None:
        """Wait for the rest of the logs of a pod that ended, but not for ever."""
        found = self._setups.get(key)
        if found is not None and found.task is not None:
            await asyncio.wait({found.task}, timeout=within_s)

    async def close_logs(self, keys: Sequence[TaskKey]) -> None:
        """Stop reading those of some tasks of an attempt; who follows them hears that they end.

        The first task, in whose name an attempt is released whose pods are gone, stands for all.
        """
        for key in keys:
            self._drop(key)
        names = {key.task for key in keys}
        for log in await self._logs.keys(keys[0].workload_id):
            is_theirs = log.task in names or MAIN in names
            if log.setup and log.attempt == keys[0].attempt and is_theirs:
                await self._logs.finish(log)

    def keep(self, keys: Container[TaskKey]) -> None:
        """Forget all others, but for those that are being read."""
        for key in [one for one in self._setups if one not in keys]:
            if not self.is_reading(key):
                del self._setups[key]

    def _drop(self, key: TaskKey) -> None:
        found = self._setups.pop(key, None)
        if found is not None and found.task is not None:
            found.task.cancel()

    async def close(self) -> None:
        """Stop reading."""
        tasks = [one.task for one in self._setups.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, one: _Setup) -> None:
        """Read one container after the other, whatever happens to the cluster."""
        while (pod := self._pod_of_now(one)) is not None:
            container = one.due(pod)
            if container is None:
                self._on_change()
                return
            try:
                await self._read_one(one, container.name)
            except Exception:  # noqa: BLE001  # edge: background task
                _log.exception("reading a setup's log failed", run_id=one.key.workload_id)
                await asyncio.sleep(_PAUSE_MAX_S)

    def _pod_of_now(self, one: _Setup) -> Pod | None:
        """The pod, for as long as it is there and somebody asks for it."""
        pod = self._pod_of(one.key)
        if pod is None or pod.metadata.uid != one.uid:
            return None
        return pod if time.monotonic() - one.asked_s < _FORGOTTEN_AFTER_S else None

    async def _read_one(self, one: _Setup, name: str) -> None:
        """Read a container's log to its end, or as far as it can be had."""
        key = LogKey(one.key.workload_id, one.key.attempt, one.key.task, name)
        reading = _Reading()
        while (pod := self._pod_of_now(one)) is not None:
            over = any(each.over for each in setup_containers(pod) if each.name == name)
            try:
                if await self._read_once(key, pod, reading, over=over):
                    one.done.add(name)
                    return
                wait_s = reading.went_well()
            except SeafloorError as error:
                _log.info("a setup's log is read again", run_id=key.workload_id, why=error.message)
                wait_s = reading.failed(error)
            await asyncio.sleep(wait_s)
        if reading.is_missing:
            with suppress(Closed):  # its attempt was released meanwhile
                await self._reader.say(key, _GONE)
                await self._logs.finish(key)

    async def _read_once(self, key: LogKey, pod: Pod, reading: _Reading, *, over: bool) -> bool:
        """Read on, or say why that is not possible; whether nothing is left to do then."""
        if reading.tail is None and (await self._logs.state(key)).finished:
            return True
        if reading.said is None:
            tail, reading.tail = reading.tail, None  # what is broken off is looked at anew
            reading.tail = await self._reader.read(key, pod, key.setup, follow=not over, tail=tail)
        else:
            await self._reader.say(key, reading.said)
        if not over and reading.said is None:
            return False
        await self._logs.finish(key)
        return True
