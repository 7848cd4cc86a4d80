"""Moves files and long lists in pieces."""

from __future__ import annotations

import errno
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidValue,
    LimitExceeded,
    NotFound,
    SourceError,
    StoreCorrupt,
    StoreFull,
)
from seafloor.domain.names import check_path
from seafloor.sdk.imports.records import FileRecord
from seafloor.sdk.imports.report import Report

T = TypeVar("T")

OF_ONE_OBJECT: Final = (InvalidValue, NotFound, AlreadyExists, Conflict, LimitExceeded)
"""What stands in the way of one run, model or file; everything else ends the import."""
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NONE: Final[Mapping[str, str]] = {}
MISSING_TAG: Final = "seafloor.import.missing"
"""Of a run or model that an import brought, and not all of: what is missing. A later import brings
it and takes the tag away. A run that goes on here without it is no import's to write to."""


def pieces(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """Give items in lists of at most so many.

    >>> list(pieces("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    left = iter(items)
    while piece := list(itertools.islice(left, count)):
        yield piece


@contextmanager
def noted(report: Report, name: str) -> Generator[None]:
    """Note what stands in the way of one object as a failure; others go on.

    Raises:
        StoreFull: no space is left here for what is fetched, and there is none for others.
    """
    try:
        yield
    except (*OF_ONE_OBJECT, SourceError) as error:
        report.fail(name, error.message)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreFull(
                f"No space is left in {tempfile.gettempdir()} for what is fetched."
            ) from error
        said = error.strerror or str(error)
        report.fail(name, f"{error.filename}: {said}" if error.filename else said)


def bring_files(
    files: Iterable[FileRecord],
    send: Callable[[str, Path], int],
    *,
    owner: str,
    report: Report,
    there: Mapping[str, str] = _NONE,
) -> str:
    """Fetch files and send those that are not there as they are, one after the other.

    A file that cannot be had or sent, or whose path cannot stand here, is noted as a failure and
    stops no other.

    Args:
        files: Which.
        send: Sends the file of a path; gives how many bytes it has.
        owner: Whose, for the report.
        report: Told of what came and of failures.
        there: Path to sha256 of those that an earlier import brought. Their sizes say too little:
            a run that goes on may write a file anew, and as long as it was.

    Returns:
        What is missing, in words; empty: nothing is.
    """
    before = len(report.failures)
    for file in files:
        with (
            noted(report, f"file {file.path} of {owner}"),
            tempfile.TemporaryDirectory(prefix="seafloor-import-") as folder,
        ):
            check_path(file.path)
            local = file.fetch(Path(folder, "file"))
            if file.path in there and _sha256_of(local) == there[file.path]:
                continue
            try:
                report.file_bytes += send(file.path, local)
            except StoreCorrupt as error:  # it changed while it was sent
                raise SourceError(error.message) from error
            report.files += 1
    count = len(report.failures) - before
    return f"{count} of the files that the source has: they could not be had" if count else ""


def left_out(files: Iterable[FileRecord]) -> str:
    """What is missing where no files are wanted, in words; empty: there are none."""
    return "files: they were not asked for" if any(True for _ in files) else ""


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
