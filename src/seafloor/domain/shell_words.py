"""The words of a command line as a shell finds them, each with its place in the line.

``shlex`` says what the words are, not where, and knows nothing of ``$(…)``, comments and documents
after ``<<``. Nothing is evaluated here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from seafloor.domain.errors import InvalidValue

_SPACE: Final = re.compile(r"(?:\s|\\\n)+")
_OPERATOR: Final = re.compile(r"<<<|<<-?|[;&|<>()]")
_PLAIN: Final = re.compile(r"[^\s\\'\"`$;&|<>()]+")
_DOCUMENT: Final = re.compile(r"[^\S\n]*(?P<quote>['\"]?)\\?(?P<end>[\w.-]+)(?P=quote)")
_CLOSING: Final = {"(": ")", "{": "}"}


@dataclass(frozen=True)
class ShellWord:
    """One word of a command line.

    Args:
        start, end: Where it stands: ``line[start:end]``.
        text: Without its quotes; what the shell puts in place of ``$x`` or ``$(…)`` is not known
            here, and stands as it is written.
        follows: Whether only spaces are between it and the word before: both belong to one command.
    """

    start: int
    end: int
    text: str
    follows: bool


def shell_words(line: str) -> list[ShellWord]:
    """Find the words of a line; comments and documents after ``<<`` hold none.

    Raises:
        InvalidValue: a quote or a parenthesis is not closed, as a shell would say too.

    >>> [word.text for word in shell_words("t --lr '0 1' > $(ls | head -1)  # --lr")]
    ['t', '--lr', '0 1', '$(ls | head -1)']
    """
    return _Reader(line).words()


class _Reader:
    def __init__(self, line: str) -> None:
        self._line = line
        self._at = 0
        self._follows = False
        self._documents: list[str] = []

    def words(self) -> list[ShellWord]:
        found: list[ShellWord] = []
        while self._at < len(self._line):
            if space := _SPACE.match(self._line, self._at):
                self._pass_space(space.end())
            elif self._line[self._at] == "#":
                self._at = self._end_of_line(self._at)
                self._follows = False
            elif operator := _OPERATOR.match(self._line, self._at):
                self._pass_operator(operator)
            else:
                found.append(self._word())
                self._follows = True
        return found

    def _pass_space(self, end: int) -> None:
        newline = self._line.find("\n", self._at, end) if self._documents else -1
        if newline < 0:
            self._at = end
            return
        # From the next line on there is no command, but the documents that were announced.
        self._at = newline + 1
        for ending in self._documents:
            while self._at < len(self._line):
                begin, end = self._at, self._end_of_line(self._at)
                self._at = min(end + 1, len(self._line))
                if self._line[begin:end].lstrip("\t") == ending:
                    break
        self._documents.clear()
        self._follows = False

    def _pass_operator(self, operator: re.Match[str]) -> None:
        self._at = operator.end()
        self._follows = False
        if operator[0] in {"<<", "<<-"} and (named := _DOCUMENT.match(self._line, self._at)):
            self._documents.append(named["end"])
            self._at = named.end()

    def _end_of_line(self, at: int) -> int:
        end = self._line.find("\n", at)
        return len(self._line) if end < 0 else end

    def _word(self) -> ShellWord:
        start, text = self._at, ""
        while self._at < len(self._line):
            if plain := _PLAIN.match(self._line, self._at):
                text += plain[0]
                self._at = plain.end()
                continue
            char = self._line[self._at]
            if char.isspace() or char in ";&|<>()":
                break
            text += self._special()
        return ShellWord(start, self._at, text, self._follows)

    def _special(self) -> str:
        """Read one quoted or replaced part of a word; gives what stands in it."""
        begin, char = self._at, self._line[self._at]
        if char == "\\":
            self._at = min(begin + 2, len(self._line))
            return self._line[begin + 1 : self._at].replace("\n", "")
        if char == "'":
            self._at = self._find("'", begin + 1) + 1
            return self._line[begin + 1 : self._at - 1]
        if char == '"':
            self._pass_double_quotes()
            return re.sub(r'\\([\\"$`\n])', r"\1", self._line[begin + 1 : self._at - 1])
        self._pass_replaced()
        return self._line[begin : self._at]

    def _pass_double_quotes(self) -> None:
        begin = self._at
        self._at += 1
        while (char := self._char(begin)) != '"':
            if char == "\\":
                self._at += 2
            elif char in "$`":
                self._pass_replaced()
            else:
                self._at += 1
        self._at += 1

    def _pass_replaced(self) -> None:
        """Pass ``$x``, ``${…}``, ``$(…)`` or what is in backticks."""
        begin = self._at
        self._at += 1
        if self._line[begin] == "`":
            while (char := self._char(begin)) != "`":
                self._at += 2 if char == "\\" else 1
            self._at += 1
        elif (opening := self._line[self._at : self._at + 1]) and opening in _CLOSING:
            self._pass_brackets(opening)

    def _pass_brackets(self, opening: str) -> None:
        begin, depth = self._at, 0
        while True:
            char = self._char(begin)
            if char in {"\\", "'", '"', "$", "`"}:
                self._special()
                continue
            self._at += 1
            depth += (char == opening) - (char == _CLOSING[opening])
            if not depth:
                return

    def _char(self, begin: int) -> str:
        if self._at >= len(self._line):
            raise self._unclosed(begin)
        return self._line[self._at]

    def _find(self, text: str, start: int) -> int:
        found = self._line.find(text, start)
        if found < 0:
            raise self._unclosed(start - 1)
        return found

    def _unclosed(self, begin: int) -> InvalidValue:
        return InvalidValue(
            f"No shell can read the command: what begins at {self._line[begin : begin + 20]!r} is "
            "not closed.",
            field="command",
        )
