"""What MLflow's server says of a request that it refuses, word for word.

Scripts and their tests look for these sentences (``tests/compat/test_mlflow_differential.py``).
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.names import KEY_CHARS_MAX, check_key

SEE = " See the API docs for more information about request parameters."
_CHARACTERS = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), "
    "colon(:) and slashes (/)."
)
_VALUE_CHARS_MAX = 60
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")


def missing(name: str) -> InvalidValue:
    """A parameter is not there."""
    return InvalidValue(f"Missing value for required parameter '{name}'.{SEE}", field=name)


def invalid(value: object, name: str) -> InvalidValue:
    """A parameter has a value of the wrong kind."""
    kind = type(value).__name__
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if len(shown) > _VALUE_CHARS_MAX:
        shown = shown[:_VALUE_CHARS_MAX] + "…"
    return InvalidValue(
        f"Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type "
        f"'{kind}'.{SEE}",
        field=name,
    )


def too_long(name: str, chars_max: int) -> LimitExceeded:
    """A text is longer than it may be."""
    return LimitExceeded(
        f"'{name}' exceeds the maximum length of {chars_max} characters", field=name
    )


@contextmanager
def page_tokens() -> Generator[None]:
    """Say of a cursor that is refused what MLflow's clients call it.

    Raises:
        InvalidValue: as within, in MLflow's words where it is about the cursor.
    """
    try:
        yield
    except InvalidValue as error:
        if error.field != "cursor":
            raise
        raise InvalidValue(
            "Invalid page token, could not base64-decode: pass the `next_page_token` of the page "
            "before, with all else as it was.",
            field="page_token",
        ) from error


def not_json() -> InvalidValue:
    """A body is something else."""
    return InvalidValue("The request body is not JSON.")


def not_decoded(error: msgspec.ValidationError, found: Any) -> InvalidValue:
    """A body has a field that is missing or of the wrong kind.

    Args:
        error: As msgspec tells it, with the place.
        found: The body, decoded.
    """
    text, _, place = str(error).partition(" - at `$")
    place = place.rstrip("`")
    name = place.lstrip(".")
    if absent := _MISSING.match(text):
        return missing(f"{name}.{absent[1]}" if name else absent[1])
    for field, index in _STEP.findall(place):
        if field and isinstance(found, dict):
            found = cast(dict[str, Any], found).get(field)
        elif index.isdigit() and isinstance(found, list):
            found = cast(list[Any], found)[int(index)]
        else:
            return InvalidValue(f"Invalid value for parameter '{name}' supplied: {text}.")
    return missing(name) if found is None else invalid(found, name)


def checked_key(text: str, *, name: str, called: str = "key") -> str:
    """Check the key of a metric, param or tag.

    Args:
        name: Of the parameter, such as ``params[0].key``.
        called: What a key that is too long is called.

    Raises:
        InvalidValue, LimitExceeded: no key of a workload looks like this.
    """
    if not text:
        raise missing(name)
    if len(text) > KEY_CHARS_MAX:
        raise too_long(called, KEY_CHARS_MAX)
    try:
        return check_key(text)
    except InvalidValue as error:
        resolved = posixpath.normpath(text)
        why = _CHARACTERS
        if _resolves_elsewhere(text, resolved):
            why = (
                "Names may be treated as files in certain cases, and must not resolve to other "
                f"names when treated as such. This name would resolve to {resolved!r}"
            )
        raise InvalidValue(
            f"Invalid value {json.dumps(text)} for parameter '{name}' supplied: {why}", field=name
        ) from error


def _resolves_elsewhere(text: str, resolved: str) -> bool:
    """Whether the characters are fine and the path is not."""
    if resolved == text and text != "." and not text.startswith(("..", "/")):
        return False
    try:
        check_key(text.strip("./").replace("/", "") or "a")
    except InvalidValue:
        return False
    return True
