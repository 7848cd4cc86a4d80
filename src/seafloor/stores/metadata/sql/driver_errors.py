"""What a driver raises, in our words, told apart by its error code."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from seafloor.domain.errors import (
    InvalidValue,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

_PRIMARY_MASK = 0xFF  # an extended SQLite code holds its primary one in the low byte
_FULL = frozenset(
    {
        sqlite3.SQLITE_FULL,
        # A quota that is used up, and a shared-memory file that cannot grow.
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DISK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})

DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, UnicodeEncodeError, OverflowError)
"""What comes out of a driver; the last two when a value has no form in the database."""


def store_error(error: BaseException) -> SeafloorError:
    """Make the error of ours that a driver's error means."""
    if isinstance(error, UnicodeEncodeError):
        return InvalidValue("A text holds half a character (a lone surrogate): it cannot be kept.")
    if isinstance(error, OverflowError):
        return InvalidValue("A whole number is out of bounds: it must fit 64 bits.")
    original = error.orig if isinstance(error, DBAPIError) else error
    detail = f"{type(original).__name__}: {original}"
    code = getattr(original, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return StoreError("The database refused a statement.", detail=detail)
    return _by_code(code, detail)


def _by_code(code: int, detail: str) -> StoreError:
    primary = code & _PRIMARY_MASK
    if code in _FULL:
        return StoreFull(
            "No space is left for the database: free some; nothing was written.",
            detail=detail,
            retry_after_s=5.0,
        )
    if primary in _CORRUPT:
        return StoreCorrupt(
            "The database file is damaged or is not one: restore it from a backup.", detail=detail
        )
    if primary in _BUSY:
        return StoreUnavailable(
            "Another program holds the database: repeat the request.",
            detail=detail,
            retry_after_s=1.0,
        )
    if primary in _DISK:
        return StoreUnavailable(
            "The database file cannot be read or written: check its disk and permissions.",
            detail=detail,
            retry_after_s=5.0,
        )
    return StoreError("The database refused a statement.", detail=detail)


@contextmanager
def driver_errors() -> Generator[None]:
    """Turn what a driver raises within into our errors."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise store_error(error) from error
