"""Where the content of volumes is: what the use cases need of it. Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seafloor.domain.ids import Sha256


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


class VolumeFolders(Protocol):
    """The folders of volumes. A content is told by its volume's id and its number."""

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

    def tidy(self, volume_id: str, *, keep: int) -> None:
        """Remove contents other than the current one."""
        ...

    def sweep(self, known: Collection[str]) -> None:
        """Remove what servers left that were killed: volumes that are not known.

        What is younger than an hour stays: another server may be making it.
        """
        ...
