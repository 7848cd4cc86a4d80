"""Walks folders of files, and tells of all that it cannot look into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from seafloor.domain.errors import InvalidValue

Told = Callable[[Path, OSError], None]


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


def kept_files(folder: Path, *, odd: Callable[[Path], None], field: str) -> Iterator[Path]:
    """As ``files_below``, of a folder that is to be kept whole.

    Raises:
        InvalidValue: a folder cannot be read.
    """

    def refuse(path: Path, error: OSError) -> None:
        raise InvalidValue(
            f'The folder "{path}" cannot be read ({error.strerror or error}): give yourself the '
            "right to, or leave it out.",
            field=field,
        ) from error

    return files_below(folder, odd=odd, bad=refuse)
