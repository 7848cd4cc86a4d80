"""HDFS by path: hdfs-native's client in threads, with time limits and errors that tell.

Its asynchronous client is not used: when a connection ends it wakes tasks, for which it needs
Python's lock, while it holds a lock of its own that the event loop's thread waits for with
Python's lock in its hand. So a NameNode that dies would stop the whole process for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hdfs_native import Client, FileReader, FileStatus, WriteOptions

from seafloor.domain.errors import InvalidValue, NotSupported, StoreError, StoreUnavailable
from seafloor.stores.objects.hdfs.errors import RETRY_AFTER_S, translated
from seafloor.stores.objects.hdfs.naming import times_of
from seafloor.stores.objects.hdfs.pairs import Pairs
from seafloor.stores.objects.threads import Threads

if TYPE_CHECKING:
    from hdfs_native._internal import RawFileWriter

_Result = TypeVar("_Result")

CALL_TIMEOUT_S = 10.0
"""How long a call about one path may be silent. hdfs-native waits for a mute NameNode for ever."""
DATA_TIMEOUT_S = 30.0
"""The same for bytes and for listings."""
TREE_TIMEOUT_S = 120.0
"""The same for what a NameNode does to a whole tree, which takes it longer the larger that is."""

_BOUNDED = {
    "dfs.client.failover.max.attempts": "3",
    "dfs.client.failover.sleep.base.millis": "100",
    "dfs.client.failover.sleep.max.millis": "500",
}
"""How often hdfs-native repeats a call that no NameNode takes: for about a second, and not, as it
would by itself, for minutes. Our callers repeat, and are told why they have to."""

_NO_CHANGE = 2**64 - 1
"""As an access time: leave it as it is (-1 of 64 bits)."""
_FOLDER_MODE = 0o755
_NO_ACCESS_TIMES = "Access time for hdfs is not configured"


_STOOD_STILL_S = 1.0
"""Who looks so much later than he wanted to has stood still."""

_THREADS = 32
_CLOSING_THREADS = 256
"""Closing a file mostly sleeps in hdfs-native for half a second that nobody waits for."""
_HUNG_THREADS_MAX = 512
"""So many threads may hang in calls that were given up, until nothing more is asked."""


@dataclass(frozen=True)
class OpenFile:
    """A file that is written to.

    It holds the client that it was opened with: a writer whose client is gone panics. Its writer is
    the bare one: hdfs-native's own wrapping of it asks the NameNode to close the file once more
    when Python forgets it, in whichever thread that happens, and for ever if nobody answers.
    """

    writer: RawFileWriter
    client: Client


@dataclass(frozen=True)
class Stream:
    """Bytes of a file, packet by packet; holds its client for the same reason."""

    packets: Iterator[bytes]
    client: Client


@dataclass(frozen=True)
class Opened:
    """A file that is read from; holds its client for the same reason."""

    reader: FileReader
    client: Client

    @property
    def size_bytes(self) -> int:
        """How many bytes of it can be read."""
        return len(self.reader)

    def stream(self, start: int, size_bytes: int) -> Stream:
        """Read a range, which lies within the file."""
        return Stream(self.reader.read_range_stream(start, size_bytes), self.client)


class Remote:
    """One file system.

    What a caller acts on comes as an OSError, see ``errors``. A step that runs cannot be stopped:
    a caller that is cancelled waits for its end, up to the time limit.

    A server may fall silent without ending, as a machine does that lost its power. Once a call
    timed out its client is left to itself, with the threads that hang in it, for a new one that
    asks the next NameNode of the pair first. That one is tried by one call at a time, until one
    is answered; all others are told StoreUnavailable at once.

    Args:
        address: ``hdfs://host:port``, ``hdfs://nameservice`` or ``viewfs://mounts``.
        config_dir: Where core-site.xml and hdfs-site.xml are.
        kerberos: ``kerberos_principal``, ``kerberos_keytab``, ``kerberos_cache`` of hdfs-native.
        place: The store's URL, for messages.

    Raises:
        InvalidValue: there is no such file system in the settings, or they cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        config_dir: str,
        kerberos: Mapping[str, str],
        place: str,
    ) -> None:
        self.place = place
        self._address = address
        self._config_dir = config_dir
        self._kerberos = dict(kerberos)
        self._pairs = Pairs(config_dir)
        try:
            self._client = self._connected()
            self._recoverer = self._connected()
        except (RuntimeError, OSError, NotImplementedError) as error:
            raise InvalidValue(
                f"{place} cannot be opened: {error}. A name without a port is looked up in "
                "hdfs-site.xml, a viewfs:// in core-site.xml (with a linkFallback), of the folder "
                "that HADOOP_CONF_DIR names.",
                field="stores.objects",
            ) from error
        self._threads = Threads(_THREADS, name="seafloor-hdfs")
        self._closing = Threads(_CLOSING_THREADS, name="seafloor-hdfs-closing")
        self._left: list[Threads] = []
        self._is_silent = False
        self._is_tried = False
        self._closed = False

    def close(self) -> None:
        """Take no more calls. Safe to repeat."""
        if not self._closed:
            self._closed = True
            self._threads.close()
            self._closing.close()

    async def status(self, path: str) -> FileStatus | None:
        """Describe a path; None when there is nothing."""
        try:
            return await self._run(lambda client: client.get_file_info(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def create(self, path: str) -> OpenFile:
        """Make a file, with its folders. FileExistsError: there is one."""
        options = WriteOptions(overwrite=False, create_parent=True)
        return await self._run(lambda client: OpenFile(client.inner.create(path, options), client))

    async def open_append(self, path: str) -> OpenFile:
        """Open a file to write at its end. FileExistsError: somebody else does."""
        return await self._run(lambda client: OpenFile(client.inner.append(path), client))

    async def write(self, file: OpenFile, data: bytes) -> None:
        """Write all bytes."""
        await self._run_in(file, lambda: file.writer.write(data))

    async def sync(self, file: OpenFile) -> bool:
        """Bring what was written to the disks of all replicas; False where that is not offered."""
        try:
            await self._run_in(file, file.writer.hsync)
        except NotSupported:
            return False  # erasure coded
        return True

    def finish(self, file: OpenFile) -> Future[None]:
        """Begin to close a file; it goes on whether or not somebody waits for it."""
        self._check_open()

        def close() -> None:
            with translated(self.place):
                file.writer.close()

        return self._closing.submit(close)

    async def finished(self, closing: Future[None]) -> None:
        """Wait until a file is closed."""
        waiter = asyncio.wrap_future(closing)
        waiter.add_done_callback(_looked_at)
        await asyncio.wait((waiter,), timeout=DATA_TIMEOUT_S)
        if not waiter.done():
            raise self._silent()
        waiter.result()

    async def recover_lease(self, path: str) -> bool:
        """Close a file that nobody closed; False while DataNodes are at it.

        Raises:
            FileExistsError: all is written, and no DataNode has reported it yet.
        """
        # Never by the client that writes it: a NameNode takes both for one holder of the lease.
        # It would let the file be closed as it was while DataNodes give its last block another
        # stamp, and take the only good replicas for corrupt from then on.
        recoverer = self._recoverer
        return await self._run(lambda _: recoverer.recover_lease(path))

    async def mkdirs(self, path: str) -> None:
        """Make a folder and those it lies in. FileExistsError: one of them is a file."""
        await self._run(lambda client: client.mkdirs(path, _FOLDER_MODE, create_parent=True))

    async def rename(self, source: str, target: str, *, overwrite: bool) -> None:
        """Move a file.

        Raises:
            FileNotFoundError: no source, or no folder for the target.
            FileExistsError: not overwrite, and the target is a file.
            IsADirectoryError: the target is a folder.
            NotADirectoryError: the target's folder is a file.
        """
        await self._run(lambda client: client.rename(source, target, overwrite))

    async def delete(self, path: str) -> bool:
        """Delete a file or an empty folder; say whether there was one. OSError: ENOTEMPTY."""
        try:
            return await self._run(lambda client: client.delete(path, recursive=False))
        except NotADirectoryError:
            return False

    async def delete_tree(self, path: str) -> None:
        """Delete a folder with all that is below."""
        await self._run(
            lambda client: client.delete(path, recursive=True), timeout_s=TREE_TIMEOUT_S
        )

    async def count_files(self, path: str) -> int:
        """How many files there are below a folder."""
        try:
            summary = await self._run(
                lambda client: client.get_content_summary(path), timeout_s=TREE_TIMEOUT_S
            )
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return summary.file_count

    async def set_modified(self, path: str, modified_ns: int) -> bool:
        """Set the time of a file; False where times are kept in whole milliseconds only.

        Then nothing was set, unless the time is a whole millisecond.
        """
        modified_ms, access_ms = times_of(modified_ns)
        try:
            await self._run(lambda client: client.set_times(path, modified_ms, access_ms))
        except StoreError as error:
            if _NO_ACCESS_TIMES not in (error.detail or ""):
                raise
            return False
        return True

    async def set_modified_ms(self, path: str, modified_ns: int) -> None:
        """Set the time of a file to a whole millisecond, where access times are not kept."""
        modified_ms, _ = times_of(modified_ns)
        await self._run(lambda client: client.set_times(path, modified_ms, _NO_CHANGE))

    async def in_thread(self, step: Callable[[], _Result]) -> _Result:
        """Run a step that blocks: ``open``, ``statuses``, or the next item of a stream."""
        return await self._run(lambda _: step(), timeout_s=DATA_TIMEOUT_S)

    def open(self, path: str) -> Opened:
        """Open a file for reading. Blocks. FileNotFoundError: no file is there."""
        client = self._client
        return Opened(client.read(path), client)

    def statuses(self, folder: str) -> Iterator[FileStatus]:
        """Describe what stands in a folder, in HDFS's order. Blocks; memory of 1,000 entries.

        Nothing where no folder is.
        """
        try:
            with translated(self.place):
                client = self._client  # held while its names are read
                for found in client.list_status(folder, recursive=False):
                    if found.path.rstrip("/") == folder.rstrip("/"):
                        return  # a file is listed as itself
                    yield found
        except (FileNotFoundError, NotADirectoryError):
            return

    async def _run(
        self, step: Callable[[Client], _Result], *, timeout_s: float | None = None
    ) -> _Result:
        """Ask the NameNode that is asked now."""
        self._check_open()
        client = self._client
        if not self._is_silent:
            return await self._answer(
                lambda: step(client), timeout_s or CALL_TIMEOUT_S, client=client
            )
        if self._is_tried:
            raise self._silent()
        self._is_tried = True
        try:
            return await self._answer(lambda: step(client), CALL_TIMEOUT_S, client=client)
        finally:
            self._is_tried = False

    async def _run_in(self, file: OpenFile, step: Callable[[], object]) -> None:
        """Do something with a file that is written to, whichever NameNode is asked now."""
        self._check_open()
        await self._answer(step, DATA_TIMEOUT_S, client=file.client)

    async def _answer(
        self, step: Callable[[], _Result], timeout_s: float, *, client: Client
    ) -> _Result:
        """Run a step in a thread, up to a time; it may go on there after that.

        Time in which this process stood still (a machine that sleeps, a stopped container, a loop
        that is kept busy) is not the server's: what it said meanwhile was not heard yet.
        """

        def guarded() -> _Result:
            with translated(self.place):
                return step()

        if sum(left.alive for left in self._left) > _HUNG_THREADS_MAX:
            raise self._silent()
        threads = self._threads
        future = threads.submit(guarded)
        waiter = asyncio.wrap_future(future)
        waiter.add_done_callback(_looked_at)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        cancelled: asyncio.CancelledError | None = None
        while not waiter.done() and loop.time() < deadline:
            try:
                await asyncio.wait((waiter,), timeout=deadline - loop.time())
            except asyncio.CancelledError as error:
                cancelled = error
                future.cancel()
            if loop.time() - deadline > _STOOD_STILL_S:
                deadline = loop.time() + timeout_s
        is_answered = waiter.done()
        if not is_answered:
            future.cancel()  # when it has not begun it must not be done later
            self._leave_threads(threads)
        if not waiter.cancelled():
            self._note(client, is_answered=is_answered)
        if cancelled is not None:
            raise cancelled
        if not is_answered:
            raise self._silent()
        return waiter.result()

    def _note(self, client: Client, *, is_answered: bool) -> None:
        """Take a client that gave no answer for silent, and go on with a new one."""
        if self._client is not client:
            return
        self._is_silent = not is_answered
        if not is_answered:
            self._pairs.rotate()
            self._client = self._connected()
            self._recoverer = self._connected()

    def _leave_threads(self, threads: Threads) -> None:
        """Leave threads of which some hang to themselves."""
        if self._threads is not threads or self._closed:
            return
        for left in (self._threads, self._closing):
            left.close()
            self._left.append(left)
        self._left = [left for left in self._left if left.alive]
        self._threads = Threads(_THREADS, name="seafloor-hdfs")
        self._closing = Threads(_CLOSING_THREADS, name="seafloor-hdfs-closing")

    def _silent(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.place} did not answer in time: look whether its NameNode and DataNodes are "
            "well, or have the other NameNode take over, then repeat.",
            retry_after_s=RETRY_AFTER_S,
        )

    def _connected(self) -> Client:
        """Make a client; it connects when it is first used."""
        settings = {**_BOUNDED, **self._pairs.settings()}
        return Client(self._address, settings, self._config_dir, **self._kerberos)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("The object store is closed.")


def _looked_at(future: asyncio.Future[_Result]) -> None:
    """Look at how a step ended, so that nobody is warned when the caller did not wait for it."""
    if not future.cancelled():
        future.exception()
