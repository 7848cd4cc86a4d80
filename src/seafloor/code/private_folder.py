"""Where a secret is handed to a program that reads it from a file: a folder that only we can read.

In memory where the system has such a place, and gone afterwards, whoever is killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_LOCK: Final = "lock"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


@contextmanager
def private_folder(prefix: str) -> Generator[Path]:
    """Have a folder for as long as the context lasts.

    Args:
        prefix: Of its name; folders of that prefix which killed processes left are removed.
    """
    place = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    _remove_leftovers(Path(tempfile.gettempdir()) if place is None else place, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place) as name:
        folder = Path(name)
        # Held for as long as we live: so others can tell what a killed process left. It has its
        # name when it is held, or they could take it before us.
        with open(folder / f"{_LOCK}.new", "xb", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Path(lock.name).rename(folder / _LOCK)
            yield folder


def write_private(path: Path, content: bytes) -> Path:
    """Write a file that only we can read; it must not be there."""
    with open(path, "xb", opener=_private) as file:
        file.write(content)
    return path


def _remove_leftovers(place: Path, prefix: str) -> None:
    """Remove the folders of processes that were killed: nobody holds their locks any more.

    One without a lock is being made at this moment, or is another user's.
    """
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock.fileno()).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
