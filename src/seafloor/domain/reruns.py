"""The same run again, with some of its values changed: from the spec of one to that of the other.

A value is changed where the run has it: an option of its command, or of those of its tasks
(``--lr 0.01``, ``--lr=0.01``, ``lr=0.01``), a param or a variable of its spec. Nothing else of a
command is touched, not even its spaces: what stands inside a text (``-c "…"``, ``$(…)``, a
document after ``<<``) is a program or a message of its own, and nobody knows what would change it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from seafloor.domain.errors import InvalidValue, nearest
from seafloor.domain.shell_words import ShellWord, shell_words

_PROGRAM = re.compile("-[A-Za-z]?c")
"""What is followed by a program of one word, for a shell (``-c``, ``-lc``) or for Python."""
_SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh"})
_OPTION_NAME = re.compile(r"(?:--?(?=[^\s=]+\Z)|(?:--?)?(?=[\w.-]+=[^\s;]*\Z))([A-Za-z][\w.-]*)")


def rerun_spec(spec: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """Make the spec of a run that differs from another only in some values.

    Args:
        spec: Of the other, as it was submitted: what stands under ``experiment:``.
        changes: Names of options, params or variables, and what they become. ``-`` and ``_`` are
            one in the names of options.

    Raises:
        InvalidValue: the run has nothing of one of these names, or a command is not one that a
            shell could read.
    """
    made = dict(spec)
    for name, value in changes.items():
        if not name.strip("-_"):
            raise InvalidValue(f'"{name}" is no name of an option.', field="--with")
        places = [place for place in ("params", "env") if name in (made.get(place) or {})]
        if not places and not any(_has(command, name) for command in _commands(made)):
            raise InvalidValue(
                f'The run has no option, param or variable "{name}" to change{_where(made, name)}.'
                f"{nearest(name, [known for known in _names(made) if known != name])}",
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


def _commands(spec: Mapping[str, Any]) -> list[Any]:
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
    """Change the words of a line that are the option, and leave all between them as it is."""
    made: list[str] = []
    before: list[str] = []
    at = 0
    for word in shell_words(line):
        if not word.follows:
            before.clear()
        made += line[at : word.start], _in_word(line, word, before, name, value)
        before.append(word.text)
        at = word.end
    return "".join((*made, line[at:]))


def _in_word(line: str, word: ShellWord, earlier: Sequence[str], name: str, value: str) -> str:
    written = line[word.start : word.end]
    before = earlier[-1] if earlier else ""
    begun = re.match(rf"(?:--?)?{_option(name)}=", written)
    if begun and not _PROGRAM.fullmatch(before) and not _takes_value(before, word.text, name):
        return begun[0] + shlex.quote(value)
    changed = _changed(word.text, earlier, name, value)
    if changed is None or (_PROGRAM.fullmatch(before) and not _is_plain(written)):
        return written
    return shlex.quote(changed)


def _is_plain(written: str) -> bool:
    """Whether a shell passes on a word as it stands between its quotes."""
    return re.fullmatch(r"'[^']*'|[^$`\\]*", written, re.DOTALL) is not None


def _in_words(words: list[str], name: str, value: str) -> list[str]:
    made: list[str] = []
    for number, word in enumerate(words):
        changed = _changed(word, words[:number], name, value)
        made.append(word if changed is None else changed)
    return made


def _changed(word: str, earlier: Sequence[str], name: str, value: str) -> str | None:
    """What a word becomes, seen from those before it; None: it stays."""
    before = earlier[-1] if earlier else ""
    if _takes_value(before, word, name):
        return value
    if _PROGRAM.fullmatch(before):
        changed = _in_line(word, name, value) if _are_of_shell(earlier[:-1]) else word
        return None if changed == word else changed
    joined = re.fullmatch(rf"(--?{_option(name)}=).*", word, re.DOTALL)
    # Without a dash it may as well be the beginning of a program, `x=3; print(x)`.
    found = joined or re.fullmatch(rf"({_option(name)}=)[^\s;]*", word)
    return found[1] + value if found else None


def _are_of_shell(words: Sequence[str]) -> bool:
    """Whether the last word that is no option is a shell."""
    programs = [word for word in words if not word.startswith("-")]
    return bool(programs) and programs[-1].rpartition("/")[2] in _SHELLS


def _takes_value(before: str, word: str, name: str) -> bool:
    """Whether a word is the value of the option that stands before it."""
    return bool(re.fullmatch(rf"--?{_option(name)}", before)) and not re.match("-[A-Za-z-]", word)


def _where(spec: Mapping[str, Any], name: str) -> str:
    """Say that a name stands where nothing is changed, or nothing."""
    mentioned = re.compile(rf"(?<![\w.-])(?:--?)?{_option(name)}[= ]")
    if any(mentioned.search(text) for text in _texts(spec)):
        return ", only a program or another text that mentions it, which is left as it is"
    return ""


def _names(spec: Mapping[str, Any]) -> list[str]:
    """What could have been meant."""
    words = [
        word
        for command in _commands(spec)
        for word in (_words(command) if isinstance(command, str) else command or [])
        if not _PROGRAM.fullmatch(word)
    ]
    options = [found[1] for word in words if (found := _OPTION_NAME.match(word))]
    return [*options, *(spec.get("params") or {}), *(spec.get("env") or {})]


def _words(line: str) -> list[str]:
    return [word.text for word in shell_words(line)]


def _texts(spec: Mapping[str, Any]) -> list[str]:
    """All that the commands say."""
    texts: list[str] = []
    for command in _commands(spec):
        texts += command if isinstance(command, list) else [str(command or "")]
    return texts
