"""Built environments in the object store, for machines that did not build them.

::

    environments/<digest>/<sha256>.frames     an archive, named by its bytes
    environments/<digest>/<sha256>.tar.zst    one of format 1
    environments/<digest>/environment.json    written last: which archive is good
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from seafloor.domain.errors import (
    AlreadyExists,
    NotFound,
    NotSupported,
    SeafloorError,
    SourceError,
    StoreCorrupt,
)
from seafloor.domain.ids import Sha256
from seafloor.environments.archive import FRAME_BYTES_MAX, Damaged, Frame, NotMovable, Packed
from seafloor.environments.disk import disk_error, settled
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.record import Lock
from seafloor.environments.verified import verified
from seafloor.stores.objects.protocol import READ_CHUNK_BYTES, ObjectStore

FORMAT: Final = 2
RECORD_FILE: Final = "environment.json"
TAR_FORMAT: Final = 1
"""What earlier versions stored; see ``tar_archive``."""


class StoredEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """``environment.json``: which archive holds an environment.

    Args:
        format: 2, or 1.
        digest, python, platform, lock: As in ``EnvironmentLock``.
        sha256: Of the archive's bytes.
        size_bytes: Of them.
        created_ns: When it was stored, UTC.
        frames, package_frames: As in ``Packed``; of format 2.
    """

    format: int
    digest: str
    python: str
    platform: str
    lock: str
    sha256: str
    size_bytes: int
    created_ns: int
    frames: tuple[Frame, ...] = ()
    package_frames: int = 0


_log = structlog.get_logger(__name__)
_NAME: Final = re.compile(r"(?:environment\.json|[0-9a-f]{64}\.(?:frames|tar\.zst))\Z")


class Unusable(Enum):
    """Why a record that is there says nothing."""

    DAMAGED = "it cannot be read"
    LATER = "it is of a later version of Seafloor"


class _Version(msgspec.Struct, frozen=True):
    """What is the same in the records of all versions."""

    format: int


_RECORD: Final = msgspec.json.Decoder(StoredEnvironment)
_VERSION: Final = msgspec.json.Decoder(_Version)


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a stored environment.

    Args:
        size_bytes: Its size.
        data: Its bytes.
    """

    size_bytes: int
    data: AsyncIterator[bytes]


class EnvironmentArchives:
    """The archives of environments in an object store; several servers may share it."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def look(self, digest: str) -> StoredEnvironment | Unusable | None:
        """Read the record of an environment; None when there is none."""
        try:
            data = b"".join([chunk async for chunk in self._objects.read(_record_key(digest))])
        except NotFound:
            return None
        except StoreCorrupt:
            return Unusable.DAMAGED
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            if _VERSION.decode(data).format > FORMAT:
                return Unusable.LATER
            record = _RECORD.decode(data)
            if record.format in (FORMAT, TAR_FORMAT) and record.digest == digest:
                return record
        return Unusable.DAMAGED

    async def find(self, digest: str) -> StoredEnvironment | None:
        """Say which archive is good; None when no record that can be used says so."""
        found = await self.look(digest)
        return found if isinstance(found, StoredEnvironment) else None

    async def usable(self, digest: str) -> StoredEnvironment | None:
        """Say which archive is good, as far as a glance can tell; None: it is to be stored anew.

        One that is gone, or has not the size that was stored, is withdrawn.

        Raises:
            NotSupported: the record is of a later version, which is not replaced.

        Cost: the record is read, and the store is asked for the archive's size.
        """
        found = await self.look(digest)
        if found is Unusable.LATER:
            raise NotSupported(
                f"The environment {digest[:12]} was stored by a later version of Seafloor, which "
                "this one cannot read: update this server."
            )
        if not isinstance(found, StoredEnvironment):
            return None
        with contextlib.suppress(NotFound):
            if (await self._objects.head(_archive_key(found))).size_bytes == found.size_bytes:
                return found
        await self.withdraw(found)
        return None

    async def withdraw(self, stored: StoredEnvironment) -> None:
        """Take back an archive that was found to be bad, unless another one is stored meanwhile.

        From then on its environment is one that was never stored. Whoever stores it in the very
        moment may lose what it stored, and finds that out by ``usable``.
        """
        if await self.look(stored.digest) != stored:
            return
        _log.warning(
            "a stored environment is damaged and was withdrawn",
            digest=stored.digest,
            sha256=stored.sha256,
        )
        await self._objects.delete(_record_key(stored.digest))  # first: nobody begins to fetch it
        await self._objects.delete(_archive_key(stored))

    async def file(self, digest: Sha256, name: str) -> StoredFile:
        """Give a file of an environment by its name.

        An archive is checked while it is read (``verified``), and withdrawn when it is bad.

        Raises:
            NotFound: there is none of that name, or it has not the size that was stored.
        """
        if not _NAME.match(name):
            raise NotFound(f'A stored environment has no file "{name[:80]}".')
        key = f"environments/{digest}/{name}"
        info = await self._objects.head(key)
        if name == RECORD_FILE:
            return StoredFile(info.size_bytes, self._objects.read(key))
        stored = await self.find(digest)
        named = stored is not None and archive_name(stored) == name

        async def damaged() -> None:
            if stored is not None and named:
                await self.withdraw(stored)

        if stored is not None and named and info.size_bytes != stored.size_bytes:
            await damaged()
            raise NotFound(f"The stored archive of environment {digest[:12]} was damaged.")
        sha256 = name.partition(".")[0]
        read = partial(self._objects.read, key)
        return StoredFile(info.size_bytes, verified(read, sha256=sha256, damaged=damaged))

    async def frames(self, stored: StoredEnvironment) -> AsyncGenerator[tuple[bytes, Frame]]:
        """Give the frames of an archive in their order, none of them checked.

        Raises:
            NotFound: it is gone.
            StoreCorrupt: it is shorter than was stored.

        Cost: memory of one frame.
        """
        rest = bytearray()
        frames = iter(stored.frames)
        frame = next(frames, None)
        async for chunk in self._objects.read(_archive_key(stored)):
            rest += chunk
            while frame is not None and len(rest) >= frame.size_bytes:
                data = bytes(memoryview(rest)[: frame.size_bytes])
                del rest[: frame.size_bytes]
                yield data, frame
                frame = next(frames, None)
            if frame is None or frame.size_bytes > FRAME_BYTES_MAX:
                break
        if frame is not None:
            raise _damaged(stored, "it ends too early")

    async def fetch(self, stored: StoredEnvironment, target: Path) -> None:
        """Have an archive of format 1 as a file, every byte of it checked.

        Raises:
            NotFound: it is gone.
            StoreCorrupt: its bytes are not those that were stored. The file is a leftover.
            StoreFull: no space left for it on this machine.
        """
        digest = hashlib.sha256()
        try:
            with target.open("wb") as file:
                async for chunk in self._objects.read(_archive_key(stored)):
                    await asyncio.to_thread(digest.update, chunk)
                    await settled(file.write, chunk)
        except OSError as error:
            raise disk_error(error) from error
        if digest.hexdigest() != stored.sha256:
            raise _damaged(stored, "its bytes are not those that were stored")

    async def keep(
        self, lock: Lock, archive: Path, packed: Packed, *, instead_of: StoredEnvironment | None
    ) -> bool:
        """Store an archive, unless there is a good one, or one of a later version.

        A record that cannot be read is replaced. All or nothing: it counts once its record is
        there. Of several who store the same environment at once, one wins and the others leave
        nothing.

        Args:
            instead_of: One that was found to be damaged: it is replaced.

        Returns:
            Whether this one was stored.
        """
        found = await self.look(lock.digest)
        if found is Unusable.LATER:
            return False
        before = found if isinstance(found, StoredEnvironment) else None
        if before is not None and (instead_of is None or before.sha256 != instead_of.sha256):
            return False
        record = StoredEnvironment(
            format=FORMAT,
            digest=lock.digest,
            python=lock.python,
            platform=platform_tag(),
            lock=lock.lock,
            sha256=packed.sha256,
            size_bytes=packed.size_bytes,
            created_ns=time.time_ns(),
            frames=packed.frames,
            package_frames=packed.package_frames,
        )
        await self._objects.put(_archive_key(record), _chunks(archive))
        try:
            await self._objects.put(
                _record_key(lock.digest), msgspec.json.encode(record), if_absent=found is None
            )
        except AlreadyExists:
            winner = await self.find(lock.digest)
            if winner is None or winner.sha256 != packed.sha256:
                await self._objects.delete(_archive_key(record))
            return False
        if before is not None and before.sha256 != packed.sha256:
            await self._objects.delete(_archive_key(before))
        return True

    async def remove(self, digest: str) -> None:
        """Remove what is stored of an environment. May be repeated."""
        await self._objects.delete(_record_key(digest))  # first: nobody begins to fetch it
        await self._objects.delete_folder(f"environments/{digest}")


def _record_key(digest: str) -> str:
    return f"environments/{digest}/{RECORD_FILE}"


def archive_name(stored: StoredEnvironment) -> str:
    """Name of the archive's file, beside the record."""
    ending = "tar.zst" if stored.format == TAR_FORMAT else "frames"
    return f"{stored.sha256}.{ending}"


def _archive_key(stored: StoredEnvironment) -> str:
    return f"environments/{stored.digest}/{archive_name(stored)}"


def is_damage(error: Exception) -> bool:
    """Whether the archive itself is bad, rather than the way to it."""
    return isinstance(error, Damaged | StoreCorrupt | NotFound)


def not_stored(digest: str, error: NotMovable | SeafloorError) -> SeafloorError:
    """Say why an environment cannot be had on other machines."""
    if isinstance(error, SeafloorError):
        return error
    return SourceError(
        f"The environment {digest[:12]} cannot be brought to other machines: {error}.",
        field="environment",
    )


def _damaged(stored: StoredEnvironment, why: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The stored archive of environment {stored.digest[:12]} is damaged: {why}."
    )


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    # Open files are the page cache's; an archive is read once, right after it was written.
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, READ_CHUNK_BYTES):
            yield chunk
