"""The object store: bytes under keys.

A key is a path of parts joined by ``/``. A key names an object or a folder, never a string
prefix: listing ``a`` shows what is below ``a/`` and not ``ab``. Empty objects exist. A folder
exists as long as an object below it does.

What is written is visible whole or not at all: a reader sees the old object or the new one,
and after a crash as well. When a ``put`` returns the bytes are durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

READ_CHUNK_BYTES = 1024 * 1024
LIST_LIMIT_MAX = 1000
PRESIGN_EXPIRES_S_MAX = 7 * 24 * 3600


class ObjectInfo(msgspec.Struct, frozen=True):
    """What a store knows of an object without reading it.

    Args:
        key: Its whole key.
        size_bytes: Of its content.
        modified_ns: When it was last put, UTC. Two puts of one key have two times, as ``put``,
            ``copy`` and ``head`` tell them; a listing may be less exact
            (``ObjectCapabilities.exact_listing``).
        etag: Changes whenever the content does; opaque.
    """

    key: str
    size_bytes: int
    modified_ns: int
    etag: str


class ObjectPage(msgspec.Struct, frozen=True):
    """One page of a listing.

    Args:
        objects: In order of key (by code point of the whole key).
        folders: With ``recursive=False``, the keys of the folders at this level, without a
            trailing slash, in the order in which a recursive listing would come to them (so
            ``a-b`` before ``a``, as ``a-b/x`` is before ``a/x``); empty otherwise.
        next: Cursor of the next page, None when this was the last.
    """

    objects: tuple[ObjectInfo, ...]
    folders: tuple[str, ...] = ()
    next: str | None = None


@dataclass(frozen=True)
class ObjectCapabilities:
    """What may differ between stores; every difference is tested on both sides.

    Args:
        append: Whether ``append`` works (else it raises NotSupported).
        presign: Whether ``presign`` works (else it raises NotSupported).
        local_files: Whether objects are files that ``local_path`` names.
        nested_keys: Whether an object may have others below it (``a`` beside ``a/b``), as in a
            bucket. Where it may not, as in a file system, such a ``put`` is a Conflict.
        exact_listing: Whether ``list`` tells the same ``modified_ns`` as ``head``. Where it does
            not, it is the time on the store's own clock, to the second.
    """

    append: bool = False
    presign: bool = False
    local_files: bool = False
    nested_keys: bool = False
    exact_listing: bool = True


class ObjectRead(Protocol):
    """Reading."""

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object.

        Raises:
            NotFound: no object has this key (a folder is not an object).
            InvalidValue: the key breaks ``keys.check_object_key``, which is
                ``domain.names.check_path`` and one reserved name. True of every method.
            LimitExceeded: the key is too long. True of every method.
            StoreUnavailable: the store does not answer. True of every method.
        """
        ...

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Stream an object, or a range of it, in chunks of at most READ_CHUNK_BYTES.

        Args:
            start: First byte, >= 0. At or past the end: nothing is yielded.
            length: At most so many bytes; None: to the end.

        A stream that has begun goes on with the same content when the object is replaced or
        deleted meanwhile.

        Raises:
            NotFound: at the first step, no object has this key.
            InvalidValue: at the first step, start or length is negative.
            StoreCorrupt: the stream ended early.

        Cost: memory of one chunk, whatever the object's size.
        """
        ...

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder, in order of key.

        Args:
            folder: ``""`` is the root. A missing folder is an empty one.
            limit: 1..1000 objects and folders together.
            cursor: ``next`` of the page before. Objects put or deleted meanwhile may or may not
                be seen; no other is missed or repeated.

        Raises:
            InvalidValue: limit is out of bounds, or the cursor is not of this folder.
        """
        ...

    async def local_path(self, key: str) -> Path:
        """Name the file that is the object, to be read (never written) without copying.

        Raises:
            NotSupported: objects of this store are not files (``capabilities.local_files``).
            NotFound: no object has this key.
        """
        ...


class ObjectAccess(Protocol):
    """Direct access by others."""

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL by which anybody can read or write one object for a while.

        It does not say whether the object exists. Whoever has the URL has the right; it is never
        logged.

        Args:
            expires_s: 1..604,800 (a week).

        Raises:
            NotSupported: ``capabilities.presign`` is False.
            InvalidValue: ``expires_s`` is out of bounds.
        """
        ...


class ObjectWrite(Protocol):
    """Writing."""

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole, replacing one of that key.

        Args:
            data: The bytes, or a stream of them that is written in constant memory. When the
                stream raises, nothing becomes visible and the exception passes through.
            if_absent: Create only.

        Raises:
            AlreadyExists: if_absent, and the key has an object. Nothing was written. Of several
                concurrent creators exactly one succeeds.
            Conflict: the key is a folder, or a part of it is an object, and the store cannot have
                both (``capabilities.nested_keys``). Nothing was written.
            StoreFull: no space left. Nothing is visible, and what was begun was removed.
        """
        ...

    async def append(self, key: str, *, offset: int, data: bytes) -> int:
        """Add bytes at an object's end; at offset 0 it is created. Durable when it returns.

        Bytes below the object's size are skipped, so a repeat is harmless. One writer at a time
        per key. A reader sees a beginning of what was appended.

        Returns:
            The object's size: the offset of the next append.

        Raises:
            NotSupported: ``capabilities.append`` is False.
            OutOfOrder: offset is above the object's size; ``next_offset`` says where to go on.
            Conflict, StoreFull: as for ``put``.
        """
        ...

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole, within the store where it can (no byte comes through here).

        What differs from the target's content before has another etag and another time.

        Raises:
            NotFound: no object has the source's key.
            AlreadyExists, Conflict, StoreFull: as for ``put``.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Delete one object; say whether there was one. Folders vanish with their last object.

        Of several who delete one object at once, more than one may be told so by a store that
        has to look first.
        """
        ...

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects, in as few requests as the store allows; a missing one is fine.

        Not one transaction: after a failure some may be gone. Safe to repeat.
        """
        ...

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; return how many objects there were.

        Safe to repeat after a failure: it goes on where it stopped.

        Raises:
            InvalidValue: the folder is ``""``; the root is never deleted.
        """
        ...


class ObjectStore(ObjectRead, ObjectWrite, ObjectAccess, Protocol):
    """Bytes under keys."""

    @property
    def capabilities(self) -> ObjectCapabilities:
        """What this store can do beyond the common."""
        ...

    async def close(self) -> None:
        """Give back what the store holds. Safe to repeat; no call may follow."""
        ...
