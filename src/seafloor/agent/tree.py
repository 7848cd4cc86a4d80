"""What is below a folder, however deep a command made it."""

from __future__ import annotations

import os
from typing import Callable, Iterator, List, Optional, Tuple


def walk(
    root: str, *, onerror: Optional[Callable[[OSError], None]] = None
) -> Iterator[Tuple[str, List[str], List[str]]]:
    """Yield (folder, names of folders, names of others) from the top, all sorted by name.

    As ``os.walk``, which calls itself for each level before Python 3.12 and so ends at some 1,000.
    Links to folders are named among the folders and never followed.

    Args:
        onerror: Called with what a folder cannot be listed by; it is passed over then.
    """
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        folders: List[str] = []
        others: List[str] = []
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    (folders if _is_folder(entry) else others).append(entry.name)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        folders.sort()
        others.sort()
        yield parent, folders, others
        paths = (os.path.join(parent, name) for name in reversed(folders))
        waiting += [path for path in paths if not os.path.islink(path)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles, or a folder that was closed meanwhile
        return False
