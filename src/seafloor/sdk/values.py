"""Checks of what a script logs: keys, numbers, steps, texts."""

from __future__ import annotations

import operator
from collections.abc import Generator, Iterable, Mapping
from typing import Any, Final, SupportsFloat, SupportsIndex, cast

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.metrics import STEP_MAX, STEP_MIN
from seafloor.domain.names import check_key

Number = SupportsFloat | SupportsIndex

PARAM_CHARS_MAX: Final = 6_000
TAG_CHARS_MAX: Final = 8_000
LABELS_BYTES_MAX: Final = 1024 * 1024
"""Of the labels of one record, far below what a record may have."""

_checked_keys: set[str] = set()
_CHECKED_KEYS_MAX: Final = 100_000


def make_points(metrics: Mapping[str, Number]) -> list[tuple[str, float]]:
    """Check keys and values of metrics.

    Raises:
        InvalidValue, LimitExceeded: one is none.
    """
    given = _items(metrics, "Metrics", "the numbers")
    return [(_key(key), _float(key, value)) for key, value in given]


def check_step(step: object) -> int:
    """Check a step: a whole number of 64 bits, of any type that is one.

    Raises:
        InvalidValue: it is not one.

    >>> check_step(3.0)
    3
    """
    try:
        number = operator.index(step)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        whole = isinstance(step, float) and step.is_integer()
        if not whole:
            raise InvalidValue(f"A step is a whole number, not {step!r}.", field="step") from error
        number = int(step)  # pyright: ignore[reportArgumentType]
    if not STEP_MIN <= number <= STEP_MAX:
        raise InvalidValue("A step has 64 bits.", field="step")
    return number


def check_params(params: Mapping[str, object]) -> dict[str, str]:
    """Check params and make texts of them.

    Raises:
        InvalidValue, LimitExceeded: a key or a text is none.
    """
    given = _items(params, "Params", "their values")
    return _texts(given, kind="param", chars_max=PARAM_CHARS_MAX)


def check_tags(tags: Mapping[str, object]) -> dict[str, str]:
    """Check tags and make texts of them.

    Raises:
        InvalidValue, LimitExceeded: a key or a text is none.
    """
    return _texts(_items(tags, "Tags", "their values"), kind="tag", chars_max=TAG_CHARS_MAX)


def split_labels(texts: dict[str, str]) -> Generator[dict[str, str]]:
    """Split params or tags into parts of at most LABELS_BYTES_MAX bytes, in their order.

    A single one is far smaller, by its own bounds.
    """
    part: dict[str, str] = {}
    part_bytes = 0
    for key, text in texts.items():
        label_bytes = len(key.encode()) + len(text.encode())
        if part_bytes + label_bytes > LABELS_BYTES_MAX and part:
            yield part
            part, part_bytes = {}, 0
        part[key] = text
        part_bytes += label_bytes
    if part:
        yield part


def _items(given: object, what: str, values: str) -> Iterable[tuple[str, Any]]:
    """The pairs of what a script gives, which no type checker may have seen."""
    if not isinstance(given, Mapping):
        raise InvalidValue(
            f"{what} are a dict from keys to {values}, not {type(given).__name__}.",
            field=what.lower(),
        )
    return cast("Mapping[str, Any]", given).items()


def _texts(items: Iterable[tuple[str, object]], *, kind: str, chars_max: int) -> dict[str, str]:
    texts: dict[str, str] = {}
    for key, value in items:
        text = str(value).encode("utf-8", "replace").decode()
        if len(text) > chars_max:
            raise LimitExceeded(
                f'The {kind} "{key}" has {len(text)} characters; {chars_max} are the most. '
                "Keep longer texts as an artifact.",
                field=key,
            )
        texts[_key(key)] = text
    return texts


def _key(key: object) -> str:
    if key in _checked_keys:
        return key  # pyright: ignore[reportReturnType]
    if not isinstance(key, str):
        raise InvalidValue(f"A key is a text, not {key!r}.", field="key")
    check_key(key)
    if len(_checked_keys) < _CHECKED_KEYS_MAX:
        _checked_keys.add(key)
    return key


def _float(key: str, value: object) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str | bytes | bytearray) or value is None:
        raise InvalidValue(
            f'The metric "{key}" is {value!r}, which is not a number. '
            "Log numbers as metrics and texts as params or tags.",
            field=key,
        )
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        # RuntimeError is what torch says of a tensor with several elements.
        raise InvalidValue(
            f'The metric "{key}" is a {type(value).__name__} that is not one number ({error}). '
            "Log one number at a time.",
            field=key,
        ) from error
