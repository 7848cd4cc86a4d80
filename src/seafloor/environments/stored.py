"""Built environments in the object store, for machines that did not build them.

::

    environments/<digest>/<sha256>.tar.zst    an archive, named by its bytes
    environments/<digest>/environment.json    written last: which archive is good
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import AlreadyExists, NotFound, StoreCorrupt
from seafloor.environments.archive import Packed
from seafloor.environments.disk import disk_error, settled
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.record import Lock
from seafloor.stores.objects.protocol import READ_CHUNK_BYTES, ObjectStore

FORMAT: Final = 1


class StoredEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """``environment.json``: which archive holds an environment.

    Args:
        format: 1.
        digest, python, platform, lock: As in ``EnvironmentLock``.
        sha256: Of the archive's bytes.
        size_bytes: Of them.
        created_ns: When it was stored, UTC.
    """

    format: int
    digest: str
    python: str
    platform: str
    lock: str
    sha256: str
    size_bytes: int
    created_ns: int


_RECORD: Final = msgspec.json.Decoder(StoredEnvironment)


class EnvironmentArchives:
    """The archives of environments in an object store; several servers may share it."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def find(self, digest: str) -> StoredEnvironment | None:
        """Say which archive is good; None when there is none, or one of a later version."""
        try:
            data = b"".join([chunk async for chunk in self._objects.read(_record_key(digest))])
        except NotFound:
            return None
        try:
            record = _RECORD.decode(data)
        except msgspec.MsgspecError:
            return None
        return record if record.format == FORMAT and record.digest == digest else None

    async def fetch(self, stored: StoredEnvironment, target: Path) -> Path:
        """Have an archive as a file, every byte of it checked.

        Returns:
            ``target``, which was written; or, where objects are files, the object itself, which
            is only read.

        Raises:
            NotFound: it is gone.
            StoreCorrupt: its bytes are not those that were stored. The file is a leftover.
            StoreFull: no space left for it on this machine.
        """
        key = _archive_key(stored.digest, stored.sha256)
        if self._objects.capabilities.local_files:
            path = await self._objects.local_path(key)
            try:
                found = await asyncio.to_thread(_sha256, path)
            except OSError as error:
                raise disk_error(error) from error
            _check(stored, found)
            return path
        digest = hashlib.sha256()
        try:
            with target.open("wb") as file:
                async for chunk in self._objects.read(key):
                    await asyncio.to_thread(digest.update, chunk)
                    await settled(file.write, chunk)
        except OSError as error:
            raise disk_error(error) from error
        _check(stored, digest.hexdigest())
        return target

    async def keep(
        self, lock: Lock, archive: Path, packed: Packed, *, instead_of: StoredEnvironment | None
    ) -> bool:
        """Store an archive, unless there is a good one.

        All or nothing: it counts once its record is there. Of several who store the same
        environment at once, one wins and the others leave nothing.

        Args:
            instead_of: One that was found to be damaged: it is replaced.

        Returns:
            Whether this one was stored.
        """
        found = await self.find(lock.digest)
        if found is not None and (instead_of is None or found.sha256 != instead_of.sha256):
            return False
        key = _archive_key(lock.digest, packed.sha256)
        await self._objects.put(key, _chunks(archive))
        record = StoredEnvironment(
            format=FORMAT,
            digest=lock.digest,
            python=lock.python,
            platform=platform_tag(),
            lock=lock.lock,
            sha256=packed.sha256,
            size_bytes=packed.size_bytes,
            created_ns=time.time_ns(),
        )
        try:
            await self._objects.put(
                _record_key(lock.digest), msgspec.json.encode(record), if_absent=found is None
            )
        except AlreadyExists:
            winner = await self.find(lock.digest)
            if winner is None or winner.sha256 != packed.sha256:
                await self._objects.delete(key)
            return False
        if found is not None and found.sha256 != packed.sha256:
            await self._objects.delete(_archive_key(lock.digest, found.sha256))
        return True

    async def remove(self, digest: str) -> None:
        """Remove what is stored of an environment. May be repeated."""
        await self._objects.delete(_record_key(digest))  # first: nobody begins to fetch it
        await self._objects.delete_folder(f"environments/{digest}")


def _record_key(digest: str) -> str:
    return f"environments/{digest}/environment.json"


def _archive_key(digest: str, sha256: str) -> str:
    return f"environments/{digest}/{sha256}.tar.zst"


def _check(stored: StoredEnvironment, sha256: str) -> None:
    if sha256 != stored.sha256:
        raise StoreCorrupt(
            f"The stored archive of environment {stored.digest[:12]} is damaged: its sha256 is "
            f"{sha256[:12]}…, not {stored.sha256[:12]}…."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    # Open files are the page cache's; an archive is read once, right after it was written.
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, READ_CHUNK_BYTES):
            yield chunk
