"""``LocalObjectStore``: an object is a file whose path is its key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    NotSupported,
    OutOfOrder,
    StoreCorrupt,
    StoreError,
)
from seafloor.stores.objects.keys import (
    check_append,
    check_listing,
    check_object_key,
    check_presign,
    check_range,
)
from seafloor.stores.objects.local.errors import translated
from seafloor.stores.objects.local.listings import Asked, Listing, Listings
from seafloor.stores.objects.local.staging import StagedFile, Staging
from seafloor.stores.objects.local.tree import FolderInTheWay, ObjectInTheWay, Tree, info_of
from seafloor.stores.objects.protocol import (
    READ_CHUNK_BYTES,
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
)

_Result = TypeVar("_Result")
_DELETES_PER_STEP = 500
# So many pages of a listing a folder is read for at once.
_PAGES_READ = 20
# What is copied within one step in a thread, which cannot be stopped in its middle.
_COPY_STEP_BYTES = 64 * 1024 * 1024


class LocalObjectStore:
    """An ``ObjectStore`` in a folder: ``<root>/<key>`` is the object, readable by any program.

    An object is written to ``<root>/.seafloor-tmp``, made durable, and renamed to its key. After
    a crash a key has the old or the new content; what was unfinished is removed when a store is
    next opened on the root. Several processes may have one root open.

    No link in the tree is followed; the root itself may be one.

    Args:
        root: Made when it is missing. One file system, with room for hard links and file locks.
        threads: How many calls touch the disk at once; others wait.

    Raises:
        StoreError: the folder cannot be made, written or locked.
    """

    def __init__(self, root: Path, *, threads: int = 8) -> None:
        self._root = root.absolute()
        with translated(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            self._root = self._root.resolve()
            self._staging = Staging(self._root)
            self._tree = Tree(self._root)
        self._listings = Listings()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="seafloor-objects")
        self._closed = False
        self._clock_lock = threading.Lock()
        self._last_ns = 0

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Objects are files."""
        return ObjectCapabilities(append=True, local_files=True)

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        check_object_key(key)
        info = await self._run(lambda: self._tree.head(key), key)
        if info is None:
            raise _not_found(key)
        return info

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``."""
        check_object_key(key)
        check_range(start=start, length=length)
        opened: list[int] = []
        try:
            info = await self._run(lambda: self._open(key, opened), key)
            end = info.size_bytes if length is None else min(info.size_bytes, start + length)
            for offset in range(start, end, READ_CHUNK_BYTES):
                wanted = min(end - offset, READ_CHUNK_BYTES)
                chunk = await self._run(lambda: _pread(opened[0], wanted, offset), key)  # noqa: B023
                if len(chunk) < wanted:
                    raise StoreCorrupt(
                        f'"{key}" ended before its {info.size_bytes} bytes: '
                        "another program cut the file short."
                    )
                yield chunk
        finally:
            for fd in opened:
                os.close(fd)

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``.

        Cost: the names of the folders on the way, read once for ``_PAGES_READ`` pages that are
        asked for one after the other; memory of as many names, however many there are.
        """
        check_listing(folder, limit=limit, cursor=cursor)
        return await self._run(
            lambda: self._page(folder, recursive=recursive, limit=limit, after=cursor or ""), folder
        )

    async def local_path(self, key: str) -> Path:
        """Name the file of an object; see ``ObjectRead.local_path``."""
        await self.head(key)
        return self._root / key

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``.

        Cost: three steps in a thread and one per READ_CHUNK_BYTES; two fsyncs, and one more
        for each folder that is new.
        """
        check_object_key(key)
        staged = self._staging.new()
        try:
            with _conflicts(key):
                await self._run(lambda: self._begin(staged, key, if_absent=if_absent), key)
                if isinstance(data, bytes):
                    await self._run(lambda: staged.write(data), key)
                else:
                    await self._write_stream(staged, data, key)
                return await self._run(lambda: self._commit(staged, key, if_absent=if_absent), key)
        finally:
            await self._run(staged.discard, key, is_owed=True)

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``.

        Cost: one step in a thread and one fsync; creating costs what ``put`` does.
        """
        check_append(key, offset=offset)
        with _conflicts(key):
            found = await self._run(lambda: self._append(key, offset, data), key)
            if found is None and offset == 0:
                try:
                    return (await self.put(key, data, if_absent=True)).size_bytes
                except AlreadyExists:
                    found = await self._run(lambda: self._append(key, offset, data), key)
        size_bytes = found or 0
        if offset > size_bytes:
            raise OutOfOrder(
                f'"{key}" has {size_bytes} bytes: append from there.',
                next_offset=size_bytes,
                field="offset",
            )
        return max(size_bytes, offset + len(data))

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``.

        Cost: that of the file system, which may share the bytes instead of copying them.
        """
        check_object_key(source)
        check_object_key(target)
        staged = self._staging.new()
        opened: list[int] = []
        try:
            with _conflicts(target):
                info = await self._run(lambda: self._open(source, opened), source)
                await self._run(lambda: self._begin(staged, target, if_absent=if_absent), target)
                for offset in range(0, info.size_bytes, _COPY_STEP_BYTES):
                    end = min(info.size_bytes, offset + _COPY_STEP_BYTES)
                    await self._run(lambda: _fill(staged, opened[0], offset, end, source), target)  # noqa: B023
                return await self._run(
                    lambda: self._commit(staged, target, if_absent=if_absent), target
                )
        finally:
            for fd in opened:
                os.close(fd)
            await self._run(staged.discard, target, is_owed=True)

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        check_object_key(key)
        return await self._run(lambda: self._tree.remove(key), key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        for key in keys:
            check_object_key(key)
        for start in range(0, len(keys), _DELETES_PER_STEP):
            batch = keys[start : start + _DELETES_PER_STEP]
            await self._run(lambda: [self._tree.remove(key) for key in batch], batch[0])  # noqa: B023

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        check_object_key(folder, field="folder")
        steps = self._tree.remove_below(folder, step=_DELETES_PER_STEP)
        total = 0
        with contextlib.closing(steps):
            while (removed := await self._run(lambda: next(steps, None), folder)) is not None:
                total += removed
        return total

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Raise NotSupported: a folder has no server that would know the URL."""
        check_presign(key, method=method, expires_s=expires_s)
        raise NotSupported("Files of a folder have no URL: read them through Seafloor.")

    async def close(self) -> None:
        """Wait for what runs, and leave nothing behind but objects; see ``ObjectStore.close``."""
        if self._closed:
            return
        self._closed = True
        self._pool.shutdown(wait=True)
        self._staging.close()
        self._tree.close()

    async def _write_stream(self, staged: StagedFile, data: AsyncIterable[bytes], key: str) -> None:
        """Write a stream in pieces of about READ_CHUNK_BYTES, however small its own are."""
        waiting: list[bytes] = []
        waiting_bytes = 0
        async for chunk in data:
            waiting.append(chunk)
            waiting_bytes += len(chunk)
            if waiting_bytes >= READ_CHUNK_BYTES:
                piece = waiting[0] if len(waiting) == 1 else b"".join(waiting)
                await self._run(lambda: staged.write(piece), key)  # noqa: B023
                waiting, waiting_bytes = [], 0
        if waiting:
            await self._run(lambda: staged.write(b"".join(waiting)), key)

    async def _run(
        self, step: Callable[[], _Result], key: str, *, is_owed: bool = False
    ) -> _Result:
        """Run a blocking step in a thread.

        A step that runs cannot be stopped. When the caller is cancelled we wait for its end, so
        that the descriptors it uses are not closed, and given to someone else, in its middle.

        Args:
            is_owed: It is run even if the caller is cancelled before it begins.
        """
        if self._closed:
            raise StoreError("The object store is closed.")

        def guarded() -> _Result:
            with translated(self._root, key):
                return step()

        future = self._pool.submit(guarded)
        waiter = asyncio.wrap_future(future)
        cancelled: asyncio.CancelledError | None = None
        while not waiter.done():
            try:
                await asyncio.wait((waiter,))
            except asyncio.CancelledError as error:
                cancelled = error
                if not is_owed:
                    future.cancel()
        if cancelled is None:
            return waiter.result()
        if not waiter.cancelled():
            waiter.exception()  # looked at, so that nobody is warned of it
        raise cancelled

    def _open(self, key: str, opened: list[int]) -> ObjectInfo:
        """Open an object and note the descriptor where it cannot get lost."""
        found = self._tree.open(key)
        if found is None:
            raise _not_found(key)
        opened.append(found[0])
        return found[1]

    def _page(self, folder: str, *, recursive: bool, limit: int, after: str) -> ObjectPage:
        objects: list[ObjectInfo] = []
        folders: list[str] = []
        last = ""
        asked = Asked(folder, recursive, after)
        listing = self._listings.take(asked) or Listing(self._walk(asked, limit))
        for found in listing:
            if len(objects) + len(folders) == limit:
                listing.give_back(found)
                self._listings.keep(asked._replace(after=last), listing)
                return ObjectPage(objects=tuple(objects), folders=tuple(folders), next=last)
            if isinstance(found, str):
                folders.append(found[:-1])
                last = found
            else:
                objects.append(found)
                last = found.key
        return ObjectPage(objects=tuple(objects), folders=tuple(folders))

    def _walk(self, asked: Asked, limit: int) -> Generator[ObjectInfo | str]:
        return self._tree.walk(
            asked.folder,
            after=asked.after,
            recursive=asked.recursive,
            names=_PAGES_READ * limit,
            batch=limit + 1,
        )

    def _append(self, key: str, offset: int, data: bytes) -> int | None:
        """Append to an object that is there; the size found, None when there is none."""
        size_bytes = self._tree.append(key, offset=offset, data=data, modified_ns=self._next_ns())
        if size_bytes is None:
            self._tree.check_place(key)
        return size_bytes

    def _begin(self, staged: StagedFile, key: str, *, if_absent: bool) -> None:
        """Refuse early what would be refused at the end, then open the staged file."""
        self._tree.check_place(key)
        if if_absent and self._tree.head(key) is not None:
            raise _already_exists(key)
        staged.open()

    def _commit(self, staged: StagedFile, key: str, *, if_absent: bool) -> ObjectInfo:
        status = staged.finish(modified_ns=self._next_ns())
        try:
            self._tree.place(staged, key, if_absent=if_absent)
        except FileExistsError as error:
            raise _already_exists(key) from error
        return info_of(key, status)

    def _next_ns(self) -> int:
        """Tell the time, later than ever before: no two puts have one time."""
        with self._clock_lock:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            return self._last_ns


@contextlib.contextmanager
def _conflicts(key: str) -> Generator[None]:
    """Say in our words what stands where an object is to be written."""
    try:
        yield
    except ObjectInTheWay as error:
        raise Conflict(
            f'"{key}" cannot be written: "{error.key}" is an object, not a folder.', field="key"
        ) from error
    except FolderInTheWay as error:
        raise Conflict(f'"{key}" cannot be written: it is a folder.', field="key") from error


def _fill(staged: StagedFile, source_fd: int, offset: int, end: int, source: str) -> None:
    """Copy a part of a file to the end of a staged one."""
    while offset < end:
        came = staged.fill(source_fd, offset=offset, size_bytes=end - offset)
        if not came:
            raise StoreCorrupt(
                f'"{source}" ended while it was copied: another program cut the file short.'
            )
        offset += came


def _pread(fd: int, size_bytes: int, offset: int) -> bytes:
    """Read so many bytes, fewer only at the end of the file."""
    data = os.pread(fd, size_bytes, offset)
    while len(data) < size_bytes:
        more = os.pread(fd, size_bytes - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _not_found(key: str) -> NotFound:
    return NotFound(f'There is no object "{key}".', field="key")


def _already_exists(key: str) -> AlreadyExists:
    return AlreadyExists(f'There is an object "{key}" already.', field="key")
