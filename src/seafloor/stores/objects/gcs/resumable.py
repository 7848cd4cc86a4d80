"""Uploads in several requests, which go on where they broke off."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from types import TracebackType

import msgspec

from seafloor.domain.errors import AlreadyExists, StoreError, StoreUnavailable
from seafloor.stores.objects.gcs.chunks import Chunk, ChunkSource
from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.errors import Answer
from seafloor.stores.objects.gcs.resource import FIELDS, Resource, crc32c_text, decoded
from seafloor.stores.objects.wrap.retry import RetryPolicy

CANCEL_TIMEOUT_S = 5.0
_GONE = -1
_RIGHT = "storage.objects.create and storage.objects.delete"


class ResumableUpload:
    """A session that takes an object chunk by chunk; nothing is visible before the last.

    As a context manager it is cancelled when it ends before the object is whole.

    Args:
        client: The bucket.
        key: Of the object.
        policy: How often a chunk is tried without a byte getting through.
    """

    def __init__(self, client: GcsClient, key: str, policy: RetryPolicy) -> None:
        self._client = client
        self._key = key
        self._policy = policy
        self._url = ""
        self._is_whole = False

    async def begin(self, *, if_absent: bool) -> None:
        """Open the session.

        Raises:
            AlreadyExists: if_absent, and the key has an object.
        """
        query = {"uploadType": "resumable", "name": self._key, "fields": FIELDS}
        if if_absent:
            query["ifGenerationMatch"] = "0"
        response = await self._client.call(
            Call(
                "POST",
                self._client.upload_url(**query),
                _RIGHT,
                headers={
                    "Content-Type": "application/json",
                    "X-Upload-Content-Type": "application/octet-stream",
                },
                body=msgspec.json.encode({"name": self._key}),
                fine=frozenset({200, 201, 404, 412}),
            )
        )
        if response.status == 404:
            await self._client.check_bucket()
        self._check_absent(response)
        self._url = response.headers.get("Location", "")
        if not self._url:
            raise StoreUnavailable("Google Cloud Storage began an upload without its address.")

    async def __aenter__(self) -> ResumableUpload:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._url and not self._is_whole:
            await self._cancel()

    async def send(self, source: ChunkSource) -> Resource:
        """Send all chunks; one is made while one is sent."""
        chunk = await source.next()
        while not chunk.is_last:
            following = asyncio.create_task(source.next())
            try:
                await self._send(chunk, source)
                chunk = await following
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        found = await self._send(chunk, source)
        if found is None:
            raise self._lost("Google Cloud Storage does not end it")
        self._is_whole = True
        return found

    async def _send(self, chunk: Chunk, source: ChunkSource) -> Resource | None:
        """Send one chunk until the service has all of it; None: it waits for the next."""
        # The checksum of the whole: the service itself refuses what was damaged on its way.
        hashes = {"X-Goog-Hash": f"crc32c={crc32c_text(source.crc32c)}"} if chunk.is_last else {}
        reached = chunk.start
        failures = 0
        is_known = True
        while True:
            try:
                answer = await (self._put(chunk, reached, hashes) if is_known else self._ask())
            except StoreUnavailable as error:
                failures += 1
                if failures >= self._policy.attempts_max:
                    raise
                await asyncio.sleep(
                    self._policy.delay_s(
                        failures,
                        asked_s=error.retry_after_s,
                        dice=random.random(),  # noqa: S311 spreads callers, guards nothing
                    )
                )
                is_known = False
                continue
            if isinstance(answer, Resource):
                return answer
            if not chunk.start <= answer <= chunk.end:
                # Bytes before the chunk are not here any more.
                raise self._lost("Google Cloud Storage lost what it had of it")
            # An answer that takes nothing is one failure more, or this would never end.
            failures = 0 if answer > reached else failures + 1
            if failures > self._policy.attempts_max:
                raise self._lost("Google Cloud Storage takes no more bytes")
            reached = answer
            is_known = True
            if reached == chunk.end and not chunk.is_last:
                return None

    async def _put(self, chunk: Chunk, reached: int, hashes: Mapping[str, str]) -> Resource | int:
        """Send what the service has not yet of a chunk; the object, or how much it has now."""
        total = str(chunk.end) if chunk.is_last else "*"
        span = f"{reached}-{chunk.end - 1}" if reached < chunk.end else "*"
        return await self._answered(
            {"Content-Range": f"bytes {span}/{total}", **hashes}, chunk.rest(reached)
        )

    async def _ask(self) -> Resource | int:
        """Ask how much the service has."""
        return await self._answered({"Content-Range": "bytes */*"}, ())

    async def _answered(
        self, headers: Mapping[str, str], pieces: tuple[memoryview, ...]
    ) -> Resource | int:
        response = await self._client.call(
            Call(
                "PUT",
                self._url,
                _RIGHT,
                headers=headers,
                pieces=pieces,
                fine=frozenset({200, 201, 308, 404, 410, 412}),
            )
        )
        self._check_absent(response)
        if response.status in (404, 410):
            return _GONE
        if response.status == 308:
            _, _, last = response.headers.get("Range", "").rpartition("-")
            return int(last) + 1 if last.isdecimal() else 0
        return decoded(response, Resource)

    def _check_absent(self, response: Answer) -> None:
        if response.status == 412:
            raise AlreadyExists(f'There is an object "{self._key}" already.', field="key")

    def _lost(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(
            f'The upload of "{self._key}" cannot go on ({why}): put it again from its beginning.'
        )

    async def _cancel(self) -> None:
        """Have the service forget what it has; what cannot be told ends there after a week."""
        call = Call("DELETE", self._url, _RIGHT, fine=frozenset({200, 204, 404, 410, 499}))
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await self._client.call(call)
