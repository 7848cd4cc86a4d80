"""Large objects in parts: several are on their way at once, and the service puts them together.

The parts lie under ``PARTS_FOLDER``, which no key may name and no listing shows, in a folder for
each upload. What a killed process leaves there is swept later.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType

import msgspec

from seafloor.domain.errors import AlreadyExists, SeafloorError, StoreUnavailable
from seafloor.stores.objects.gcs.batch import BATCH_CALLS_MAX, delete_batch
from seafloor.stores.objects.gcs.chunks import Chunk, ChunkSource, crc32c
from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.errors import Answer, no_bucket
from seafloor.stores.objects.gcs.resource import (
    FIELDS,
    Listing,
    Resource,
    Rewrite,
    crc32c_text,
    decoded,
)
from seafloor.stores.objects.gcs.whole import WRITE_RIGHT, whole_call
from seafloor.stores.objects.keys import STAGING_FOLDER
from seafloor.stores.objects.protocol import LIST_LIMIT_MAX
from seafloor.stores.objects.wrap.retry import RetryPolicy

PARTS_FOLDER = f"{STAGING_FOLDER}/parts"
PARTS_AT_ONCE = 4
SOURCES_MAX = 32
"""What the API composes at once."""

LEFT_AFTER = timedelta(days=1)
"""An upload that added nothing for so long was left by a process that is no more."""

SWEEP_PAGES_MAX = 4
CLEAN_TIMEOUT_S = 10.0

_RIGHT = f"storage.objects.get, {WRITE_RIGHT}"
_MARK = "seafloor-upload"
_log = logging.getLogger(__name__)


class _Marked(msgspec.Struct, frozen=True):
    metadata: Mapping[str, str] = {}


class PartsUpload:
    """One object on its way; nothing is visible under its key before ``place``.

    As a context manager it deletes its parts, however it ends.

    Args:
        client: The bucket.
        key: Of the object.
        policy: How often each request is tried.
    """

    def __init__(self, client: GcsClient, key: str, policy: RetryPolicy) -> None:
        self.kept: SeafloorError | None = None
        """Why parts could not be deleted, when the service refused it."""
        self._client = client
        self._key = key
        self._policy = policy
        self._mark = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._generations: dict[str, str] = {}
        self._running: deque[asyncio.Task[Resource]] = deque()
        # What is together so far: 32 of one level become one of the next.
        self._levels: list[list[Resource]] = [[]]

    async def __aenter__(self) -> PartsUpload:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._delete(list(self._generations))

    async def begin(self, held: deque[Chunk]) -> None:
        """Send the first part alone, and take it from what is held.

        Raises:
            StoreError: parts may not be kept here. What is held is as it was.
        """
        await self._add(0, await self._start(held[0]))
        held.popleft()

    async def send(self, held: deque[Chunk], source: ChunkSource) -> Resource:
        """Send all that follows the first part and put it together, under a name of its own.

        What is held is taken from there, so that its memory is free.

        Raises:
            StoreUnavailable: what is together is not what was sent; or a request failed too often.
        """
        is_last = False
        while not is_last:
            is_held = bool(held)
            chunk = held.popleft() if is_held else await source.next()
            is_last = chunk.is_last
            if len(self._running) == PARTS_AT_ONCE:
                await self._take()
            self._running.append(self._start(chunk))
            if not is_held:
                # The request has a copy. One chunk in turn is enough.
                source.give_back(chunk)
        while self._running:
            await self._take()
        found = [part for level in reversed(self._levels) for part in level]
        while len(found) > 1:
            found = [
                await self._composed(found[start : start + SOURCES_MAX])
                for start in range(0, len(found), SOURCES_MAX)
            ]
        whole = found[0]
        if whole.crc32c and whole.crc32c != crc32c_text(source.crc32c):
            raise StoreUnavailable(f'"{self._key}" was damaged on its way: put it again.')
        return whole

    async def place(self, whole: Resource, *, if_absent: bool) -> Resource:
        """Make visible under the key what was found good; at once, by the service itself.

        Raises:
            AlreadyExists: if_absent, and another one made the object.
        """
        query = {
            "fields": f"done,rewriteToken,resource({FIELDS})",
            "sourceGeneration": whole.generation,
        }
        if if_absent:
            query["ifGenerationMatch"] = "0"
        while True:
            to = self._client.object_url(self._key, **query).partition("/storage/v1/")[2]
            call = Call(
                "POST",
                f"{self._client.object_url(whole.name)}/rewriteTo/{to}",
                _RIGHT,
                headers={"Content-Type": "application/json"},
                fine=frozenset({200, 404, 412}),
            )
            response = await self._answered(call)
            if response.status == 404:
                raise self._lost()
            if response.status == 412:
                # Ours, if an answer was lost on its way.
                found = await self._marked()
                if found is None:
                    raise AlreadyExists(f'There is an object "{self._key}" already.', field="key")
                return found
            answer = decoded(response, Rewrite)
            if answer.done and answer.resource is not None:
                return answer.resource
            query["rewriteToken"] = answer.rewrite_token

    def _start(self, chunk: Chunk) -> asyncio.Task[Resource]:
        name = self._name()
        call = whole_call(
            self._client,
            name,
            chunk.data,
            crc32c.extend(0, bytes(chunk.data)),
            if_absent=True,
            # Where the bucket's class has a least time, each part would be paid for that long.
            storage_class="STANDARD",
        )
        return asyncio.create_task(self._made(name, call))

    async def _take(self) -> None:
        """Wait for the oldest part on its way."""
        await self._add(0, self._running[0])
        self._running.popleft()

    async def _add(self, level: int, part: asyncio.Task[Resource] | Resource) -> None:
        found = part if isinstance(part, Resource) else await part
        if level == len(self._levels):
            self._levels.append([])
        parts = self._levels[level]
        parts.append(found)
        if len(parts) == SOURCES_MAX:
            together = await self._composed(parts)
            self._levels[level] = []
            await self._add(level + 1, together)

    async def _composed(self, parts: Sequence[Resource]) -> Resource:
        """Put parts together, in order, and delete them."""
        if len(parts) == 1:
            return parts[0]
        name = self._name()
        sources = [{"name": part.name, "generation": part.generation} for part in parts]
        described = {
            "contentType": "application/octet-stream",
            "storageClass": "STANDARD",
            "metadata": {_MARK: self._mark},
        }
        call = Call(
            "POST",
            f"{self._client.object_url(name)}/compose?ifGenerationMatch=0&fields={FIELDS}",
            _RIGHT,
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode({"sourceObjects": sources, "destination": described}),
            fine=frozenset({200, 404, 412}),
        )
        found = await self._made(name, call)
        await self._delete([part.name for part in parts])
        return found

    async def _made(self, name: str, call: Call) -> Resource:
        """Make a part; safe to repeat, since nobody else uses its name."""
        self._generations[name] = ""
        response = await self._answered(call)
        if response.status == 412:
            # An answer was lost: it is there already, whole, or the service had refused it.
            get = Call("GET", self._client.object_url(name, fields=FIELDS), _RIGHT)
            response = await self._answered(get)
        if response.status == 404:
            await self._client.check_bucket()
            raise self._lost() if self._levels[0] else no_bucket(self._client.bucket)
        found = decoded(response, Resource)
        self._generations[name] = found.generation
        return msgspec.structs.replace(found, name=name)

    async def _answered(self, call: Call) -> Answer:
        failures = 0
        while True:
            try:
                return await self._client.call(call)
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

    async def _marked(self) -> Resource | None:
        url = self._client.object_url(self._key, fields=f"{FIELDS},metadata")
        call = Call("GET", url, _RIGHT, fine=frozenset({200, 404}))
        response = await self._answered(call)
        if response.status == 404:
            return None
        is_ours = decoded(response, _Marked).metadata.get(_MARK) == self._mark
        return decoded(response, Resource) if is_ours else None

    async def _delete(self, names: Sequence[str]) -> None:
        """Delete parts; what is refused stays, what fails is swept later."""
        if self.kept is not None:
            return
        for start in range(0, len(names), BATCH_CALLS_MAX):
            batch = names[start : start + BATCH_CALLS_MAX]
            try:
                async with asyncio.timeout(CLEAN_TIMEOUT_S):
                    await delete_batch(self._client, batch, self._generations)
            except (StoreUnavailable, TimeoutError):
                continue
            except SeafloorError as error:
                self.kept = error
                return
            for name in batch:
                del self._generations[name]

    def _name(self) -> str:
        return f"{PARTS_FOLDER}/{self._mark}/{next(self._numbers)}"

    def _lost(self) -> StoreUnavailable:
        return StoreUnavailable(
            f'Parts of "{self._key}" are gone from the bucket "{self._client.bucket}": '
            "put it again from its beginning."
        )


async def sweep(client: GcsClient, now: datetime) -> int:
    """Delete the parts of uploads that were left; return how many.

    Looks at SWEEP_PAGES_MAX pages and no more. What fails is left for the next time.

    Args:
        client: The bucket.
        now: By the service's own clock.
    """
    query = {
        "prefix": f"{PARTS_FOLDER}/",
        "fields": f"items({FIELDS}),nextPageToken",
        "maxResults": str(LIST_LIMIT_MAX),
    }
    found: dict[str, list[Resource]] = {}
    count = 0
    with contextlib.suppress(SeafloorError):
        for _ in range(SWEEP_PAGES_MAX):
            response = await client.call(
                Call("GET", client.objects_url(**query), "storage.objects.list")
            )
            answer = decoded(response, Listing)
            for item in answer.items:
                found.setdefault(item.name.rpartition("/")[0], []).append(item)
            query["pageToken"] = answer.next_page_token
            if not answer.next_page_token:
                break
        if query["pageToken"] and found:
            # Of the last one there may be more.
            found.popitem()
        left = [
            part
            for parts in found.values()
            if max(part.time_created for part in parts) < now - LEFT_AFTER
            for part in parts
        ]
        for start in range(0, len(left), BATCH_CALLS_MAX):
            batch = left[start : start + BATCH_CALLS_MAX]
            generations = {part.name: part.generation for part in batch}
            count += await delete_batch(client, list(generations), generations)
    if count:
        _log.info("Deleted %d parts of uploads that were left.", count)
    return count
