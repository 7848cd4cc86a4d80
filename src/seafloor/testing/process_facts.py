"""What the kernel knows of this process: open files, bytes read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def open_files_below(folder: Path) -> list[Path]:
    """The files of a folder that this process holds open."""
    found: list[Path] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them is closed by now
            found.append(descriptor.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def bytes_read() -> int:
    """Bytes that this process asked the kernel for so far, cached ones too."""
    for text in Path("/proc/self/io").read_text().splitlines():
        if text.startswith("rchar:"):
            return int(text.split()[1])
    raise AssertionError("no rchar in /proc/self/io")


def connections_to(port: int) -> list[str]:
    """The TCP connections (IPv4) that this process holds open to a port, by their inodes."""
    mine = set[str]()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            mine.add(str(descriptor.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    there = [row[9] for row in rows if int(row[2].partition(":")[2], 16) == port]
    return [inode for inode in there if f"socket:[{inode}]" in mine]
