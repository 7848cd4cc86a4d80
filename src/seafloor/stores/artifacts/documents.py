"""The JSON documents that are kept beside artifacts (``docs/formats/manifest.md``)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable

import msgspec

from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.errors import NotSupported, StoreCorrupt
from seafloor.domain.ids import Sha256

MANIFEST_VERSION = 1
REPLACEMENT_VERSION = 1
_PIECE_BYTES = 256 * 1024


class Replacement(msgspec.Struct, frozen=True):
    """The note that a file is about to get other bytes.

    Args:
        format_version: REPLACEMENT_VERSION.
        path: Which file.
        sha256: Of the new bytes.
        size_bytes: Of the new bytes.
    """

    format_version: int
    path: str
    sha256: Sha256
    size_bytes: int

    def encode(self) -> bytes:
        """Write the document."""
        return msgspec.json.encode(self)


def decode_replacement(content: bytes) -> Replacement:
    """Read the document.

    Raises:
        NotSupported: it is of a newer version.
        StoreCorrupt: it is not such a document.
    """
    try:
        found = msgspec.json.decode(content, type=Replacement)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorrupt(
            "A note about a file being replaced is damaged.", detail=repr(content[:200])
        ) from error
    if found.format_version > REPLACEMENT_VERSION:
        raise NotSupported(
            f"A note about a file being replaced has format version {found.format_version}; "
            f"this Seafloor knows up to {REPLACEMENT_VERSION}: upgrade it."
        )
    return found


class ManifestDocument:
    """``manifest.json`` as a stream that can be begun again, in constant memory.

    Args:
        owner: Whose files.
        files: Gives them in order of path, anew at each call.
    """

    def __init__(self, owner: str, files: Callable[[], AsyncIterable[ArtifactFile]]) -> None:
        self._owner = owner
        self._files = files
        self.count = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.count = 0
        head = {"format_version": MANIFEST_VERSION, "owner": self._owner}
        piece = bytearray(msgspec.json.encode(head)[:-1] + b',"files":[')
        async for file in self._files():
            piece += b",\n" if self.count else b"\n"
            piece += msgspec.json.encode(file)
            self.count += 1
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        piece += b"\n]}\n"
        yield bytes(piece)
