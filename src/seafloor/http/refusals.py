"""What the framework refuses by itself, in our words: the field, what stands there, the fix."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from seafloor.domain.errors import nearest

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FORMS = (
    (re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`"), "_type"),
    (re.compile(r"Expected `[^`]+` (?P<how>>=|<=) (?P<bound>\S+)"), "_bound"),
    (re.compile(r"Object contains unknown field `(?P<name>.*)`\Z", re.DOTALL), "_unknown"),
    (re.compile(r"Object missing required field `(?P<name>[^`]+)`"), "_missing"),
    (re.compile(r"Invalid (?:enum )?value (?P<value>.*)\Z", re.DOTALL), "_choice"),
    (re.compile(r"Missing required query parameter '(?P<name>\w+)'"), "_absent"),
)
_SHOWN_CHARS_MAX = 80


def explain(request: Request[Any, Any, Any], error: HTTPException) -> tuple[str, str | None]:
    """Say what was wrong with a request.

    Returns:
        The sentence for the user, and the field it is about (None: the request as a whole).
    """
    text, place = _text_and_place(error)
    if text.startswith(("JSON is malformed", "Input data was truncated")):
        reason = text.removeprefix("JSON is malformed: ")
        return f"The request body is not JSON ({reason}).", None
    scope = cast(dict[str, Any], request.scope)
    handler: BaseRouteHandler | None = scope.get("route_handler")
    told = _Told(handler, _renamed(handler, place))
    for pattern, name in _FORMS:
        if found := pattern.match(text):
            return getattr(told, name)(**found.groupdict())
    if text == "'data'":
        return "This request needs a JSON body.", None
    return f"{text.rstrip('.')}.", told.place or None


def _text_and_place(error: HTTPException) -> tuple[str, str]:
    extra: Any = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):
        first = cast(dict[str, Any], extra[0])
        return str(first.get("message", error.detail)), str(first.get("key") or "")
    return error.detail, ""


def _renamed(handler: BaseRouteHandler | None, place: str) -> str:
    """The name that the user knows: the query's, not the function's."""
    if handler is None:
        return place
    field = handler.parsed_fn_signature.parameters.get(place)
    said = field.kwarg_definition if field is not None else None
    if isinstance(said, ParameterKwarg) and said.name:
        return said.name
    return "" if place == "data" else place


class _Told:
    """The sentences, about one place in a request."""

    def __init__(self, handler: BaseRouteHandler | None, place: str) -> None:
        self._handler = handler
        self.place = place

    @property
    def _shown(self) -> str:
        return f"`{self.place}`" if self.place else "The request body"

    def _type(self, wanted: str, got: str) -> tuple[str, str | None]:
        allowed = [part for part in wanted.split(" | ") if part != "null"]
        if "float" in allowed:
            allowed = ["float"]
        words = " or ".join(_WORDS.get(part, part) for part in allowed)
        return f"{self._shown} must be {words}, not {_WORDS.get(got, got)}.", self.place or None

    def _bound(self, how: str, bound: str) -> tuple[str, str | None]:
        words = "at least" if how == ">=" else "at most"
        return f"{self._shown} must be {words} {bound.rstrip('.')}.", self.place or None

    def _unknown(self, name: str) -> tuple[str, str | None]:
        known = () if self.place else self._hints()
        path = f"{self.place}.{name}" if self.place else name
        return f'Unknown field "{_cut(name)}".{nearest(name, known)}', _cut(path)

    def _missing(self, name: str) -> tuple[str, str | None]:
        path = f"{self.place}.{name}" if self.place else name
        return f"The field `{path}` is missing.", path

    def _absent(self, name: str) -> tuple[str, str | None]:
        return f"The query parameter `{name}` is missing.", name

    def _choice(self, value: str) -> tuple[str, str | None]:
        shown = _cut(value.strip("'"))
        known = nearest(shown, self._choices())
        return f'"{shown}" cannot stand at {self._shown}.{known}', self.place or None

    def _hints(self) -> dict[str, Any]:
        """The fields of the body, with their types."""
        if self._handler is None:
            return {}
        data = self._handler.parsed_fn_signature.parameters.get("data")
        kind: Any = data.annotation if data is not None else None
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return get_type_hints(kind)
        return {}

    def _choices(self) -> list[str]:
        if self._handler is None:
            return []
        for name, field in self._handler.parsed_fn_signature.parameters.items():
            if self.place in (name, _renamed(self._handler, name)):
                return _choices_of(field.annotation)
        return _choices_of(self._hints().get(self.place))


def _choices_of(hint: Any) -> list[str]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [str(one.value) for one in hint]
    if get_origin(hint) is Literal:
        return [str(one) for one in get_args(hint)]
    return [choice for part in get_args(hint) for choice in _choices_of(part)]


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…"
