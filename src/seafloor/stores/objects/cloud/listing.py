"""Listing a bucket in order of key, whatever order its server lists in.

Amazon's S3 lists by code point, as we do. Other servers, and Azure with hierarchical namespaces,
list folder by folder: what is in ``a/`` before ``a-b``. So unless the order is known, a page is
made in one of three ways, the first that is sound:

1. All that is below the folder fits in one request: it is sorted here.
2. The next keys of the server are objects of this very folder, and no folder that the server has
   listed before them belongs after them: both orders agree on these.
3. The folder's level is listed whole (objects and folders, not what is below), sorted, and each
   folder is gone into when its turn comes.

Cost: of 1 and 2, one or two requests per page; of 3, one per 1,000 entries of the level and one
per folder that the page comes to.

Of S3 the client takes any XML for a listing, be it the sign-in page of a proxy: it finds no objects
there, and no word of a next page. So where a listing ends with nothing, or after whole requests,
an object is asked for that nobody has. Only the store says that it is missing. That is one request
more.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from obstore.exceptions import PermissionDeniedError

from seafloor.domain.errors import CallerError
from seafloor.stores.objects.cloud.calls import Calls
from seafloor.stores.objects.cloud.errors import CloudWords, other_answers, translated
from seafloor.stores.objects.keys import STAGING_FOLDER, check_object_key, is_below
from seafloor.stores.objects.protocol import ObjectInfo, ObjectPage

if TYPE_CHECKING:
    from obstore import GetResult, ListResult, ListStream, ObjectMeta

REQUEST_KEYS = 1000
"""What one request lists."""

# Sorts after every other key below a folder.
_LAST = "\U0010ffff"
# What can follow the name of a folder in the name of its neighbour, and sorts before the slash.
_BEFORE_SLASH_MAX = "."
# To look for more folders than this takes longer than to list the level.
_PASSED_FOLDERS_MAX = 4
_LOOKS_AT_ONCE = 32


class Lists(Protocol):
    """What of obstore's stores a listing uses."""

    def list(
        self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50
    ) -> ListStream[Sequence[ObjectMeta]]:
        """List what is below a folder, in chunks."""
        ...

    async def list_with_delimiter_async(
        self, prefix: str | None = None
    ) -> ListResult[Sequence[ObjectMeta]]:
        """List what stands in a folder."""
        ...

    async def get_async(self, path: str) -> GetResult:
        """Begin to read an object."""
        ...


class CloudListing:
    """Pages of one bucket.

    Args:
        bucket: Of obstore.
        words: For its errors.
        calls: Of the store.
        in_order: Whether the server is known to list by code point.
        takes_any: Whether the client takes any XML for a listing.
    """

    def __init__(
        self, bucket: Lists, words: CloudWords, calls: Calls, *, in_order: bool, takes_any: bool
    ) -> None:
        self._bucket = bucket
        self._words = words
        self._calls = calls
        self._in_order = in_order
        self._takes_any = takes_any

    async def page(self, folder: str, *, recursive: bool, limit: int, after: str) -> ObjectPage:
        """Give one page; see ``ObjectRead.list``.

        Args:
            after: A key, or that of a folder with a slash; ``""``: from the beginning.
        """
        if recursive:
            return _page([info async for info in self._first(folder, limit + 1, after)], limit)
        waiting = [place for place in await self._level(folder) if _sorting(place) > after]
        found: list[ObjectInfo | str] = []
        for at in range(0, len(waiting), _LOOKS_AT_ONCE):
            if len(found) > limit:
                break
            found += await self._existing(waiting[at : at + _LOOKS_AT_ONCE])
        return _page(found[: limit + 1], limit)

    async def batches(self, folder: str) -> AsyncGenerator[list[str]]:
        """Give all keys below a folder, in the server's order, as many at once as a request."""
        chunks = self._bucket.list(folder, chunk_size=REQUEST_KEYS)
        last = 0
        while True:
            with translated(self._words, "list", folder):
                chunk = await self._calls.next(chunks)
            if chunk is None:
                await self._check_end(folder, last)
                return
            last = len(chunk)
            yield [info.key for info in _infos(chunk, folder)]

    async def _existing(self, places: Sequence[ObjectInfo | str]) -> list[ObjectInfo | str]:
        """Leave out folders that servers keep which have them, though nothing is left in them."""
        if self._in_order:
            return list(places)
        kept = await asyncio.gather(
            *(self._holds_object(place) for place in places if isinstance(place, str))
        )
        answers = iter(kept)
        return [place for place in places if isinstance(place, ObjectInfo) or next(answers)]

    async def _holds_object(self, folder: str) -> bool:
        # Two, as the first may be the folder itself.
        return bool((await self._chunk(folder, "", keys_max=2))[0])

    async def _first(self, folder: str, count: int, after: str) -> AsyncGenerator[ObjectInfo]:
        """Give the first objects below a folder that come after a place."""
        walk = self._ordered(folder, after) if self._in_order else self._walk(folder, after)
        async with aclosing(walk) as infos:
            async for info in infos:
                yield info
                count -= 1
                if not count:
                    return

    async def _ordered(self, folder: str, after: str) -> AsyncGenerator[ObjectInfo]:
        """Give what the server gives, from a place on."""
        place, is_last = (after + _LAST if after.endswith("/") else after), False
        while not is_last:
            found, place, is_last = await self._chunk(folder, place)
            for info in found:
                yield info

    async def _walk(self, folder: str, after: str) -> AsyncGenerator[ObjectInfo]:
        """Give what is below a folder, in order, whatever the server's order is."""
        # A stack and not recursion: keys may be deeper than Python's.
        levels = [self._places(folder, after)]
        while levels:
            found = await anext(levels[-1], None)
            if found is None:
                levels.pop()
            elif isinstance(found, str):
                levels.append(self._places(found, after))
            else:
                yield found

    async def _places(self, folder: str, after: str) -> AsyncGenerator[ObjectInfo | str]:
        """Give what is below a folder and after a place: objects, and folders to be gone into."""
        prefix = f"{folder}/" if folder else ""
        name = after[len(prefix) :] if after.startswith(prefix) else ""
        done = after if name and "/" not in name else ""
        while True:
            found, last, is_last = await self._chunk(folder, done)
            is_whole = is_last and not done
            if not is_whole and ("/" in name or not await self._agrees(prefix, found, done)):
                break
            for info in sorted(found, key=_sorting):
                if info.key > after:
                    yield info
            if is_last:
                return
            done = last
        after = max(after, done)
        for place in await self._level(folder):
            if _sorting(place) > after or (
                isinstance(place, str) and after.startswith(_sorting(place))
            ):
                yield place

    async def _agrees(self, prefix: str, found: Sequence[ObjectInfo], done: str) -> bool:
        """Say whether what the server lists next in a folder is next in our order too."""
        keys = [info.key for info in found]
        if any("/" in key[len(prefix) :] for key in keys) or keys != sorted(keys):
            return False
        if keys and keys[0] <= done:
            return False
        # Folders that a server may have listed before, and that come after in our order.
        name = done[len(prefix) :]
        passed = [name[:at] for at in range(1, len(name)) if name[at] <= _BEFORE_SLASH_MAX]
        if len(passed) > _PASSED_FOLDERS_MAX:
            return False
        for folder in passed:
            if await self._holds_object(prefix + folder):
                return False
        return True

    async def _chunk(
        self, folder: str, after: str, *, keys_max: int = REQUEST_KEYS
    ) -> tuple[list[ObjectInfo], str, bool]:
        """Give what one request lists: objects, where to go on, and whether that was all."""
        listing = self._bucket.list(folder or None, offset=after or None, chunk_size=keys_max)
        with translated(self._words, "list", folder):
            found = await self._calls.next(listing) or ()
        if not found:
            await self._check_end(folder, 0)
        last = found[-1]["path"] if found else after
        return _infos(found, folder), last, len(found) < keys_max

    async def _level(self, folder: str) -> list[ObjectInfo | str]:
        """Give what stands in a folder, in order: objects and folders."""
        with translated(self._words, "list", folder):
            level = self._bucket.list_with_delimiter_async(folder or None)
            found = await self._calls.run(level)
        await self._check_end(folder, len(found["objects"]) + len(found["common_prefixes"]))
        folders = [place for place in found["common_prefixes"] if _is_key(place)]
        return sorted([*_infos(found["objects"], folder), *folders], key=_sorting)

    async def _check_end(self, folder: str, listed: int) -> None:
        """Have the store itself answer when a listing may have been ended by something else.

        Args:
            folder: What was listed.
            listed: How many entries came; what a request does not fill is the end.

        Raises:
            StoreUnavailable: something else answers.
        """
        if not self._takes_any or listed % REQUEST_KEYS:
            return
        # Below the folder: elsewhere the credentials may have no rights.
        nobodys = f"{folder or STAGING_FOLDER}/{uuid.uuid4().hex}"
        with translated(self._words, "read", nobodys):
            try:
                await self._calls.run(self._bucket.get_async(nobodys))
            except (FileNotFoundError, PermissionDeniedError):
                return
        raise other_answers(self._words, "an object that nobody has put was answered")


def _infos(found: Sequence[ObjectMeta], folder: str) -> list[ObjectInfo]:
    """Describe what was listed below a folder.

    Left out is what others put there under names that are no keys, and the folder itself.
    """
    return [
        listed_info(meta)
        for meta in found
        if _is_key(meta["path"]) and is_below(meta["path"], folder)
    ]


def listed_info(meta: ObjectMeta) -> ObjectInfo:
    """Describe an object by what a listing tells."""
    return ObjectInfo(
        key=meta["path"],
        size_bytes=meta["size"],
        modified_ns=int(meta["last_modified"].timestamp()) * 1_000_000_000,
        etag=plain_etag(meta["e_tag"]),
    )


def plain_etag(etag: str | None) -> str:
    """Take the quotes off, which some answers of one server have and some have not."""
    return (etag or "").strip('"')


def _is_key(place: str) -> bool:
    try:
        check_object_key(place)
    except CallerError:
        return False
    return True


def _sorting(place: ObjectInfo | str) -> str:
    """By what a place is sorted: so ``a-b`` comes before what is in ``a/``."""
    return f"{place}/" if isinstance(place, str) else place.key


def _page(found: Sequence[ObjectInfo | str], limit: int) -> ObjectPage:
    """Make a page of what was found, which is one more than fits if there is more."""
    shown = found[:limit]
    return ObjectPage(
        objects=tuple(place for place in shown if isinstance(place, ObjectInfo)),
        folders=tuple(place for place in shown if isinstance(place, str)),
        next=_sorting(shown[-1]) if len(found) > limit else None,
    )
