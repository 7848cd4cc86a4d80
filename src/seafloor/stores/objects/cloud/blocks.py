"""Large puts to Azure, block by block.

obstore numbers blocks from nought in every upload, and Azure keeps the blocks of all unfinished
uploads of one name together: two writers of one key would mix theirs. So blocks are put here, each
under an id of its upload's own, by a URL that obstore signs.

What is not committed is never visible, and Azure drops it after a week, or when another writes
the same name. A writer whose blocks are gone is told to repeat.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from obstore.exceptions import BaseError
from obstore.store import AzureStore

from seafloor.domain.errors import AlreadyExists, LimitExceeded, StoreError, StoreUnavailable
from seafloor.stores.objects.cloud.calls import Calls
from seafloor.stores.objects.cloud.client import (
    CONNECT_TIMEOUT_S,
    PART_TRIES_MAX,
    SILENCE_TIMEOUT_S,
)
from seafloor.stores.objects.cloud.errors import (
    Answer,
    CloudWords,
    already_exists,
    other_answers,
    store_error,
    translated,
)
from seafloor.stores.objects.cloud.listing import plain_etag
from seafloor.stores.objects.cloud.shared_access import Sign, SignByStore, is_plain
from seafloor.stores.objects.cloud.upload import PARTS_AT_ONCE
from seafloor.stores.objects.keys import STAGING_FOLDER
from seafloor.stores.objects.streams import pieces_of

if TYPE_CHECKING:
    from obstore import Attributes

BLOCK_BYTES = 4 * 1024 * 1024
BLOCKS_MAX = 50_000
"""What Azure takes: a stream has at most 195 GiB."""

_URL_LIFE = timedelta(days=1)
_TIMEOUTS = {
    "connect": CONNECT_TIMEOUT_S,
    "read": SILENCE_TIMEOUT_S,
    "write": SILENCE_TIMEOUT_S,
    "pool": None,
}
_DONE = 201
"""What Azure answers to each block and each list of them; a proxy's sign-in page comes with 200."""
_EXISTS = {"BlobAlreadyExists", "ConditionNotMet"}


class Blocks:
    """Writes streams of any length; see ``LargePut``."""

    def __init__(self, bucket: AzureStore, words: CloudWords, sign: Sign, calls: Calls) -> None:
        self._bucket = bucket
        self._words = words
        self._sign = sign
        self._calls = calls

    async def __call__(
        self, key: str, pieces: AsyncIterable[bytes], *, attributes: Attributes, if_absent: bool
    ) -> str | None:
        if isinstance(self._sign, SignByStore) and not is_plain(key):
            return await self._by_copy(key, pieces, attributes, if_absent=if_absent)
        return await self._put(key, pieces, attributes, if_absent=if_absent)

    async def _by_copy(
        self, key: str, pieces: AsyncIterable[bytes], attributes: Attributes, *, if_absent: bool
    ) -> None:
        """Write under a plain name, which can be signed, and copy in the store."""
        staged = f"{STAGING_FOLDER}/{uuid.uuid4().hex}"
        await self._put(staged, pieces, attributes, if_absent=False)
        try:
            with translated(self._words, "write", key):
                copying = self._bucket.copy_async(staged, key, overwrite=not if_absent)
                await self._calls.run(copying)
        except AlreadyExists:
            raise already_exists(key) from None
        finally:
            # What stays is removed by the account's lifecycle rule.
            with suppress(BaseError, FileNotFoundError):
                await self._calls.run(self._bucket.delete_async(staged))

    async def _put(
        self, key: str, pieces: AsyncIterable[bytes], attributes: Attributes, *, if_absent: bool
    ) -> str:
        with translated(self._words, "write", key):
            url = await self._sign("PUT", key, _URL_LIFE)
        # Not a client, which would log the URL; who has the URL may write.
        limits = httpx.Limits(max_connections=PARTS_AT_ONCE)
        async with httpx.AsyncHTTPTransport(limits=limits, proxy=proxy_to(url)) as transport:
            upload = _Upload(transport, url, self._words, key)
            await upload.send(pieces)
            return await upload.commit(attributes, if_absent=if_absent)


class _Upload:
    """One object on its way."""

    def __init__(
        self, transport: httpx.AsyncHTTPTransport, url: str, words: CloudWords, key: str
    ) -> None:
        self._transport = transport
        self._url = url
        self._words = words
        self._key = key
        self._id = uuid.uuid4().hex
        self._blocks: list[str] = []

    async def send(self, pieces: AsyncIterable[bytes]) -> None:
        """Put all blocks, several at once."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            async for part in pieces_of(pieces, BLOCK_BYTES):
                if len(under_way) == PARTS_AT_ONCE:
                    under_way = await _one_ended(under_way)
                under_way.add(asyncio.create_task(self._put(self._new_block(), part)))
            while under_way:
                under_way = await _one_ended(under_way)
        finally:
            for task in under_way:
                task.cancel()
            if under_way:
                await asyncio.wait(under_way)

    async def commit(self, attributes: Attributes, *, if_absent: bool) -> str:
        """Make the object of its blocks; return its etag.

        To name the same blocks again is harmless, and makes no object of them once another writer
        has replaced theirs. But who may only create would meet his own object the second time.
        """
        names = "".join(f"<Latest>{block}</Latest>" for block in self._blocks)
        headers = {f"x-ms-meta-{name}": value for name, value in attributes.items()}
        headers["x-ms-blob-content-type"] = "application/octet-stream"
        if if_absent:
            headers["If-None-Match"] = "*"
        names_xml = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{names}</BlockList>'
        tries_max = 1 if if_absent else PART_TRIES_MAX
        answer = await self._tried("&comp=blocklist", names_xml.encode(), headers, tries_max)
        return plain_etag(answer.headers.get("etag"))

    def _new_block(self) -> str:
        if len(self._blocks) == BLOCKS_MAX:
            raise LimitExceeded(
                f"An object in Azure has at most {BLOCKS_MAX * BLOCK_BYTES // 1024**3} GiB: "
                "split it.",
                field="key",
            )
        block = base64.b64encode(f"{self._id}{len(self._blocks):06}".encode()).decode()
        self._blocks.append(block)
        return block

    async def _put(self, block: str, part: bytes) -> None:
        query = f"&comp=block&blockid={block.replace('=', '%3D')}"
        await self._tried(query, part, {}, PART_TRIES_MAX)

    async def _tried(
        self, query: str, body: bytes, headers: dict[str, str], tries_max: int
    ) -> httpx.Response:
        """Make a request; again, when it failed in passing: nobody could begin the stream again."""
        tries = 1
        while True:
            try:
                return await self._request(query, body, headers)
            except StoreUnavailable as error:
                if tries == tries_max:
                    raise
                await asyncio.sleep(error.retry_after_s or 0)
            tries += 1

    async def _request(self, query: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        request = httpx.Request(
            "PUT",
            self._url + query,
            content=body,
            headers=headers,
            extensions={"timeout": _TIMEOUTS},
        )
        try:
            answer = await self._transport.handle_async_request(request)
            await answer.aread()
        except httpx.TransportError as error:
            # Its text may hold the URL.
            raise store_error(self._words, "write", Answer(0, "", type(error).__name__)) from None
        if answer.status_code == _DONE:
            return answer
        if answer.is_success:
            raise other_answers(self._words, f"{answer.status_code} instead of {_DONE}")
        code = answer.headers.get("x-ms-error-code", "")
        if code in _EXISTS:
            raise already_exists(self._key)
        detail = f"{answer.status_code} {code}"
        raise store_error(self._words, "write", Answer(answer.status_code, code, detail))


def proxy_to(url: str) -> httpx.Proxy | None:
    """The proxy that the process is told to use for an address, as obstore uses it for all else.

    Raises:
        StoreError: it is one of a kind that blocks cannot go through.
    """
    place = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(place.scheme) or proxies.get("all")
    if not named or proxy_bypass(place.hostname or ""):
        return None
    kind, has_kind, _ = named.partition("://")
    if has_kind and kind.lower() not in {"http", "https"}:
        # Not all of it: it may hold a password.
        raise StoreError(
            f"A proxy of the kind {kind[:10]} cannot be used for large objects in Azure: name one "
            "by http://host:port, or except the account from it in NO_PROXY."
        )
    return httpx.Proxy(named if has_kind else f"http://{named}")


async def _one_ended(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for one at least; raise what it raised; return those under way."""
    done, under_way = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    failed = [error for task in done if (error := task.exception())]
    if failed:
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        raise failed[0]
    return under_way
