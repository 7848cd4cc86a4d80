"""The same run again, with some of its values changed: from the spec of one to that of the other.

A value is changed where the run has it: an option of its command, or of those of its tasks
(``--lr 0.01``, ``--lr=0.01``, ``lr=0.01``), a param or a variable of its spec. Nothing else of a
command is touched, not even its spaces.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from seafloor.domain.errors import InvalidValue, nearest

_WORD = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s"'\\;&|<>()])+"""
_PROGRAM = re.compile("-[A-Za-z]?c")
"""What is followed by a program of one word, for a shell (``-c``, ``-lc``) or for Python."""
_OPTION_NAME = re.compile(r"(?<!\S)(?:--?)?([A-Za-z][\w.-]*)(?==)|(?<!\S)--?([A-Za-z][\w.-]*)")


def rerun_spec(spec: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """Make the spec of a run that differs from another only in some values.

    Args:
        spec: Of the other, as it was submitted: what stands under ``experiment:``.
        changes: Names of options, params or variables, and what they become. ``-`` and ``_`` are
            one in the names of options.

    Raises:
        InvalidValue: the run has nothing of one of these names.
    """
    made = dict(spec)
    for name, value in changes.items():
        places = [place for place in ("params", "env") if name in (made.get(place) or {})]
        if not places and not any(_has(command, name) for command in _commands(made)):
            raise InvalidValue(
                f'The run has no option, param or variable "{name}" to change.'
                f"{nearest(name, _names(made))}",
                field="--with",
            )
        if "command" in made:
            made["command"] = _in_command(made["command"], name, value)
        if made.get("tasks"):
            made["tasks"] = {
                role: {**task, "command": _in_command(task.get("command"), name, value)}
                for role, task in made["tasks"].items()
            }
        for place in places:
            made[place] = {**made[place], name: value}
    return made


def _commands(spec: Mapping[str, Any]) -> list[object]:
    """The command of a run, and those of its tasks."""
    tasks: Mapping[str, Any] = spec.get("tasks") or {}
    return [spec.get("command"), *(task.get("command") for task in tasks.values())]


def _has(command: object, name: str) -> bool:
    """Whether a command has the option, even when its value stays the same."""
    return _in_command(command, name, "0") != _in_command(command, name, "1")


def _in_command(command: object, name: str, value: str) -> Any:
    if isinstance(command, str):
        return _in_line(command, name, value)
    if isinstance(command, list):
        words: list[str] = command  # pyright: ignore[reportUnknownVariableType]  # a checked spec's
        return _in_words(words, name, value)
    return command


def _option(name: str) -> str:
    """A pattern for the name, however its parts are joined."""
    return "[-_]".join(map(re.escape, re.split("[-_]", name.lstrip("-"))))


def _in_line(line: str, name: str, value: str) -> str:
    """Change what a shell will read as the value of an option."""
    before = rf"(?<!\S)(?:--?{_option(name)}(?:=|(?:\s|\\\n)+(?!-[A-Za-z-]))|{_option(name)}=)"
    quoted = shlex.quote(value)
    return re.sub(f"({before}){_WORD}", lambda found: found[1] + quoted, line)


def _in_words(words: list[str], name: str, value: str) -> list[str]:
    joined = re.compile(rf"(--?{_option(name)}=).*", re.DOTALL)
    # Without a dash it may as well be the beginning of a program, `x=3; print(x)`.
    bare = re.compile(rf"({_option(name)}=)[^\s;]*")
    alone = re.compile(rf"--?{_option(name)}\Z")
    made: list[str] = []
    for word in words:
        if made and alone.match(made[-1]) and not re.match("-[A-Za-z-]", word):
            made.append(value)
        elif made and _PROGRAM.fullmatch(made[-1]):
            made.append(word)
        elif found := joined.fullmatch(word) or bare.fullmatch(word):
            made.append(found[1] + value)
        else:
            made.append(word)
    return made


def _names(spec: Mapping[str, Any]) -> list[str]:
    """What could have been meant."""
    lines: list[str] = []
    for command in _commands(spec):
        lines += command if isinstance(command, list) else [str(command or "")]
    options = [a or b for a, b in _OPTION_NAME.findall("\n".join(lines))]
    return [*options, *(spec.get("params") or {}), *(spec.get("env") or {})]
