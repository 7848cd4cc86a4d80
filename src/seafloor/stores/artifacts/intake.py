"""A file on its way in: hashed and measured while it streams by."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import Sha256
from seafloor.stores.objects.streams import is_replayable, pieces_of

_PIECE_BYTES = 1024 * 1024

# Hashing this much takes as long as handing it to a thread and back.
_HASH_IN_LOOP_BYTES_MAX = 128 * 1024


@dataclass(frozen=True)
class Announced:
    """What the client says of the file; None where he says nothing."""

    sha256: Sha256 | None = None
    size_bytes: int | None = None

    def check(self, *, sha256: Sha256, size_bytes: int) -> None:
        """Compare with what came.

        Raises:
            InvalidValue: it is another size or digest.
        """
        if self.size_bytes is not None and self.size_bytes != size_bytes:
            raise InvalidValue(
                f"{self.size_bytes} bytes were announced and {size_bytes} came: upload it again.",
                field="size_bytes",
            )
        if self.sha256 is not None and self.sha256 != sha256:
            raise InvalidValue(
                "The bytes do not have the sha256 announced: upload them again.", field="sha256"
            )


class Hasher:
    """A sha256 and a size that grow, without keeping the event loop from other work."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    async def update(self, chunk: bytes) -> None:
        """Add bytes."""
        await self.begin(chunk)

    def begin(self, chunk: bytes) -> asyncio.Future[None]:
        """Begin to add bytes; the next are not to be added before the end of that."""
        self.size_bytes += len(chunk)
        loop = asyncio.get_running_loop()
        if len(chunk) > _HASH_IN_LOOP_BYTES_MAX:
            return loop.run_in_executor(None, self._digest.update, chunk)
        self._digest.update(chunk)
        done: asyncio.Future[None] = loop.create_future()
        done.set_result(None)
        return done

    @property
    def sha256(self) -> Sha256:
        """The sum so far."""
        return Sha256(self._digest.hexdigest())


class Intake:
    """The stream that is given to the object store in place of the client's.

    Args:
        data: The client's.
        announced: What it has to be, else the stream raises at its end, and so nothing is stored.
        at_end: Called when all bytes have come and are right, before they become visible.
    """

    def __init__(
        self,
        data: AsyncIterable[bytes],
        announced: Announced,
        at_end: Callable[[Sha256, int], Awaitable[None]],
    ) -> None:
        self._data = data
        self._announced = announced
        self._at_end = at_end
        self._hasher = Hasher()

    @property
    def sha256(self) -> Sha256:
        """Of all that came."""
        return self._hasher.sha256

    @property
    def size_bytes(self) -> int:
        """Of all that came."""
        return self._hasher.size_bytes

    def stream(self) -> AsyncIterable[bytes]:
        """Give the bytes; it can be begun again exactly if the client's stream can."""
        return self if is_replayable(self._data) else aiter(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        hasher = self._hasher = Hasher()
        # The network brings little at a time: gathered, there are fewer ways to threads and back.
        async with aclosing(pieces_of(self._data, _PIECE_BYTES)) as pieces:
            async for piece in pieces:
                # The store works with a piece while it is hashed.
                hashing = hasher.begin(piece)
                yield piece
                await hashing
        self._announced.check(sha256=hasher.sha256, size_bytes=hasher.size_bytes)
        await self._at_end(hasher.sha256, hasher.size_bytes)
