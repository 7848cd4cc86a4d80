"""The types of columns, chosen so that every database compares and keeps alike.

Texts are compared byte by byte, so that ``A`` is not ``a``, ``a `` is not ``a``, and all databases
sort alike. SQLite does so by itself; the others are told. Migrations use these too: what one of
them means never changes, a new meaning is a new function.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Dialect, Double, Integer, LargeBinary, String, Text
from sqlalchemy.dialects.mysql import VARBINARY
from sqlalchemy.types import TypeDecorator, TypeEngine

_POSTGRESQL = "C"
MARIADB_COLLATION = "utf8mb4_nopad_bin"
MYSQL_COLLATION = "utf8mb4_0900_bin"
_LONG_TEXT_BYTES = (1 << 24) - 1
_BLOB_BYTES = (1 << 32) - 1


def name_text() -> String:
    """A name or slug, ``domain.names.NAME_CHARS_MAX``."""
    return short_text(256)


def key_text() -> String:
    """The key of a metric, param or tag, ``domain.names.KEY_CHARS_MAX``."""
    return short_text(250)


def path_text() -> String:
    """The path of a file, ``domain.names.PATH_BYTES_MAX``.

    MariaDB and MySQL count four bytes for each character of a key and allow 3,072 in all, so
    there it is the text's bytes, which are unique and sorted as the text is.
    """
    return (
        String(1024)
        .with_variant(String(1024, collation=_POSTGRESQL), "postgresql")
        .with_variant(_TextAsBytes(1024), "mariadb", "mysql")
    )


class _TextAsBytes(TypeDecorator[str]):
    """A text of so many bytes, as its bytes in UTF-8."""

    impl = VARBINARY
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002  # SQLAlchemy calls it so
        """Encode what is sent."""
        return None if value is None else value.encode()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy calls it so
        """Decode what comes back."""
        return None if value is None else value.decode()


def short_text(chars: int) -> String:
    """A text with a bound, which may be a key."""
    return (
        String(chars)
        .with_variant(String(chars, collation=_POSTGRESQL), "postgresql")
        .with_variant(String(chars, collation=MARIADB_COLLATION), "mariadb")
        .with_variant(String(chars, collation=MYSQL_COLLATION), "mysql")
    )


def long_text() -> Text:
    """A text or document of up to 16 MiB."""
    return (
        Text()
        .with_variant(Text(collation=_POSTGRESQL), "postgresql")
        .with_variant(Text(_LONG_TEXT_BYTES, collation=MARIADB_COLLATION), "mariadb")
        .with_variant(Text(_LONG_TEXT_BYTES, collation=MYSQL_COLLATION), "mysql")
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
