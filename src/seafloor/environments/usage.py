"""Who uses which environment, and which has not been used for longest.

::

    <root>/users/<digest>/<name>    a file with the path of a folder; while that folder is there,
                                    the environment is in use

A user needs not say that it is done: its folder goes, whatever ended it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from seafloor.environments.record import RECORD_NAME


class Usage:
    """The users of environments below one root; all calls block for a moment.

    Args:
        root: Of the environments.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def add(self, digest: str, user: Path) -> None:
        """Say that a folder's owner uses an environment. May be repeated.

        Raises:
            OSError: it cannot be written down.
        """
        folder = self._root / "users" / digest
        folder.mkdir(parents=True, exist_ok=True)
        path = os.fsencode(user.absolute())
        name = hashlib.sha256(path).hexdigest()[:32]
        aside = folder / f"{name}.new"
        aside.write_bytes(path)
        aside.replace(folder / name)

    def touch(self, digest: str) -> None:
        """Say that an environment was asked for now; of one that is not there, nothing."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.utime(self._root / digest / RECORD_NAME)

    def touched_ns(self, digest: str) -> int:
        """When an environment was asked for last; 0 for one that is not there."""
        try:
            return (self._root / digest / RECORD_NAME).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def is_used(self, digest: str) -> bool:
        """Whether a user's folder is there; forgets those whose folder is not."""
        folder = self._root / "users" / digest
        try:
            files = tuple(folder.iterdir())
        except FileNotFoundError:
            return False
        for file in files:
            try:
                user = Path(os.fsdecode(file.read_bytes()))
            except FileNotFoundError:
                continue
            if file.suffix == ".new" or user.exists():
                return True
            file.unlink(missing_ok=True)
        return False


def used_bytes(root: Path) -> int:
    """Sum up what a folder takes on the disk, files with several names once."""
    total = 0
    seen: set[int] = set()
    for parent, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = Path(parent, name).lstat()
                if status.st_nlink > 1 and status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total
