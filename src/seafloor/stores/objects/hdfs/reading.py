"""Streams of bytes out of HDFS, in chunks of a bounded size. All of this blocks."""

from __future__ import annotations

from seafloor.stores.objects.hdfs.remote import Opened
from seafloor.stores.objects.protocol import READ_CHUNK_BYTES


class Chunks:
    """A range of a file.

    The stream is opened once for the whole range: the DataNode then goes on sending a block
    whose file is deleted meanwhile.

    Args:
        file: It.
        start: First byte.
        size_bytes: How many.
    """

    def __init__(self, file: Opened, start: int, size_bytes: int) -> None:
        self._stream = file.stream(start, size_bytes)
        self._rest = b""
        self._left = size_bytes

    def next(self) -> bytes:
        """Give the next chunk of at most READ_CHUNK_BYTES; empty at the end."""
        wanted = min(READ_CHUNK_BYTES, self._left)
        parts = [self._rest] if self._rest else []
        got = len(self._rest)
        while got < wanted:
            packet = next(self._stream.packets, None)
            if packet is None:
                break
            parts.append(packet)
            got += len(packet)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        chunk, self._rest = data[:wanted], data[wanted:]
        self._left -= len(chunk)
        return chunk

    @property
    def is_short(self) -> bool:
        """Whether bytes are missing; asked after the end."""
        return self._left > 0
