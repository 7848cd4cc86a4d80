"""From plain data to a typed spec: what a user wrote is compared with the fields that there are.

Plain data is what a YAML or JSON reader gives. Each refusal names the field by its dotted path,
says what stands there and what would do: an unknown field is told its nearest known name, a
number where a text belongs is told to be put in quotes (YAML reads ``4``, ``yes`` and
``2024-01-01`` as something else than text).
"""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from seafloor.domain.errors import InvalidValue, nearest

_SHOWN_CHARS_MAX = 60
_T = TypeVar("_T", bound=msgspec.Struct)
_WANTED: dict[object, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
    types.NoneType: "",
}


def read_fields(body: object, cls: type[_T], *, what: str) -> _T:
    """Make a spec of plain data.

    Args:
        what: The spec as the subject of a sentence, ``An experiment``.

    Raises:
        InvalidValue: a field is unknown, missing or of the wrong type.
    """
    if not isinstance(body, dict):
        raise InvalidValue(f"{what} must be a mapping of fields, not {shown_type(body)}.")
    _check_struct(body, cls, path="", what=what)  # pyright: ignore[reportUnknownArgumentType]
    return msgspec.convert(body, cls)


def shown_type(value: object) -> str:
    """Say what a value is, in words."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "a yes/no"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}"


def _check_struct(
    fields: dict[object, object], cls: type[msgspec.Struct], *, path: str, what: str
) -> None:
    hints = get_type_hints(cls)
    for name, value in fields.items():
        here = _joined(path, name)
        if name not in hints:
            raise InvalidValue(
                f'Unknown field "{_cut(name)}".{nearest(str(name), hints)}', field=here
            )
        _check(value, hints[str(name)], path=here)
    for field in msgspec.structs.fields(cls):
        if field.required and field.name not in fields:
            raise InvalidValue(f"{what} needs a `{field.name}`.", field=_joined(path, field.name))


def _check(value: object, hint: Any, *, path: str) -> None:
    if hint is object:  # plain data of somebody else's
        return
    kinds = _kinds(hint)
    for kind in kinds:
        if _is_of(value, kind):
            _check_inside(value, kind, path=path)
            return
    raise InvalidValue(_refusal(value, kinds, path=path), field=path)


def _check_inside(value: object, kind: Any, *, path: str) -> None:
    origin, args = get_origin(kind), get_args(kind)
    if isinstance(value, list) and origin is list:
        items: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        for number, item in enumerate(items):
            _check(item, args[0], path=f"{path}[{number}]")
    elif isinstance(value, dict):
        entries: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType]
        if origin is None:
            _check_struct(entries, kind, path=path, what=f"`{path}`")
            return
        for key, item in entries.items():
            if not isinstance(key, str):
                raise InvalidValue(
                    f'The names under `{path}` must be texts: put it in quotes, "{_cut(key)}".',
                    field=path,
                )
            _check(item, args[1], path=_joined(path, key))
    elif isinstance(value, str):
        _check_text(value, kind, path=path)


def _check_text(value: str, kind: Any, *, path: str) -> None:
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = [str(one.value) for one in kind]
        if value not in known:
            raise InvalidValue(
                f'"{_cut(value)}" cannot stand at `{path}`.{nearest(value, known)}', field=path
            )
    elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidValue(
            f"`{path}` holds half of a surrogate pair, which is no character: write it as text.",
            field=path,
        )


def _kinds(hint: Any) -> list[Any]:
    """The types that a hint allows, one by one."""
    if get_origin(hint) in (types.UnionType, Union):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    return [hint]


def _is_of(value: object, kind: Any) -> bool:
    """Say whether a value has the outer form of a type; what is inside is looked at later."""
    plain = get_origin(kind) or kind
    if plain is types.NoneType:
        return value is None
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return isinstance(value, dict)
    if isinstance(plain, type) and issubclass(plain, Enum):
        return isinstance(value, str)
    if isinstance(value, bool):
        return plain is bool
    if plain is float:
        return isinstance(value, int | float)
    return isinstance(value, plain)


def _refusal(value: object, kinds: list[Any], *, path: str) -> str:
    wanted = list(dict.fromkeys(filter(None, (_wanted(kind) for kind in kinds))))
    if "a number" in wanted and "a whole number" in wanted:
        wanted.remove("a whole number")
    if isinstance(value, float) and wanted == ["a whole number"]:
        return f"`{path}` must be a whole number, not {value}."
    said = f"`{path}` must be {' or '.join(wanted)}, not {shown_type(value)}"
    texts = "a text" in wanted
    if value is None:
        return f"{said}: give a value, or leave the field out."
    if texts and not isinstance(value, str | dict | list | tuple):
        return f'{said}: put it in quotes, "{_cut(_as_yaml(value))}".'
    if isinstance(value, str) and _is_number(value) and wanted[0].endswith("number"):
        return f"{said}: write {_cut(value)} without quotes."
    return f"{said}."


def _wanted(kind: Any) -> str:
    plain = get_origin(kind) or kind
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return "a mapping of fields"
    if isinstance(plain, type) and issubclass(plain, Enum):
        return "a text"
    return _WANTED[plain]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _joined(path: str, name: object) -> str:
    return f"{path}.{_cut(name)}" if path else _cut(name)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…"
