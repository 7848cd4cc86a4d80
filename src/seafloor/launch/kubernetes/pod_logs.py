"""Logs of pods that have no agent: followed through the API server, into the store of all logs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Container
from typing import Final

import structlog

from seafloor.domain.errors import Closed, SeafloorError
from seafloor.launch.kubernetes.container_log import Tail
from seafloor.launch.kubernetes.container_reader import ContainerReader
from seafloor.launch.kubernetes.observed import Pod
from seafloor.launch.kubernetes.pod import MAIN
from seafloor.launch.kubernetes.status import has_agent, main_began, main_is_over
from seafloor.launch.protocol import TaskKey
from seafloor.stores.logs.protocol import LogKey

_log = structlog.get_logger(__name__)

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
        reader: ContainerReader,
        *,
        pod_of: Callable[[TaskKey], Pod | None],
        on_change: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._pod_of = pod_of
        self._on_change = on_change
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

    def keep(self, keys: Container[TaskKey]) -> None:
        """Forget all others, but for those that are being read."""
        for key in [one for one in self._followers if one not in keys]:
            if not self.is_reading(key):
                del self._followers[key]

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
                tail, one.tail = one.tail, None  # what is broken off is looked at anew
                one.tail = await self._reader.read(
                    _log_key(one.key), pod, MAIN, follow=not over, tail=tail
                )
                one.problem, pause_s = None, _PAUSE_MIN_S
                one.done = over
            except Closed:  # the log takes no more
                one.done = True
            # Also 404, which a kubelet that has only just begun says until it knows its pods.
            except SeafloorError as error:
                self._note(one, error.message)
                pause_s = min(_PAUSE_MAX_S, pause_s * 2)
            except Exception:  # noqa: BLE001  # edge: background task
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


def _log_key(key: TaskKey) -> LogKey:
    return LogKey(key.workload_id, key.attempt, key.task)
