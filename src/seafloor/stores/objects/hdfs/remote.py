"""HDFS by path: hdfs-native's client in threads, with time limits and errors that tell.

Its asynchronous client is not used: when a connection ends it wakes tasks, for which it needs
Python's lock, while it holds a lock of its own that the event loop's thread waits for with
Python's lock in its hand. So a NameNode that dies would stop the whole process for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from hdfs_native import Client, FileReader, FileStatus, FileWriter, WriteOptions

from seafloor.domain.errors import InvalidValue, NotSupported, StoreError
from seafloor.stores.objects.hdfs.errors import translated
from seafloor.stores.objects.hdfs.naming import times_of

_Result = TypeVar("_Result")

CALL_TIMEOUT_S = 30.0
"""How long one call may be silent. hdfs-native itself waits for a mute server for ever."""

_NO_CHANGE = 2**64 - 1
"""As an access time: leave it as it is (-1 of 64 bits)."""
_FOLDER_MODE = 0o755
_NO_ACCESS_TIMES = "Access time for hdfs is not configured"


_THREADS = 32
_CLOSING_THREADS = 256
"""Closing a file mostly sleeps in hdfs-native for half a second that nobody waits for."""


@dataclass(frozen=True)
class OpenFile:
    """A file that is written to.

    It holds the client that it was opened with: a writer whose client is gone panics.
    """

    writer: FileWriter
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
    a caller that is cancelled waits for its end, up to CALL_TIMEOUT_S.

    A server that falls silent without ending, as a machine does that lost its power, is asked
    no more once a call to it timed out: a new client may begin with the other NameNode.

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
        try:
            self._client = self._connected({})
        except (RuntimeError, OSError, NotImplementedError) as error:
            raise InvalidValue(
                f"{place} cannot be opened: {error}. A name without a port is looked up in "
                "hdfs-site.xml, a viewfs:// in core-site.xml (with a linkFallback), of the folder "
                "that HADOOP_CONF_DIR names.",
                field="stores.objects",
            ) from error
        self._pool = _pool()
        self._closing_pool = ThreadPoolExecutor(
            _CLOSING_THREADS, thread_name_prefix="seafloor-hdfs-closing"
        )
        self._closed = False

    def close(self) -> None:
        """Take no more calls. Safe to repeat."""
        if not self._closed:
            self._closed = True
            # Not waited for: a thread may hang on a mute server.
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._closing_pool.shutdown(wait=False)

    async def status(self, path: str) -> FileStatus | None:
        """Describe a path; None when there is nothing."""
        try:
            return await self._run(lambda client: client.get_file_info(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def create(self, path: str) -> OpenFile:
        """Make a file, with its folders. FileExistsError: there is one."""
        options = WriteOptions(overwrite=False, create_parent=True)
        return await self._run(lambda client: OpenFile(client.create(path, options), client))

    async def open_append(self, path: str) -> OpenFile:
        """Open a file to write at its end. FileExistsError: somebody else does."""
        return await self._run(lambda client: OpenFile(client.append(path), client))

    async def write(self, file: OpenFile, data: bytes) -> None:
        """Write all bytes."""
        await self._run(lambda _: file.writer.write(data))

    async def sync(self, file: OpenFile) -> bool:
        """Bring what was written to the disks of all replicas; False where that is not offered."""
        try:
            await self._run(lambda _: file.writer.hsync())
        except NotSupported:
            return False  # erasure coded
        return True

    def finish(self, file: OpenFile) -> Future[None]:
        """Begin to close a file; it goes on whether or not somebody waits for it."""
        self._check_open()

        def close() -> None:
            with translated(self.place):
                file.writer.close()

        return self._closing_pool.submit(close)

    async def recover_lease(self, path: str) -> bool:
        """Close a file that nobody closed; False while DataNodes are at it.

        Raises:
            FileExistsError: all is written, and no DataNode has reported it yet.
        """
        return await self._run(lambda client: client.recover_lease(path))

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
        await self._run(lambda client: client.delete(path, recursive=True))

    async def count_files(self, path: str) -> int:
        """How many files there are below a folder."""
        try:
            return (await self._run(lambda client: client.get_content_summary(path))).file_count
        except (FileNotFoundError, NotADirectoryError):
            return 0

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
        return await self._run(lambda _: step())

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

    async def _run(self, step: Callable[[Client], _Result]) -> _Result:
        self._check_open()
        client = self._client

        def guarded() -> _Result:
            with translated(self.place):
                return step(client)

        future = self._pool.submit(guarded)
        waiter = asyncio.wrap_future(future)
        waiter.add_done_callback(_looked_at)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CALL_TIMEOUT_S
        cancelled: asyncio.CancelledError | None = None
        while not waiter.done() and loop.time() < deadline:
            try:
                await asyncio.wait((waiter,), timeout=deadline - loop.time())
            except asyncio.CancelledError as error:
                cancelled = error
                future.cancel()
        if not waiter.done():
            self._give_up(client)
        if cancelled is not None:
            raise cancelled
        if not waiter.done():
            with translated(self.place):
                raise TimeoutError
        return waiter.result()

    def _give_up(self, client: Client) -> None:
        """Leave a client and the threads that hang in it to themselves."""
        if self._client is client and not self._closed:
            self._client = self._connected(self._any_order())
            self._pool.shutdown(wait=False)
            self._pool = _pool()

    def _connected(self, settings: Mapping[str, str]) -> Client:
        """Make a client; it connects when it is first used."""
        return Client(self._address, dict(settings), self._config_dir, **self._kerberos)

    def _any_order(self) -> dict[str, str]:
        """Settings by which a client begins with any NameNode of the pair."""
        name = self._address.partition("://")[2]
        return {f"dfs.client.failover.random.order.{name}": "true"}

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("The object store is closed.")


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="seafloor-hdfs")


def _looked_at(future: asyncio.Future[_Result]) -> None:
    """Look at how a step ended, so that nobody is warned when the caller did not wait for it."""
    if not future.cancelled():
        future.exception()
