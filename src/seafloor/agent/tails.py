"""Files that grow, sent piece by piece: the spool and tf.events files.

The server says which offset it wants next, so that nothing has to be remembered here: an append of
no bytes at offset 0 asks for it, and whatever is sent twice is known by its place.
"""

from __future__ import annotations

import os
import stat
import urllib.parse
from typing import Callable, Dict, Iterator, List, Optional

from .server import Refused, Request, Server
from .tree import walk

PIECE_BYTES = 1 << 20
_BINARY = {"Content-Type": "application/octet-stream"}
_MARK = "tfevents"


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


class EventFiles:
    """The tf.events files below a folder, each sent as it grows.

    Args:
        folder: Where the command writes them.
        attempt_path: Of the attempt on the server.
    """

    def __init__(self, server: Server, folder: str, attempt_path: str) -> None:
        self._server = server
        self._folder = folder
        self._path = attempt_path + "/event-files?path="
        self._tails: Dict[str, Tail] = {}

    def __len__(self) -> int:
        return sum(tail.refusal is None for tail in self._tails.values())

    def send(self) -> None:
        """Send every byte that is there now.

        Raises:
            ServerAway, WorkloadGone: what was sent before stays sent.
        """
        for name, size_bytes in self._found():
            tail = self._tails.get(name)
            if tail is None:
                quoted = urllib.parse.quote(os.fsencode(name), safe="")
                reader = _reader(os.path.join(self._folder, name))
                tail = self._tails[name] = Tail(self._server, self._path + quoted, reader)
            if tail.offset is None or tail.offset < size_bytes:
                try:
                    tail.send(size_bytes, pieces_max=1 << 30)
                except OSError as error:
                    tail.refusal = "it cannot be read: {}".format(error.strerror)

    def ask_again(self) -> None:
        """Have the server asked once more what it has of each file."""
        for tail in self._tails.values():
            tail.ask_again()

    def problems(self) -> List[str]:
        """A sentence for each file that was refused."""
        return [
            "The events file {} was not kept: {}".format(shown_name(name), tail.refusal)
            for name, tail in sorted(self._tails.items())
            if tail.refusal is not None
        ]

    def _found(self) -> Iterator["tuple[str, int]"]:
        if os.path.islink(self._folder):  # put there by the command: nothing outside is sent
            return
        for parent, _, names in walk(self._folder):
            for name in names:
                if _MARK not in name:
                    continue
                path = os.path.join(parent, name)
                try:
                    status = os.lstat(path)
                except OSError:  # removed since it was listed, or its folder was closed
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield os.path.relpath(path, self._folder), status.st_size


def shown_name(name: str) -> str:
    """A file name as text: what is not UTF-8 in it is written as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _reader(path: str) -> Callable[[int, int], bytes]:
    def read_at(offset: int, size_max: int) -> bytes:
        try:
            with open(path, "rb", buffering=0) as stream:
                stream.seek(offset)
                return stream.read(size_max) or b""
        except FileNotFoundError:  # removed since it was listed: there is no more to send
            return b""

    return read_at
