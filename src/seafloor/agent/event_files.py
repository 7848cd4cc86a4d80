"""The tf.events files that a command writes, each sent as it grows."""

from __future__ import annotations

import os
import stat
import time
import urllib.parse
from contextlib import suppress
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from .server import BUG, TRIES_AFTER_A_BUG, Server, ServerAway
from .tails import Tail, shown_name
from .tree import walk

VERSIONS_MAX = 100
"""How often a file may be written anew: one that is all the time would fill the server."""
_MARK = "tfevents"
_KNOWN_BYTES = 64
_SAID_MAX = 50


class EventFiles:
    """The tf.events files below a folder.

    A file that is written anew, or replaced, under its name is sent as another one, whose name ends
    in ``.2``: what the server has of the first cannot be taken back, and what follows is no part of
    it.

    Args:
        folder: Where the command writes them.
        attempt_path: Of the attempt on the server.
    """

    def __init__(self, server: Server, folder: str, attempt_path: str) -> None:
        self._server = server
        self._folder = folder
        self._path = attempt_path + "/event-files?path="
        self._files: Dict[str, _EventFile] = {}
        self._next = ""

    def __len__(self) -> int:
        return sum(file.tail.refusal is None for file in self._files.values())

    def send(self, *, until_s: Optional[float] = None) -> bool:
        """Send every byte that is there now, or as much as there is time for.

        Args:
            until_s: Time on the monotonic clock from which no further piece is begun; at least one
                is sent, and the next call goes on after it. None: there is no end.

        Returns:
            Whether all was sent, or never will be.

        Raises:
            ServerAway, WorkloadGone: what was sent before stays sent. When the server has a bug
                with some files, all others were sent before that is raised.
        """
        found = list(self._found())
        # Where the last call came to, so that a large file does not hold up the others.
        at = next((at for at, (name, _) in enumerate(found) if name == self._next), 0)
        whole, self._next = True, ""
        bug: Optional[ServerAway] = None
        for turn, (name, status) in enumerate(found[at:] + found[:at]):
            if until_s is not None and turn and time.monotonic() >= until_s:
                self._next = name
                return False
            try:
                while not self._file(name).send(status, again=until_s is not None):
                    if until_s is not None:
                        whole = False
                        break
            except ServerAway as error:
                if error.code != BUG:
                    raise
                bug = error
        if bug is not None:
            raise bug
        return whole

    def _file(self, name: str) -> "_EventFile":
        file = self._files.get(name)
        if file is None:
            place = _Place(self._server, self._folder, self._path, name)
            file = self._files[name] = _EventFile(place)
        return file

    def ask_again(self) -> None:
        """Have the server asked once more what it has of each file, and given what it failed at."""
        for file in self._files.values():
            file.ask_again()

    def problems(self) -> List[str]:
        """A sentence for each file that was refused or written anew; of very many, for some."""
        said = [sentence for _, file in sorted(self._files.items()) for sentence in file.problems()]
        more = len(said) - _SAID_MAX
        if more > 0:
            said[_SAID_MAX:] = ["{} more events files had a problem.".format(more)]
        return said

    def _found(self) -> "Iterator[Tuple[str, os.stat_result]]":
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
                    yield os.path.relpath(path, self._folder), status


class _Place(NamedTuple):
    """Where a file is, and where it goes."""

    server: Server
    folder: str
    api_path: str
    name: str

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.name)

    def tail(self, reader: "_Reader", version: int) -> Tail:
        quoted = urllib.parse.quote(os.fsencode(_versioned(self.name, version)), safe="")
        return Tail(self.server, self.api_path + quoted, reader.read_at)


class _EventFile:
    """One file, and how much of it was sent."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._reader = _Reader(place.path)
        self._version = 1
        self._sent: Optional[Tuple[int, int, int]] = None
        self._was_shorter = False
        self._overwritten: List[str] = []
        self._bugs = 0
        self.tail = place.tail(self._reader, 1)

    def send(self, status: os.stat_result, *, again: bool) -> bool:
        """Send a piece of what is there; return whether that was all.

        Args:
            again: Whether there will be another call, later.

        Raises:
            ServerAway, WorkloadGone: what was sent before stays sent.
        """
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if status.st_size == 0 or (seen == self._sent and self.tail.offset is not None):
            return True
        done = is_other = False
        try:
            self._reader.check()
            done = self._send_piece(status.st_size)
        except _Overwritten:
            is_other = True
        except OSError as error:
            self.tail.refusal = "it cannot be read: {}".format(error.strerror)
        if self.tail.refusal is not None:
            return True
        # Perhaps it was an agent before this one that sent more than there is.
        if (self.tail.offset or 0) > status.st_size and not is_other:
            if again and not self._was_shorter:  # it may be copied over itself this moment
                self._was_shorter = True
                return True
            is_other = True
        self._was_shorter = False
        if is_other:
            self._begin_anew()
            return self.tail.refusal is not None
        if done:
            self._sent = seen
        return done

    def _send_piece(self, size_bytes: int) -> bool:
        """Send a piece; a file that the server fails at each time is refused in the end."""
        try:
            done = self.tail.send(size_bytes, pieces_max=1)
        except ServerAway as error:
            if error.code != BUG:
                raise
            self._bugs += 1
            if self._bugs < TRIES_AFTER_A_BUG:
                raise
            self.tail.refusal = str(error)
            return True
        self._bugs = 0
        return done

    def _begin_anew(self) -> None:
        kept_bytes = self._reader.end if self.tail.offset is None else self.tail.offset
        self._reader.forget()
        self._sent, self._was_shorter = None, False
        if kept_bytes == 0:  # nothing of what it was has arrived
            return
        if self._version >= VERSIONS_MAX:
            self.tail.refusal = "it was written anew more than {} times".format(VERSIONS_MAX)
            return
        was = shown_name(_versioned(self._place.name, self._version))
        self._version += 1
        while os.path.lexists(_versioned(self._place.path, self._version)):
            self._version += 1
        self.tail = self._place.tail(self._reader, self._version)
        self._overwritten.append(
            "The events file {} was written anew: of what it had been, the first {:,} bytes were "
            "kept as {}; what it is now is {}.".format(
                shown_name(self._place.name),
                kept_bytes,
                was,
                shown_name(_versioned(self._place.name, self._version)),
            )
        )

    def ask_again(self) -> None:
        self.tail.ask_again()
        if self._bugs >= TRIES_AFTER_A_BUG:  # whatever it was, it may be over
            self._bugs, self.tail.refusal = 0, None

    def problems(self) -> List[str]:
        if self.tail.refusal is None:
            return self._overwritten
        said = "The events file {} was not kept: {}"
        return [*self._overwritten, said.format(shown_name(self._place.name), self.tail.refusal)]


class _Overwritten(Exception):
    """What was read of a file is not in it any more."""


class _Reader:
    """Reads a file on, and knows by the last bytes that it read whether it still is the same.

    Each record of a tf.events file has a time and a checksum, so no two ends of one are alike.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = b""
        self._known_at = 0

    @property
    def end(self) -> int:
        """Where it stopped to read; 0 when it knows nothing of the file."""
        return self._known_at + len(self._known)

    def read_at(self, offset: int, size_max: int) -> bytes:
        """Read some bytes; none when the file was removed since it was listed.

        Raises:
            _Overwritten: the file is another one.
            OSError: it cannot be read.
        """
        try:
            with open(self._path, "rb", buffering=0) as stream:
                data = os.pread(stream.fileno(), size_max, offset)
                # Afterwards: whatever happened before it was read shows.
                self._check(stream.fileno())
        except FileNotFoundError:
            return b""
        if data:
            self._known = data[-_KNOWN_BYTES:]
            self._known_at = offset + len(data) - len(self._known)
        return data

    def check(self) -> None:
        """Raise _Overwritten when the file is another one; OSError when it cannot be read."""
        if self._known:
            with suppress(FileNotFoundError), open(self._path, "rb", buffering=0) as stream:
                self._check(stream.fileno())

    def _check(self, fd: int) -> None:
        found = os.pread(fd, len(self._known), self._known_at)
        if found != self._known[: len(found)]:  # one that is only shorter may grow again
            raise _Overwritten

    def forget(self) -> None:
        """Begin with whatever is there now."""
        self._known, self._known_at = b"", 0


def _versioned(name: str, version: int) -> str:
    return name if version == 1 else "{}.{}".format(name, version)
