"""Files that grow, sent piece by piece: the spool and, in ``event_files``, those of tf.events.

The server says which offset it wants next, so that nothing has to be remembered here: an append of
no bytes at offset 0 asks for it, and whatever is sent twice is known by its place.
"""

from __future__ import annotations

import os
from typing import Callable, Optional

from .server import Refused, Request, Server

PIECE_BYTES = 1 << 20
_BINARY = {"Content-Type": "application/octet-stream"}


class Tail:
    """One growing file.

    Args:
        path: Of the server's resource; ``offset`` is added to its query.
        read_at: Reads (offset, at most so many bytes).
    """

    def __init__(self, server: Server, path: str, read_at: Callable[[int, int], bytes]) -> None:
        self._server = server
        self._path = path + ("&" if "?" in path else "?") + "offset="
        self._read_at = read_at
        self.offset: Optional[int] = None
        self.refusal: Optional[str] = None

    def send(self, size_bytes: int, *, pieces_max: int) -> bool:
        """Send what is there up to a size.

        Returns:
            Whether all of it has been taken, or never will be (``refusal`` says why).

        Raises:
            ServerAway: come again.
            WorkloadGone: never again.
        """
        if self.refusal is not None:
            return True
        try:
            if self.offset is None:
                self.offset = self._append(0, b"")
            for _ in range(pieces_max):
                if self.offset >= size_bytes:
                    return True
                size_max = min(PIECE_BYTES, size_bytes - self.offset)
                data = self._read_at(self.offset, size_max)
                if not data:  # it became shorter
                    return True
                self.offset = self._append(self.offset, data)
        except Refused as error:
            self.refusal = error.message
            return True
        return self.offset >= size_bytes

    def ask_again(self) -> None:
        """Have the server asked once more what it has, before anything else is sent."""
        self.offset = None

    def _append(self, offset: int, data: bytes) -> int:
        try:
            request = Request("POST", self._path + str(offset), data, _BINARY, "next_offset")
            return int(self._server.send(request))
        except Refused as error:
            if error.code == "out_of_order" and error.next_offset is not None:
                return error.next_offset
            raise


def shown_name(name: str) -> str:
    """A file name as text of one line: what is no UTF-8, or no sign, is written as ``\\xff``."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )
