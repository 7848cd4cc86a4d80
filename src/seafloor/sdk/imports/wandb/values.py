"""What stands under a key: numbers, texts, mappings, and what refers to files of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from seafloor.sdk.imports.wandb.messages import Item
from seafloor.wire.numbers import SPECIAL_NUMBERS

TYPE: Final = "_type"
"""The key that a mapping has which stands for something that is no mapping."""
_DIGITS: Final = frozenset(b"-0123456789NI")


def value_of(raw: bytes) -> Any:
    """Read JSON as wandb writes it: with NaN and infinities as Python does; else it is a text.

    >>> value_of(b"NaN"), value_of(b'{"a": -Infinity}'), value_of(b"not JSON")
    (nan, {'a': -inf}, 'not JSON')
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _text_cleaned(json.loads(raw))
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")


def _text_cleaned(value: Any) -> Any:
    """What no text can hold, halves of surrogate pairs, as question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_text_cleaned(one) for one in msgspec.convert(value, list[Any])]
    if isinstance(value, dict):
        items = msgspec.convert(value, dict[str, Any]).items()
        return {_text_cleaned(key): _text_cleaned(one) for key, one in items}
    return value


def number_of(raw: bytes) -> float | None:
    """The number that JSON is, NaN and infinities among them, also as texts; None: it is none.

    >>> number_of(b"1.5"), number_of(b"true"), number_of(b'"-Infinity"'), number_of(b'"1.5"')
    (1.5, 1.0, -inf, None)
    """
    if raw[:1] and raw[0] in _DIGITS:
        try:
            return float(raw)
        except (ValueError, OverflowError):
            return None
    if raw in (b"true", b"false"):
        return float(raw == b"true")
    if raw[:1] == b'"':
        return SPECIAL_NUMBERS.get(raw[1:-1].decode("utf-8", "replace"))
    return None


def step_of(raw: bytes) -> int:
    """The whole number that JSON is; 0: it is none.

    >>> step_of(b"9007199254740993"), step_of(b"2.0"), step_of(b"NaN")
    (9007199254740993, 2, 0)
    """
    try:
        return int(raw)
    except ValueError:
        number = number_of(raw) or 0.0
        return int(number) if math.isfinite(number) else 0


def time_ms_of(raw: bytes) -> int:
    """The milliseconds of JSON in seconds; 0: it is none."""
    number = (number_of(raw) or 0.0) * 1000
    return round(number) if math.isfinite(number) else 0


def leaves(path: tuple[str, ...], raw: bytes) -> Iterator[tuple[str, bytes]]:
    """What lies below a key, each under a path with dots, as wandb's own pages show it.

    >>> list(leaves(("a",), b'{"b": {"c": 1, "d": "x"}, "e": {}}'))
    [('a.b.c', b'1'), ('a.b.d', b'"x"'), ('a.e', b'{}')]
    """
    name = ".".join(path)
    if raw[:1] != b"{":
        yield name, raw
        return
    value = value_of(raw)
    below: dict[str, Any] = msgspec.convert(value, dict[str, Any]) if is_mapping(value) else {}
    if not below or TYPE in below:
        yield name, raw
        return
    for key, inner in below.items():
        yield from leaves((name, key), json.dumps(inner, ensure_ascii=False).encode())


def leaves_of(items: Iterable[Item]) -> Iterator[tuple[str, bytes]]:
    """What lies below the keys of items, whether or not a mapping comes as several of them.

    >>> items = [Item(("a", "b"), b"1"), Item(("h", "_type"), b'"x"'), Item(("h", "n"), b"2")]
    >>> list(leaves_of(items))
    [('a.b', b'1'), ('h', b'{"_type":"x","n":2}')]
    """
    nested: dict[str, Any] = {}
    for item in items:
        if len(item.path) == 1:
            yield from leaves(item.path, item.value)
            continue
        *folders, name = item.path
        target = nested
        for part in folders:
            target = target.setdefault(part, {})
        target[name] = item.value
    for name, below in nested.items():
        yield from _walked(name, below)


def _walked(name: str, below: bytes | dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    if isinstance(below, bytes):
        yield from leaves((name,), below)
    elif TYPE in below:
        yield name, _joined(below)
    else:
        for key, inner in below.items():
            yield from _walked(f"{name}.{key}", inner)


def _joined(below: bytes | dict[str, Any]) -> bytes:
    if isinstance(below, bytes):
        return below
    members = (msgspec.json.encode(key) + b":" + _joined(one) for key, one in below.items())
    return b"{" + b",".join(members) + b"}"


def is_mapping(value: object) -> bool:
    """Whether it is a JSON object."""
    return isinstance(value, dict)


def type_of(value: object) -> str:
    """What a mapping stands for; empty: for itself, or it is none."""
    if not is_mapping(value):
        return ""
    return str(msgspec.convert(value, dict[str, Any]).get(TYPE, ""))


def same(first: object, second: object) -> bool:
    """Whether two values are one; NaN is itself."""
    if isinstance(first, float) and isinstance(second, float) and math.isnan(first):
        return math.isnan(second)
    return first == second
