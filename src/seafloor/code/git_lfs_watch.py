"""What a store of large files sends, watched while git-lfs fetches it.

Git-lfs takes whatever a store sends, and waits for what it does not send: a store that leaves files
out of its answer, or a byte in ten seconds, would hold it until somebody else ends it. And what
git-lfs says at its end names neither the address that failed nor the status: those are in its
trace.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from seafloor.code.free_space import Growth
from seafloor.code.git_stall import Window
from seafloor.code.private_folder import write_private
from seafloor.domain.errors import SourceError

STALL_S: Final = 90.0
"""A store that sends less than a byte a second for so long is given up, as git gives up a server.
Longer than the minute for which large hosts put off who comes too often."""

_BATCH: Final = "/objects/batch"
_REFUSALS_MAX: Final = 32
_BATCH_REFUSALS_MAX: Final = 4
"""Git-lfs shows a wrong password again and again without end, and hosts lock who does. Where files
are is asked by one request at a time, the files themselves by several, each refused once or twice
before it is let in."""

ANSWER_BYTES_MAX: Final = 16 << 20
_FILE_TALK_BYTES_MAX: Final = 64 << 10
"""Git-lfs holds an answer in memory, several times over. One tells of a hundred files at most; what
is said of each, in all of its tries, has a bound as well."""

_TRACE_BYTES_MAX: Final = 1 << 20
_HEAD_BYTES: Final = 64 << 10
_OID_CHARS: Final = 64
_ASKED: Final = re.compile(
    rb"^[\d:.]+ trace git-lfs: HTTP: (?:[A-Z]+ (\S{1,2048})|(\d{3}))\r?$", re.MULTILINE
)
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*")
_USER: Final = re.compile(r"(?<=//)[^/@\s'\"]+@")


def without_queries(text: str) -> str:
    """Take out of every URL what stands behind ``?``: what signs it opens a file to all who see it.

    >>> without_queries("LFS: not found: https://s3.example/a?X-Amz-Signature=1234 (really)")
    'LFS: not found: https://s3.example/a (really)'
    """
    return _QUERY.sub(r"\1", text)


class StoreTalk:
    """What git-lfs asked a store, and how that answered.

    Args:
        path: Where git-lfs writes its trace; it is made, for us alone: answers can hold tokens.
    """

    def __init__(self, path: Path) -> None:
        self.path = write_private(path, b"")
        self.url = ""
        """What was asked for last; where a request failed, that one. Without query and user."""
        self.status = 0
        """Of the last answer that was no success, 0: none; a password asked for and then taken is
        none."""
        self.answer_bytes = 0
        """Of the answer that is coming, as far as it is no file."""
        self.heard_bytes = 0
        """Of all that was said."""
        self._refusals = 0
        self._read_bytes = 0
        self._seen_bytes = 0
        self._asked = ""

    @property
    def is_refused(self) -> bool:
        """Whether the store goes on refusing the user or the password that it is shown."""
        is_batch = self.url.endswith(_BATCH)
        return self._refusals >= (_BATCH_REFUSALS_MAX if is_batch else _REFUSALS_MAX)

    def look(self) -> None:
        """Read what is new; of very much beginning and end, and it does not stay on the disk."""
        with self.path.open("r+b") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            begin = max(self._read_bytes, size_bytes - _TRACE_BYTES_MAX)
            # What was asked stands before a long answer.
            file.seek(self._read_bytes)
            head = file.read(min(begin - self._read_bytes, _HEAD_BYTES))
            file.seek(begin)
            block = file.read(_TRACE_BYTES_MAX)
            self._count(block, size_bytes)
            # Half a line is left for the next look.
            whole = block[: block.rfind(b"\n") + 1]
            self._read_bytes = begin + len(whole)
            if size_bytes > _TRACE_BYTES_MAX:
                file.truncate(0)
                self._read_bytes = self._seen_bytes = 0
        for asked, status in _ASKED.findall(head) + _ASKED.findall(whole):
            if asked:
                self._take_request(asked.decode("utf-8", "replace"))
            else:
                self._take_status(int(status))

    def _count(self, block: bytes, size_bytes: int) -> None:
        new_bytes = max(0, size_bytes - self._seen_bytes)
        self._seen_bytes = size_bytes
        self.heard_bytes += new_bytes
        ends = [found.end() for found in _ASKED.finditer(block)]
        self.answer_bytes = len(block) - ends[-1] if ends else self.answer_bytes + new_bytes

    def _take_request(self, url: str) -> None:
        self._asked = _USER.sub("", without_queries(url))
        if not self.status:
            self.url = self._asked

    def _take_status(self, status: int) -> None:
        self._refusals = self._refusals + 1 if status == 401 else 0
        if status >= 400:
            self.url, self.status = self._asked, status
        elif self.status == 401:
            self.url, self.status = self._asked, 0


class Arrival:
    """Watches what git-lfs fetches.

    Args:
        folder: Where it puts files in place.
        storage: Where it fetches to.
        sizes: What each content has, in bytes, by its sha256.
        stored: Path of a content in the storage.
        placed: Paths of the files that it puts in place.
        url: Of the repository, for messages.
        talk: What it asks.
        given_up: The error when nothing more can be expected.
    """

    def __init__(
        self,
        storage: Path,
        *,
        sizes: Mapping[str, int],
        stored: Callable[[str], Path],
        placed: tuple[Path, ...],
        url: str,
        talk: StoreTalk,
        given_up: Callable[[StoreTalk], SourceError],
    ) -> None:
        self._incomplete = storage / "incomplete"
        self._sizes = sizes
        self._stored = stored
        self._placed = placed
        self._url = url
        self._talk = talk
        self._given_up = given_up
        self._growth = Growth(storage, f"What the git LFS store of {url} sends")
        self._arrived_bytes: dict[str, int] = {}
        self._window = Window(STALL_S)
        self._done = self._measure()

    def look(self) -> None:
        """Look once.

        Raises:
            SourceError: there is more of a file than its pointer says, which is gone; next to
                nothing came for ``STALL_S``; the password is refused again and again; or an answer
                is without end.
            StoreFull: the disk cannot hold what comes.
        """
        self._growth.look()
        self._talk.look()
        heard_bytes_max = ANSWER_BYTES_MAX + _FILE_TALK_BYTES_MAX * len(self._sizes)
        if self._talk.answer_bytes > ANSWER_BYTES_MAX or self._talk.heard_bytes > heard_bytes_max:
            raise SourceError(
                f"The git LFS store of {self._url} answers without end where it is asked for files"
                f" ({self._talk.url}): {self._talk.heard_bytes / 1e6:,.0f} MB so far.",
                field="code.url",
            )
        if self._talk.is_refused:
            raise self._given_up(self._talk)
        for path in self._incomplete.iterdir() if self._incomplete.is_dir() else ():
            # A name of its own for each try, which begins with the sha256.
            oid = path.name[:_OID_CHARS]
            with suppress(FileNotFoundError):
                if oid in self._sizes:
                    self._take(oid, path)
        received_bytes = self._window.end()
        if received_bytes is not None:
            self._check_window(received_bytes)

    def _take(self, oid: str, path: Path) -> None:
        size_bytes = path.stat().st_size
        if size_bytes > self._sizes[oid]:
            path.unlink()
            raise SourceError(
                f"The git LFS store of {self._url} sends more of a large file than the "
                f"{self._sizes[oid] / 1e6:,.1f} MB that its pointer says.",
                field="code.url",
            )
        self._window.take(max(0, size_bytes - self._arrived_bytes.get(oid, 0)))
        self._arrived_bytes[oid] = size_bytes

    def _measure(self) -> tuple[int, int]:
        """Files that came between two looks, and bytes put in place: that takes long, too.

        Returns:
            How many contents are missing, and the size of all that is in place.
        """
        missing = sum(1 for oid in self._sizes if not self._stored(oid).exists())
        placed_bytes = 0
        for path in self._placed:
            with suppress(FileNotFoundError):  # being replaced at this moment
                placed_bytes += path.stat().st_size
        return missing, placed_bytes

    def _check_window(self, received_bytes: int) -> None:
        before, self._done = self._done, self._measure()
        missing, _ = self._done
        if missing and self._done == before and received_bytes < STALL_S:
            raise self._given_up(self._talk)
