"""Filters and orders of searches for traces, refused in MLflow's words.

    filter     := comparison ("AND" comparison)*
    comparison := identifier operator value | identifier "IS" ["NOT"] "NULL"
                | identifier ["NOT"] "IN" "(" value ("," value)* ")"
    identifier := [subject "."] key

Source: the reference of MLflow's search syntax for traces. ``text`` and ``span.content`` are all of
a span, ``span.attributes.x LIKE 'y'`` is ``span.content LIKE '%"x"y%'``. RLIKE looks for a regular
expression, in an attribute of a span for one within a text; ``prompt = 'name/version'`` for traces
that used a version of a prompt.
"""

from __future__ import annotations

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import Operator
from seafloor.domain.search_grammar import FILTER_CHARS_MAX, ORDER_CHARS_MAX
from seafloor.domain.search_tokens import Token, tokens, unquoted
from seafloor.domain.traces import (
    CONTENT_KEY,
    NAME_TAG,
    RUN_KEY,
    SPAN_ATTRIBUTES,
    TraceComparison,
    TraceOrder,
    TraceSubject,
)
from seafloor.stores.metadata.regular_expressions import escaped
from seafloor.stores.metadata.traces import is_number, operators_of

_SUBJECTS = {
    "tag": TraceSubject.TAG,
    "tags": TraceSubject.TAG,
    "attribute": TraceSubject.ATTRIBUTE,
    "attributes": TraceSubject.ATTRIBUTE,
    "trace": TraceSubject.ATTRIBUTE,
    "metadata": TraceSubject.METADATA,
    "request_metadata": TraceSubject.METADATA,
    "span": TraceSubject.SPAN,
    "feedback": TraceSubject.FEEDBACK,
    "expectation": TraceSubject.EXPECTATION,
}
_NAMES = {
    "request_id": "id",
    "timestamp": "time_ms",
    "timestamp_ms": "time_ms",
    "execution_time": "duration_ms",
    "execution_time_ms": "duration_ms",
    "end_time": "end_ms",
    "end_time_ms": "end_ms",
    "status": "state",
    "client_request_id": "client_request_id",
    "run_id": "run_id",
    "prompt": "prompt",
}
"""MLflow's names of attributes; ``name`` is a tag."""
_NOT_ORDERED = ("run_id", "prompt", "client_request_id")
_ORDER_NAMES = {name: key for name, key in _NAMES.items() if key not in _NOT_ORDERED} | {
    "experiment_id": "experiment_id"
}
_TEXT = "text"
_ATTRIBUTES = "attributes."
_PATTERNS = (Operator.LIKE, Operator.ILIKE)
_OF_ATTRIBUTES = (*_PATTERNS, Operator.RLIKE, Operator.EQ, Operator.NE)
_WORDS = {"LIKE": Operator.LIKE, "ILIKE": Operator.ILIKE, "RLIKE": Operator.RLIKE}
_OF_RUN = (*_PATTERNS, Operator.RLIKE, Operator.IS_NULL, Operator.IS_NOT_NULL)
"""How the run in whose course a trace was made is compared, but not those that it is linked to."""
_ASSESSMENTS = (TraceSubject.FEEDBACK, TraceSubject.EXPECTATION)
_NUMBERS = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})


def parse_trace_filter(text: str) -> tuple[TraceComparison, ...]:
    """Read a filter; () for a blank one.

    Raises:
        InvalidValue: it is not one, or asks for something that cannot be searched.
    """
    if len(text) > FILTER_CHARS_MAX:
        raise InvalidValue(f"A filter has at most {FILTER_CHARS_MAX} characters.", field="filter")
    if not text.strip():
        return ()
    reader = _Reader(text, field="filter")
    made = [reader.comparison()]
    while not reader.is_over():
        reader.take_word("AND")
        made.append(reader.comparison())
    return tuple(made)


def parse_trace_order(text: str) -> TraceOrder:
    """Read ``<identifier> [ASC|DESC]``.

    Raises:
        InvalidValue: it is not that.
    """
    if len(text) > ORDER_CHARS_MAX:
        raise InvalidValue(f"An order has at most {ORDER_CHARS_MAX} characters.", field="order_by")
    reader = _Reader(text, field="order_by")
    subject, key = reader.identifier(_ORDER_NAMES)
    if subject not in (TraceSubject.ATTRIBUTE, TraceSubject.TAG, TraceSubject.METADATA):
        raise InvalidValue(f"Invalid identifier type '{subject}'", field="order_by")
    descending = reader.word_if("ASC", "DESC") == "DESC"
    if not reader.is_over():
        raise reader.refusal()
    return TraceOrder(subject, key, descending)


class _Reader:
    def __init__(self, text: str, *, field: str) -> None:
        self._text = text
        self._field = field
        self._at = 0
        try:
            self._tokens = tokens(text, field=field)
        except InvalidValue as error:
            raise self.refusal() from error

    def refusal(self) -> InvalidValue:
        """That the text cannot be read."""
        if self._field == "order_by":
            return InvalidValue(
                f"Invalid order_by clause '{self._text}'. Could not be parsed.", field="order_by"
            )
        near = "" if self._at == 0 or self.is_over() else self._tokens[self._at].text
        return InvalidValue(
            f"Invalid clause(s) in filter string: '{near or self._text.strip()}'", field="filter"
        )

    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._tokens)

    def _next(self, *kinds: str) -> Token:
        if self.is_over() or self._tokens[self._at].kind not in kinds:
            raise self.refusal()
        self._at += 1
        return self._tokens[self._at - 1]

    def word_if(self, *words: str) -> str | None:
        """Take one of some words, in any case."""
        if self.is_over():
            return None
        found = self._tokens[self._at]
        if found.kind != "word" or found.text.upper() not in words:
            return None
        self._at += 1
        return found.text.upper()

    def take_word(self, word: str) -> None:
        """Take a word that must be there."""
        if self.word_if(word) is None:
            raise self.refusal()

    def identifier(self, names: dict[str, str]) -> tuple[TraceSubject, str]:
        """Read what is compared or ordered by."""
        text = self._next("word").text
        before, dot, rest = text.partition(".")
        if not dot or text[0] in '`"':
            return _attribute(unquoted(text), names, field=self._field)
        subject = _SUBJECTS.get(before)
        if subject is None:
            raise InvalidValue(
                f"Invalid entity type '{before}'. Valid values are {_set(sorted(_SUBJECTS))}",
                field=self._field,
            )
        key = unquoted(rest)
        if not key:
            raise self.refusal()
        if subject is TraceSubject.ATTRIBUTE:
            return _attribute(key, names, field=self._field)
        if subject is TraceSubject.SPAN:
            _check_span(key)
        return subject, key

    def comparison(self) -> TraceComparison:
        """Read one clause."""
        subject, key = self.identifier(_NAMES)
        operator = self._operator()
        if subject is TraceSubject.SPAN and key.startswith(_ATTRIBUTES):
            return self._attribute_of_span(key, operator)
        if subject is TraceSubject.SPAN and key == CONTENT_KEY:
            _check_operator(key, operator, _PATTERNS)
        if key == "run_id" and subject is TraceSubject.ATTRIBUTE and operator in _OF_RUN:
            subject, key = TraceSubject.METADATA, RUN_KEY
        if key == "prompt" and subject is TraceSubject.ATTRIBUTE:
            return self._prompt(operator)
        if operator not in operators_of(subject, key):
            known = _set(sorted(str(one) for one in operators_of(subject, key)))
            raise InvalidValue(
                f"Invalid comparator '{operator}' not one of '{known}'", field="filter"
            )
        if operator in (Operator.IS_NULL, Operator.IS_NOT_NULL):
            return TraceComparison(subject, key, operator)
        if operator in (Operator.IN, Operator.NOT_IN):
            return TraceComparison(subject, key, operator, self._list(subject))
        bare = TraceComparison(subject, key, operator)
        return TraceComparison(subject, key, operator, self._value(bare))

    def _attribute_of_span(self, key: str, operator: Operator) -> TraceComparison:
        """Read on a clause about an attribute, which MLflow looks for in all of a span."""
        _check_operator(key, operator, _OF_ATTRIBUTES)
        name = key.removeprefix(_ATTRIBUTES).strip("`")
        value = self._text_value(TraceSubject.SPAN)
        pattern = f'%"{name}"{value}%' if operator is not Operator.RLIKE else _within(name, value)
        return TraceComparison(TraceSubject.SPAN, CONTENT_KEY, operator, pattern)

    def _prompt(self, operator: Operator) -> TraceComparison:
        """Read on a clause about a version of a prompt."""
        if operator is not Operator.EQ:
            raise InvalidValue(
                f"Invalid comparator '{operator}' for prompts filter. Only '=' is supported with "
                'format: prompt = "name/version"',
                field="filter",
            )
        value = self._text_value(TraceSubject.ATTRIBUTE)
        if value.count("/") != 1:
            raise InvalidValue(
                f"Invalid prompts filter value '{value}'. Expected format: prompt = "
                '"name/version"',
                field="filter",
            )
        return TraceComparison(TraceSubject.ATTRIBUTE, "prompt", operator, value)

    def _operator(self) -> Operator:
        found = self._next("operator", "word")
        if found.kind == "operator":
            if found.text == "<>":
                self._at -= 1
                raise self.refusal()
            return Operator(found.text)
        word = found.text.upper()
        if word == "IS":
            negated = self.word_if("NOT") is not None
            self.take_word("NULL")
            return Operator.IS_NOT_NULL if negated else Operator.IS_NULL
        if word == "NOT":
            self.take_word("IN")
            return Operator.NOT_IN
        if word == "IN":
            return Operator.IN
        if word not in _WORDS:
            self._at -= 1
            raise self.refusal()
        return _WORDS[word]

    def _list(self, subject: TraceSubject) -> tuple[str, ...]:
        if self._next("mark").text != "(":
            raise self.refusal()
        values = [self._text_value(subject)]
        while (mark := self._next("mark").text) == ",":
            values.append(self._text_value(subject))
        if mark != ")":
            raise self.refusal()
        return tuple(values)

    def _value(self, found: TraceComparison) -> float | int | str:
        if is_number(found):
            return self._number(found)
        return self._text_value(found.subject)

    def _number(self, found: TraceComparison) -> float | int:
        token = self._next("number", "text", "word")
        if token.kind != "number":
            if found.subject in _ASSESSMENTS:
                raise InvalidValue(
                    f"Expected a numeric value for {found.subject} when using comparator "
                    f"'{found.operator}'. Got value {token.text}",
                    field="filter",
                )
            raise InvalidValue(
                f"Expected numeric value type for numeric attribute: {found.key}. Found "
                f"{token.text}",
                field="filter",
            )
        try:
            number = int(token.text)
        except ValueError:
            return float(token.text)
        return max(INT64_MIN, min(INT64_MAX, number))

    def _text_value(self, subject: TraceSubject) -> str:
        token = self._next("text", "number", "word")
        text = token.text
        if token.kind == "text":
            return text[1:-1].replace("''", "'")
        if token.kind == "word" and text[0] == '"' and text[-1] == '"':
            return unquoted(text)
        if subject is TraceSubject.ATTRIBUTE:
            raise InvalidValue(
                "Expected a quoted string value or a list of quoted string values for "
                f"attributes. Got value {text}",
                field="filter",
            )
        raise InvalidValue(
            f"Expected a quoted string value for {subject} (e.g. 'my-value'). Got value {text}",
            field="filter",
        )


def _attribute(name: str, names: dict[str, str], *, field: str) -> tuple[TraceSubject, str]:
    if name == "name":
        return TraceSubject.TAG, NAME_TAG
    if name == _TEXT and field == "filter":
        return TraceSubject.SPAN, CONTENT_KEY
    key = names.get(name)
    if key is None:
        known = _set(sorted([*names, "name"]))
        raise InvalidValue(
            f"Invalid attribute key '{name}' specified. Valid keys are '{known}'", field=field
        )
    return TraceSubject.ATTRIBUTE, key


def _within(name: str, pattern: str) -> str:
    """Look for a regular expression within the text that an attribute of a span is, as MLflow does.

    In the JSON that is searched the text is JSON itself, with its quotes escaped.
    """
    begin = '"\\\\"' if pattern.startswith("^") else '"\\\\".*'
    end = '\\\\"' if pattern.endswith("$") else ""
    return f'"{escaped(name)}": {begin}(?:{pattern.removeprefix("^").removesuffix("$")}){end}'


def _check_span(key: str) -> None:
    if key == _ATTRIBUTES:
        raise InvalidValue(
            "Span attribute name cannot be empty after 'attributes.'", field="filter"
        )
    if not key.startswith(_ATTRIBUTES) and key not in SPAN_ATTRIBUTES:
        known = ", ".join(sorted(set(SPAN_ATTRIBUTES) - {CONTENT_KEY}))
        raise InvalidValue(
            f"Invalid span attribute '{key}'. Supported attributes: {known}, "
            "attributes.<attribute_name>.",
            field="filter",
        )


def _check_operator(key: str, operator: Operator, known: tuple[Operator, ...]) -> None:
    if operator not in known:
        names = _set(sorted(str(one) for one in known))
        raise InvalidValue(
            f"span.{key} comparator '{operator}' not one of '{names}'", field="filter"
        )


def _set(names: list[str]) -> str:
    """Names as Python shows a set of them; MLflow's come in any order."""
    return "{" + ", ".join(repr(name) for name in names) + "}"
