"""What a driver raises, in our words, told apart by its code."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from seafloor.domain.errors import InvalidValue, SeafloorError, StoreError
from seafloor.stores.metadata.sql import mariadb, postgresql, sqlite

DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, UnicodeEncodeError, OverflowError)
"""What comes out of a driver; the last two when a value has no form in the database."""

_MEANINGS: dict[str, Callable[[BaseException, str], SeafloorError]] = {
    "sqlite3": sqlite.meaning,
    "psycopg": postgresql.meaning,
    "pymysql": mariadb.meaning,
}


def store_error(error: BaseException) -> SeafloorError:
    """Make the error of ours that a driver's error means."""
    if isinstance(error, UnicodeEncodeError):
        return InvalidValue("A text holds half a character (a lone surrogate): it cannot be kept.")
    if isinstance(error, OverflowError):
        return InvalidValue("A whole number is out of bounds: it must fit 64 bits.")
    original = _original(error)
    detail = f"{type(original).__name__}: {original}"
    meaning = _MEANINGS.get(type(original).__module__.partition(".")[0])
    if meaning is None:
        return StoreError("The database refused a statement.", detail=detail)
    return meaning(original, detail)


def _original(error: BaseException) -> BaseException:
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    return error


def is_undone(error: BaseException, *, committing: bool) -> bool:
    """Whether nothing of a transaction took effect, so that it may be run again at once.

    Args:
        error: What it ended with.
        committing: ``COMMIT`` was sent: a connection that is lost after it leaves unknown what
            became of it.
    """
    original = _original(error)
    if getattr(original, "sqlstate", None) in postgresql.CERTAINLY_UNDONE:
        return True
    if isinstance(error, DBAPIError) and mariadb.code_of(original) in mariadb.CERTAINLY_UNDONE:
        return True
    return not committing and is_lost(error)


def is_lost(error: BaseException) -> bool:
    """Whether a connection ended with it."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


@contextmanager
def driver_errors() -> Generator[None]:
    """Turn what a driver raises within into our errors."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise store_error(error) from error
