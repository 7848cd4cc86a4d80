"""The two sides of a copy."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass

from seafloor.stores.artifacts.intake import Hasher
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.events.protocol import EventFileStore
from seafloor.stores.logs.protocol import LogStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.protocol import ObjectStore

AT_ONCE = 8
"""Files, runs or objects that are copied side by side."""
AHEAD = 64
"""How many may be done behind one that takes long."""


@dataclass(frozen=True)
class Side:
    """The stores of one installation.

    Args:
        name: What people call it: its data folder.
        is_shared: Whether several servers may use its database.
    """

    name: str
    database: Database
    objects: ObjectStore
    artifacts: ArtifactStore
    logs: LogStore
    event_files: EventFileStore
    is_shared: bool


class ObjectBytes:
    """The bytes of an object as a stream that can be begun again, hashed on the way.

    Args:
        objects: Where it lies.
        key: Which one.
    """

    def __init__(self, objects: ObjectStore, key: str) -> None:
        self._objects = objects
        self._key = key
        self.hasher = Hasher()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        hasher = self.hasher = Hasher()
        async for chunk in self._objects.read(self._key):
            await hasher.update(chunk)
            yield chunk


async def digest_of(stream: AsyncIterable[bytes]) -> str:
    """The sha256 of a stream."""
    hasher = Hasher()
    async for chunk in stream:
        await hasher.update(chunk)
    return hasher.sha256
