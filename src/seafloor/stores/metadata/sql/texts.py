"""Texts that some database cannot keep are refused for every one, before any is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, event

from seafloor.domain.errors import InvalidValue


def refuse_odd_texts(engine: Engine) -> None:
    """Have every value checked that is sent to a database.

    PostgreSQL keeps no NUL characters; half characters (lone surrogates) have no form in UTF-8.
    """
    event.listen(engine, "before_cursor_execute", _check)


def _check(
    _connection: Connection, _cursor: Any, _statement: str, given: Any, _context: Any, many: bool
) -> None:
    for row in given if many else (given,):
        check_row(row)


def check_row(row: Mapping[str, object] | Sequence[object] | None) -> None:
    """Refuse a row with a text that not every database can keep; see ``check_text``."""
    values: Iterable[object] = row.values() if isinstance(row, Mapping) else row or ()
    for value in values:
        # What is like nearly all texts is seen without a call: a run has a hundred of them.
        if isinstance(value, str) and ("\0" in value or not value.isascii()):
            check_text(value)


def check_text(text: str) -> None:
    """Refuse a text that not every database can keep.

    Raises:
        InvalidValue: it holds a NUL character or half a character.
    """
    if "\0" in text:
        raise InvalidValue("A text holds a NUL character: it cannot be kept.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidValue(
                "A text holds half a character (a lone surrogate): it cannot be kept."
            ) from None
