"""Names that users give: of projects, experiments, environments, runs, keys and paths."""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from functools import lru_cache

from seafloor.domain.errors import InvalidValue, LimitExceeded

NAME_CHARS_MAX = 256
KEY_CHARS_MAX = 250
PATH_BYTES_MAX = 1024
PATH_PART_BYTES_MAX = 255

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\Z")
_NOT_KEY = re.compile(r"[^/\w.\- :]")
_MARK_HEX = 6
_KEY = re.compile(r"[/\w.\- :]+\Z")


def check_name(text: str, *, field: str = "name") -> str:
    """Check a name for people: any unicode but control characters, not blank.

    Returns:
        The name in NFC, so that one name typed on two systems is one name.

    Raises:
        InvalidValue: blank, with spaces at an end, or with control characters.
        LimitExceeded: longer than NAME_CHARS_MAX characters.
    """
    name = unicodedata.normalize("NFC", text)
    if len(name) > NAME_CHARS_MAX:
        raise LimitExceeded(
            f"A name has at most {NAME_CHARS_MAX} characters, not {len(name)}: shorten it.",
            field=field,
        )
    if not name.strip():
        raise InvalidValue("A name must not be blank.", field=field)
    if name != name.strip():
        raise InvalidValue("A name must not begin or end with a space.", field=field)
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in name):
        raise InvalidValue("A name must not hold control characters.", field=field)
    return name


def check_slug(text: str, *, field: str = "name") -> str:
    """Check a name that stands in paths and commands: lower-case, digits, ``.``, ``_``, ``-``.

    Raises:
        InvalidValue: anything else.
        LimitExceeded: longer than NAME_CHARS_MAX characters.
    """
    if len(text) > NAME_CHARS_MAX:
        raise LimitExceeded(
            f"A name has at most {NAME_CHARS_MAX} characters, not {len(text)}: shorten it.",
            field=field,
        )
    if not _SLUG.match(text):
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        near = re.sub(r"[^a-z0-9._-]+", "-", plain.lower()).strip("-._")
        hint = f' "{near}" would do.' if near else ""
        raise InvalidValue(
            f'"{text}" cannot stand here: use lower-case letters, digits, ".", "_", "-".{hint}',
            field=field,
        )
    return text


def check_key(text: str, *, field: str = "key") -> str:
    """Check the key of a metric, param or tag; MLflow's rule, so that both APIs agree.

    Raises:
        InvalidValue: characters other than letters, digits, ``_ - . : /`` and space, or a key
            that would be another path (``a//b``, ``../a``, ``/a``, ``.``).
        LimitExceeded: longer than KEY_CHARS_MAX characters.
    """
    if len(text) > KEY_CHARS_MAX:
        raise LimitExceeded(
            f"A key has at most {KEY_CHARS_MAX} characters; this one has {len(text)}.", field=field
        )
    if _is_key(text):
        return text
    if not _KEY.match(text):
        raise InvalidValue(
            f'"{text}" cannot be a key: use letters, digits, "_", "-", ".", ":", "/" and spaces.',
            field=field,
        )
    raise InvalidValue(
        f'"{text}" cannot be a key: as a path it would mean another name.', field=field
    )


def is_key(text: str) -> bool:
    """Whether ``check_key`` takes it."""
    return len(text) <= KEY_CHARS_MAX and _is_key(text)


@lru_cache(maxsize=16_384)
def _is_key(text: str) -> bool:
    """Whether a text that is short enough is a key; runs have the same ones over and over."""
    if not _KEY.match(text) or text == "." or text.startswith(("..", "/")):
        return False
    return posixpath.normpath(text) == text


def near_key(text: str) -> str:
    """A key that is as near as can be to a text of any kind; a text that is a key stays.

    What a key may not hold becomes ``_``. When the text had to be changed, six hex digits of its
    digest follow, so that two texts never become one key.

    >>> near_key("train/loss"), near_key("accuracy (%)")
    ('train/loss', 'accuracy ___-6485cd')
    """
    try:
        return check_key(text)
    except (InvalidValue, LimitExceeded):
        mark = "-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_MARK_HEX]
        parts = [part for part in _NOT_KEY.sub("_", text).split("/") if part not in ("", ".")]
        plain = "/".join("__" if part == ".." else part for part in parts) or "_"
        return plain[: KEY_CHARS_MAX - len(mark)].rstrip("/") + mark


def _has_control(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)


def check_path(text: str, *, field: str = "path") -> str:
    """Check the relative path of a file that a workload keeps. The one path check of Seafloor.

    Returns:
        The path as given: parts joined by ``/``.

    Raises:
        InvalidValue: absolute, empty, with ``.``, ``..`` or empty parts, a backslash, a NUL or
            another control character, bytes that were no UTF-8, or a drive letter.
        LimitExceeded: the path or a part of it is too long (bytes of UTF-8).

    >>> check_path("model/weights 1.bin")
    'model/weights 1.bin'
    """
    if not text:
        raise InvalidValue("A path must not be empty.", field=field)
    if "\\" in text or (not text.isprintable() and _has_control(text)):
        raise InvalidValue(
            "A path must be UTF-8 without control characters and backslashes.", field=field
        )
    if text.startswith("/") or re.match(r"[A-Za-z]:", text):
        raise InvalidValue(f'"{text}" is absolute: give a path inside the folder.', field=field)
    parts = text.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise InvalidValue(
            f'"{text}" has an empty, "." or ".." part: give a plain path inside the folder.',
            field=field,
        )
    if any(len(part.encode()) > PATH_PART_BYTES_MAX for part in parts):
        raise LimitExceeded(
            f"A file or folder name has at most {PATH_PART_BYTES_MAX} bytes.", field=field
        )
    if len(text.encode()) > PATH_BYTES_MAX:
        raise LimitExceeded(f"A path has at most {PATH_BYTES_MAX} bytes.", field=field)
    return text
