"""What a driver raises, in our words, told apart by its error code."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from seafloor.domain.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable

_PRIMARY_MASK = 0xFF  # an extended SQLite code holds its primary one in the low byte


def store_error(error: BaseException) -> StoreError:
    """Make the error of ours that a driver's error means."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    primary = code & _PRIMARY_MASK if isinstance(code, int) else None
    detail = f"{type(original).__name__}: {original}"
    match primary:
        case sqlite3.SQLITE_FULL:
            return StoreFull(
                "No space is left for the database: free some; nothing was written.", detail=detail
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(
                "The database file is damaged or is not one: restore it from a backup.",
                detail=detail,
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(
                "Another program holds the database: repeat the request.",
                detail=detail,
                retry_after_s=1.0,
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return StoreUnavailable(
                "The database file cannot be read or written: check its disk and permissions.",
                detail=detail,
                retry_after_s=5.0,
            )
        case _:
            return StoreError("The database refused a statement.", detail=detail)


@contextmanager
def driver_errors() -> Iterator[None]:
    """Turn what a driver raises within into our errors."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise store_error(error) from error
