"""Moves files and long lists in pieces."""

from __future__ import annotations

import errno
import hashlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidValue,
    LimitExceeded,
    NotFound,
    SourceError,
    StoreFull,
)
from seafloor.domain.names import check_path
from seafloor.sdk.imports.records import FileRecord
from seafloor.sdk.imports.report import Report

T = TypeVar("T")

OF_ONE_OBJECT: Final = (InvalidValue, NotFound, AlreadyExists, Conflict, LimitExceeded)
"""What stands in the way of one run, model or file; everything else ends the import."""
_NONE: Final[Mapping[str, str]] = {}


def pieces(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """Give items in lists of at most so many.

    >>> list(pieces("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    left = iter(items)
    while piece := list(itertools.islice(left, count)):
        yield piece


def fetched(
    files: Iterable[FileRecord], *, owner: str, report: Report, there: Mapping[str, str] = _NONE
) -> Iterator[tuple[FileRecord, Path]]:
    """Fetch files that are not there as they are; each is gone when the next one is asked for.

    A file that cannot be had, or whose path cannot stand here, is noted as a failure.

    Args:
        files: Which.
        owner: Whose, for the report.
        report: Told of failures.
        there: Path to sha256 of those that an earlier import brought. Their sizes say too little:
            a run that goes on may write a file anew, and as long as it was.
    """
    for file in files:
        with tempfile.TemporaryDirectory(prefix="seafloor-import-") as folder:
            try:
                check_path(file.path)
                local = file.fetch(Path(folder, "file"))
                if file.path in there and _sha256_of(local) == there[file.path]:
                    continue
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StoreFull(f"No space is left in {folder} for what is fetched.") from error
                report.fail(f"file {file.path} of {owner}", error.strerror or str(error))
                continue
            except (*OF_ONE_OBJECT, SourceError) as error:
                report.fail(f"file {file.path} of {owner}", str(error))
                continue
            yield file, local


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
