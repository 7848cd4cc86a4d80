"""What archives hold, whichever kind they are: entries, and the reasons to refuse one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

BLOCK_BYTES_MAX: Final = 1 << 20
"""In what pieces contents come."""


class Malformed(Exception):
    """The bytes are no archive, or one that must not be unpacked. Its text is for the user."""


class EntryKind(Enum):
    """What an entry becomes. Other kinds are refused where they are read."""

    FILE = auto()
    FOLDER = auto()
    SYMLINK = auto()
    HARDLINK = auto()


@dataclass(frozen=True)
class ArchiveEntry:
    """One entry, as the archive says it. Nothing of it is checked but its kind.

    Args:
        path: Parts joined by ``/``; bytes, since names need not be UTF-8.
        size_bytes: Of a file's content; 0 for other kinds.
        executable: Whether a file has its exec bit; of code no other bit of its mode is kept.
        mode: All bits of a tar's mode, None of other archives.
        mtime_s: When a tar says that it was changed, UTC, None of other archives.
        target: What a link names: for a symlink as it is, for a hard link a path of the archive.
    """

    path: bytes
    kind: EntryKind
    size_bytes: int = 0
    executable: bool = False
    target: bytes = b""
    mode: int | None = None
    mtime_s: int | None = None


Member = tuple[ArchiveEntry, Iterator[bytes]]
"""An entry and its content in pieces; the content is read before the next member is."""


class Stream(Protocol):
    """Bytes in order."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most so many bytes, at least one; none at the end."""
        ...


def shown(path: bytes) -> str:
    """A path as it may be shown to people.

    >>> shown(b"a\\xffb")
    'a\\\\xffb'
    """
    text = path.decode("utf-8", "backslashreplace")
    shortened = text if len(text) <= 200 else f"{text[:200]}…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shortened)
