"""Which kind of archive a file is, by its content, and its bytes without compression."""

from __future__ import annotations

import bz2
import lzma
import tarfile
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import IO, Final, Protocol, cast

import zstandard

from seafloor.code.archive_entry import Malformed, Stream

HEAD_BYTES: Final = 512
"""How much of a file tells its kind."""

WINDOW_BYTES_MAX: Final = 64 << 20
"""What a decompressor may keep in memory: enough for ``xz -9`` and ``zstd --ultra -21``."""

_FEED_BYTES: Final = 64 << 10
_PIECE_BYTES: Final = 256 << 10
_XZ_MEMORY_BYTES: Final = WINDOW_BYTES_MAX + (4 << 20)


class ArchiveKind(StrEnum):
    """How an archive is packed; the values are for people."""

    TAR = "tar"
    TAR_GZ = "tar.gz"
    TAR_BZ2 = "tar.bz2"
    TAR_XZ = "tar.xz"
    TAR_ZST = "tar.zst"
    ZIP = "zip"


_SIGNATURES: Final = (
    (b"\x1f\x8b", ArchiveKind.TAR_GZ),
    (b"BZh", ArchiveKind.TAR_BZ2),
    (b"\xfd7zXZ\0", ArchiveKind.TAR_XZ),
    (b"\x28\xb5\x2f\xfd", ArchiveKind.TAR_ZST),
    (b"PK\x03\x04", ArchiveKind.ZIP),
    (b"PK\x05\x06", ArchiveKind.ZIP),
)
_OTHERS: Final = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "packed with lz4"),
    (b"\x5d\0\0", "packed with the old lzma"),
    (b"\x1f\x9d", "packed with compress"),
    (b"!<arch>\n", "an ar archive"),
    (b"%PDF", "a PDF"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file it stands for"),
)


def recognise(head: bytes) -> ArchiveKind:
    """Say what a file is.

    Args:
        head: Its first HEAD_BYTES, fewer when it has no more.

    Raises:
        Malformed: it is none of those that are unpacked; the text says what it seems to be.
    """
    if not head:
        raise Malformed("it is empty")
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    for signature, name in _OTHERS:
        if head.startswith(signature):
            raise Malformed(f"it is {name}; tar (gz, bz2, xz, zst) and zip are unpacked")
    if len(head) >= HEAD_BYTES and _is_tar(head):
        return ArchiveKind.TAR
    begins = head[:64].lstrip().lower()
    if begins.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise Malformed("it is a page, not an archive: does its address ask for a login?")
    raise Malformed("it is neither a tar (gz, bz2, xz, zst) nor a zip")


def _is_tar(head: bytes) -> bool:
    if head.count(0) == len(head):
        return True  # nothing but its end
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return head[257:262] == b"ustar"  # damaged, which its reader says better
    return True


def decompressed(kind: ArchiveKind, source: Stream) -> Stream:
    """Open the bytes of a tar.

    Returns:
        A stream that raises Malformed where the compressed bytes are damaged, cut, followed by
        something else, or want more memory than WINDOW_BYTES_MAX.
    """
    if kind is ArchiveKind.TAR_ZST:
        return _Zstandard(source)
    make = _DECODERS.get(kind)
    return source if make is None else _Members(source, make)


class _Decoder(Protocol):
    """What bz2's and lzma's decompressors are."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipDecoder:
    """zlib's decompressor in the manners of bz2's; the checksum is checked by zlib."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_DECODERS: dict[ArchiveKind, Callable[[], _Decoder]] = {
    ArchiveKind.TAR_GZ: _GzipDecoder,
    ArchiveKind.TAR_BZ2: bz2.BZ2Decompressor,
    ArchiveKind.TAR_XZ: lambda: lzma.LZMADecompressor(
        format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES
    ),
}


class _Members:
    """Compressed members, one after another, as one stream."""

    def __init__(self, source: Stream, make: Callable[[], _Decoder]) -> None:
        self._source = source
        self._make = make
        self._decoder = make()
        self._piece: bytes = b""
        self._position = 0
        self._first = True

    def read(self, size: int = -1, /) -> bytes:
        while self._position == len(self._piece):
            feed = b""
            if self._decoder.eof:
                feed = self._next_member()
                if not feed:
                    return b""
            elif self._decoder.needs_input:
                feed = self._source.read(_FEED_BYTES)
                if not feed:
                    raise Malformed("it ends too early: it was cut")
            self._piece, self._position = self._decode(feed), 0
        end = len(self._piece) if size < 0 else self._position + size
        piece = self._piece[self._position : end]
        self._position += len(piece)
        return piece

    def _next_member(self) -> bytes:
        """Begin another member if there is one; zeros between and after them are padding."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            more = self._source.read(_FEED_BYTES)
            if not more:
                return b""
            rest = more.lstrip(b"\0")
        self._decoder, self._first = self._make(), False
        return rest

    def _decode(self, feed: bytes) -> bytes:
        try:
            return self._decoder.decompress(feed, _PIECE_BYTES)
        except lzma.LZMAError as error:
            if "emory usage limit" in str(error):  # it has no code of its own
                raise Malformed("it was packed with a window too large to unpack") from error
            raise self._damaged() from error
        except (zlib.error, OSError, EOFError) as error:  # OSError is what bz2 raises
            raise self._damaged() from error

    def _damaged(self) -> Malformed:
        if self._first:
            return Malformed("its compressed bytes are damaged")
        return Malformed("something that is not packed alike follows its end, or it is damaged")


class _Zstandard:
    """Frames, one after another, as one stream."""

    def __init__(self, source: Stream) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        self._inner = decompressor.stream_reader(
            cast("IO[bytes]", source),  # of which it calls only read
            read_size=_FEED_BYTES,
            read_across_frames=True,
            closefd=False,
        )

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._inner.read(size)
        except zstandard.ZstdError as error:
            if "memory" in str(error):  # it has no code of its own
                raise Malformed("it was packed with a window too large to unpack") from error
            raise Malformed("its compressed bytes are damaged") from error
