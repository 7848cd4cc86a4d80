"""An object store inside a folder of another."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from seafloor.stores.objects.keys import check_listing, check_object_key, check_range
from seafloor.stores.objects.protocol import (
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
    ObjectStore,
)


class PrefixObjectStore:
    """Everything below one folder of another store; nothing outside of it can be named.

    Args:
        inner: The other store. ``close`` closes it.
        folder: Which folder. Keys get shorter by its length.
    """

    def __init__(self, inner: ObjectStore, folder: str) -> None:
        self._inner = inner
        self._folder = check_object_key(folder, field="folder")

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Those of the inner store."""
        return self._inner.capabilities

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        return self._outer(await self._inner.head(self._below(key)))

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``."""
        check_range(start=start, length=length)
        async for chunk in self._inner.read(self._below(key), start=start, length=length):
            yield chunk

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``. Cursors are the inner store's."""
        check_listing(folder, limit=limit, cursor=None)
        page = await self._inner.list(
            self._below(folder) if folder else self._folder,
            recursive=recursive,
            limit=limit,
            cursor=cursor,
        )
        cut = len(self._folder) + 1
        return ObjectPage(
            objects=tuple(self._outer(info) for info in page.objects),
            folders=tuple(key[cut:] for key in page.folders),
            next=page.next,
        )

    async def local_path(self, key: str) -> Path:
        """Name the file of an object; see ``ObjectRead.local_path``."""
        return await self._inner.local_path(self._below(key))

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        return self._outer(await self._inner.put(self._below(key), data, if_absent=if_absent))

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``."""
        return await self._inner.append(self._below(key), offset=offset, data=data)

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``."""
        return self._outer(
            await self._inner.copy(self._below(source), self._below(target), if_absent=if_absent)
        )

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        return await self._inner.delete(self._below(key))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        await self._inner.delete_many([self._below(key) for key in keys])

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        return await self._inner.delete_folder(self._below(folder))

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL for one object; see ``ObjectAccess.presign``."""
        return await self._inner.presign(self._below(key), method=method, expires_s=expires_s)

    async def close(self) -> None:
        """Close the inner store."""
        await self._inner.close()

    def _below(self, key: str) -> str:
        return f"{self._folder}/{check_object_key(key)}"

    def _outer(self, info: ObjectInfo) -> ObjectInfo:
        return msgspec.structs.replace(info, key=info.key[len(self._folder) + 1 :])
