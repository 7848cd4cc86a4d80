"""An object store that tries again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from seafloor.domain.errors import AlreadyExists, StoreError, StoreFull, StoreUnavailable
from seafloor.stores.objects.protocol import (
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
    ObjectStore,
)
from seafloor.stores.objects.streams import is_replayable

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently.

    Args:
        attempts_max: Calls in all, >= 1.
        delay_first_s: Longest wait before the second call; it doubles from call to call.
        delay_max_s: Longest wait before any call; what the store asks for is cut to it as well.
    """

    attempts_max: int = 4
    delay_first_s: float = 0.1
    delay_max_s: float = 5.0

    def delay_s(self, attempt: int, *, asked_s: float | None, dice: float) -> float:
        """Say how long to wait after a failed call.

        Args:
            attempt: Which call failed, from 1.
            asked_s: What the store asks for (``retry_after_s``).
            dice: 0..1, so that callers that failed together do not come back together.
        """
        longest_s = min(self.delay_max_s, self.delay_first_s * 2 ** (attempt - 1))
        return max(min(asked_s or 0.0, self.delay_max_s), longest_s * dice)


class RetryObjectStore:
    """Repeats what failed with a retryable StoreError.

    StoreFull is not repeated: space does not come back within seconds, and the caller is to hear
    of it at once. A read is repeated until its first chunk came, not after. A stream that is put
    is repeated if it can be replayed (``streams.is_replayable``) or was not begun; what the
    stream itself raises is never repeated.

    A call that failed may have taken effect all the same. So after a repeat ``delete`` may say
    False, and ``delete_folder`` count too few, though it was this call that deleted. A repeated
    ``put`` or ``copy`` with ``if_absent`` that finds an object raises StoreUnavailable, since it
    cannot be known who created it.

    Args:
        inner: The store. ``close`` closes it.
        policy: How often and how patiently.
        sleep: Waits so many seconds.
        dice: Gives a number in 0..1.
    """

    def __init__(
        self,
        inner: ObjectStore,
        policy: RetryPolicy | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._policy = policy or RetryPolicy()
        self._sleep = sleep
        self._dice = dice

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Those of the inner store."""
        return self._inner.capabilities

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        return await self._retried(lambda _: self._inner.head(key))

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``."""

        async def begin(_: int) -> tuple[AsyncIterator[bytes], bytes | None]:
            chunks = self._inner.read(key, start=start, length=length)
            return chunks, await anext(chunks, None)

        chunks, first = await self._retried(begin)
        if first is None:
            return
        yield first
        async for chunk in chunks:
            yield chunk

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``."""
        return await self._retried(
            lambda _: self._inner.list(folder, recursive=recursive, limit=limit, cursor=cursor)
        )

    async def local_path(self, key: str) -> Path:
        """Name the file of an object; see ``ObjectRead.local_path``."""
        return await self._retried(lambda _: self._inner.local_path(key))

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        source = data if isinstance(data, bytes) else _Source(data)

        async def attempt(number: int) -> ObjectInfo:
            body = source.stream() if isinstance(source, _Source) else source
            try:
                return await self._inner.put(key, body, if_absent=if_absent)
            except AlreadyExists as error:
                if number == 1:
                    raise
                raise _Final(_unknown_creator(key)) from error
            except StoreError as error:
                if isinstance(source, _Source) and not source.can_be_sent_again(error):
                    raise _Final(error) from error
                raise

        try:
            return await self._retried(attempt)
        except _Final as final:
            raise final.error from final.__cause__

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``."""
        return await self._retried(lambda _: self._inner.append(key, offset=offset, data=data))

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``."""

        async def attempt(number: int) -> ObjectInfo:
            try:
                return await self._inner.copy(source, target, if_absent=if_absent)
            except AlreadyExists as error:
                if number == 1:
                    raise
                raise _Final(_unknown_creator(target)) from error

        try:
            return await self._retried(attempt)
        except _Final as final:
            raise final.error from final.__cause__

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        return await self._retried(lambda _: self._inner.delete(key))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        await self._retried(lambda _: self._inner.delete_many(keys))

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        return await self._retried(lambda _: self._inner.delete_folder(folder))

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL for one object; see ``ObjectAccess.presign``."""
        return await self._retried(
            lambda _: self._inner.presign(key, method=method, expires_s=expires_s)
        )

    async def close(self) -> None:
        """Close the inner store, once."""
        await self._inner.close()

    async def _retried(self, call: Callable[[int], Awaitable[_Result]]) -> _Result:
        """Call with the number of the attempt, from 1, until it succeeds or may not be repeated."""
        attempt = 1
        while True:
            try:
                return await call(attempt)
            except StoreError as error:
                is_last = attempt >= self._policy.attempts_max
                if is_last or not error.retryable or isinstance(error, StoreFull):
                    raise
                asked_s = error.retry_after_s
            await self._sleep(self._policy.delay_s(attempt, asked_s=asked_s, dice=self._dice()))
            attempt += 1


def _unknown_creator(key: str) -> StoreUnavailable:
    return StoreUnavailable(
        f'It is unknown who created "{key}": this call, whose first answer was lost, or another. '
        "Read it to know."
    )


class _Final(Exception):
    """Carries an error out of the loop that would repeat it."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(error.message)
        self.error = error


class _Source:
    """A stream on its way to a store, watched."""

    def __init__(self, data: AsyncIterable[bytes]) -> None:
        self._data = data
        self._begun = False
        self._raised: BaseException | None = None

    def stream(self) -> AsyncIterable[bytes]:
        """Give the stream for one attempt; it can be begun again exactly if the source can."""
        return self if is_replayable(self._data) else aiter(self)

    def can_be_sent_again(self, error: StoreError) -> bool:
        """Say whether another attempt can be made after this error of the store."""
        return error is not self._raised and (not self._begun or is_replayable(self._data))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._begun = True
        try:
            async for chunk in self._data:
                yield chunk
        except StoreError as error:
            self._raised = error
            raise
