"""What the cluster noted about pods that do not get on: asked for seldom, and few at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from seafloor.domain.errors import SeafloorError
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.observed import Pod, PodEvent
from seafloor.launch.kubernetes.status import needs_events

_log = structlog.get_logger(__name__)

INTERVAL_S: Final = 10.0
AT_ONCE_MAX: Final = 4
_KEPT_MAX: Final = 10_000


class PodEvents:
    """Events of pods, as far as they were asked for.

    Args:
        on_change: Called when there are new ones.
    """

    def __init__(self, cluster: Cluster, *, on_change: Callable[[], None]) -> None:
        self._cluster = cluster
        self._on_change = on_change
        self._known: dict[str, tuple[PodEvent, ...]] = {}
        self._due_s: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def of(self, pod: Pod) -> tuple[PodEvent, ...]:
        """What is known by now; has more asked for in the background when that is due.

        A pod that gets on within seconds is never asked about.
        """
        uid, now_s = pod.metadata.uid, time.monotonic()
        if not needs_events(pod):
            self._known.pop(uid, None)
            self._due_s.pop(uid, None)
            return ()
        if len(self._due_s) > _KEPT_MAX:  # pods that vanished while they waited
            self._due_s.clear()
            self._known.clear()
        due_s = self._due_s.setdefault(uid, now_s + INTERVAL_S)
        if now_s >= due_s and uid not in self._asking and len(self._asking) < AT_ONCE_MAX:
            self._due_s[uid] = now_s + INTERVAL_S
            asking = asyncio.create_task(self._ask(pod), name=f"events of {pod.metadata.name}")
            self._asking[uid] = asking
            asking.add_done_callback(lambda _: self._asking.pop(uid, None))
        return self._known.get(uid, ())

    async def _ask(self, pod: Pod) -> None:
        try:
            found = await self._cluster.events(pod.metadata.namespace, pod.metadata.uid)
        except SeafloorError as error:
            _log.warning("a pod's events cannot be read", pod=pod.metadata.name, why=error.message)
            return
        if found != self._known.get(pod.metadata.uid):
            self._known[pod.metadata.uid] = found
            self._on_change()

    async def close(self) -> None:
        """Stop asking."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
