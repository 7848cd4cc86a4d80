"""An object store that counts what is asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from seafloor.stores.objects.protocol import (
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
    ObjectStore,
)
from seafloor.stores.objects.streams import tapped


class OperationCount(msgspec.Struct, frozen=True):
    """One operation.

    Args:
        calls: How often it was called.
        failures: How many of the calls raised, whatever it was.
        size_bytes: Bytes of content that went in or out, of failed calls too.
    """

    calls: int = 0
    failures: int = 0
    size_bytes: int = 0


class ObjectCounts(msgspec.Struct, frozen=True):
    """Every operation since the store was made."""

    head: OperationCount = OperationCount()
    read: OperationCount = OperationCount()
    list: OperationCount = OperationCount()
    local_path: OperationCount = OperationCount()
    put: OperationCount = OperationCount()
    append: OperationCount = OperationCount()
    copy: OperationCount = OperationCount()
    delete: OperationCount = OperationCount()
    delete_many: OperationCount = OperationCount()
    delete_folder: OperationCount = OperationCount()
    presign: OperationCount = OperationCount()


class _Tally:
    """One operation, counting."""

    def __init__(self) -> None:
        self._calls = 0
        self._failures = 0
        self._size_bytes = 0

    @contextmanager
    def call(self) -> Generator[None]:
        self._calls += 1
        succeeded = False
        try:
            yield
            succeeded = True
        except GeneratorExit:
            succeeded = True  # the reader has enough
            raise
        finally:
            if not succeeded:
                self._failures += 1

    def add(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)

    def count(self) -> OperationCount:
        return OperationCount(
            calls=self._calls, failures=self._failures, size_bytes=self._size_bytes
        )


class CountObjectStore:
    """Counts calls, failures and bytes by operation.

    Args:
        inner: The store. ``close`` closes it.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self._tallies = {name: _Tally() for name in ObjectCounts.__struct_fields__}

    @property
    def counts(self) -> ObjectCounts:
        """What was counted until now."""
        return ObjectCounts(**{name: tally.count() for name, tally in self._tallies.items()})

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Those of the inner store."""
        return self._inner.capabilities

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        with self._tallies["head"].call():
            return await self._inner.head(key)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``."""
        tally = self._tallies["read"]
        with tally.call():
            async for chunk in self._inner.read(key, start=start, length=length):
                tally.add(chunk)
                yield chunk

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``."""
        with self._tallies["list"].call():
            return await self._inner.list(folder, recursive=recursive, limit=limit, cursor=cursor)

    async def local_path(self, key: str) -> Path:
        """Name the file of an object; see ``ObjectRead.local_path``."""
        with self._tallies["local_path"].call():
            return await self._inner.local_path(key)

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        tally = self._tallies["put"]
        with tally.call():
            if isinstance(data, bytes):
                tally.add(data)
                return await self._inner.put(key, data, if_absent=if_absent)
            return await self._inner.put(key, tapped(data, tally.add), if_absent=if_absent)

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``."""
        tally = self._tallies["append"]
        with tally.call():
            tally.add(data)
            return await self._inner.append(key, offset=offset, data=data)

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``."""
        with self._tallies["copy"].call():
            return await self._inner.copy(source, target, if_absent=if_absent)

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        with self._tallies["delete"].call():
            return await self._inner.delete(key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        with self._tallies["delete_many"].call():
            await self._inner.delete_many(keys)

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        with self._tallies["delete_folder"].call():
            return await self._inner.delete_folder(folder)

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL for one object; see ``ObjectAccess.presign``."""
        with self._tallies["presign"].call():
            return await self._inner.presign(key, method=method, expires_s=expires_s)

    async def close(self) -> None:
        """Close the inner store."""
        await self._inner.close()
