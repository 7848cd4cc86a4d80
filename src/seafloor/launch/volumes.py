"""Where the contents of volumes are, and what the use cases need of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seafloor.domain.ids import Sha256
from seafloor.domain.volumes import (
    OperationKind,
    Volume,
    VolumeOperation,
    VolumeSite,
    VolumeSnapshot,
)


class Bytes(Protocol):
    """Bytes in order."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most so many bytes, at least one; none at the end."""
        ...


@dataclass(frozen=True)
class Counted:
    """What a content amounts to.

    Args:
        files: Count of files and links.
        content_bytes: Sum of the files' sizes.
        disk_bytes: What they take on the disk: holes take nothing.
    """

    files: int = 0
    content_bytes: int = 0
    disk_bytes: int = 0


@dataclass
class Packing:
    """How far a snapshot has come; afterwards what it is.

    Args:
        progress: Told the bytes of content so far; what it raises ends the packing.
    """

    progress: Callable[[int], None]
    sha256: str = ""
    size_bytes: int = 0
    files: int = 0
    content_bytes: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Made:
    """Numbers of contents and snapshots of one volume."""

    contents: Collection[int] = ()
    snapshots: Collection[int] = ()


class Stopped(Exception):  # nothing went wrong
    """The server stops: a thread is to end."""


class Progress:
    """How far an operation has come; a thread that tells it is ended by ``stop``."""

    def __init__(self) -> None:
        self.done_bytes = 0
        self.total_bytes = 0
        self._stopped = False

    def told(self, done_bytes: int) -> None:
        """Take how much is done.

        Raises:
            Stopped: it is to end.
        """
        self.done_bytes = done_bytes
        if self._stopped:
            raise Stopped

    def stop(self) -> None:
        """End whoever tells next."""
        self._stopped = True


class VolumeContents(Protocol):
    """Contents of volumes, by volume and number. Every method may be repeated."""

    def settle(self, volume: Volume) -> Volume:
        """Complete a volume that is asked for.

        Raises:
            InvalidValue, NotSupported: it cannot be here.
            Forbidden: the administrator does not allow it; the message names the rule.
        """
        ...

    def away(self, volume: Volume) -> str:
        """Why a volume is none of those that this server can have, one sentence; ``""``: it is."""
        ...

    def is_theirs(self, name: str) -> bool:
        """Whether a name in specs is the administrator's, for something that he made himself."""
        ...

    async def is_there(self, name: str) -> bool:
        """Whether a name that no volume has is something that others made, and may be attached.

        Raises:
            Forbidden: it is something that users reach in another way.
        """
        ...

    async def make(self, volume: Volume, content: int) -> None:
        """Make an empty content; one that is there stays as it is.

        Raises:
            Forbidden, InvalidValue, StoreFull: it cannot be made, now or ever.
            ClusterUnavailable: unknown whether it was.
        """
        ...

    async def check(self, volume: Volume) -> None:
        """Refuse a volume whose current content is not to be had here.

        Raises:
            NotFound: it is not there, or not here.
        """
        ...

    async def look(self, volumes: Sequence[Volume]) -> dict[str, VolumeSite]:
        """Say where the current contents are and how they fare, by the ids of the volumes."""
        ...

    async def check_resize(self, volume: Volume, size_bytes: int) -> None:
        """Refuse a size that the current content cannot get.

        Raises:
            Forbidden: the administrator does not allow it; the message names the rule.
            NotSupported: no content of its kind can be made larger.
            Conflict: it has more, or it is not here, or cannot be made larger now.
        """
        ...

    async def resize(self, volume: Volume, size_bytes: int) -> None:
        """Ask for another size of the current content; it may be given later. See ``look``.

        Raises:
            Forbidden, InvalidValue, Conflict: it cannot be; it is as it was.
            ClusterUnavailable: unknown whether it was asked for.
        """
        ...

    async def count(self, volume: Volume) -> Counted:
        """Count what the current content holds.

        Raises:
            NotSupported: nobody can see that from here.
        """
        ...

    async def check_snapshots(self, volume: Volume, kind: OperationKind) -> None:
        """Refuse to begin a snapshot or a restore that cannot be.

        Raises:
            NotSupported: snapshots of this volume are none here; the message says what is missing.
            NotFound, Conflict: there is nothing to keep.
        """
        ...

    async def keep(
        self, volume: Volume, operation: VolumeOperation, progress: Progress
    ) -> VolumeSnapshot:
        """Keep the current content as the snapshot of an operation.

        Raises:
            SeafloorError: it cannot be; what was made of it is removed by ``drop``.
        """
        ...

    async def restore(
        self,
        volume: Volume,
        operation: VolumeOperation,
        snapshot: VolumeSnapshot,
        progress: Progress,
    ) -> None:
        """Make the content of an operation out of a snapshot; durable when it returns.

        Raises:
            SeafloorError: it cannot be; what was made of it is removed by ``drop``.
        """
        ...

    async def made(self, volume: Volume) -> Made:
        """Say what there is of a volume, whole or not."""
        ...

    async def drop(self, volume: Volume, made: Made) -> None:
        """Remove certain contents and snapshots of a volume; those that are not there are."""
        ...

    async def remove(self, volume_id: str) -> None:
        """Remove all contents and snapshots of a volume out of use."""
        ...


class VolumeFolders(Protocol):
    """The folders of volumes. A content is told by its volume's id and its number. All blocks."""

    def path(self, volume_id: str, content: int) -> Path:
        """Where a content is, or would be."""
        ...

    def make(self, volume_id: str, content: int) -> None:
        """Make an empty content; one that is there stays as it is."""
        ...

    def check(self, volume_id: str, content: int, *, name: str) -> None:
        """Refuse a content that is not here.

        Raises:
            NotFound: it is not, as of a volume that was made at another server.
        """
        ...

    def count(self, volume_id: str, content: int) -> Counted:
        """Look at every file once."""
        ...

    def pack(self, volume_id: str, content: int, packing: Packing) -> Iterator[bytes]:
        """Give the bytes of a snapshot, in constant memory.

        Raises:
            Conflict: a file changed while it was read, so that this is no state of the folder.
            StoreUnavailable: something cannot be read.
        """
        ...

    def unpack(
        self,
        volume_id: str,
        content: int,
        source: Bytes,
        *,
        sha256: Sha256,
        progress: Callable[[int], None],
    ) -> None:
        """Make a content of the bytes of a snapshot; durable when it returns.

        It is whole only then. What is left of an earlier try is removed.

        Raises:
            StoreCorrupt: the bytes are not those of the digest.
            StoreFull: no space left.
        """
        ...

    def remove(self, volume_id: str) -> None:
        """Remove everything of a volume; nothing happens when nothing is there."""
        ...

    def contents(self, volume_id: str) -> frozenset[int]:
        """The numbers of the contents that are here, whole or not."""
        ...

    def drop(self, volume_id: str, content: int) -> None:
        """Remove a content; nothing happens when it is not here."""
        ...
