"""Secrets in a folder: ``<root>/<name>/<key>``, as Kubernetes mounts them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from seafloor.domain.errors import InvalidValue, NotFound, StoreError, StoreFull
from seafloor.domain.secrets import (
    VALUE_BYTES_MAX,
    Secret,
    check_secret_key,
    check_secret_name,
    check_secret_value,
)

SECRETS_FOLDER: Final = "secrets"
"""Of the data folder."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class FolderSecrets:
    """Secrets that nobody but the owner of the folder can read.

    Names that begin with a dot are left alone: they are how Kubernetes replaces a mounted secret
    at once, and how a value of ours is written before it has its name.

    Args:
        root: Made when the first value is set.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, name: str) -> Secret:
        """See ``Secrets.get``."""
        folder = self._root / check_secret_name(name)
        with _told(name):
            if not folder.is_dir():
                raise NotFound(
                    f'There is no secret "{name}": make it on the server\'s machine with '
                    f"`seafloor secret set {name} KEY`.",
                    field="secret",
                )
            return Secret(name, {path.name: _read(path) for path in _keys(folder)})

    def put(self, name: str, key: str, value: bytes) -> None:
        """Set one value, durably; a reader sees the old one or the new one.

        Raises:
            InvalidValue, LimitExceeded: the name, the key or the value cannot be one.
            StoreFull, StoreError: it could not be written; the old value is there.
        """
        folder = self._root / check_secret_name(name)
        check_secret_key(key)
        check_secret_value(value)
        with _told(name):
            for made in (self._root, folder):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = folder / f".{secrets.token_hex(8)}"
            try:
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(value)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(folder / key)
            finally:
                partial.unlink(missing_ok=True)
            _sync(folder)
            _sync(self._root)

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """The keys of every secret, by its name; never a value."""
        with _told("…"):
            if not self._root.is_dir():
                return {}
            folders = sorted(path for path in self._root.iterdir() if _is_shown(path))
            return {
                folder.name: tuple(path.name for path in _keys(folder))
                for folder in folders
                if folder.is_dir()
            }

    def remove(self, name: str, key: str | None = None) -> None:
        """Remove a key, or all of a secret.

        Raises:
            NotFound: there is none.
        """
        folder = self._root / check_secret_name(name)
        keys = list(self.get(name)) if key is None else [check_secret_key(key)]
        with _told(name):
            for each in keys:
                try:
                    (folder / each).unlink()
                except FileNotFoundError:
                    raise NotFound(
                        f'The secret "{name}" has no key "{each}".', field="key"
                    ) from None
            with contextlib.suppress(OSError):  # keys are left
                folder.rmdir()
            _sync(self._root)


def _keys(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_shown(path) and path.is_file())


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        value = file.read(VALUE_BYTES_MAX + 1)
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidValue(f"{path} has more than {VALUE_BYTES_MAX} bytes.", field="secret")
    return value


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(name: str) -> Generator[None]:
    """Tell what the file system says; it names paths, never a value."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull("No space is left for secrets: free some; nothing changed.") from error
        raise StoreError(
            f'The secret "{name}" cannot be read or written ({error.strerror}): look at the '
            "permissions of the folder for secrets.",
            detail=str(error),
        ) from error
