"""An archive in a file of this machine."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from seafloor.code.archive import RemoteFacts
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.secrets import Secret

_READ_BYTES: Final = 1 << 20


def open_file(url: str, secret: Secret | None) -> FileArchive:
    """Open a file of this machine; see ``archive.OpenRemote``.

    Raises:
        InvalidValue: files are not opened by secrets.
    """
    if secret is not None:
        scheme = url.partition("://")[0]
        raise InvalidValue(
            f"Named secrets are for web servers; {scheme}:// is read as this machine is set up.",
            field="code.secret",
        )
    return FileArchive(url)


@dataclass(frozen=True)
class FileArchive:
    """See ``archive.RemoteFile``.

    Args:
        url: ``file:///path``.
    """

    url: str

    @property
    def _path(self) -> Path:
        return Path(unquote(urlsplit(self.url).path))

    def facts(self) -> RemoteFacts:
        """Look at the file: its size, and which file it is since when."""
        descriptor = self._open()
        try:
            return _facts(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
        """Read the file, and see that it is the same at the end."""
        with open(self._open(), "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor
            while block := file.read(_READ_BYTES):
                write(block)
            if _facts(os.fstat(file.fileno())) != facts:
                raise SourceError(
                    f'"{self._path}" was changed while it was read: try again.', field="code.url"
                )

    def _open(self) -> int:
        try:
            # Not blocking: what the name is now may be a fifo.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SourceError(
                f'There is no file "{self._path}" on the machine "{socket.gethostname()}".',
                field="code.url",
            ) from error
        except OSError as error:
            raise SourceError(
                f'"{self._path}" cannot be read: {error.strerror}.', field="code.url"
            ) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise SourceError(
                f'"{self._path}" is not a file. A folder is sent with sync_mode local.',
                field="code.url",
            )
        return descriptor


def _facts(status: os.stat_result) -> RemoteFacts:
    return RemoteFacts(status.st_size, f"{status.st_mtime_ns:x}-{status.st_ino:x}")
