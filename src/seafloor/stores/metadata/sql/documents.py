"""Values as JSON texts in a column."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")


def dump(value: object) -> str:
    """Make the text."""
    return msgspec.json.encode(value).decode()


def dump_sorted(value: object) -> str:
    """Make the text that equal values share, in whatever order their keys came."""
    return msgspec.json.encode(value, order="deterministic").decode()


def load(text: str, kind: type[_T]) -> _T:
    """Read the text."""
    return msgspec.json.decode(text, type=kind)


def load_plain(text: str) -> dict[str, Any]:
    """Read a text that holds plain data."""
    return msgspec.json.decode(text, type=dict[str, Any])


def digest(text: str) -> str:
    """What equal texts share; a unique key over long texts."""
    return hashlib.sha256(text.encode()).hexdigest()
