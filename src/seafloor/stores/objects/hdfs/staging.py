"""Files that are written before they are objects: ``.seafloor-tmp`` below the root.

    .seafloor-tmp/<id of a store>-<number>    an object being written

Several servers share the folder. None can see which of the others live, so what is a day old is
taken for a crash's leftover, and removed by the first write of each store that opens.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import time
from concurrent.futures import Future

from seafloor.domain.errors import StoreCorrupt, StoreError, StoreUnavailable
from seafloor.stores.objects.hdfs.remote import OpenFile, Remote

LEFTOVER_AGE_S = 24 * 3600.0
_CREATE_TRIES = 3
_CLOSE_PATIENCE_S = 20.0
_CLOSE_POLL_S = 0.003
_CLOSE_POLL_MAX_S = 0.1
_CLOSE_RETRY_S = 0.25
_RECOVERY_POLL_S = 2.0
"""Each look at a file that DataNodes recover makes them begin again: it is doubled each time."""
_CLOSE_GRACE_S = 0.02
_CLOSE_GRACE_SYNCS = 4
"""How long closing may take before we look ourselves: so many times what syncing took."""


async def close_durably(
    remote: Remote, file: OpenFile, path: str, *, size_bytes: int
) -> Future[None] | None:
    """Bring a new file to the disks and close it.

    The NameNode takes a file for closed once a DataNode has reported its last block, which it
    mostly has not when it is asked first, and hdfs-native asks again only after half a second. So
    after a while we have the file's lease recovered, which closes it as soon as the report is in.
    That is safe since every replica has all bytes by then, and another client asks for it: once a
    recovery begins, its writer can close the file no more. What was written is compared at the end.

    Args:
        size_bytes: Of the whole file.

    Returns:
        What goes on though the file is closed: hdfs-native will tell the NameNode once more how
        long the file is. Until then it must not be appended to. None when nothing goes on.

    Raises:
        StoreCorrupt: the file has another size.
        StoreUnavailable: it is not closed, and cannot be taken for whole.
    """
    begun = time.monotonic()
    if not size_bytes or not await remote.sync(file):
        await remote.finished(remote.finish(file))
        return None
    grace_s = max(_CLOSE_GRACE_S, _CLOSE_GRACE_SYNCS * (time.monotonic() - begun))
    closing = remote.finish(file)
    waiter = asyncio.wrap_future(closing)
    waiter.add_done_callback(_looked_at)
    await asyncio.wait((waiter,), timeout=grace_s)
    if _is_closed(closing):
        return None
    await _recovered(remote, closing, path)
    found = await remote.status(path)
    if found is None or found.length != size_bytes:
        raise StoreCorrupt(
            f"{size_bytes} bytes were written to {path}, and {found and found.length} are there: "
            "look at the DataNodes."
        )
    return closing


async def _recovered(remote: Remote, closing: Future[None], path: str) -> None:
    """Return once the file is closed, by whichever is first: its writer or the recovery."""
    deadline = time.monotonic() + _CLOSE_PATIENCE_S
    wait_s, recovery_wait_s = _CLOSE_POLL_S, _RECOVERY_POLL_S
    while not _is_closed(closing):
        try:
            if await remote.recover_lease(path):
                return
            wait_s, recovery_wait_s = recovery_wait_s, 2 * recovery_wait_s
        except FileExistsError:
            wait_s = min(2 * wait_s, _CLOSE_POLL_MAX_S)
        except StoreUnavailable:  # another NameNode may be about to take over
            if time.monotonic() > deadline:
                raise
            wait_s = _CLOSE_RETRY_S
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"{path} was written, but no DataNode reports it: look at the DataNodes, "
                "then repeat.",
                retry_after_s=1.0,
            )
        await asyncio.sleep(wait_s)


def _is_closed(closing: Future[None]) -> bool:
    return closing.done() and closing.exception() is None


def _looked_at(waiter: asyncio.Future[None]) -> None:
    """Look at how closing ended, so that nobody is warned of it."""
    if not waiter.cancelled():
        waiter.exception()


class Ends:
    """What goes on with files that are closed, by path; see ``close_durably``."""

    def __init__(self) -> None:
        self._going_on: dict[str, Future[None]] = {}

    def note(self, path: str, going_on: Future[None] | None) -> None:
        """Keep what goes on until it ends."""
        if going_on is None:
            self._going_on.pop(path, None)
            return
        self._going_on[path] = going_on

        def forget(ended: Future[None]) -> None:
            if self._going_on.get(path) is ended:
                self._going_on.pop(path, None)

        going_on.add_done_callback(forget)

    async def wait(self, path: str) -> None:
        """Return once nothing goes on with a file."""
        going_on = self._going_on.get(path)
        if going_on is not None:
            waiter = asyncio.wrap_future(going_on)
            waiter.add_done_callback(_looked_at)
            # What hangs longer does so in a connection that was given up.
            await asyncio.wait((waiter,), timeout=_CLOSE_PATIENCE_S)


class StagedFile:
    """A file being written, which is nowhere to be seen yet.

    Args:
        remote: Where.
        folder: The staging folder.
        name: Of the file; nobody else has it.

    Nothing exists before ``open``; ``discard`` is safe at any moment after any failure.
    """

    def __init__(self, remote: Remote, folder: str, name: str) -> None:
        self._remote = remote
        self._folder = folder
        self._name = name
        self._file: OpenFile | None = None
        self._begun: list[str] = []
        self.size_bytes = 0

    @property
    def path(self) -> str:
        """Where it is."""
        return self._begun[-1]

    async def open(self) -> None:
        """Create it."""
        for attempt in range(_CREATE_TRIES):
            # Noted before: it may exist after any failure. And a call that hdfs-native repeats
            # meets the file that its first try made, which then has no writer: take another name.
            self._begun.append(f"{self._folder}/{self._name}{'.' * attempt}")
            try:
                self._file = await self._remote.create(self.path)
            except FileExistsError:
                continue
            return
        raise StoreUnavailable(
            f"{self._remote.place} loses answers: look at the network, then repeat.",
            retry_after_s=1.0,
        )

    async def write(self, data: bytes) -> None:
        """Append bytes, all of them."""
        if data:
            await self._remote.write(self._opened, data)
            self.size_bytes += len(data)

    async def finish(self) -> Future[None] | None:
        """Make it durable; nothing is written after. See ``close_durably``."""
        return await close_durably(
            self._remote, self._opened, self.path, size_bytes=self.size_bytes
        )

    @property
    def _opened(self) -> OpenFile:
        if self._file is None:
            raise StoreError("A file is opened before it is written.")
        return self._file

    def moved(self) -> None:
        """Note that the name is no longer here: the file is in its place."""
        self._begun.pop()

    async def discard(self) -> None:
        """Remove it unless it was moved. Safe to repeat.

        What cannot be removed now is removed when it is old; the object is in its place all the
        same, or its own error is the one to tell.
        """
        self._file = None
        while self._begun:
            path = self._begun.pop()
            with contextlib.suppress(StoreError, OSError):
                await self._remote.delete(path)


class Staging:
    """One store's files in the staging folder.

    Args:
        remote: Where.
        folder: The staging folder; made by the first file.
        leftover_age_s: How old a file is that nobody can be writing any more.
    """

    def __init__(
        self, remote: Remote, folder: str, *, leftover_age_s: float = LEFTOVER_AGE_S
    ) -> None:
        self._remote = remote
        self._folder = folder
        self._leftover_age_s = leftover_age_s
        self._numbers = itertools.count()
        self._id = secrets.token_hex(8)
        self._cleaned = False

    def new(self) -> StagedFile:
        """Name a new file; it is not created yet."""
        return StagedFile(self._remote, self._folder, f"{self._id}-{next(self._numbers)}")

    async def clean(self) -> None:
        """Remove what crashes left behind, once in the life of a store."""
        if self._cleaned:
            return
        self._cleaned = True
        oldest_ms = (time.time() - self._leftover_age_s) * 1000
        for path in await self._remote.in_thread(lambda: self._old(oldest_ms)):
            with contextlib.suppress(StoreError, OSError):
                await self._remote.delete(path)

    def _old(self, oldest_ms: float) -> list[str]:
        return [
            found.path
            for found in self._remote.statuses(self._folder)
            if not found.isdir and found.modification_time < oldest_ms
        ]
