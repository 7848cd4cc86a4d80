"""Objects in memory: the model that every other store is compared with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

from seafloor.domain.errors import AlreadyExists, Conflict, NotFound, NotSupported
from seafloor.stores.objects.keys import (
    ancestors,
    check_listing,
    check_object_key,
    check_range,
    is_below,
)
from seafloor.stores.objects.protocol import (
    READ_CHUNK_BYTES,
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
)


class MemoryObjectStore:
    """An ``ObjectStore`` that forgets: for tests, and to say in code what a store does.

    Used from one event loop. A stream that is put is collected in memory.
    """

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._puts = 0
        self._last_ns = 0

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Nothing beyond the common."""
        return ObjectCapabilities()

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        return self._get(key)[1]

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``."""
        check_range(start=start, length=length)
        content = self._get(key)[0]
        end = len(content) if length is None else min(len(content), start + length)
        for offset in range(start, end, READ_CHUNK_BYTES):
            yield content[offset : min(end, offset + READ_CHUNK_BYTES)]

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``."""
        check_listing(folder, limit=limit, cursor=cursor)
        keys = sorted(key for key in self._objects if is_below(key, folder))
        if not recursive:
            # A folder stands in the listing as its key with a slash, once.
            depth = len(folder) + 1 if folder else 0
            keys = list(dict.fromkeys(_cut_below(key, depth) for key in keys))
        waiting = [key for key in keys if cursor is None or key > cursor]
        page = waiting[:limit]
        return ObjectPage(
            objects=tuple(self._objects[key][1] for key in page if not key.endswith("/")),
            folders=tuple(key[:-1] for key in page if key.endswith("/")),
            next=page[-1] if len(waiting) > limit else None,
        )

    async def local_path(self, key: str) -> Path:
        """Raise NotSupported: there are no files here."""
        check_object_key(key)
        raise NotSupported("Objects in memory are not files.")

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        self._check_place(key, if_absent=if_absent)
        content = data if isinstance(data, bytes) else b"".join([chunk async for chunk in data])
        self._check_place(key, if_absent=if_absent)
        self._puts += 1
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        info = ObjectInfo(
            key=key, size_bytes=len(content), modified_ns=self._last_ns, etag=str(self._puts)
        )
        self._objects[key] = (content, info)
        return info

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        check_object_key(key)
        return self._objects.pop(key, None) is not None

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        check_object_key(folder, field="folder")
        doomed = [key for key in self._objects if is_below(key, folder)]
        for key in doomed:
            del self._objects[key]
        return len(doomed)

    async def close(self) -> None:
        """Do nothing: what is in memory goes with the store."""

    def _get(self, key: str) -> tuple[bytes, ObjectInfo]:
        check_object_key(key)
        try:
            return self._objects[key]
        except KeyError:
            raise NotFound(f'There is no object "{key}".', field="key") from None

    def _check_place(self, key: str, *, if_absent: bool) -> None:
        check_object_key(key)
        for folder in ancestors(key):
            if folder in self._objects:
                raise Conflict(
                    f'"{key}" cannot be written: "{folder}" is an object, not a folder.',
                    field="key",
                )
        if any(is_below(other, key) for other in self._objects):
            raise Conflict(f'"{key}" cannot be written: it is a folder.', field="key")
        if if_absent and key in self._objects:
            raise AlreadyExists(f'There is an object "{key}" already.', field="key")


def _cut_below(key: str, depth: int) -> str:
    """Cut a key after the first slash at or past a position; a key without one is whole."""
    return key[: key.find("/", depth) + 1] or key
