"""Listing in order of key what HDFS lists in an order of its own, folder by folder.

Within a folder a NameNode lists by the bytes of the names, taken as signed: whatever is not ASCII
comes before what is. Keys are in order of code point, with a folder as ``name/``. An entry is held
back until no later one can come before it: mostly a folder for a step or two (``a-b`` comes before
``a/``), but names that are not ASCII until the rest of those that begin like them went by.

All of this blocks.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from seafloor.domain.errors import CallerError
from seafloor.stores.objects.hdfs.naming import info_of, modified_ns_of, name_of, path_of
from seafloor.stores.objects.hdfs.remote import FileStatus, Remote
from seafloor.stores.objects.keys import check_object_key
from seafloor.stores.objects.protocol import ObjectInfo


@dataclass(frozen=True)
class Look:
    """What a listing looks for.

    Args:
        folder: The key of the folder, ``""`` for the root.
        recursive: All that is below, not only what stands in the folder.
        after: Only what comes after this key.
    """

    folder: str
    recursive: bool
    after: str

    def wants(self, place: str) -> bool:
        """Say whether an object or folder, or what is below it, comes after ``after``."""
        if place > self.after:
            return True
        return self.recursive and place.endswith("/") and self.after.startswith(place)


class Walk:
    """A listing that goes on where it stopped.

    Used by one thread at a time. Memory: the entries that are held back and 1,000 per level.

    Args:
        remote: Where.
        root: The path of the store.
        look: What for.
    """

    def __init__(self, remote: Remote, root: str, look: Look) -> None:
        self._remote = remote
        self._root = root
        self._entries = self._walk(look)
        self._waiting: list[ObjectInfo | str] = []

    def next_page(self, limit: int) -> tuple[list[ObjectInfo | str], bool]:
        """Give the next objects, and folders as keys ending in ``/``; say whether there are more.

        Folders are given when the look is not recursive, and only those with an object below.
        """
        while len(self._waiting) <= limit:
            found = next(self._entries, None)
            if found is None:
                break
            self._waiting.append(found)
        page, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return page, bool(self._waiting)

    def _walk(self, look: Look) -> Generator[ObjectInfo | str]:
        # A stack and not recursion: keys may be deeper than Python's.
        levels = [self._level(look.folder, look)]
        while levels:
            place, found = next(levels[-1], ("", None))
            if not place:
                levels.pop()
            elif found is not None:
                yield found
            elif look.recursive:
                levels.append(self._level(place[:-1], look))
            elif holds_object(self._remote, path_of(self._root, place[:-1])):
                yield place

    def _level(self, folder: str, look: Look) -> Generator[tuple[str, ObjectInfo | None]]:
        """Give what stands in a folder, in order: objects, and all folders without one."""
        prefix = f"{folder}/" if folder else ""
        base = path_of(self._root, folder)
        held: list[tuple[str, ObjectInfo | None]] = []
        for status in self._remote.statuses(base):
            name = status.path.rpartition("/")[2]
            entry = _entry(prefix, name, status)
            if entry is not None and look.wants(entry[0]):
                heapq.heappush(held, entry)
            reached = prefix + _ascii_beginning(name)
            while held and held[0][0] <= reached:
                yield heapq.heappop(held)
        while held:
            yield heapq.heappop(held)


def holds_object(remote: Remote, path: str) -> bool:
    """Say whether any file is below a folder; False when it is missing. Blocks."""
    levels: list[Iterator[FileStatus]] = [remote.statuses(path)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif not found.isdir:
            return True
        else:
            levels.append(remote.statuses(found.path))
    return False


def _entry(prefix: str, name: str, status: FileStatus) -> tuple[str, ObjectInfo | None] | None:
    """Give a path as an object or a folder; None when we could not have made it."""
    key = prefix + name_of(name)
    try:
        check_object_key(key)
    except CallerError:
        return None
    if status.isdir:
        return f"{key}/", None
    return key, info_of(key, size_bytes=status.length, modified_ns=modified_ns_of(status))


def _ascii_beginning(name: str) -> str:
    """Give what all names that are still to come are not before.

    One that differs from this name at an ASCII character differs upwards; at another it may go
    back to ASCII, and so to anything that begins like the name up to there.
    """
    if name.isascii():
        return name
    return next(name[:at] for at, letter in enumerate(name) if not letter.isascii())
