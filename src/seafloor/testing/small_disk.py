"""A disk that is soon full: a small tmpfs, mounted for one test."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs.

    Args:
        path: Where.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all space but so much (whole pages)."""
        self.free()
        with self._ballast.open("wb") as file:
            while True:
                left = os.statvfs(self.path)
                size_bytes = left.f_bavail * left.f_frsize - leave_bytes
                if size_bytes <= 0:
                    return
                try:
                    os.posix_fallocate(file.fileno(), 0, size_bytes)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    # Another wrote between the look and the taking: look again.
                else:
                    return

    def free(self) -> None:
        """Give the taken space back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, *, size_bytes: int) -> Generator[SmallDisk]:
    """Mount a tmpfs of a size; skips the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("a full disk needs a tmpfs of its own: run as root, or in a user namespace")
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "seafloor-test", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a full disk needs a tmpfs of its own: {mounted.stderr.strip()}")
    passed = False
    try:
        yield SmallDisk(path)
        passed = True
    finally:
        # Not lazy: a file that a store still holds open fails the test.
        ended = subprocess.run(["umount", str(path)], check=False)
        if ended.returncode != 0:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    if passed and ended.returncode != 0:
        raise AssertionError(f"something still holds files open in {path}")
