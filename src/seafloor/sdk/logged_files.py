"""Files that a script logs: taken as they are now, so that a later change alters nothing."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

from seafloor.domain.errors import InvalidValue
from seafloor.domain.names import check_path
from seafloor.sdk.spool_room import SpoolRoom
from seafloor.sdk.wal import LoggedFile
from seafloor.sdk.walking import kept_files

COPY_BYTES_MAX: Final = 256 * 1024 * 1024


def _pass_over(_: Path) -> None:
    """Do nothing about a socket, a pipe or a link to nowhere."""


class LoggedFiles:
    """Takes files into the spool.

    Args:
        folder: For the copies; made when it is needed.
        room: Of the spool.
    """

    def __init__(self, folder: Path, room: SpoolRoom) -> None:
        self._folder = folder
        self._room = room

    def take(self, file: Path, folder: str) -> Generator[LoggedFile]:
        """Take one file.

        Raises:
            InvalidValue: there is no such file, or the path cannot be kept.
        """
        path = kept_path(file, f"{folder.strip('/')}/{file.name}".lstrip("/"))
        if file.is_dir():
            raise InvalidValue(
                f'"{file}" is a folder: use log_artifacts to keep all files below it.', field="file"
            )
        yield self._take(file, path)

    def take_all(self, directory: Path, folder: str) -> Generator[LoggedFile]:
        """Take all files below a directory.

        Raises:
            InvalidValue: there is no such directory, it or one below cannot be read, or a path
                cannot be kept; before any file is given.
        """
        if not directory.is_dir():
            raise InvalidValue(f'"{directory}" is not a folder.', field="directory")
        top = folder.strip("/")
        found: list[tuple[Path, str]] = []
        for file in kept_files(directory, odd=_pass_over, field="directory"):
            below = file.relative_to(directory).as_posix()
            found.append((file, kept_path(file, f"{top}/{below}".lstrip("/"))))
        for file, path in found:
            yield self._take(file, path)

    def keep(self, content: bytes) -> str | None:
        """Keep bytes in a file of their own; give its name, or None when there is no room."""
        if not self._room.take(len(content)):
            return None
        name = secrets.token_hex(16)
        file = self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            return None
        return name

    def _take(self, file: Path, path: str) -> LoggedFile:
        try:
            status = file.stat()
        except OSError as error:
            raise InvalidValue(
                f'"{file}" cannot be read: {error.strerror or error}.', field="file"
            ) from error
        if not stat.S_ISREG(status.st_mode):
            # Whoever reads a pipe waits for one that writes, and a device may have no end.
            raise InvalidValue(
                f'"{file}" is no file but a pipe, a socket or a device: log what you read from it.',
                field="file",
            )
        if status.st_size <= COPY_BYTES_MAX and self._room.take(status.st_size):
            name = secrets.token_hex(16)
            if self._copy(file, self._folder / name):
                return LoggedFile(path, name, True, status.st_size, status.st_mtime_ns)
        # Too large, or there is no room for a copy: it is sent from where it is.
        return LoggedFile(path, str(file.absolute()), False, status.st_size, status.st_mtime_ns)

    def _copy(self, file: Path, copy: Path) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        except OSError:
            # Where no folder can be made, none can be looked into either.
            with contextlib.suppress(OSError):
                copy.unlink(missing_ok=True)
            return False
        return True


def kept_path(file: Path, path: str) -> str:
    """Give the path under which a file is kept.

    Raises:
        InvalidValue: it cannot be one; the message names the file.
    """
    try:
        return check_path(path, field="file")
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"{str(file)!r} cannot be kept: its name is not UTF-8 text. Rename it.", field="file"
        ) from error
    except InvalidValue as error:
        raise InvalidValue(
            f"{str(file)!r} cannot be kept as {path!r}: {error.message}", field="file"
        ) from error
