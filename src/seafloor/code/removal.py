"""Removing a folder, whatever somebody's archive or command has made in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOOK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it, or the link in its place; nothing there is no error.

    ``shutil.rmtree`` calls itself for each level, so some 1,000 of them end it. Here the depth does
    not matter, nor does the length of a path: the folders are gone through one from another. No
    link is followed, no other file system entered, and rights that were taken away are given back.

    Raises:
        OSError: something cannot be removed, or was moved meanwhile. What else could be is gone.
    """
    if path.is_symlink():
        path.unlink()
        return
    try:
        descriptor = _open(os.fsencode(path), None)
    except FileNotFoundError:
        return
    removal = _Removal(descriptor)
    try:
        removal.run()
    finally:
        os.close(removal.descriptor)
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise removal.problem or error from error


@dataclass(frozen=True)
class _Level:
    """A folder on the way down.

    Args:
        name: In the one above.
        identity: By which it is known again on the way up.
        below: Its folders, yet to be removed.
    """

    name: bytes
    identity: tuple[int, int]
    below: list[bytes]


class _Removal:
    """Empties one folder; one descriptor is open at a time, that of where it is.

    Args:
        descriptor: The folder.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.problem: OSError | None = None
        self._device = os.fstat(descriptor).st_dev

    def run(self) -> None:
        way = [self._clear(b"")]
        while way:
            if way[-1].below:
                level = self._down(way[-1].below.pop())
                if level is not None:
                    way.append(level)
                continue
            done = way.pop()
            if way:
                self._up(way[-1])
                self._do(lambda name=done.name: os.rmdir(name, dir_fd=self.descriptor))

    def _clear(self, name: bytes) -> _Level:
        """Remove what is no folder from where it is."""
        found = os.fstat(self.descriptor)
        if found.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with suppress(PermissionError):  # another user's: what follows says so
                os.fchmod(self.descriptor, stat.S_IRWXU)
        below: list[bytes] = []
        others: list[bytes] = []
        with os.scandir(self.descriptor) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                (below if is_folder else others).append(os.fsencode(entry.name))
        for other in others:
            self._do(lambda name=other: os.unlink(name, dir_fd=self.descriptor))
        return _Level(name, (found.st_dev, found.st_ino), below)

    def _down(self, name: bytes) -> _Level | None:
        try:
            inner = _open(name, self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problem = self.problem or error
            return None
        if os.fstat(inner).st_dev != self._device:  # something is mounted there: not ours
            os.close(inner)
            self._do(lambda: os.rmdir(name, dir_fd=self.descriptor))
            return None
        os.close(self.descriptor)
        self.descriptor = inner
        return self._clear(name)

    def _up(self, level: _Level) -> None:
        outer = os.open("..", _LOOK, dir_fd=self.descriptor)
        os.close(self.descriptor)
        self.descriptor = outer
        found = os.fstat(outer)
        if (found.st_dev, found.st_ino) != level.identity:
            raise OSError("a folder was moved while it was being removed")

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except FileNotFoundError:
            return
        except OSError as error:
            self.problem = self.problem or error


def _open(name: bytes, parent: int | None) -> int:
    """Open a folder, if need be by giving us the right to."""
    try:
        return os.open(name, _LOOK, dir_fd=parent)
    except PermissionError:
        named = os.open(name, _NAME, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{named}", stat.S_IRWXU)  # noqa: PTH101  # no other name is safe
        finally:
            os.close(named)
        return os.open(name, _LOOK, dir_fd=parent)
