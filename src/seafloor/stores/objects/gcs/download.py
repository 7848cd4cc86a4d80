"""Reading, which goes on where a connection broke and never mixes two contents."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from pyreqwest.exceptions import RequestError
from pyreqwest.response import Response

from seafloor.domain.errors import NotFound, StoreCorrupt, StoreUnavailable
from seafloor.stores.objects.gcs.chunks import crc32c
from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.errors import told, unreachable
from seafloor.stores.objects.gcs.resource import crc32c_text
from seafloor.stores.objects.wrap.retry import RetryPolicy

_RIGHT = "storage.objects.get and storage.objects.list"


@dataclass(frozen=True)
class _Pinned:
    """What the first answer told of the content: the rest is asked for by it.

    Args:
        generation: Of the content.
        end: Where the reading ends.
        crc32c: Of the whole object if it is read whole; else empty.
    """

    generation: str
    end: int
    crc32c: str


class Download:
    """One reading of one object.

    Args:
        client: The bucket.
        key: Of the object.
        start: First byte.
        length: At most so many bytes; None: to the end.
        policy: How often a broken stream is begun again without a byte getting through.
    """

    def __init__(
        self, client: GcsClient, key: str, *, start: int, length: int | None, policy: RetryPolicy
    ) -> None:
        self._client = client
        self._key = key
        self._start = start
        self._stop = None if length is None else start + length
        self._policy = policy
        self._pinned: _Pinned | None = None
        self._at = start
        self._crc32c = 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Give the bytes; see ``ObjectRead.read``."""
        failures = 0
        while True:
            reached = self._at
            try:
                async for chunk in self._once():
                    yield chunk
                if self._is_complete():
                    return
                error: StoreUnavailable | StoreCorrupt = StoreCorrupt(
                    f'"{self._key}" ended early: read it again.'
                )
            except RequestError as broken:
                error = unreachable(told(broken), self._client.bucket)
            except StoreUnavailable as refused:
                if self._pinned is None:
                    raise
                error = refused
            failures = 1 if self._at > reached else failures + 1
            if failures >= self._policy.attempts_max:
                raise error
            await asyncio.sleep(
                self._policy.delay_s(
                    failures,
                    asked_s=error.retry_after_s,
                    dice=random.random(),  # noqa: S311 spreads callers, guards nothing
                )
            )

    async def _once(self) -> AsyncGenerator[bytes]:
        """Give what one request gives, from where the reading is."""
        async with self._client.opened(self._call()) as response:
            if response.status == 404:
                await self._missing()
            if response.status == 416:
                # Only the first request can ask for bytes past the end.
                self._pinned = self._pinned or _Pinned("", self._start, "")
                return
            if self._pinned is None:
                self._pinned = self._pin(response)
            elif response.headers.get("X-Goog-Generation") != self._pinned.generation:
                raise self._replaced()
            body = response.body_reader
            while (chunk := await self._client.next_piece(body)) is not None:
                if self._at + len(chunk) > self._pinned.end:
                    raise StoreCorrupt(f'"{self._key}" came with more bytes than it has.')
                self._at += len(chunk)
                if self._pinned.crc32c:
                    self._crc32c = crc32c.extend(self._crc32c, chunk)
                yield chunk

    def _call(self) -> Call:
        query = {"alt": "media"}
        if self._pinned is not None:
            query["generation"] = self._pinned.generation
        # Without it what is kept compressed would come decompressed, and not in its own size.
        headers = {"Accept-Encoding": "gzip"}
        last = "" if self._stop is None else str(self._stop - 1)
        if self._at or last:
            headers["Range"] = f"bytes={self._at}-{last}"
        return Call(
            "GET",
            self._client.object_url(self._key, **query),
            _RIGHT,
            headers=headers,
            fine=frozenset({200, 206, 404, 416}),
        )

    def _pin(self, response: Response) -> _Pinned:
        is_ranged = response.status == 206
        told = response.headers.get("Content-Range" if is_ranged else "Content-Length", "")
        size_text = told.rpartition("/")[2]
        generation = response.headers.get("X-Goog-Generation", "")
        is_told = size_text.isdecimal() and generation
        if not is_told or (self._start and not is_ranged):
            raise StoreUnavailable(
                "Google Cloud Storage did not say which bytes it sends, or of what: "
                "look at the proxies on the way."
            )
        size_bytes = int(size_text)
        end = size_bytes if self._stop is None else min(self._stop, size_bytes)
        is_whole = self._start == 0 and end == size_bytes
        hashes = response.headers.get("X-Goog-Hash", "").replace(" ", "").split(",")
        sums = [text.removeprefix("crc32c=") for text in hashes if text.startswith("crc32c=")]
        return _Pinned(
            generation=generation,
            end=end,
            crc32c=sums[0] if sums and is_whole else "",
        )

    async def _missing(self) -> None:
        if self._pinned is not None:
            raise self._replaced()
        await self._client.check_bucket()
        raise NotFound(f'There is no object "{self._key}".', field="key")

    def _replaced(self) -> StoreCorrupt:
        return StoreCorrupt(
            f'"{self._key}" was replaced or deleted while it was read, and the connection broke: '
            "read it again."
        )

    def _is_complete(self) -> bool:
        pinned = self._pinned
        if pinned is None or self._at < pinned.end:
            return False
        if pinned.crc32c and crc32c_text(self._crc32c) != pinned.crc32c:
            raise StoreCorrupt(
                f'"{self._key}" came damaged (crc32c): read it again; if that repeats, bring it '
                "back from a copy."
            )
        return True
