"""What an object store of files does when it is killed: work for ``os_faults``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.object_cases import put_all, stream_of
from seafloor.testing.os_faults import Work

OLD = b"old" * 1_000
NEW = [b"new" * 500_000, b"er" * 500_000]
BELOW = tuple(f"f/{number % 2}/{number}" for number in range(5))


def _prepared(
    folder: Path, before: tuple[str, ...], work: Callable[[LocalObjectStore], Awaitable[object]]
) -> Work:
    async def prepare() -> None:
        store = LocalObjectStore(folder)
        for key in before:
            await store.put(key, OLD)
        await put_all(store, ["keep"])
        await store.close()

    async def worked() -> None:
        # Not closed: closing is not what is tried.
        await work(LocalObjectStore(folder, threads=1))

    asyncio.run(prepare())
    return lambda: asyncio.run(worked())


def create(folder: Path) -> Work:
    """Put an object in new folders."""
    return _prepared(folder, (), lambda store: store.put("a/b/c", stream_of(NEW)))


def create_if_absent(folder: Path) -> Work:
    """The same, and only if it is absent."""
    return _prepared(folder, (), lambda store: store.put("a/b/c", stream_of(NEW), if_absent=True))


def replace(folder: Path) -> Work:
    """Put an object that is there."""
    return _prepared(folder, ("a/b/c",), lambda store: store.put("a/b/c", stream_of(NEW)))


def delete(folder: Path) -> Work:
    """Delete the last object of some folders."""
    return _prepared(folder, ("a/b/c",), lambda store: store.delete("a/b/c"))


def delete_folder(folder: Path) -> Work:
    """Delete a folder of several."""
    return _prepared(folder, BELOW, lambda store: store.delete_folder("f"))
