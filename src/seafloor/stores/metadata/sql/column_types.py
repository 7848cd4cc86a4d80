"""The types of columns, chosen so that every database compares and keeps alike.

Texts are compared byte by byte, so that ``A`` is not ``a``, ``a `` is not ``a``, and all databases
sort alike. SQLite does so by itself; the others are told. Migrations use these too: what one of
them means never changes, a new meaning is a new function.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Double, Integer, LargeBinary, String, Text
from sqlalchemy.types import TypeEngine

_POSTGRESQL = "C"
_MARIADB = "utf8mb4_nopad_bin"
_MYSQL = "utf8mb4_0900_bin"
_LONG_TEXT_BYTES = (1 << 24) - 1
_BLOB_BYTES = (1 << 32) - 1


def name_text() -> String:
    """A name or slug, ``domain.names.NAME_CHARS_MAX``."""
    return short_text(256)


def key_text() -> String:
    """The key of a metric, param or tag, ``domain.names.KEY_CHARS_MAX``."""
    return short_text(250)


def path_text() -> String:
    """The path of a file, ``domain.names.PATH_BYTES_MAX``."""
    return short_text(1024)


def short_text(chars: int) -> String:
    """A text with a bound, which may be a key."""
    return (
        String(chars)
        .with_variant(String(chars, collation=_POSTGRESQL), "postgresql")
        .with_variant(String(chars, collation=_MARIADB), "mariadb")
        .with_variant(String(chars, collation=_MYSQL), "mysql")
    )


def long_text() -> Text:
    """A text or document of up to 16 MiB."""
    return (
        Text()
        .with_variant(Text(collation=_POSTGRESQL), "postgresql")
        .with_variant(Text(_LONG_TEXT_BYTES, collation=_MARIADB), "mariadb")
        .with_variant(Text(_LONG_TEXT_BYTES, collation=_MYSQL), "mysql")
    )


def serial() -> BigInteger:
    """A number that the database gives. SQLite gives them only in an INTEGER column."""
    return BigInteger().with_variant(Integer(), "sqlite")


def number() -> BigInteger:
    """A whole number of 64 bits: a time in ns, a size, a step."""
    return BigInteger()


def small_number() -> Integer:
    """A whole number of 32 bits: a version, an attempt, a count of a batch."""
    return Integer()


def float64() -> TypeEngine[Any]:
    """A float64; neither NaN nor an infinity."""
    return Double()


def blob() -> LargeBinary:
    """Bytes."""
    return LargeBinary().with_variant(LargeBinary(_BLOB_BYTES), "mysql", "mariadb")
