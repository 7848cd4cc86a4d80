"""A disk that is soon full: a small tmpfs, mounted for one test."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seafloor.testing.process_facts import open_files_below

_OTHERS_END_S = 60.0
"""How long processes that were started on the disk may take to be gone."""


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
        # Not lazy: a file that a store still holds open fails the test. One that a process of its
        # own holds is waited for: it ends a moment after its work is known to be done.
        deadline_s = time.monotonic() + _OTHERS_END_S
        while (
            (ended := subprocess.run(["umount", str(path)], check=False)).returncode != 0
            and open_files_below(path) == []
            and time.monotonic() < deadline_s
        ):
            time.sleep(0.05)
        if ended.returncode != 0:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    if passed and ended.returncode != 0:
        raise AssertionError(f"something still holds files open in {path}")
