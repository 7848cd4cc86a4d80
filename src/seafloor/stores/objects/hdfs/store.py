"""``HdfsObjectStore``: an object is a file of HDFS whose path is its key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import unquote, urlsplit

from seafloor.domain.errors import (
    InvalidValue,
    NotFound,
    NotSupported,
    OutOfOrder,
    StoreCorrupt,
    StoreUnavailable,
)
from seafloor.stores.objects.hdfs.naming import Clock, info_of, modified_ns_of
from seafloor.stores.objects.hdfs.place import Places
from seafloor.stores.objects.hdfs.reading import Chunks
from seafloor.stores.objects.hdfs.remote import FileStatus, Opened, OpenFile, Remote
from seafloor.stores.objects.hdfs.staging import (
    LEFTOVER_AGE_S,
    Ends,
    StagedFile,
    Staging,
)
from seafloor.stores.objects.hdfs.tree import Look, Walk
from seafloor.stores.objects.keys import (
    STAGING_FOLDER,
    check_append,
    check_listing,
    check_object_key,
    check_presign,
    check_range,
)
from seafloor.stores.objects.protocol import (
    READ_CHUNK_BYTES,
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
)

_NO_SETTINGS = "/dev/null"
"""A folder without settings: with none named, hdfs-native would look into the environment."""
_KERBEROS = {
    "kerberos_principal": "SEAFLOOR_HDFS_PRINCIPAL",
    "kerberos_keytab": "SEAFLOOR_HDFS_KEYTAB",
    "kerberos_cache": "SEAFLOOR_HDFS_TICKET_CACHE",
}
_WALKS_MAX = 64
_WALK_AGE_S = 60.0
_DELETES_AT_ONCE = 16
_BLOCK_BYTES = 1024 * 1024
"""Sizes of blocks are multiples of this (dfs.namenode.fs-limits.min-block-size)."""
_SETTLE_PATIENCE_S = 10.0
_SETTLE_POLL_S = 0.005
_RECOVERY_PATIENCE_S = 60.0
_RECOVERY_POLL_S = 1.0


def from_url(url: str, variables: Mapping[str, str]) -> HdfsObjectStore:
    """Open ``hdfs://host:port/folder``, ``hdfs://nameservice/folder`` or ``viewfs://mounts/folder``.

    Nothing is asked of it yet.

    Args:
        variables: ``HADOOP_CONF_DIR`` (or ``HADOOP_HOME``) names the settings, without which a
            name must have a port. ``SEAFLOOR_HDFS_PRINCIPAL``, ``_KEYTAB`` and ``_TICKET_CACHE``
            are for Kerberos. Who we are is found by hdfs-native in the process's environment:
            HADOOP_USER_NAME, HADOOP_PROXY_USER, HADOOP_TOKEN_FILE_LOCATION, else the ticket or
            the user of the process.

    Raises:
        InvalidValue: the settings do not know that name, or cannot be read.
    """
    parts = urlsplit(url)
    kerberos = {
        argument: variables[name] for argument, name in _KERBEROS.items() if variables.get(name)
    }
    remote = Remote(
        f"{parts.scheme}://{parts.netloc}",
        config_dir=_config_dir(variables),
        kerberos=kerberos,
        place=url,
    )
    root = unquote(parts.path).strip("/")
    return HdfsObjectStore(remote, f"/{root}" if root else "")


def _config_dir(variables: Mapping[str, str]) -> str:
    if folder := variables.get("HADOOP_CONF_DIR"):
        if not Path(folder).is_dir():
            raise InvalidValue(
                f"HADOOP_CONF_DIR names {folder}, which is no folder: name the one that has "
                "core-site.xml and hdfs-site.xml.",
                field="stores.objects",
            )
        return folder
    if home := variables.get("HADOOP_HOME"):
        return f"{home}/etc/hadoop"
    return _NO_SETTINGS


class HdfsObjectStore:
    """An ``ObjectStore`` in a folder of HDFS: ``<root>/<key>`` is the object.

    An object is written to ``<root>/.seafloor-tmp``, brought to the disks of all replicas, and
    renamed to its key. Several servers may have one root open.

    Args:
        remote: The file system; closed with the store. Kept as ``remote``.
        root: The path of the folder, ``""`` for ``/``; made when it is missing.
        leftover_age_s: Unfinished files so old are removed by the store's first write.
    """

    def __init__(
        self, remote: Remote, root: str, *, leftover_age_s: float = LEFTOVER_AGE_S
    ) -> None:
        self.remote = remote
        self._root = root
        self._places = Places(remote, root)
        self._staging = Staging(remote, f"{root}/{STAGING_FOLDER}", leftover_age_s=leftover_age_s)
        self._clock = Clock()
        self._ends = Ends()
        self._walks: dict[tuple[str, bool, str], tuple[Walk, float]] = {}

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Objects can grow."""
        return ObjectCapabilities(append=True)

    def path(self, key: str) -> str:
        """The path of an object in the file system.

        Raises:
            InvalidValue: HDFS has no such names.
        """
        return self._places.path(key)

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        check_object_key(key)
        found = await self._object(key)
        return _info(key, found)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``.

        A stream goes on after its object is replaced or deleted to the end of the block that it
        is in (dfs.blocksize, 128 MiB); at the next block it may end in StoreUnavailable.
        """
        check_object_key(key)
        check_range(start=start, length=length)
        file = await self._opened(key)
        size_bytes = file.size_bytes
        end = size_bytes if length is None else min(size_bytes, start + length)
        if start >= end:
            return
        chunks = Chunks(file, start, end - start)
        try:
            while chunk := await self.remote.in_thread(chunks.next):
                yield chunk
        except FileNotFoundError as error:
            raise StoreUnavailable(
                f'"{key}" was deleted or replaced while it was read: read it again.'
            ) from error
        if chunks.is_short:
            raise StoreCorrupt(
                f'"{key}" ended before its {size_bytes} bytes: run `hdfs fsck` on it.'
            )

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``.

        Cost: HDFS gives this client no way to begin in the middle of a folder. So the walk of a
        page is kept for a minute for the page that follows; without it (another server, a
        restart) the names before the cursor are read again, 1,000 a call.
        """
        check_listing(folder, limit=limit, cursor=cursor)
        walk = self._walk(folder, recursive=recursive, after=cursor or "")
        page, more = await self.remote.in_thread(lambda: walk.next_page(limit))
        last = page[-1] if page else ""
        after = (last if isinstance(last, str) else last.key) if more else None
        if after is not None:
            self._keep_walk((folder, recursive, after), walk)
        return ObjectPage(
            objects=tuple(found for found in page if isinstance(found, ObjectInfo)),
            folders=tuple(found[:-1] for found in page if isinstance(found, str)),
            next=after,
        )

    async def local_path(self, key: str) -> Path:
        """Raise NotSupported: objects are files of HDFS, not of this machine."""
        check_object_key(key)
        raise NotSupported("Objects in HDFS are not files of this machine.")

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Raise NotSupported: HDFS has no such URLs."""
        check_presign(key, method=method, expires_s=expires_s)
        raise NotSupported("HDFS has no presigned URLs: read through the server.")

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        check_object_key(key)
        is_stream = not isinstance(data, bytes)
        before_ns = await self._places.check(key, if_absent=if_absent, parents=is_stream)
        await self._staging.clean()
        staged = self._staging.new()
        try:
            await staged.open()
            if isinstance(data, bytes):
                await staged.write(data)
            else:
                await _write_stream(staged, data)
            return await self._commit(staged, key, if_absent=if_absent, before_ns=before_ns)
        finally:
            await staged.discard()

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; see ``ObjectWrite.append``.

        A file that a killed writer left open is closed first, which takes seconds. An append
        mostly takes half a second: so long hdfs-native waits for a DataNode's report.
        """
        check_append(key, offset=offset)
        deadline = time.monotonic() + _RECOVERY_PATIENCE_S
        while True:
            before_ns = await self._places.check(key, if_absent=False, parents=True)
            found = await self.remote.status(self.path(key)) if before_ns else None
            size_bytes = found.length if found is not None else 0
            if offset > size_bytes:
                raise OutOfOrder(
                    f'"{key}" has {size_bytes} bytes: append from there.',
                    next_offset=size_bytes,
                    field="offset",
                )
            if found is None:
                return (await self.put(key, data)).size_bytes
            new = data[size_bytes - offset :]
            if not new:
                return size_bytes
            await self._ends.wait(self.path(key))
            try:
                file = await self.remote.open_append(self.path(key))
            except FileNotFoundError:
                continue  # deleted meanwhile
            except FileExistsError as error:
                await self._recover(key, error, deadline)
                continue
            await self._append(key, file, new, before_ns=before_ns)
            return size_bytes + len(new)

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``. Its bytes come through here."""
        check_object_key(target)
        await self.head(source)
        return await self.put(target, self.read(source), if_absent=if_absent)

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        check_object_key(key)
        return await self._places.remove(key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``. Four short calls for each."""
        for key in keys:
            check_object_key(key)
        waiting = iter(dict.fromkeys(keys))

        async def work() -> None:
            for key in waiting:  # shared: each takes the next
                await self._places.remove(key)

        await asyncio.gather(*(work() for _ in range(min(_DELETES_AT_ONCE, len(keys)))))

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``. Four calls."""
        check_object_key(folder, field="folder")
        path = self.path(folder)
        found = await self.remote.status(path)
        if found is None or not found.isdir:
            return 0
        count = await self.remote.count_files(path)
        await self.remote.delete_tree(path)
        await self._places.remove_empty_above(folder)
        return count

    async def close(self) -> None:
        """Take no more calls; see ``ObjectStore.close``."""
        self._walks.clear()
        self.remote.close()

    # -- reading

    async def _object(self, key: str) -> FileStatus:
        found = await self.remote.status(self.path(key))
        if found is None or found.isdir:
            _not_found(key)
        return found

    async def _opened(self, key: str) -> Opened:
        """Open an object that is not just being appended to.

        A reader sees the whole blocks of a file that is written to, and not its last one, though
        it was acknowledged before. Such a length is a multiple of blocks: then we look whether
        that is all, and wait for the append to end. One whose writer died is ended by us.
        """
        path = self.path(key)
        seen, since = (-1, -1), 0.0
        while True:
            try:
                file = await self.remote.in_thread(lambda: self.remote.open(path))
            except (FileNotFoundError, NotADirectoryError):
                _not_found(key)
            if file.size_bytes % _BLOCK_BYTES:
                return file
            found = await self._object(key)
            if found.length == file.size_bytes:
                return file
            now = time.monotonic()
            if seen != (found.length, found.modification_time):
                seen, since = (found.length, found.modification_time), now
            elif now - since > _SETTLE_PATIENCE_S:
                await self._is_closed(path)
                raise StoreUnavailable(
                    f'"{key}" was left open by a writer that died: it is being closed, '
                    "repeat in some seconds.",
                    retry_after_s=5.0,
                )
            await asyncio.sleep(_SETTLE_POLL_S)

    def _walk(self, folder: str, *, recursive: bool, after: str) -> Walk:
        kept = self._walks.pop((folder, recursive, after), None) if after else None
        if kept is not None and time.monotonic() - kept[1] < _WALK_AGE_S:
            return kept[0]
        return Walk(self.remote, self._root, Look(folder, recursive=recursive, after=after))

    def _keep_walk(self, place: tuple[str, bool, str], walk: Walk) -> None:
        self._walks.pop(place, None)
        self._walks[place] = (walk, time.monotonic())
        if len(self._walks) > _WALKS_MAX:
            del self._walks[next(iter(self._walks))]  # the oldest

    # -- writing

    async def _commit(
        self, staged: StagedFile, key: str, *, if_absent: bool, before_ns: int
    ) -> ObjectInfo:
        going_on = await staged.finish()
        modified_ns = await self._set_modified(staged.path, after_ns=before_ns)
        size_bytes = staged.size_bytes
        await self._places.place(staged, key, modified_ns=modified_ns, if_absent=if_absent)
        self._ends.note(self.path(key), going_on)
        return info_of(key, size_bytes=size_bytes, modified_ns=modified_ns)

    async def _set_modified(self, path: str, *, after_ns: int) -> int:
        modified_ns = self._clock.next_ns(after_ns=after_ns)
        if not self._clock.milliseconds:
            if await self.remote.set_modified(path, modified_ns):
                return modified_ns
            self._clock.milliseconds = True
            modified_ns = self._clock.next_ns(after_ns=after_ns)
        await self.remote.set_modified_ms(path, modified_ns)
        return modified_ns

    async def _append(self, key: str, file: OpenFile, data: bytes, *, before_ns: int) -> None:
        path = self.path(key)
        await self.remote.write(file, data)
        await self.remote.sync(file)
        # Without hurrying, as ``close_durably`` does: the next append may follow at once.
        await self.remote.finished(self.remote.finish(file))
        await self._set_modified(path, after_ns=before_ns)

    async def _recover(self, key: str, error: OSError, deadline: float) -> None:
        """Close a file whose writer died. There is one writer per key, and that is the caller."""
        path = self.path(key)
        is_closed = False
        while not is_closed:
            # Also before the first look: it may be closed, and refused for want of a replica.
            await asyncio.sleep(_RECOVERY_POLL_S)
            is_closed = await self._is_closed(path)
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f'"{key}" was left open by a writer that died, and is not closed yet: repeat '
                    "in some seconds.",
                    retry_after_s=5.0,
                    detail=str(error),
                ) from error

    async def _is_closed(self, path: str) -> bool:
        try:
            return await self.remote.recover_lease(path)
        except FileExistsError:
            return False


async def _write_stream(staged: StagedFile, data: AsyncIterable[bytes]) -> None:
    """Write a stream in pieces of about READ_CHUNK_BYTES, however small its own are."""
    waiting: list[bytes] = []
    waiting_bytes = 0
    async for chunk in data:
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes >= READ_CHUNK_BYTES:
            await staged.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))
            waiting, waiting_bytes = [], 0
    if waiting:
        await staged.write(b"".join(waiting))


def _info(key: str, found: FileStatus) -> ObjectInfo:
    return info_of(key, size_bytes=found.length, modified_ns=modified_ns_of(found))


def _not_found(key: str) -> NoReturn:
    raise NotFound(f'There is no object "{key}".', field="key")
