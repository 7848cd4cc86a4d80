"""Reads what a container printed through the API server, into the store of all logs."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Final

from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.container_log import Entry, EntryReader, Tail
from seafloor.launch.kubernetes.observed import Pod
from seafloor.stores.logs.protocol import LogKey, LogStore

AT_ONCE_MAX: Final = 100
"""How many logs are read at the same time; when there are more they take turns."""

_TURN_S: Final = 300.0
"""How long one is followed before others get its place."""
_SHORT_TURN_S: Final = 5.0
"""The same while others wait for it."""
_APPEND_BYTES: Final = 1 << 20


class ContainerReader:
    """Reads logs. How far each is, the log itself says."""

    def __init__(self, cluster: Cluster, logs: LogStore) -> None:
        self._cluster = cluster
        self._logs = logs
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)

    async def read(
        self, key: LogKey, pod: Pod, container: str, *, follow: bool, tail: Tail | None
    ) -> Tail:
        """Read on from where a log is, until it ends or the turn is over.

        Args:
            follow: Whether more may come.
            tail: As the read before left it; None: there was none, or it broke off.

        Raises:
            ClusterUnavailable, NotFound, Forbidden, PodRejected: the cluster's word. What was read
                until then is kept.
            Closed: the log takes no more.
        """
        async with self._slots:
            return await self._read(key, pod, container, follow=follow, tail=tail)

    async def say(self, key: LogKey, text: str) -> None:
        """Add a line of Seafloor's own."""
        tail = await self._tail_of(key)
        await self._logs.append(
            key, offset=tail.size_bytes, data=tail.said(text, time_ns=time.time_ns())
        )

    async def _read(
        self, key: LogKey, pod: Pod, container: str, *, follow: bool, tail: Tail | None
    ) -> Tail:
        if tail is None or not tail.knows_since:
            tail = await self._tail_of(key)
        since_s = tail.since_s
        tail.begin()
        reader = EntryReader()
        turn_s = _SHORT_TURN_S if self._slots.locked() else _TURN_S
        ends_s = time.monotonic() + turn_s
        chunks = self._cluster.log(
            pod.metadata.namespace,
            pod.metadata.name,
            container,
            follow=follow,
            since_s=since_s,
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
                await self._append(key, tail, reader.feed(data))
        if not follow:
            await self._append(key, tail, reader.finish())
        return tail

    async def _append(self, key: LogKey, tail: Tail, entries: list[Entry]) -> None:
        made = bytearray()
        offset = tail.size_bytes
        for entry in entries:
            made += tail.add(entry)
            if len(made) >= _APPEND_BYTES:
                offset = await self._logs.append(key, offset=offset, data=bytes(made))
                made = bytearray()
        if made:
            await self._logs.append(key, offset=offset, data=bytes(made))

    async def _tail_of(self, key: LogKey) -> Tail:
        """What is in a log; it is gone over again where the node's clock went back."""
        tail = await self._gone_over(key, Tail())
        return tail if tail.knows_since else await self._gone_over(key, Tail(tail.since_s))

    async def _gone_over(self, key: LogKey, tail: Tail) -> Tail:
        async for data in self._logs.records(key):
            tail.read(data)
        return tail
