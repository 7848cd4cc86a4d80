"""Moves files and long lists in pieces."""

from __future__ import annotations

import errno
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


def pieces(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """Give items in lists of at most so many.

    >>> list(pieces("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    left = iter(items)
    while piece := list(itertools.islice(left, count)):
        yield piece


def fetched(
    files: Iterable[FileRecord], *, owner: str, there: Mapping[str, int], report: Report
) -> Iterator[tuple[FileRecord, Path]]:
    """Fetch files that are not there yet; each is gone when the next one is asked for.

    A file that cannot be had, or whose path cannot stand here, is noted as a failure.

    Args:
        files: Which.
        owner: Whose, for the report.
        there: Path to size of those that an earlier import brought: only whole ones are seen.
        report: Told of failures.
    """
    for file in files:
        if file.path in there and there[file.path] == file.size_bytes:
            continue
        with tempfile.TemporaryDirectory(prefix="seafloor-import-") as folder:
            try:
                check_path(file.path)
                local = file.fetch(Path(folder, "file"))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StoreFull(f"No space is left in {folder} for what is fetched.") from error
                report.fail(f"file {file.path} of {owner}", error.strerror or str(error))
                continue
            except (*OF_ONE_OBJECT, SourceError) as error:
                report.fail(f"file {file.path} of {owner}", str(error))
                continue
            yield file, local
