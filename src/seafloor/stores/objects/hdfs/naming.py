"""Keys as paths, and times as HDFS can keep them.

A key is the path below the store's folder, but for two things that HDFS has no names for: a
colon, and ``.snapshot`` as a whole name. Their characters are shifted into Unicode's private use
area, as others do who meet a file system without colons: ``:`` is U+F03A, the dot U+F02E.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from seafloor.domain.errors import InvalidValue
from seafloor.stores.objects.protocol import ObjectInfo

_COLON, _COLON_THERE = ":", "\uf03a"
_SNAPSHOT, _SNAPSHOT_THERE = ".snapshot", "\uf02esnapshot"

_MS_NS = 1_000_000
_NS_BASE_MS = 32_503_680_000_000
"""The year 3000. HDFS keeps milliseconds; what is below them is kept in the access time, from
here on. HDFS changes an access time by reading only once it is past."""


class Status(Protocol):
    """What HDFS knows of a path (``hdfs_native.FileStatus``)."""

    path: str
    length: int
    isdir: bool
    modification_time: int
    access_time: int


def path_of(root: str, key: str) -> str:
    """The path of a key below a folder (``""``: the root of the file system).

    Raises:
        InvalidValue: the key has one of the characters that stand for others there.
    """
    if not key:
        return root or "/"
    if _COLON_THERE in key or _SNAPSHOT_THERE in key:
        raise InvalidValue(
            "A key in HDFS has no private characters U+F03A or U+F02E: use another name.",
            field="key",
        )
    if _COLON in key:
        key = key.replace(_COLON, _COLON_THERE)
    if _SNAPSHOT in key:
        parts = key.split("/")
        key = "/".join(_SNAPSHOT_THERE if part == _SNAPSHOT else part for part in parts)
    return f"{root}/{key}"


def name_of(part: str) -> str:
    """The part of a key that a name of a path stands for."""
    if part == _SNAPSHOT_THERE:
        return _SNAPSHOT
    return part.replace(_COLON_THERE, _COLON)


def modified_ns_of(status: Status) -> int:
    """When an object was put."""
    below_ms = status.access_time - _NS_BASE_MS
    return status.modification_time * _MS_NS + (below_ms if 0 <= below_ms < _MS_NS else 0)


def times_of(modified_ns: int) -> tuple[int, int]:
    """The modification and access times, in ms, that keep a time in ns."""
    return modified_ns // _MS_NS, _NS_BASE_MS + modified_ns % _MS_NS


def info_of(key: str, *, size_bytes: int, modified_ns: int) -> ObjectInfo:
    """Describe an object: no two contents of a key have one time, so time and size tell them."""
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        modified_ns=modified_ns,
        etag=f"{modified_ns:x}-{size_bytes:x}",
    )


class Clock:
    """Tells times of which none is told twice, whatever the system's clock does.

    ``milliseconds`` is set once the file system turns out to keep no access times: all times
    told are then whole milliseconds, still each later than the one before.
    """

    def __init__(self) -> None:
        self.milliseconds = False
        self._lock = threading.Lock()
        self._last_ns = 0

    def next_ns(self, *, after_ns: int = 0) -> int:
        """Tell the time, later than ever before and than ``after_ns``."""
        step = _MS_NS if self.milliseconds else 1
        with self._lock:
            now = max(time.time_ns(), self._last_ns + step, after_ns + step)
            self._last_ns = now - now % step
            return self._last_ns
