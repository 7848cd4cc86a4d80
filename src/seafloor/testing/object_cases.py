"""Keys and streams that object stores are tried with, and ways to look at a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from typing import TypeVar

import numpy as np

from seafloor.domain.names import PATH_BYTES_MAX, PATH_PART_BYTES_MAX
from seafloor.stores.objects.protocol import ObjectInfo, ObjectRead, ObjectWrite

_Result = TypeVar("_Result")

SIBLINGS = ("a-b", "a-b2/x", "a.b/c/d", "a/b", "a/b-c", "a/bc/d", "a/z", "a0", "ab", "b")
"""Keys that a store confuses which takes a folder for a string prefix, in order."""

ODD_KEYS = (
    "plain",
    "with space/and more .bin",
    " space first",
    "space last ",
    "#hash/a#b",
    "%41/%2F/100%",
    "plus+plus/a+b",
    "question?mark=1&x;y",
    "quotes'\"`/$HOME/*",
    "brackets[0]{1}<2>|3",
    ".hidden/..two/...",
    "~tilde/-dash/--flag",
    "Case/case",
    "CON/nul.txt",
    "composed/\u00e9",
    "decomposed/e\u0301",
    "日本語/ファイル",
    "العربية",
    "🙂/👩‍👩‍👧",
    "part/" + "x" * 255,
    "part/" + "é" * 127,
)
"""Keys that are fine, however they look."""

BAD_KEYS = (
    "",
    "/absolute",
    "slash/last/",
    "two//slashes",
    ".",
    "dot/./dot",
    "..",
    "../up",
    "in/../out",
    "back\\slash",
    "nul\0byte",
    "line\nbreak",
    "lone\ud800surrogate",
    "C:/drive",
    "x" * 256,
    "part/" + "é" * 128,
    "d/" * 512 + "d",
    ".seafloor-tmp",
    ".seafloor-tmp/x",
)
"""Keys that every store refuses."""


def deepest_key(key_bytes_max: int, *, folders_max: int = PATH_BYTES_MAX) -> str:
    """A key that is as long as can be, in as many folders as can be."""
    folders = min(folders_max, (key_bytes_max - 1) // 2)
    sizes = [1] * (folders + 1)
    rest = key_bytes_max - 2 * folders - 1
    for at in reversed(range(len(sizes))):
        more = min(rest, PATH_PART_BYTES_MAX - 1)
        sizes[at] += more
        rest -= more
    return "/".join("d" * size for size in sizes)


async def stream_of(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Give chunks as a stream that can be read once."""
    for chunk in chunks:
        # Others have their turn, as they would while bytes come from a network.
        await asyncio.sleep(0)
        yield chunk


async def broken_stream(chunks: Iterable[bytes], error: Exception) -> AsyncIterator[bytes]:
    """Give chunks, then raise."""
    async for chunk in stream_of(chunks):
        yield chunk
    raise error


def bytes_of(size_bytes: int) -> bytes:
    """Bytes in which every place is another: a chunk lost, repeated or swapped shows."""
    return np.arange(size_bytes // 4 + 1, dtype=">u4").tobytes()[:size_bytes]


async def content(
    store: ObjectRead, key: str, *, start: int = 0, length: int | None = None
) -> bytes:
    """Read an object, or a range of it."""
    chunks = store.read(key, start=start, length=length)
    return b"".join([chunk async for chunk in chunks])


async def listed(
    store: ObjectRead, folder: str = "", *, recursive: bool = True, limit: int = 1000
) -> tuple[list[ObjectInfo], list[str]]:
    """List a folder page by page: all objects, all folders."""
    objects: list[ObjectInfo] = []
    folders: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.list(folder, recursive=recursive, limit=limit, cursor=cursor)
        assert len(page.objects) + len(page.folders) <= limit, "a page is larger than asked for"
        objects += page.objects
        folders += page.folders
        if page.next is None:
            return objects, folders
        assert page.next != cursor, "a listing does not go on"
        cursor = page.next


async def keys_of(store: ObjectRead, folder: str = "", *, limit: int = 1000) -> list[str]:
    """All keys below a folder."""
    return [info.key for info in (await listed(store, folder, limit=limit))[0]]


async def put_all(store: ObjectWrite, keys: Iterable[str], *, at_once: int = 16) -> None:
    """Put objects whose content is their key."""
    room = asyncio.Semaphore(at_once)

    async def put(key: str) -> None:
        async with room:
            await store.put(key, key.encode())

    async with asyncio.TaskGroup() as group:
        for key in keys:
            group.create_task(put(key))


async def outcomes(calls: Iterable[Awaitable[_Result]]) -> list[_Result | BaseException]:
    """Make calls at once; what each gave or raised."""
    return await asyncio.gather(*calls, return_exceptions=True)
