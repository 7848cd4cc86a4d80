"""What the disk refuses, in our errors."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from seafloor.domain.errors import StoreFull, StoreUnavailable

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(doing: str) -> Generator[None]:
    """Turn errors of the operating system into errors for the user.

    Args:
        doing: What was being done, to begin a sentence with.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreFull(
                f"{doing}: no space is left for {error.filename or 'its folder'}; free some."
            ) from error
        raise StoreUnavailable(
            f"{doing}: {error.filename or 'its folder'} cannot be used ({error.strerror})."
        ) from error
