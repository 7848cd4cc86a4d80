"""Objects in memory: the model that every other store is compared with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

from seafloor.domain.errors import AlreadyExists, Conflict, NotFound, NotSupported, OutOfOrder
from seafloor.stores.objects.keys import (
    ancestors,
    check_append,
    check_listing,
    check_object_key,
    check_presign,
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

    Args:
        nested_keys: Whether it is like a bucket, where an object may have others below it; else
            it is like a file system.
        append: Whether it can append.
    """

    def __init__(self, *, nested_keys: bool = False, append: bool = True) -> None:
        self._capabilities = ObjectCapabilities(nested_keys=nested_keys, append=append)
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._puts = 0
        self._last_ns = 0

    @property
    def capabilities(self) -> ObjectCapabilities:
        """As it was made."""
        return self._capabilities

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
        return self._keep(key, content)

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``."""
        check_append(key, offset=offset)
        if not self._capabilities.append:
            raise NotSupported("Objects of this store are written whole.")
        self._check_place(key, if_absent=False)
        content = self._objects[key][0] if key in self._objects else b""
        if offset > len(content):
            raise OutOfOrder(
                f'"{key}" has {len(content)} bytes: append from there.',
                next_offset=len(content),
                field="offset",
            )
        new = data[len(content) - offset :]
        if new or key not in self._objects:
            self._keep(key, content + new)
        return len(content) + len(new)

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``."""
        check_object_key(target)
        content = self._get(source)[0]
        self._check_place(target, if_absent=if_absent)
        return self._keep(target, content)

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        check_object_key(key)
        return self._objects.pop(key, None) is not None

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        for key in keys:
            check_object_key(key)
        for key in keys:
            self._objects.pop(key, None)

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        check_object_key(folder, field="folder")
        doomed = [key for key in self._objects if is_below(key, folder)]
        for key in doomed:
            del self._objects[key]
        return len(doomed)

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Raise NotSupported: nobody else can reach this memory."""
        check_presign(key, method=method, expires_s=expires_s)
        raise NotSupported("Objects in memory have no URL.")

    async def close(self) -> None:
        """Do nothing: what is in memory goes with the store."""

    def _get(self, key: str) -> tuple[bytes, ObjectInfo]:
        check_object_key(key)
        try:
            return self._objects[key]
        except KeyError:
            raise NotFound(f'There is no object "{key}".', field="key") from None

    def _keep(self, key: str, content: bytes) -> ObjectInfo:
        self._puts += 1
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        info = ObjectInfo(
            key=key, size_bytes=len(content), modified_ns=self._last_ns, etag=str(self._puts)
        )
        self._objects[key] = (content, info)
        return info

    def _check_place(self, key: str, *, if_absent: bool) -> None:
        check_object_key(key)
        if not self._capabilities.nested_keys:
            self._check_parents(key)
        if if_absent and key in self._objects:
            raise AlreadyExists(f'There is an object "{key}" already.', field="key")

    def _check_parents(self, key: str) -> None:
        for folder in ancestors(key):
            if folder in self._objects:
                raise Conflict(
                    f'"{key}" cannot be written: "{folder}" is an object, not a folder.',
                    field="key",
                )
        if any(is_below(other, key) for other in self._objects):
            raise Conflict(f'"{key}" cannot be written: it is a folder.', field="key")


def _cut_below(key: str, depth: int) -> str:
    """Cut a key after the first slash at or past a position; a key without one is whole."""
    return key[: key.find("/", depth) + 1] or key
