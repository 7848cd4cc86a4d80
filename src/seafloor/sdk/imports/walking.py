"""Files of folders that are a source, and what a report tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from seafloor.sdk.imports.records import FileRecord
from seafloor.sdk.imports.report import Report
from seafloor.sdk.walking import files_below

NO_FILE: Final = "link to a folder or to nothing, pipe or device among files: left out"


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
