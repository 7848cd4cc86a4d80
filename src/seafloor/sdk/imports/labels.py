"""What other programs keep as params: values of any kind, in mappings of mappings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec


def text_of(value: object) -> str:
    """A value as the text that a param or tag has when a script logs it here.

    >>> text_of("adam"), text_of(0.1), text_of(True), text_of([1, None])
    ('adam', '0.1', 'True', '[1, null]')
    """
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return text.encode("utf-8", "replace").decode()


def dotted(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of mappings under paths with dots; an empty mapping is a leaf.

    >>> list(dotted({"a": {"b": 1, "c": {}}, "d": [2]}))
    [('a.b', 1), ('a.c', {}), ('d', [2])]
    """
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from dotted(msgspec.convert(value, dict[str, Any]), f"{path}{key}.")
        else:
            yield f"{path}{key}", value
