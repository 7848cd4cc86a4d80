"""HDFS by path: hdfs-native's clients, with errors that tell, time limits and typed answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hdfs_native import AsyncClient, AsyncFileWriter, Client, FileReader, FileStatus, WriteOptions

from seafloor.domain.errors import InvalidValue, NotSupported, StoreError
from seafloor.stores.objects.hdfs.errors import translated
from seafloor.stores.objects.hdfs.naming import times_of

_Result = TypeVar("_Result")

CALL_TIMEOUT_S = 60.0
"""How long one call may be silent. hdfs-native itself waits for a mute server for ever."""

_NO_CHANGE = 2**64 - 1
"""As an access time: leave it as it is (-1 of 64 bits)."""
_FOLDER_MODE = 0o755
_NO_ACCESS_TIMES = "Access time for hdfs is not configured"


class Remote:
    """One file system.

    Calls to the NameNode and writes are asynchronous and can be cancelled. Streams of bytes and
    of names go through threads: hdfs-native gives them item by item, which costs 40 times as much
    across an event loop.

    The clients are held for the life of this: a writer whose client is gone panics.

    Args:
        address: ``hdfs://host:port``, ``hdfs://nameservice`` or ``viewfs://mounts``.
        config_dir: Where core-site.xml and hdfs-site.xml are.
        kerberos: ``kerberos_principal``, ``kerberos_keytab``, ``kerberos_cache`` of hdfs-native.
        place: The store's URL, for messages.
        threads: How many streams are read at once; others wait.

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
        threads: int = 16,
    ) -> None:
        self.place = place
        try:
            self._client = AsyncClient(address, None, config_dir, **kerberos)
            self._streams = Client(address, None, config_dir, **kerberos)
        except (RuntimeError, OSError, NotImplementedError) as error:
            raise InvalidValue(
                f"{place} cannot be opened: {error}. A name without a port is looked up in "
                "hdfs-site.xml, a viewfs:// in core-site.xml (with a linkFallback), of the folder "
                "that HADOOP_CONF_DIR names.",
                field="stores.objects",
            ) from error
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="seafloor-hdfs")
        self._closed = False

    def close(self) -> None:
        """Take no more calls. Safe to repeat."""
        if not self._closed:
            self._closed = True
            # Not waited for: a thread may hang on a mute server.
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def status(self, path: str) -> FileStatus | None:
        """Describe a path; None when there is nothing."""
        try:
            return await self._call(self._client.get_file_info(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def create(self, path: str) -> AsyncFileWriter:
        """Make a file, with its folders. FileExistsError: there is one."""
        options = WriteOptions(overwrite=False, create_parent=True)
        return await self._call(self._client.create(path, options))

    async def open_append(self, path: str) -> AsyncFileWriter:
        """Open a file to write at its end. FileExistsError: somebody else does."""
        return await self._call(self._client.append(path))

    async def write(self, writer: AsyncFileWriter, data: bytes) -> None:
        """Write all bytes."""
        await self._call(writer.write(data))

    async def sync(self, writer: AsyncFileWriter) -> bool:
        """Bring what was written to the disks of all replicas; False where that is not offered."""
        try:
            await self._call(writer.hsync())
        except NotSupported:
            return False  # erasure coded
        return True

    async def finish(self, writer: AsyncFileWriter) -> None:
        """Close a file."""
        await self._call(writer.close())

    async def recover_lease(self, path: str) -> bool:
        """Close a file that nobody closed; False while that goes on."""
        try:
            return await self._call(self._client.recover_lease(path))
        except FileExistsError:
            return False  # its last block is not on enough DataNodes yet

    async def mkdirs(self, path: str) -> None:
        """Make a folder and those it lies in. FileExistsError: one of them is a file."""
        await self._call(self._client.mkdirs(path, _FOLDER_MODE, create_parent=True))

    async def rename(self, source: str, target: str, *, overwrite: bool) -> None:
        """Move a file.

        Raises:
            FileNotFoundError: no source, or no folder for the target.
            FileExistsError: not overwrite, and the target is a file.
            IsADirectoryError: the target is a folder.
            NotADirectoryError: the target's folder is a file.
        """
        await self._call(self._client.rename(source, target, overwrite))

    async def delete(self, path: str) -> bool:
        """Delete a file or an empty folder; say whether there was one. OSError: ENOTEMPTY."""
        try:
            return await self._call(self._client.delete(path, recursive=False))
        except NotADirectoryError:
            return False

    async def delete_tree(self, path: str) -> None:
        """Delete a folder with all that is below."""
        await self._call(self._client.delete(path, recursive=True))

    async def count_files(self, path: str) -> int:
        """How many files there are below a folder."""
        try:
            return (await self._call(self._client.get_content_summary(path))).file_count
        except (FileNotFoundError, NotADirectoryError):
            return 0

    async def set_modified(self, path: str, modified_ns: int) -> bool:
        """Set the time of a file; False where times are kept in whole milliseconds only.

        Then nothing was set, unless the time is a whole millisecond.
        """
        modified_ms, access_ms = times_of(modified_ns)
        try:
            await self._call(self._client.set_times(path, modified_ms, access_ms))
        except StoreError as error:
            if _NO_ACCESS_TIMES not in (error.detail or ""):
                raise
            return False
        return True

    async def set_modified_ms(self, path: str, modified_ns: int) -> None:
        """Set the time of a file to a whole millisecond, where access times are not kept."""
        modified_ms, _ = times_of(modified_ns)
        await self._call(self._client.set_times(path, modified_ms, _NO_CHANGE))

    async def in_thread(self, step: Callable[[], _Result]) -> _Result:
        """Run a step that blocks: ``open``, ``statuses``, or the next item of a stream."""
        self._check_open()

        def guarded() -> _Result:
            with translated(self.place):
                return step()

        loop = asyncio.get_running_loop()
        with translated(self.place):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await loop.run_in_executor(self._pool, guarded)

    def open(self, path: str) -> FileReader:
        """Open a file for reading. Blocks. FileNotFoundError: no file is there."""
        return self._streams.read(path)

    def statuses(self, folder: str) -> Iterator[FileStatus]:
        """Describe what stands in a folder, in HDFS's order. Blocks; memory of 1,000 entries.

        Nothing where no folder is.
        """
        try:
            with translated(self.place):
                for found in self._streams.list_status(folder, recursive=False):
                    if found.path.rstrip("/") == folder.rstrip("/"):
                        return  # a file is listed as itself
                    yield found
        except (FileNotFoundError, NotADirectoryError):
            return

    async def _call(self, call: Awaitable[_Result]) -> _Result:
        if self._closed:
            if asyncio.iscoroutine(call):
                call.close()
            self._check_open()
        with translated(self.place):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await call

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("The object store is closed.")
