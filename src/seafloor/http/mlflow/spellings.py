"""The ways in which protobuf's JSON may spell one message, and the one that we read.

A field has two names, ``run_name`` and ``runName``, and ``null`` stands for one that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

from seafloor.domain.errors import InvalidValue


class _Field(NamedTuple):
    """Of a message.

    Args:
        name: In our spelling.
        other: The other name; the same where there is no other.
        takes_null: Whether null is a value of it.
        inside: What it holds, or its list holds, if that is messages.
    """

    name: str
    other: str
    takes_null: bool
    inside: type[msgspec.Struct] | None


@lru_cache(maxsize=128)
def _fields(kind: type[msgspec.Struct]) -> tuple[_Field, ...]:
    told = cast(msgspec.inspect.StructType, msgspec.inspect.type_info(kind))
    return tuple(
        _Field(
            name=field.encode_name,
            other=_other(field.encode_name),
            takes_null=_takes_null(field.type),
            inside=_struct_in(field.type),
        )
        for field in told.fields
    )


def _other(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _takes_null(told: msgspec.inspect.Type) -> bool:
    if isinstance(told, msgspec.inspect.UnionType):
        return told.includes_none
    return isinstance(told, msgspec.inspect.AnyType)


def _struct_in(told: msgspec.inspect.Type) -> type[msgspec.Struct] | None:
    if isinstance(told, msgspec.inspect.StructType):
        return told.cls
    if isinstance(told, msgspec.inspect.UnionType):
        return next(filter(None, map(_struct_in, told.types)), None)
    if isinstance(told, msgspec.inspect.ListType):
        return _struct_in(told.item_type)
    return None


@lru_cache(maxsize=128)
def _others(kind: type[msgspec.Struct]) -> re.Pattern[bytes]:
    """Finds other names in a body, and sometimes a text that looks like one."""
    names: set[str] = set()
    kinds = [kind]
    for one in kinds:  # which grows
        names |= {field.other for field in _fields(one) if field.other != field.name}
        inside = {field.inside for field in _fields(one) if field.inside is not None}
        kinds += inside.difference(kinds)
    return re.compile(f'"(?:{"|".join(sorted(names)) or "(?!)"})"'.encode())


def may_use_others(raw: bytes, kind: type[msgspec.Struct]) -> bool:
    """Whether a body may hold names that ``kind`` does not know; soon said of one that does not."""
    return _others(kind).search(raw) is not None


def in_ours(found: Any, kind: type[msgspec.Struct], *, as_written: Container[str] = ()) -> Any:
    """A decoded body in the spelling that ``kind`` reads.

    Args:
        as_written: Fields that are not looked for by their other names.

    Raises:
        InvalidValue: a field stands there by both names.
    """
    if isinstance(found, list):
        return [in_ours(one, kind) for one in cast(list[Any], found)]
    if not isinstance(found, dict):
        return found
    made = cast(dict[str, Any], found)
    for field in _fields(kind):
        if field.other != field.name and field.other in made:
            if field.name in made:
                raise InvalidValue(
                    f"Request specifies both '{field.name}' and '{field.other}'; provide only "
                    "one of them.",
                    field=field.name,
                )
            if field.name not in as_written:
                made[field.name] = made.pop(field.other)
        if field.name in made:
            _spell(made, field)
    return made


def _spell(made: dict[str, Any], field: _Field) -> None:
    """Bring the value of a field of a message into our spelling."""
    value = made[field.name]
    if value is None and not field.takes_null:
        del made[field.name]
    elif field.inside is not None:
        made[field.name] = in_ours(value, field.inside)
