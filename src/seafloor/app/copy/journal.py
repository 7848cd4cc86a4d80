"""How far a copy has come: one file in the target's data folder, kept until the copy is whole.

Of each kind of things, which are copied in an order that is always the same, it says up to which
one all are copied and checked. Lines of JSON, appended and synced about once a second; the last
one of a kind counts, and one that a crash has torn does not.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from seafloor.stores.append_file import disk_error, sync_folder

_SYNC_EVERY_S: Final = 1.0


class Reached(msgspec.Struct, frozen=True):
    """Up to where all things of a kind are copied.

    Args:
        kind: Of what.
        upto: The key of the last one; None: none is.
        items: How many they are.
        size_bytes: What they hold.
    """

    kind: str
    upto: tuple[str, ...] | None = None
    items: int = 0
    size_bytes: int = 0


class _Head(msgspec.Struct, frozen=True):
    format_version: int
    copy_id: str


class Journal:
    """The journal of one copy.

    Args:
        path: Made when it is missing, begun anew when it is another copy's.
        copy_id: Tells this copy from any other.

    Raises:
        StoreError: the disk says no.
    """

    def __init__(self, path: Path, copy_id: str) -> None:
        self._path = path
        self._head = _Head(1, copy_id)
        self._reached: dict[str, Reached] = {}
        self._unsaved: set[str] = set()
        self._synced_s = time.monotonic()
        try:
            self._load()
        except OSError as error:
            raise disk_error(error, "keep the journal of the copy") from error

    def _load(self) -> None:
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        good_bytes = 0
        try:
            if lines and msgspec.json.decode(lines[0], type=_Head) == self._head:
                good_bytes = len(lines[0]) + 1
                for line in lines[1:]:
                    found = msgspec.json.decode(line, type=Reached)
                    self._reached[found.kind] = found
                    good_bytes += len(line) + 1
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # torn by a crash: what it said is found out again
        with self._path.open("ab") as file:
            file.truncate(good_bytes)
            if not good_bytes:
                file.write(msgspec.json.encode(self._head) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._path.parent)

    def reached(self, kind: str) -> Reached:
        """How far the things of a kind are copied."""
        return self._reached.get(kind) or Reached(kind)

    async def advance(self, kind: str, upto: tuple[str, ...], *, size_bytes: int) -> None:
        """Note that the next thing is copied and checked; saved within a second or so.

        Raises:
            StoreError: the disk says no.
        """
        before = self.reached(kind)
        self._reached[kind] = Reached(kind, upto, before.items + 1, before.size_bytes + size_bytes)
        self._unsaved.add(kind)
        if time.monotonic() - self._synced_s >= _SYNC_EVERY_S:
            await self.save()

    async def save(self) -> None:
        """Make all that was noted durable."""
        lines = [msgspec.json.encode(self._reached[kind]) + b"\n" for kind in self._unsaved]
        await asyncio.to_thread(self._append, b"".join(lines))
        self._unsaved.clear()
        self._synced_s = time.monotonic()

    def _append(self, data: bytes) -> None:
        if not data:
            return
        try:
            with self._path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(error, "keep the journal of the copy") from error

    def remove(self) -> None:
        """The copy is whole: nobody goes on with it."""
        self._path.unlink(missing_ok=True)
