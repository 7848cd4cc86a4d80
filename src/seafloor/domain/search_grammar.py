"""The text of a search: MLflow's grammar, and ours, which adds OR, NOT-free parentheses and names.

    filter     := any
    any        := all ("OR" all)*                    (ours only)
    all        := part ("AND" part)*
    part       := "(" any ")" | comparison           (parentheses ours only)
    comparison := identifier operator value | identifier "IS" ["NOT"] "NULL"
    identifier := [subject "."] key ; a key may be quoted with backticks or double quotes

Source: the reference of MLflow's search syntax, and ``docs/reference/search.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import InvalidValue, LimitExceeded, nearest
from seafloor.domain.search import (
    ATTRIBUTES,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Operator,
    Order,
    Subject,
)

FILTER_CHARS_MAX = 20_000
DEPTH_MAX = 20

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^']|'')*')
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
      | (?P<operator>!=|<>|<=|>=|=|<|>)
      | (?P<mark>[(),])
      | (?P<word>(?:[^\W\d]|`[^`]*`|"[^"]*")(?:[\w/:-]|\.|`[^`]*`|"[^"]*")*)
    )""",
    re.VERBOSE,
)
_WHOLE = re.compile(r"[-+]?[0-9]{1,19}\Z")  # as many digits as a time in ns has
_SUBJECTS = {
    "metric": Subject.METRIC,
    "metrics": Subject.METRIC,
    "param": Subject.PARAM,
    "params": Subject.PARAM,
    "parameter": Subject.PARAM,
    "parameters": Subject.PARAM,
    "tag": Subject.TAG,
    "tags": Subject.TAG,
    "attribute": Subject.ATTRIBUTE,
    "attributes": Subject.ATTRIBUTE,
    "attr": Subject.ATTRIBUTE,
    "run": Subject.ATTRIBUTE,
    "dataset": Subject.DATASET,
    "datasets": Subject.DATASET,
}
_DATASET_KEYS = ("name", "digest", "context")
_NUMERIC = frozenset({Operator.EQ, Operator.NE, Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_TEXTUAL = frozenset(
    {
        Operator.EQ,
        Operator.NE,
        Operator.LIKE,
        Operator.ILIKE,
        Operator.IN,
        Operator.NOT_IN,
        Operator.IS_NULL,
        Operator.IS_NOT_NULL,
    }
)


@dataclass(frozen=True)
class Dialect:
    """What differs between grammars.

    Args:
        attributes: Attribute names with their type, ``text`` or ``number``.
        nesting: Whether OR and parentheses are understood.
    """

    attributes: Mapping[str, str]
    nesting: bool = True


NATIVE = Dialect(ATTRIBUTES)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str


def parse_filter(text: str, dialect: Dialect = NATIVE) -> Filter | None:
    """Read a filter.

    Returns:
        None for a blank one.

    Raises:
        InvalidValue: it is not one; the message quotes where and says what would do.

    >>> parse_filter("metrics.loss < 0.5 AND params.`my model` = 'cnn'").parts[0].operator
    <Operator.LT: '<'>
    """
    if not text.strip():
        return None
    if len(text) > FILTER_CHARS_MAX:
        raise LimitExceeded(f"A filter has at most {FILTER_CHARS_MAX} characters.", field="filter")
    reader = _Reader(_tokens(text, field="filter"), dialect, field="filter")
    found = reader.any_of(depth=0)
    reader.end()
    return found


def parse_order(text: str, dialect: Dialect = NATIVE) -> Order:
    """Read ``<identifier> [ASC|DESC]``.

    Raises:
        InvalidValue: it is not one.

    >>> parse_order("metrics.loss desc").descending
    True
    """
    reader = _Reader(_tokens(text, field="order"), dialect, field="order")
    by = reader.identifier()
    descending = False
    if (word := reader.word_if("ASC", "DESC")) is not None:
        descending = word == "DESC"
    reader.end()
    return Order(by, descending)


def _tokens(text: str, *, field: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while text[position:].strip():
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            near = text[position : position + 20].strip()
            raise InvalidValue(f"The {field} cannot be read at `{near}`.", field=field)
        tokens.append(_Token(found.lastgroup, found.group(found.lastgroup)))
        position = found.end()
    return tokens


class _Reader:
    def __init__(self, tokens: list[_Token], dialect: Dialect, *, field: str) -> None:
        self._dialect = dialect
        self._tokens = tokens
        self._at = 0
        self._field = field

    def _refuse(self, wanted: str) -> InvalidValue:
        found = self._peek()
        here = "at its end" if found is None else f"at `{found.text[:40]}`"
        return InvalidValue(
            f"The {self._field} cannot be read {here}: expected {wanted}.", field=self._field
        )

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, kind: str, wanted: str) -> str:
        found = self._peek()
        if found is None or found.kind != kind:
            raise self._refuse(wanted)
        self._at += 1
        return found.text

    def _mark_if(self, mark: str) -> bool:
        found = self._peek()
        if found is not None and found.kind == "mark" and found.text == mark:
            self._at += 1
            return True
        return False

    def word_if(self, *words: str) -> str | None:
        """Take one of some words, in any case."""
        found = self._peek()
        if found is not None and found.kind == "word" and found.text.upper() in words:
            self._at += 1
            return found.text.upper()
        return None

    def end(self) -> None:
        """Refuse anything that is left."""
        if self._peek() is not None:
            raise self._refuse("AND, OR or the end")

    def any_of(self, *, depth: int) -> Filter:
        """Parts joined by OR."""
        if depth > DEPTH_MAX:
            raise InvalidValue("The filter is nested too deeply.", field=self._field)
        parts = [self._all_of(depth=depth)]
        while self._dialect.nesting and self.word_if("OR"):
            parts.append(self._all_of(depth=depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self, *, depth: int) -> Filter:
        parts = [self._part(depth=depth)]
        while self.word_if("AND"):
            parts.append(self._part(depth=depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _part(self, *, depth: int) -> Filter:
        if self._dialect.nesting and self._mark_if("("):
            found = self.any_of(depth=depth + 1)
            if not self._mark_if(")"):
                raise self._refuse("a closing parenthesis")
            return found
        return self._comparison()

    def identifier(self) -> Identifier:
        """A subject and its key."""
        text = self._take("word", "a name such as metrics.loss or state")
        subject_text, dot, rest = text.partition(".")
        subject = _SUBJECTS.get(subject_text.lower())
        if not dot or subject is None:
            return self._attribute(_unquoted(text))
        key = _unquoted(rest)
        if subject is Subject.ATTRIBUTE:
            return self._attribute(key)
        if subject is Subject.DATASET and key not in _DATASET_KEYS:
            raise InvalidValue(
                f'A dataset has no "{key}".{nearest(key, _DATASET_KEYS)}', field=self._field
            )
        if not key:
            raise self._refuse("a key after the dot")
        return Identifier(subject, key)

    def _attribute(self, key: str) -> Identifier:
        if key not in self._dialect.attributes:
            raise InvalidValue(
                f'"{key}" is not known; metrics, params and tags are written metrics.<key>, '
                f"params.<key>, tags.<key>.{nearest(key, self._dialect.attributes)}",
                field=self._field,
            )
        return Identifier(Subject.ATTRIBUTE, key)

    def _comparison(self) -> Comparison:
        left = self.identifier()
        operator = self._operator()
        numeric = left.subject is Subject.METRIC or (
            left.subject is Subject.ATTRIBUTE and self._dialect.attributes[left.key] == "number"
        )
        if operator not in (_NUMERIC if numeric else _TEXTUAL):
            what = "numbers" if numeric else "texts"
            raise InvalidValue(
                f"`{operator}` cannot compare {what} such as {left.subject} {left.key}.",
                field=self._field,
            )
        if operator in (Operator.IS_NULL, Operator.IS_NOT_NULL):
            return Comparison(left, operator)
        if operator in (Operator.IN, Operator.NOT_IN):
            return Comparison(left, operator, self._texts())
        return Comparison(left, operator, self._number() if numeric else self._text())

    def _operator(self) -> Operator:
        found = self._peek()
        if found is not None and found.kind == "operator":
            self._at += 1
            return Operator.NE if found.text == "<>" else Operator(found.text)
        word = self.word_if("LIKE", "ILIKE", "IN", "IS", "NOT")
        if word == "IS":
            negated = self.word_if("NOT") is not None
            if self.word_if("NULL") is None:
                raise self._refuse("NULL or NOT NULL")
            return Operator.IS_NOT_NULL if negated else Operator.IS_NULL
        if word == "NOT":
            if self.word_if("IN") is None:
                raise self._refuse("IN")
            return Operator.NOT_IN
        if word is None:
            raise self._refuse("an operator such as =, !=, <, LIKE, IN or IS NULL")
        return Operator(word)

    def _number(self) -> float | int:
        text = self._take("number", "a number")
        # Beyond 64 bits only a float can be compared with what is stored.
        if _WHOLE.match(text) and INT64_MIN <= int(text) <= INT64_MAX:
            return int(text)
        return float(text)

    def _text(self) -> str:
        found = self._peek()
        if found is not None and found.kind == "word" and found.text.startswith('"'):
            self._at += 1
            return _unquoted(found.text)
        text = self._take("text", "a text in quotes")
        return text[1:-1].replace("''", "'")

    def _texts(self) -> tuple[str, ...]:
        if not self._mark_if("("):
            raise self._refuse("a list such as ('a', 'b')")
        texts = [self._text()]
        while self._mark_if(","):
            texts.append(self._text())
        if not self._mark_if(")"):
            raise self._refuse("a closing parenthesis")
        return tuple(texts)


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in '`"':
        return text[1:-1]
    return text
