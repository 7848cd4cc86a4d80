"""The text of a search: MLflow's grammar, and ours, which adds to it.

    filter     := any
    any        := all ("OR" all)*
    all        := part ("AND" part)*
    part       := "NOT" part | "(" any ")" | comparison
    comparison := identifier operator value
                | identifier ["NOT"] "IN" "(" value ("," value)* ")"
                | identifier ["NOT"] "BETWEEN" value "AND" value
                | identifier "IS" ["NOT"] "NULL"
    identifier := [subject "."] key ["." part] ["->" path]
    order      := identifier ["AS" "NUMBER"] ["ASC" | "DESC"]

A key may be quoted with backticks or quotes. OR, NOT, BETWEEN, parentheses, parts, paths and
numbers as params are ours only.

Source: the reference of MLflow's search syntax, and ``docs/reference/search.md``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import InvalidValue, LimitExceeded, nearest
from seafloor.domain.search import (
    ATTRIBUTES,
    AllOf,
    AnyOf,
    Columns,
    Comparison,
    Filter,
    Identifier,
    Not,
    Operator,
    Order,
    Part,
    Subject,
    Value,
)
from seafloor.domain.search_tokens import Token, parse_path, tokens, unquoted, unreadable

FILTER_CHARS_MAX = 20_000
ORDER_CHARS_MAX = 2_000
DEPTH_MAX = 20

TIMES = {
    "created": "created_ns",
    "started": "started_ns",
    "ended": "ended_ns",
    "updated": "updated_ns",
}
"""Attributes that are compared with a date or time written as a text."""

METRIC, PARAM, TAG = Subject.METRIC, Subject.PARAM, Subject.TAG

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
_PARTS = {str(part): part for part in Part}
_WORDS = ("AND", "OR", "NOT", "LIKE", "ILIKE", "IN", "IS", "NULL", "BETWEEN", "ASC", "DESC")

EQUALITY = frozenset({Operator.EQ, Operator.NE})
RANGE = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
PATTERN = frozenset({Operator.LIKE, Operator.ILIKE})
NOT_PATTERN = frozenset({Operator.NOT_LIKE, Operator.NOT_ILIKE})
LIST = frozenset({Operator.IN, Operator.NOT_IN})
NULLNESS = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
EVERY = frozenset(Operator) - {Operator.RLIKE}


@dataclass(frozen=True)
class Dialect:
    """What differs between grammars.

    Args:
        attributes: Attribute names with their type: ``text``, ``number`` or ``time``.
        nesting: Whether it is ours: OR, NOT, parentheses, parts, paths and all operators.
        lists: Which attributes may be compared with IN, when it is not ours; None: all texts.
    """

    attributes: Mapping[str, str]
    nesting: bool = True
    lists: frozenset[str] | None = None


NATIVE = Dialect(ATTRIBUTES | dict.fromkeys(TIMES, "time"))


def parse_filter(text: str, dialect: Dialect = NATIVE) -> Filter | None:
    """Read a filter.

    Returns:
        None for a blank one.

    Raises:
        InvalidValue: it is not one; the message says where and what would do.
        LimitExceeded: it is too long.

    >>> parse_filter("metrics.loss < 0.5 AND params.`my model` = 'cnn'").parts[0].operator
    <Operator.LT: '<'>
    """
    if not text.strip():
        return None
    if len(text) > FILTER_CHARS_MAX:
        raise LimitExceeded(f"A filter has at most {FILTER_CHARS_MAX} characters.", field="filter")
    reader = _Reader(tokens(text, field="filter"), dialect, field="filter")
    found = reader.any_of(depth=0)
    reader.end("AND, OR or the end" if dialect.nesting else "AND or the end")
    return found


def parse_order(text: str, dialect: Dialect = NATIVE) -> Order:
    """Read ``<identifier> [ASC|DESC]``.

    Raises:
        InvalidValue, LimitExceeded: it is not one.

    >>> parse_order("metrics.loss desc").descending
    True
    """
    if len(text) > ORDER_CHARS_MAX:
        raise LimitExceeded(f"An order has at most {ORDER_CHARS_MAX} characters.", field="order")
    reader = _Reader(tokens(text, field="order"), dialect, field="order")
    by = reader.identifier()
    numeric = by.subject in (Subject.PARAM, Subject.TAG) and reader.as_number()
    descending = reader.word_if("ASC", "DESC") == "DESC"
    reader.end("ASC, DESC or the end")
    return Order(by, descending, numeric)


def parse_columns(text: str) -> Columns:
    """Read which params, tags and metrics are wanted: ``metrics.loss, params.lr, tags``.

    Returns:
        Of each subject the keys that are named, all when it stands alone, none otherwise.

    Raises:
        InvalidValue, LimitExceeded: it names something else, or too many.

    >>> parse_columns("metrics.`val/loss`, params").params is None
    True
    """
    if len(text) > FILTER_CHARS_MAX:
        raise LimitExceeded(f"At most {FILTER_CHARS_MAX} characters of fields.", field="fields")
    words = tokens(text, field="fields")
    keys: dict[Subject, tuple[str, ...] | None] = {METRIC: (), PARAM: (), TAG: ()}
    for at, word in enumerate(words):
        if at % 2:
            if word.text != ",":
                raise unreadable(
                    f"The fields cannot be read at `{word.text[:40]}` (character {word.at}): "
                    "expected a comma.",
                    field="fields",
                )
            continue
        subject_text, dot, rest = word.text.partition(".")
        subject = _SUBJECTS.get(subject_text.lower())
        if (
            word.kind != "word"
            or subject is None
            or subject not in keys
            or bool(dot) is not bool(rest)
        ):
            raise unreadable(
                f"The fields cannot be read at `{word.text[:40]}` (character {word.at}): expected "
                "metrics, params or tags, or one of them with a key such as metrics.loss.",
                field="fields",
            )
        known = keys[subject]
        keys[subject] = None if not dot or known is None else (*known, unquoted(rest))
    return Columns(metrics=keys[METRIC], params=keys[PARAM], tags=keys[TAG])


class _Reader:
    def __init__(self, found: list[Token], dialect: Dialect, *, field: str) -> None:
        self._dialect = dialect
        self._tokens = found
        self._at = 0
        self._field = field

    def _refuse(
        self, wanted: str, *, reason: str = "clause", left: Identifier | None = None
    ) -> InvalidValue:
        found = self._peek()
        here, near = "at its end", ""
        if found is not None:
            here = f"at `{found.text[:40]}` (character {found.at})"
            if found.kind == "word":
                near = nearest(found.text.upper(), _WORDS)
                near = near if "Did you mean" in near and found.text.upper() not in _WORDS else ""
        return unreadable(
            f"The {self._field} cannot be read {here}: expected {wanted}.{near}",
            field=self._field,
            reason=reason,
            token=found,
            left=_named(left),
        )

    def _last(self) -> Token:
        return self._tokens[self._at - 1]

    def _peek(self) -> Token | None:
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

    def as_number(self) -> bool:
        """Take ``AS NUMBER`` if it stands here."""
        if not self._dialect.nesting or self.word_if("AS") is None:
            return False
        if self.word_if("NUMBER") is None:
            raise self._refuse("NUMBER")
        return True

    def end(self, wanted: str) -> None:
        """Refuse anything that is left."""
        if self._peek() is not None:
            raise self._refuse(wanted)

    def any_of(self, *, depth: int) -> Filter:
        """Parts joined by OR."""
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
        if depth > DEPTH_MAX:
            raise unreadable(
                f"The filter is nested too deeply: at most {DEPTH_MAX} levels.", field=self._field
            )
        if self.word_if("NOT"):
            if not self._dialect.nesting:
                self._at -= 1
                raise self._refuse("a comparison")
            return Not(self._part(depth=depth + 1))
        if self._dialect.nesting and self._mark_if("("):
            found = self.any_of(depth=depth + 1)
            if not self._mark_if(")"):
                raise self._refuse("AND, OR or a closing parenthesis")
            return found
        return self._comparison()

    def identifier(self) -> Identifier:
        """A subject and its key, with what follows of it."""
        text = self._take("word", "a name such as metrics.loss or state")
        subject_text, dot, rest = text.partition(".")
        subject = _SUBJECTS.get(subject_text.lower())
        if not dot:
            return self._attribute(unquoted(text))
        if subject is None:
            return self._unknown_subject(subject_text, unquoted(text))
        if not rest:
            raise self._refuse("a key after the dot")
        if subject is Subject.ATTRIBUTE:
            return self._attribute(unquoted(rest))
        if subject is Subject.DATASET:
            return self._dataset(unquoted(rest))
        if subject is Subject.METRIC and self._dialect.nesting:
            return _metric(rest)
        found = Identifier(subject, unquoted(rest))
        return found if subject is Subject.METRIC else self._with_path(found)

    def _unknown_subject(self, subject: str, whole: str) -> Identifier:
        if self._dialect.attributes.get(whole):  # quoted whole
            return Identifier(Subject.ATTRIBUTE, whole)
        raise unreadable(
            f'"{subject[:60]}" is not known: write metrics.<key>, params.<key>, tags.<key>, '
            f"datasets.<key> or an attribute.{nearest(subject, _SUBJECTS)}",
            field=self._field,
            reason="subject",
            token=Token("word", subject, self._last().at),
        )

    def _with_path(self, found: Identifier) -> Identifier:
        token = self._peek()
        if not self._dialect.nesting or token is None or token.kind != "arrow":
            return found
        self._at += 1
        text = self._take("text", "a path in quotes such as '$.optimizer.lr'")
        path = parse_path(text[1:-1].replace("''", "'"), field=self._field)
        return Identifier(found.subject, found.key, path=path)

    def _dataset(self, key: str) -> Identifier:
        if key not in _DATASET_KEYS:
            raise unreadable(
                f'A dataset has no "{key}".{nearest(key, _DATASET_KEYS)}',
                field=self._field,
                reason="dataset",
                token=Token("word", key, self._last().at),
            )
        return Identifier(Subject.DATASET, key)

    def _attribute(self, key: str) -> Identifier:
        if key not in self._dialect.attributes:
            raise unreadable(
                f'"{key[:100]}" is not known; metrics, params and tags are written '
                f"metrics.<key>, params.<key>, tags.<key>.{nearest(key, self._dialect.attributes)}",
                field=self._field,
                reason="attribute",
                token=Token("word", key, self._last().at),
            )
        is_time = self._dialect.attributes[key] == "time"
        if is_time and self._field != "filter":
            return Identifier(Subject.ATTRIBUTE, TIMES[key])
        return Identifier(Subject.ATTRIBUTE, key)

    def _comparison(self) -> Filter:
        left = self.identifier()
        kind = self._kind(left)
        begin = self._at
        negated, word = self._operator_word()
        if word == "BETWEEN":
            return self._between(left, kind, negated=negated)
        operator = self._operator(word, negated=negated)
        if operator not in self._operators(left, kind):
            what = "datasets" if left.subject is Subject.DATASET else f"{kind}s"
            raise unreadable(
                f"`{operator}` cannot compare {what} such as {left.subject} {left.key[:100]}.",
                field=self._field,
                reason="nullness" if operator in NULLNESS else "operator",
                token=Token("operator", str(operator), self._tokens[begin].at),
                left=_named(left),
            )
        return self._compared(left, kind, operator)

    def _compared(self, left: Identifier, kind: str, operator: Operator) -> Comparison:
        value: Value | tuple[Value, ...] | None = None
        if operator in LIST:
            value = self._values(left, kind)
        elif operator not in NULLNESS:
            texts_only = operator in PATTERN | NOT_PATTERN
            value = self._text(left) if texts_only else self._value(left, kind)
        return Comparison(self._meant(left), operator, value)

    def _meant(self, left: Identifier) -> Identifier:
        """What is kept of a time."""
        if left.subject is Subject.ATTRIBUTE and self._dialect.attributes[left.key] == "time":
            return Identifier(Subject.ATTRIBUTE, TIMES[left.key])
        return left

    def _between(self, left: Identifier, kind: str, *, negated: bool) -> Filter:
        if left.subject is Subject.DATASET:
            raise unreadable(
                "BETWEEN cannot compare datasets, of which a run has many.", field=self._field
            )
        low = self._value(left, kind)
        if self.word_if("AND") is None:
            raise self._refuse("AND and the upper bound of BETWEEN")
        high = self._value(left, kind)
        if isinstance(low, str) is not isinstance(high, str):
            raise unreadable(
                "The bounds of BETWEEN are two numbers or two texts.", field=self._field
            )
        meant = self._meant(left)
        if negated:
            outside = (Comparison(meant, Operator.LT, low), Comparison(meant, Operator.GT, high))
            return AnyOf(outside)
        return AllOf((Comparison(meant, Operator.GE, low), Comparison(meant, Operator.LE, high)))

    def _kind(self, left: Identifier) -> str:
        if left.subject is Subject.METRIC:
            return "number"
        if left.subject is Subject.ATTRIBUTE:
            return self._dialect.attributes[left.key]
        return "text"

    def _operators(self, left: Identifier, kind: str) -> frozenset[Operator]:
        if self._dialect.nesting:
            if kind in ("number", "time"):
                return EVERY - PATTERN - NOT_PATTERN
            return EVERY - RANGE if left.subject is Subject.DATASET else EVERY
        if kind == "number":
            return EQUALITY | RANGE
        known = EQUALITY | PATTERN
        if left.subject in (Subject.PARAM, Subject.TAG):
            return known | NULLNESS
        lists = self._dialect.lists
        if left.subject is Subject.DATASET or lists is None or left.key in lists:
            return known | LIST
        return known

    def _operator_word(self) -> tuple[bool, str]:
        """Whether NOT stands before it, and the operator's first word or sign."""
        found = self._peek()
        if found is not None and found.kind == "operator":
            self._at += 1
            return False, found.text
        negated = self.word_if("NOT") is not None
        words = ("IN", "LIKE", "ILIKE", "BETWEEN") if self._dialect.nesting else ("IN",)
        if negated:
            word = self.word_if(*words)
            if word is None:
                raise self._refuse(" or ".join(words))
            return True, word
        ours = ("BETWEEN",) if self._dialect.nesting else ()
        word = self.word_if("LIKE", "ILIKE", "IN", "IS", *ours)
        if word is None:
            raise self._refuse("an operator such as =, !=, <, LIKE, IN or IS NULL")
        return False, word

    def _operator(self, word: str, *, negated: bool) -> Operator:
        if word == "IS":
            negated = self.word_if("NOT") is not None
            if self.word_if("NULL") is None:
                raise self._refuse("NULL or NOT NULL")
            return Operator.IS_NOT_NULL if negated else Operator.IS_NULL
        if word == "<>":
            return Operator.NE
        return Operator(f"NOT {word}" if negated else word)

    def _value(self, left: Identifier, kind: str) -> Value:
        if kind == "number":
            return self._number(left)
        if kind == "time":
            return self._time(left)
        found = self._peek()
        takes_numbers = self._dialect.nesting and left.subject in (Subject.PARAM, Subject.TAG)
        if takes_numbers and found is not None and found.kind == "number":
            return self._number(left)
        return self._text(left, or_number=takes_numbers)

    def _number(self, left: Identifier) -> float | int:
        found = self._peek()
        if found is None or found.kind != "number":
            raise self._refuse("a number", reason="number", left=left)
        self._at += 1
        # Beyond 64 bits only a float can be compared with what is stored.
        if _WHOLE.match(found.text) and INT64_MIN <= int(found.text) <= INT64_MAX:
            return int(found.text)
        return float(found.text)

    def _text(self, left: Identifier, *, or_number: bool = False) -> str:
        found = self._peek()
        if found is not None and found.kind == "word" and found.text.startswith('"'):
            self._at += 1
            return unquoted(found.text)
        if found is None or found.kind != "text":
            wanted = "a text in quotes or a number" if or_number else "a text in quotes"
            raise self._refuse(wanted, reason="text", left=left)
        self._at += 1
        return found.text[1:-1].replace("''", "'")

    def _time(self, left: Identifier) -> int:
        text = self._text(left)
        try:
            at = datetime.fromisoformat(text)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            whole = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        except (ValueError, OverflowError) as error:
            raise unreadable(
                f"`{text[:40]}` is not a time: write '2026-11-28' or '2026-11-28T07:20:00+01:00'; "
                "without an offset it is UTC.",
                field=self._field,
            ) from error
        return max(INT64_MIN, min(INT64_MAX, whole * 1_000))

    def _values(self, left: Identifier, kind: str) -> tuple[Value, ...]:
        if not self._mark_if("("):
            raise self._refuse("a list such as ('a', 'b')")
        values = [self._value(left, kind)]
        while self._mark_if(","):
            values.append(self._value(left, kind))
        if not self._mark_if(")"):
            raise self._refuse("a comma or a closing parenthesis")
        if len({isinstance(value, str) for value in values}) > 1:
            raise unreadable("A list holds texts or numbers, not both.", field=self._field)
        return tuple(values)


def _named(left: Identifier | None) -> tuple[str, str]:
    return ("", "") if left is None else (str(left.subject), left.key)


def _metric(rest: str) -> Identifier:
    """A metric's key, and which part of the series is meant."""
    key, dot, last = rest.rpartition(".")
    if dot and key and last in _PARTS:
        return Identifier(Subject.METRIC, unquoted(key), part=_PARTS[last])
    return Identifier(Subject.METRIC, unquoted(rest))
