"""Uploads in several requests, which go on where they broke off."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import msgspec

from seafloor.domain.errors import AlreadyExists, StoreError, StoreUnavailable
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES, NEAR_CHUNK_BYTES, Chunk, ChunkSource
from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.errors import Answer
from seafloor.stores.objects.gcs.resource import FIELDS, Resource, crc32c_text, decoded
from seafloor.stores.objects.gcs.sender import After, Sending
from seafloor.stores.objects.wrap.retry import RetryPolicy

CANCEL_TIMEOUT_S = 5.0
NEAR_S = 0.02
"""A service that takes a chunk and answers in less is near."""
_GONE = -1
_RIGHT = "storage.objects.create and storage.objects.delete"


@dataclass(frozen=True)
class _Begun:
    """A chunk that is sent, or will be.

    Args:
        chunk: What is sent.
        hashes: The headers with its checksums.
        sending: On its way, if it goes by itself.
    """

    chunk: Chunk
    hashes: Mapping[str, str]
    sending: Sending | None


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
        sent = await self._begun(source, None)
        coming: asyncio.Task[_Begun] | None = None
        try:
            while not sent.chunk.is_last:
                coming = asyncio.create_task(self._begun(source, sent))
                await self._send(sent)
                is_near = sent.sending is not None and sent.sending.took_s < NEAR_S
                source.chunk_bytes = NEAR_CHUNK_BYTES if is_near else CHUNK_BYTES
                sent, coming = await coming, None
        finally:
            if coming is not None:
                await _give_up(coming)
        found = await self._send(sent)
        if found is None:
            raise self._lost("Google Cloud Storage does not end it")
        self._is_whole = True
        return found

    async def _begun(self, source: ChunkSource, before: _Begun | None) -> _Begun:
        """Make the next chunk, and have it sent once the one before it was taken.

        After one that was not, each waits until this task has seen to the one before it.
        """
        chunk = await source.next()
        # The checksum of the whole: the service itself refuses what was damaged on its way.
        hashes = {"X-Goog-Hash": f"crc32c={crc32c_text(source.crc32c)}"} if chunk.is_last else {}
        after = None
        if before is not None and before.sending is not None:
            end = before.chunk.end
            after = After(before.sending, lambda answer: _reached(answer) == end)
        elif before is not None:
            return _Begun(chunk, hashes, None)
        sending = await self._client.begin(self._put(chunk, chunk.start, hashes), after)
        return _Begun(chunk, hashes, sending)

    async def _send(self, begun: _Begun) -> Resource | None:
        """Send one chunk until the service has all of it; None: it waits for the next."""
        chunk, hashes, sending = begun.chunk, begun.hashes, begun.sending
        reached = chunk.start
        failures = 0
        is_known = True
        while True:
            try:
                call = self._put(chunk, reached, hashes) if is_known else self._question()
                sending, first = None, sending
                answer = await self._answered(call, first)
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

    def _put(self, chunk: Chunk, reached: int, hashes: Mapping[str, str]) -> Call:
        """Send what the service has not yet of a chunk."""
        total = str(chunk.end) if chunk.is_last else "*"
        span = f"{reached}-{chunk.end - 1}" if reached < chunk.end else "*"
        headers = {"Content-Range": f"bytes {span}/{total}", **hashes}
        return self._call(headers, chunk.rest(reached))

    def _question(self) -> Call:
        """Ask how much the service has."""
        return self._call({"Content-Range": "bytes */*"}, ())

    def _call(self, headers: Mapping[str, str], pieces: tuple[memoryview, ...]) -> Call:
        fine = frozenset({200, 201, 308, 404, 410, 412})
        return Call("PUT", self._url, _RIGHT, headers=headers, pieces=pieces, fine=fine)

    async def _answered(self, call: Call, begun: Sending | None) -> Resource | int:
        """The object, or how much the service has now."""
        response = await self._client.call(call, begun)
        self._check_absent(response)
        if response.status in (404, 410):
            return _GONE
        reached = _reached(response)
        return decoded(response, Resource) if reached is None else reached

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


def _reached(answer: Answer) -> int | None:
    """How much the service says that it has; None: the answer is another one."""
    if answer.status != 308:
        return None
    _, _, last = answer.headers.get("Range", "").rpartition("-")
    return int(last) + 1 if last.isdecimal() else 0


async def _give_up(coming: asyncio.Task[_Begun]) -> None:
    coming.cancel()
    (begun,) = await asyncio.gather(coming, return_exceptions=True)
    if isinstance(begun, _Begun) and begun.sending is not None:
        begun.sending.give_up()
