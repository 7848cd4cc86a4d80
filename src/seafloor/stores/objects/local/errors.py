"""What the file system says, in Seafloor's words."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from seafloor.domain.errors import (
    InvalidValue,
    LimitExceeded,
    SeafloorError,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NOT_A_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_PASSING = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOENT,
    errno.ESTALE,
    errno.ETIMEDOUT,
}


@contextmanager
def translated(root: Path, key: str = "") -> Generator[None]:
    """Turn the OSError of a block into an error of ours.

    What the caller takes for an answer (a missing file, a folder in the way) is caught before.

    Args:
        root: Of the store, to name the place in the message.
        key: What was being worked on, when it was one object.
    """
    try:
        yield
    except OSError as error:
        raise _error(error, root, key) from error


def _error(error: OSError, root: Path, key: str) -> SeafloorError:
    number = error.errno or 0
    reason = os.strerror(number) if number else str(error)
    detail = f"{errno.errorcode.get(number, number)} at {root / key}: {error}"
    if number in _FULL:
        return StoreFull(
            f"There is no space left in {root}: free some, then repeat.", detail=detail
        )
    if number in _DENIED:
        return StoreError(
            f"Objects in {root} cannot be reached ({reason}): "
            "make the folder readable and writable for the user that runs Seafloor.",
            detail=detail,
        )
    if number in _NOT_A_NAME and key:
        return InvalidValue(
            f'The file system of {root} cannot hold the name "{key}" ({reason}): shorten it.',
            field="key",
            detail=detail,
        )
    if number == errno.EFBIG:
        return LimitExceeded(
            f'"{key}" is larger than a file can be in {root}.', field="key", detail=detail
        )
    if number == errno.EXDEV:
        return StoreError(
            f'"{key}" lies on another file system than {root}: a store is one file system.',
            detail=detail,
        )
    if number in _PASSING:
        return StoreUnavailable(
            f"The folder {root} does not answer ({reason}): look whether it is there, then repeat.",
            detail=detail,
        )
    return StoreError(f"The folder {root} failed ({reason}): look at the disk.", detail=detail)
