"""From bytes as they are read to lines: ``\\n``, ``\\r`` and ``\\r\\n`` each end one."""

from __future__ import annotations

from typing import List

from .records import CONTINUED, CR, CRLF, LF, NOTHING, PAYLOAD_BYTES_MAX, Piece


class LineSplitter:
    """Splits one stream.

    A line is given out when its terminator was read. A ``\\r`` at the very end of what was read may
    be half of a ``\\r\\n`` and is held back; ``release`` ends the wait. Lines longer than a record
    come in pieces. Holds at most one piece, whatever is printed.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def holds_return(self) -> bool:
        """Whether a line waits only for what follows its ``\\r``."""
        return self._held.endswith(b"\r")

    def feed(self, data: bytes) -> List[Piece]:
        """Take what was read; give what it completes."""
        held = self._held
        if b"\n" not in data and b"\r" not in data and not held.endswith(b"\r"):
            held += data
            return self._cut_held() if len(held) > PAYLOAD_BYTES_MAX else []
        if held:
            data = bytes(held) + data
            held.clear()
        pieces = self._split(data)
        if len(data) > PAYLOAD_BYTES_MAX:
            pieces = _cut(pieces)
            pieces += self._cut_held()
        return pieces

    def release(self) -> List[Piece]:
        """Give the line that waits for what follows its ``\\r``, if there is one."""
        return self.finish() if self.holds_return else []

    def finish(self) -> List[Piece]:
        """Give what is left: nothing follows."""
        rest = bytes(self._held)
        self._held.clear()
        if not rest:
            return []
        return _cut([(rest[:-1], CR, 0) if rest.endswith(b"\r") else (rest, NOTHING, 0)])

    def _split(self, data: bytes) -> List[Piece]:
        if b"\r" not in data:
            lines = data.split(b"\n")
            self._held += lines.pop()
            return [(line, LF, 0) for line in lines]
        lines = data.splitlines(True)  # of bytes: at \n, \r and \r\n, and nowhere else
        if not lines[-1].endswith(b"\n"):
            self._held += lines.pop()
        return [_ended(line) for line in lines]

    def _cut_held(self) -> List[Piece]:
        held = self._held
        text_bytes = len(held) - held.endswith(b"\r")
        cut = (text_bytes - 1) // PAYLOAD_BYTES_MAX * PAYLOAD_BYTES_MAX
        if cut <= 0:
            return []
        pieces = [
            (bytes(held[at : at + PAYLOAD_BYTES_MAX]), NOTHING, CONTINUED)
            for at in range(0, cut, PAYLOAD_BYTES_MAX)
        ]
        del held[:cut]
        return pieces


def _ended(line: bytes) -> Piece:
    if line.endswith(b"\r\n"):
        return line[:-2], CRLF, 0
    return line[:-1], (LF if line.endswith(b"\n") else CR), 0


def _cut(pieces: List[Piece]) -> List[Piece]:
    """Cut what is longer than a record."""
    made: List[Piece] = []
    for piece in pieces:
        payload, end, flags = piece
        while len(payload) > PAYLOAD_BYTES_MAX:
            made.append((payload[:PAYLOAD_BYTES_MAX], NOTHING, CONTINUED))
            payload = payload[PAYLOAD_BYTES_MAX:]
        made.append((payload, end, flags))
    return made
