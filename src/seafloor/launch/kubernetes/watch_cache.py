"""A copy of the objects that are ours, which the cluster itself keeps up to date.

Looking at an object costs a look into a dictionary, however many there are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec
import structlog

from seafloor.domain.errors import ClusterUnavailable, SeafloorError
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Change, Expired
from seafloor.launch.kubernetes.observed import Metadata

_log = structlog.get_logger(__name__)

RESYNC_S: Final = 900.0
"""After so long everything is listed anew, should a change ever have been missed."""

_PAUSE_MIN_S: Final = 0.2
_PAUSE_MAX_S: Final = 15.0
_SYNC_WITHIN_S: Final = 30.0


class Described(Protocol):
    """An object of the cluster."""

    @property
    def metadata(self) -> Metadata:
        """Its metadata."""
        ...


def _nothing(_key: object, _kept: object) -> None:
    """Remember nothing."""


class _Mark(msgspec.Struct):
    metadata: Metadata


Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept", bound=Described)


class WatchCache(Generic[Key, Kept]):
    """The objects of one kind with certain labels, in some namespaces.

    Args:
        kind: ``Pod`` or ``ConfigMap``.
        decoder: Of one object.
        key_of: By what an object is found; None: it is none of ours.
        selector: The labels.
        on_change: Called after every change.
        on_gone: Called with an object as it last was, when it is told that it is no more.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        decoder: msgspec.json.Decoder[Kept],
        *,
        key_of: Callable[[Metadata], Key | None],
        namespaces: Sequence[str],
        selector: str,
        on_change: Callable[[], None],
        on_gone: Callable[[Key, Kept], None] = _nothing,
    ) -> None:
        self._cluster = cluster
        self._kind = kind
        self._decoder = decoder
        self._key_of = key_of
        self._selector = selector
        self._on_change = on_change
        self._on_gone = on_gone
        self._kept: dict[Key, Kept] = {}
        self._versions: dict[str, int] = {}
        self._synced = {namespace: asyncio.Event() for namespace in namespaces}
        self._following: list[asyncio.Task[None]] = []
        self._problem: SeafloorError | None = None
        self.lists = 0
        """How often a namespace was listed."""

    async def synced(self) -> None:
        """Wait until every namespace was listed once; begins that when nobody has.

        Raises:
            ClusterUnavailable: that takes too long; the message says why.
        """
        if not self._following:
            self._following = [
                asyncio.create_task(self._follow(namespace), name=f"watch {self._kind} {namespace}")
                for namespace in self._synced
            ]
        if all(event.is_set() for event in self._synced.values()):
            return
        try:
            async with asyncio.timeout(_SYNC_WITHIN_S):
                for event in self._synced.values():
                    await event.wait()
        except TimeoutError as error:
            why = self._problem.message if self._problem is not None else "it is slow"
            raise ClusterUnavailable(f"The cluster was not read yet: {why}") from error

    async def close(self) -> None:
        """Stop following."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    def get(self, key: Key) -> Kept | None:
        """An object as it was last told of."""
        return self._kept.get(key)

    def keys(self) -> tuple[Key, ...]:
        """Of all objects."""
        return tuple(self._kept)

    def put(self, content: bytes) -> Kept:
        """Take an object that was just made, so that whoever looks next sees it.

        The watch knows better if it is already further than that.
        """
        made = self._decoder.decode(content)
        version = _number(made.metadata.resource_version)
        if version > self._versions.get(made.metadata.namespace, 0):
            self._keep(made)
        return made

    async def _follow(self, namespace: str) -> None:
        """Keep one namespace up to date, whatever happens to the cluster."""
        pause_s = _PAUSE_MIN_S
        while True:
            try:
                version = await self._list(namespace)
                pause_s = _PAUSE_MIN_S
                await self._watch(namespace, version)
            except Expired:
                _log.info("a watch begins anew", kind=self._kind, namespace=namespace)
            except SeafloorError as error:
                self._note(error, namespace)
                pause_s = min(_PAUSE_MAX_S, pause_s * 2)
            except Exception:  # noqa: BLE001  # edge: background task
                _log.exception("following the cluster failed", namespace=namespace)
                pause_s = _PAUSE_MAX_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311

    async def _list(self, namespace: str) -> str:
        listed = await self._cluster.list(self._kind, namespace, self._selector)
        self.lists += 1
        version = _number(listed.version)
        living: set[Key] = set()
        for item in listed.items:
            found = self._decoder.decode(item)
            key = self._key_of(found.metadata)
            if key is not None:
                living.add(key)
                self._kept[key] = found
        for key, known in list(self._kept.items()):
            gone = key not in living and known.metadata.namespace == namespace
            # One that was made after the list was taken is no part of it.
            if gone and _number(known.metadata.resource_version) <= version:
                del self._kept[key]
        self._versions[namespace] = version
        self._problem = None
        self._synced[namespace].set()
        self._on_change()
        return listed.version

    async def _watch(self, namespace: str, version: str) -> None:
        """Follow changes, going on where a watch was cut, until it is time to list again.

        Raises:
            Expired: it is time at once.
        """
        due_s = time.monotonic() + RESYNC_S * random.uniform(0.8, 1.2)  # noqa: S311
        pause_s = _PAUSE_MIN_S
        while time.monotonic() < due_s:
            try:
                changes = self._cluster.watch(
                    self._kind, namespace, self._selector, version=version
                )
                async for change in changes:
                    version = self._take(namespace, change)
                    pause_s = _PAUSE_MIN_S
                    self._problem = None
                # The server ends a watch every few minutes; one that does so at once is not asked
                # in a loop.
                await asyncio.sleep(_PAUSE_MIN_S)
            except ClusterUnavailable as error:
                self._note(error, namespace)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
                pause_s = min(_PAUSE_MAX_S, pause_s * 2)

    def _take(self, namespace: str, change: Change) -> str:
        if change.type == "BOOKMARK":
            version = msgspec.json.decode(change.object, type=_Mark).metadata.resource_version
            self._versions[namespace] = _number(version)
            return version
        told = self._decoder.decode(change.object)
        version = told.metadata.resource_version
        self._versions[namespace] = _number(version)
        if change.type == "DELETED":
            self._drop(told)
        else:
            self._keep(told)
        self._on_change()
        return version

    def _keep(self, told: Kept) -> None:
        key = self._key_of(told.metadata)
        if key is not None:
            self._kept[key] = told

    def _drop(self, told: Kept) -> None:
        key = self._key_of(told.metadata)
        known = None if key is None else self._kept.get(key)
        if key is not None and known is not None and known.metadata.uid == told.metadata.uid:
            del self._kept[key]
            self._on_gone(key, told)

    def _note(self, error: SeafloorError, namespace: str) -> None:
        if self._problem is None or self._problem.message != error.message:
            _log.warning(
                "the cluster cannot be followed and will be asked again",
                kind=self._kind,
                namespace=namespace,
                message=error.message,
            )
        self._problem = error


def _number(version: str) -> int:
    """A version as a number: they are, and the later one is the larger one."""
    return int(version) if version.isdecimal() else 0
