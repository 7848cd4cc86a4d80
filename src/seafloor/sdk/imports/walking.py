"""Walks folders of a source, and tells of all that it cannot look into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from seafloor.sdk.imports.records import FileRecord
from seafloor.sdk.imports.report import Report

Told = Callable[[Path, OSError], None]
NO_FILE: Final = "link to a folder or to nothing, pipe or device among files: left out"


def files_below(folder: Path, *, odd: Callable[[Path], None], bad: Told) -> Iterator[Path]:
    """All files below a folder, in the order of their paths; none where there is no folder.

    Links are followed as far as they lead to files; a folder may be anywhere, and have no end.

    Args:
        folder: Which.
        odd: Told of what is neither a file nor a folder.
        bad: Told of each folder that cannot be read, and why.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        bad(folder, error)
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(path, odd=odd, bad=bad)
        elif _is_file(entry):
            yield path
        else:
            odd(path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one; a link that cannot be followed is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def refused(_folder: Path, error: OSError) -> None:
    """Raise why a folder cannot be read, for ``files_below``."""
    raise error


def local_files(folder: Path, report: Report, *, owner: str) -> Iterator[FileRecord]:
    """All files below a folder as those of a run or model.

    Args:
        folder: Which; there may be none.
        report: Told of each folder that cannot be read, as a failure, and of what is no file.
        owner: Whose files they are, for the report.
    """

    def odd(path: Path) -> None:
        report.leave_out(NO_FILE, f"{owner}: {shown(path)}")

    def bad(path: Path, error: OSError) -> None:
        report.fail(f"files of {owner}", f"{shown(path)}: {error.strerror or error}")

    for path in files_below(folder, odd=odd, bad=bad):
        yield local_file(path.relative_to(folder).as_posix(), path)


def local_file(name: str, path: Path) -> FileRecord:
    """A file on this machine as one of a run."""
    try:
        size_bytes = path.stat().st_size
    except OSError:  # gone meanwhile, which whoever fetches it is told
        size_bytes = None
    return FileRecord(name, size_bytes, lambda _: path)


def shown(path: Path) -> str:
    """A path as a text even where it is none."""
    return str(path).encode("utf-8", "replace").decode()
