"""An object store that fails on demand."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from seafloor.domain.errors import InvalidValue, SeafloorError
from seafloor.stores.objects.protocol import (
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
    ObjectStore,
)
from seafloor.stores.objects.streams import tapped


class Operation(StrEnum):
    """What can fail."""

    HEAD = "head"
    READ = "read"
    LIST = "list"
    LOCAL_PATH = "local_path"
    PUT = "put"
    APPEND = "append"
    COPY = "copy"
    DELETE = "delete"
    DELETE_MANY = "delete_many"
    DELETE_FOLDER = "delete_folder"
    PRESIGN = "presign"


class Moment(StrEnum):
    """When, within a call."""

    BEFORE = "before"
    """It has no effect."""
    MIDSTREAM = "midstream"
    """``read`` and ``put`` only: once some bytes have gone through."""
    AFTER = "after"
    """It has its effect, and the caller does not hear of it."""


@dataclass(frozen=True)
class Fault:
    """One failure.

    Args:
        error: What is raised.
        call: At the n-th call, from 1, counted since the fault was planted.
        operation: Of this operation; None: of any.
        moment: When within the call. An operation that has no midstream fails before.
        after_bytes: MIDSTREAM: once more than so many bytes came.
    """

    error: SeafloorError
    call: int = 1
    operation: Operation | None = None
    moment: Moment = Moment.BEFORE
    after_bytes: int = 0

    def __post_init__(self) -> None:
        if self.call < 1:
            raise InvalidValue("Calls are counted from 1.", field="call")


class _Planted:
    """A fault that waits for its call."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._calls = 0

    def is_due(self, operation: Operation) -> bool:
        if self.fault.operation not in {None, operation}:
            return False
        self._calls += 1
        return self._calls == self.fault.call


class FaultObjectStore:
    """Raises planted faults, each once, and notes which calls were made.

    Args:
        inner: The store. ``close`` closes it, and never fails.
        faults: Planted from the beginning.
    """

    def __init__(self, inner: ObjectStore, *faults: Fault) -> None:
        self._inner = inner
        self._planted = [_Planted(fault) for fault in faults]
        self._calls: list[Operation] = []

    @property
    def calls(self) -> tuple[Operation, ...]:
        """Which calls were made, in order, failed ones too."""
        return tuple(self._calls)

    def plant(self, fault: Fault) -> None:
        """Add a fault; its calls are counted from now."""
        self._planted.append(_Planted(fault))

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Those of the inner store."""
        return self._inner.capabilities

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        call = self._begin(Operation.HEAD)
        info = await self._inner.head(key)
        call.end()
        return info

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``."""
        call = self._begin(Operation.READ)
        async for chunk in self._inner.read(key, start=start, length=length):
            call.pass_on(chunk)
            yield chunk
        call.end()

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``."""
        call = self._begin(Operation.LIST)
        page = await self._inner.list(folder, recursive=recursive, limit=limit, cursor=cursor)
        call.end()
        return page

    async def local_path(self, key: str) -> Path:
        """Name the file of an object; see ``ObjectRead.local_path``."""
        call = self._begin(Operation.LOCAL_PATH)
        path = await self._inner.local_path(key)
        call.end()
        return path

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        call = self._begin(Operation.PUT)
        if isinstance(data, bytes):
            call.pass_on(data)
            info = await self._inner.put(key, data, if_absent=if_absent)
        else:
            info = await self._inner.put(key, tapped(data, call.pass_on), if_absent=if_absent)
        call.end()
        return info

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``."""
        call = self._begin(Operation.APPEND)
        size_bytes = await self._inner.append(key, offset=offset, data=data)
        call.end()
        return size_bytes

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``."""
        call = self._begin(Operation.COPY)
        info = await self._inner.copy(source, target, if_absent=if_absent)
        call.end()
        return info

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        call = self._begin(Operation.DELETE)
        was_there = await self._inner.delete(key)
        call.end()
        return was_there

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        call = self._begin(Operation.DELETE_MANY)
        await self._inner.delete_many(keys)
        call.end()

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        call = self._begin(Operation.DELETE_FOLDER)
        count = await self._inner.delete_folder(folder)
        call.end()
        return count

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL for one object; see ``ObjectAccess.presign``."""
        call = self._begin(Operation.PRESIGN)
        url = await self._inner.presign(key, method=method, expires_s=expires_s)
        call.end()
        return url

    async def close(self) -> None:
        """Close the inner store."""
        await self._inner.close()

    def _begin(self, operation: Operation) -> _Call:
        self._calls.append(operation)
        due = [planted for planted in self._planted if planted.is_due(operation)]
        call = _Call(due[0].fault if due else None)
        if operation in {Operation.READ, Operation.PUT}:
            call.fail_if(lambda fault: fault.moment is Moment.BEFORE)
        else:
            call.fail_if(lambda fault: fault.moment is not Moment.AFTER)
        return call


class _Call:
    """One call and the fault that is due in it, if any."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._passed_bytes = 0

    def fail_if(self, is_time: Callable[[Fault], bool]) -> None:
        fault = self._fault
        if fault is not None and is_time(fault):
            self._fault = None
            raise fault.error

    def pass_on(self, chunk: bytes) -> None:
        self._passed_bytes += len(chunk)
        self.fail_if(
            lambda fault: (
                fault.moment is Moment.MIDSTREAM and self._passed_bytes > fault.after_bytes
            )
        )

    def end(self) -> None:
        """Fail if the fault waited for the end, or for bytes that did not come."""
        self.fail_if(lambda _: True)
