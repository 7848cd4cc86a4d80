"""What a container printed, as the cluster gives it: entries with times become records of a log.

The same entries give the same bytes, whoever makes them and however often. Pure.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections import Counter, deque
from typing import Final

import msgspec

from seafloor.agent.lines import LineSplitter
from seafloor.agent.records import AGENT, HEADER, LF, MAGIC, OUT, Damaged, Piece, pack, walk
from seafloor.domain.errors import ClusterUnavailable, StoreCorrupt

_STAMP: Final = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d)) "
)
_PIECE_BYTES: Final = 16 * 1024
"""Container runtimes cut longer lines; kubelets before 1.27 then repeat the time in the middle."""

LINE_BYTES_MAX: Final = 4 << 20
"""What is beyond it of a line is not kept; one such line would fill the server's memory."""

_AGAIN_S: Final = 2
"""How far before its last line a log is read again: lines are out of order by less than this."""

_NEVER_NS: Final = 1 << 63

_CUT: Final = b" (and more: a line of more than 4 MiB is cut)"
_GAP: Final = b"Lines may be missing here: the cluster began its log anew before they were read."


class NodeHasNone(ClusterUnavailable):
    """The node tells of a problem instead of the log, as when it removed the container."""


class Entry(msgspec.Struct, frozen=True):
    """One line.

    Args:
        time_ns: When it was printed, by the clock of the node.
        text: Without its end.
        ended: Whether it has one; False: the very last of a log.
    """

    time_ns: int
    text: bytes
    ended: bool = True

    def pieces(self) -> list[Piece]:
        """As records have it: ``\\r`` ends a line as well, and long ones are cut."""
        splitter = LineSplitter()
        return [*splitter.feed(self.text + b"\n" * self.ended), *splitter.finish()]


class EntryReader:
    """Splits what the cluster sends into entries; a line that has not ended is held back."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Entry]:
        """Take what was read; give what it completes.

        Raises:
            NodeHasNone: the kubelet tells of a problem instead; its words.
        """
        if len(self._held) > LINE_BYTES_MAX:
            end = data.find(b"\n")
            data = b"" if end < 0 else data[end:]
        self._held += data
        lines = self._held.split(b"\n")
        self._held = lines.pop()
        return [_entry(bytes(line), ended=True) for line in lines]

    def finish(self) -> list[Entry]:
        """Give what is left when nothing follows.

        Raises:
            NodeHasNone: see ``feed``.
        """
        rest = bytes(self._held)
        self._held.clear()
        return [_entry(rest, ended=False)] if rest else []


def _entry(line: bytes, *, ended: bool) -> Entry:
    if len(line) > LINE_BYTES_MAX:
        line = line[:LINE_BYTES_MAX] + _CUT
    stamp = _STAMP.match(line)
    if stamp is None:
        words = line[:300].decode(errors="replace")
        raise NodeHasNone(f"The node cannot give the log: {words}")
    text, at = line[stamp.end() :], 0
    if len(text) > _PIECE_BYTES:
        parts: list[bytes] = []
        while at < len(text):
            parts.append(text[at : at + _PIECE_BYTES])
            at += _PIECE_BYTES
            repeated = _STAMP.match(text, at)
            at = at if repeated is None else repeated.end()
        text = b"".join(parts)
    return Entry(_time_ns(stamp), text, ended)


def _time_ns(stamp: re.Match[bytes]) -> int:
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = stamp.groups()
    date = (int(year), int(month), int(day), int(hour), int(minute), int(second))
    seconds = timegm((*date, 0, 0, 0))
    if sign is not None:
        offset_s = (int(hours) * 60 + int(minutes)) * 60
        seconds -= offset_s if sign == b"+" else -offset_s
    return seconds * 10**9 + int((fraction or b"").ljust(9, b"0"))


class Tail:
    """How far a log is, and what comes next to it.

    A log is read from the cluster again after whatever broke off, from whole seconds before its
    last line on. What of that is in the log already is known by the times of the lines, not by
    their order: a container's two outputs are noted by two threads of the node, so that a line can
    stand behind others that are younger.

    Args:
        keep_since_s: The times of all lines since then are kept, seconds of the epoch; None: those
            of the last seconds are enough, as they are unless the clock of the node went back.
    """

    def __init__(self, keep_since_s: int | None = None) -> None:
        self.size_bytes = 0
        self._next_number = 1
        self._last_ns: int | None = None
        self._times_ns: deque[int] = deque()
        self._dropped_ns = 0
        self._keep_since_ns = _NEVER_NS if keep_since_s is None else keep_since_s * 10**9
        self._since_ns = 0
        self._known: Counter[int] = Counter()
        self._seen = False
        self._torn: bytes = b""

    @property
    def since_s(self) -> int | None:
        """From when on the cluster is to be asked, seconds of the epoch; None: from the begin."""
        return None if self._last_ns is None else self._last_ns // 10**9 - _AGAIN_S

    @property
    def knows_since(self) -> bool:
        """Whether the times of all lines since ``since_s`` are known; else the log says them."""
        return self.since_s is None or self._dropped_ns < self.since_s * 10**9

    def read(self, data: bytes) -> None:
        """Go over bytes that are in the log already."""
        data = self._torn + data
        if self.size_bytes == 0:
            if len(data) < len(MAGIC):
                self._torn = data
                return
            self.size_bytes = len(MAGIC)
            data = data[len(MAGIC) :]
        done = 0
        try:
            for end, number, _, _, _ in walk(data):
                _, _, _, time_ns, stream, _, _ = HEADER.unpack_from(data, done)
                self._next_number = number + 1
                if stream == OUT:
                    self._note(time_ns)
                done = end
        except Damaged as error:
            raise StoreCorrupt("The log is damaged, so that nothing can be added to it.") from error
        self.size_bytes += done
        self._torn = data[done:]

    def begin(self) -> None:
        """Be told that the entries that follow are all since ``since_s``."""
        self._torn = b""
        self._since_ns = 0 if self.since_s is None else self.since_s * 10**9
        self._known = Counter(time_ns for time_ns in self._times_ns if time_ns >= self._since_ns)
        self._seen = False
        self._keep_since_ns = _NEVER_NS

    def add(self, entry: Entry) -> bytes:
        """Take the next entry; give what is to be appended at ``size_bytes``, which moves on."""
        pieces = entry.pieces()
        made = MAGIC if self.size_bytes == 0 else b""
        if self._known:
            if entry.time_ns < self._since_ns:
                return b""
            known = min(self._known[entry.time_ns], len(pieces))
            if known:
                self._seen = True
                self._known[entry.time_ns] -= known
                pieces = pieces[known:]
                if not pieces:
                    return b""
            elif not self._seen:
                made += self._pack(AGENT, entry.time_ns, [(_GAP, LF, 0)])
            # What is known stands before what is new.
            self._known.clear()
        made += self._pack(OUT, entry.time_ns, pieces)
        for _ in pieces:
            self._note(entry.time_ns)
        self.size_bytes += len(made)
        return made

    def said(self, text: str, *, time_ns: int) -> bytes:
        """Say something in Seafloor's name; give what is to be appended, as ``add`` does."""
        made = MAGIC if self.size_bytes == 0 else b""
        made += self._pack(AGENT, time_ns, [(text.encode(), LF, 0)])
        self.size_bytes += len(made)
        return made

    def _pack(self, stream: int, time_ns: int, pieces: list[Piece]) -> bytes:
        made = b"".join(pack(stream, self._next_number, time_ns, pieces))
        self._next_number += len(pieces)
        return made

    def _note(self, time_ns: int) -> None:
        self._last_ns = time_ns
        self._times_ns.append(time_ns)
        # Twice the seconds: the next line may be noted a little older than this one.
        floor_ns = min(time_ns - 2 * _AGAIN_S * 10**9 - 10**9, self._keep_since_ns)
        while self._times_ns[0] < floor_ns:
            self._dropped_ns = max(self._dropped_ns, self._times_ns.popleft())
