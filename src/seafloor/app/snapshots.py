"""Snapshots of working folders, kept by digest: ``code/<sha256>.tar.zst``."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator

from seafloor.domain.errors import InvalidValue, NotFound, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore


def snapshot_key(sha256: Sha256) -> str:
    """The object's key."""
    return f"code/{sha256}.tar.zst"


class Snapshots:
    """Working folders by digest: each is kept once."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def check(self, sha256: Sha256) -> ObjectInfo:
        """Describe a snapshot.

        Raises:
            NotFound: it was never uploaded, or is gone.
        """
        try:
            return await self._objects.head(snapshot_key(sha256))
        except NotFound as error:
            raise NotFound(
                f"The snapshot {sha256[:12]}… is not on the server: it was never uploaded, or was "
                "removed from the object store. Submit the folder that it was taken of again.",
                field="code.sha256",
            ) from error

    async def put(self, sha256: Sha256, data: AsyncIterable[bytes]) -> tuple[ObjectInfo, bool]:
        """Keep a snapshot; one that is there already is left alone, unless it is damaged.

        Returns:
            What is kept, and whether it is new.

        Raises:
            InvalidValue: the bytes do not have the digest. Nothing is visible, and what was there
                is as it was.

        Cost: a read of what is there; clients ask before they send.
        """
        key = snapshot_key(sha256)
        if await self._is_whole(sha256):
            return await self._objects.head(key), False
        return await self._objects.put(key, _verified(sha256, data)), True

    async def _is_whole(self, sha256: Sha256) -> bool:
        digest = hashlib.sha256()
        try:
            async for chunk in self.read(sha256):
                digest.update(chunk)
        except (NotFound, StoreCorrupt):
            return False
        return digest.hexdigest() == sha256

    async def probe(self) -> None:
        """Answer when the object store does; StoreUnavailable otherwise (``/health``)."""
        await self._objects.list("code", limit=1)

    def read(self, sha256: Sha256) -> AsyncIterator[bytes]:
        """Stream a snapshot; NotFound at the first step."""
        return self._objects.read(snapshot_key(sha256))


async def _verified(sha256: Sha256, data: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Pass the bytes on, and refuse them at the end when they are not the ones announced."""
    digest = hashlib.sha256()
    async for chunk in data:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise InvalidValue(
            "The bytes do not have the sha256 announced: upload them again.", field="sha256"
        )
