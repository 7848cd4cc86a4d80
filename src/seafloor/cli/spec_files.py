"""Spec files: YAML that says where in it an error stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from seafloor.domain.errors import InvalidValue, NotFound, SeafloorError
from seafloor.domain.specs import Spec, parse_spec

T = TypeVar("T")

SIZE_BYTES_MAX: Final = 4 * 1024 * 1024
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class SpecFile:
    """A spec as it was read and checked.

    Args:
        path: The file.
        body: What stands under its kind, plain data, as it is sent.
        spec: The same, typed.
    """

    path: Path
    body: dict[str, Any]
    spec: Spec


def read_spec_file(path: Path) -> SpecFile:
    """Read a spec.

    Raises:
        NotFound: there is no such file.
        InvalidValue: it is no YAML or no spec; the message begins with file, line and column.
        NotSupported: of a later version.
    """
    document, spec = read_spec_document(path, parse_spec)
    return SpecFile(path, next(iter(document.values())), spec)


def read_spec_document(path: Path, parse: Callable[[object], T]) -> tuple[dict[str, Any], T]:
    """Read a spec of whatever kinds ``parse`` knows.

    Returns:
        The whole document, and what it was parsed to.

    Raises:
        As ``read_spec_file``.
    """
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        refuse_doubles(node)
        data: object = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise _yaml_error(path, error) from error
    except yaml.YAMLError as error:
        raise InvalidValue(f"{path}: this is not YAML: {error}") from error
    try:
        spec = parse(data)
    except SeafloorError as error:
        raise type(error)(
            f"{path}{_position(node, error.field)}: {error.message}", field=error.field
        ) from error
    document: dict[str, Any] = data  # type: ignore[assignment]  # parse saw a mapping
    return document, spec


def read_text(path: Path) -> str:
    """Read a file of text.

    Raises:
        NotFound: there is none.
        InvalidValue: it cannot be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_BYTES_MAX + 1)  # what is no file may have no end
    except FileNotFoundError as error:
        raise NotFound(f'There is no file "{path}".') from error
    except OSError as error:
        raise InvalidValue(f'"{path}" cannot be read: {error.strerror}.') from error
    if len(content) > SIZE_BYTES_MAX:
        raise InvalidValue(f'"{path}" is too large for a spec.')
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidValue(f'"{path}" is not UTF-8 text.') from error


def _yaml_error(path: Path, error: yaml.MarkedYAMLError) -> InvalidValue:
    mark = error.problem_mark or error.context_mark
    where = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
    problem = error.problem or error.context or "it is not YAML"
    fix = ""
    if "\\t" in problem or "'\\t'" in problem:
        fix = " Indent with spaces, not with tabs."
    elif "mapping values are not allowed" in problem:
        fix = ' Put a text that holds ": " in quotes, and check the indentation.'
    elif "could not find expected ':'" in problem or "expected <block end>" in problem:
        fix = " Check the indentation, and that each field is `name: value`."
    return InvalidValue(f"{path}{where}: {problem}.{fix}")


def refuse_doubles(node: yaml.Node | None) -> None:
    """Refuse a field that stands twice: YAML readers keep one of them in silence.

    Raises:
        yaml.MarkedYAMLError: there is one.
    """
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            refuse_doubles(item)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'the field "{name}" stands here for the second time',
                    problem_mark=key.start_mark,
                )
            seen.add(name)
            refuse_doubles(value)


def _position(node: yaml.Node | None, field: str | None) -> str:
    """Say where a field stands: ``:line:column``; the nearest that is there when it is not."""
    if node is None:
        return ""
    here, mark = node, node.start_mark
    if isinstance(node, yaml.MappingNode) and node.value:
        here = node.value[0][1]  # what stands under the kind
    for name, number in _STEP.findall(field or ""):
        found = _child(here, name, number)
        if found is None:
            break
        mark, here = found
    return f":{mark.line + 1}:{mark.column + 1}"


def _child(node: yaml.Node, name: str, number: str) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and number:
        items: list[yaml.Node] = node.value
        if int(number) < len(items):
            return items[int(number)].start_mark, items[int(number)]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value) == name:
                return key.start_mark, value
    return None
