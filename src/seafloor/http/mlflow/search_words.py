"""Filters and orders of MLflow's clients, refused in MLflow's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.search import Filter, Identifier, Order, Subject
from seafloor.domain.search_grammar import Dialect, parse_filter, parse_order
from seafloor.domain.search_tokens import Misread
from seafloor.stores.metadata.comparisons import COMPARISONS_MAX, comparisons_of

_SUBJECTS = (Subject.METRIC, Subject.PARAM, Subject.TAG, Subject.ATTRIBUTE, Subject.DATASET)
_ENTITIES = {"metric": "metric", "param": "parameter", "tag": "tag"}
_NUMBERS = ("!=", "<", "<=", "=", ">", ">=")
_TEXTS = ("!=", "=", "ILIKE", "LIKE")
_LABELS = ("!=", "=", "ILIKE", "IS NOT NULL", "IS NULL", "LIKE")
_DATASETS = ("!=", "=", "ILIKE", "IN", "LIKE", "NOT IN")
_DATASET_KEYS = ("context", "digest", "name")


@dataclass(frozen=True)
class Grammar:
    """What may be compared and ordered by.

    Args:
        attributes: Names with their type, ``text`` or ``number``.
        lists: The attributes that IN takes.
        subjects: What may stand before a dot.
    """

    attributes: Mapping[str, str]
    lists: frozenset[str] = frozenset()
    subjects: tuple[Subject, ...] = _SUBJECTS

    @property
    def dialect(self) -> Dialect:
        """The same for our reader."""
        return Dialect(self.attributes, nesting=False, lists=self.lists)

    def filter(self, text: str) -> Filter | None:
        """Read a filter; InvalidValue in MLflow's words when it is not one."""
        try:
            found = parse_filter(text, self.dialect)
        except InvalidValue as error:
            raise self._reworded(error, text, field="filter") from error
        every = list(comparisons_of(found))
        if len(every) > COMPARISONS_MAX:
            raise LimitExceeded(
                f"A filter has at most {COMPARISONS_MAX} comparisons.", field="filter"
            )
        for one in every:
            self._check(one.left, field="filter")
        return found

    def order(self, text: str) -> Order:
        """Read what to order by; InvalidValue in MLflow's words when it is not that."""
        try:
            found = parse_order(text, self.dialect)
        except InvalidValue as error:
            raise self._reworded(error, text, field="order_by") from error
        self._check(found.by, field="order_by")
        return found

    def _check(self, left: Identifier, *, field: str) -> None:
        if left.subject not in self.subjects:
            raise InvalidValue(self._entity(str(left.subject)), field=field)

    def _entity(self, found: str) -> str:
        valid = [_ENTITIES.get(one, str(one)) for one in self.subjects]
        return f"Invalid entity type '{found}'. Valid values are {valid}"

    def _reworded(self, error: InvalidValue, text: str, *, field: str) -> InvalidValue:
        why = error.__cause__
        said = self._said(why, text, field=field) if isinstance(why, Misread) else error.message
        return InvalidValue(said, field=field)

    def _said(self, why: Misread, text: str, *, field: str) -> str:
        subject, key = why.left
        match why.reason:
            case "attribute":
                known = _set(sorted(self.attributes))
                return f"Invalid attribute key '{why.found}' specified. Valid keys are '{known}'"
            case "dataset":
                known = _set(_DATASET_KEYS)
                return f"Invalid dataset key '{why.found}' specified. Valid keys are '{known}'"
            case "subject":
                return self._entity(why.found)
            case "nullness":
                return (
                    "IS NULL / IS NOT NULL is only supported for tags and params, "
                    f"not for '{_ENTITIES.get(subject, subject)}' '{key}'"
                )
            case "operator":
                return self._comparator(why, subject, key)
            case "number" if subject == "attribute":
                said = f"Expected numeric value type for numeric attribute: {key}. "
                return f"{said}Found {why.found}"
            case "number":
                return f"Expected numeric value type for metric. Found {why.found}"
            case "text":
                return f"{_expected_text(subject)}Got value {_whole(why, text)}"
            case _:
                return _clause(why, text, field=field)

    def _comparator(self, why: Misread, subject: str, key: str) -> str:
        is_list = why.found in ("IN", "NOT IN")
        if subject == "attribute" and is_list and self.attributes[key] == "text":
            return (
                f"Only {sorted(self.lists)} attributes support comparison with a list of quoted "
                "string values."
            )
        numeric = subject == "metric" or self.attributes.get(key) == "number"
        known = _NUMBERS if numeric else {"attribute": _TEXTS, "dataset": _DATASETS}.get(subject)
        return f"Invalid comparator '{why.found}' not one of '{_set(known or _LABELS)}'"


def _expected_text(subject: str) -> str:
    if subject == "attribute":
        return "Expected a quoted string value for attributes. "
    if subject == "dataset":
        return "Expected a quoted string value for dataset attributes. "
    return f"Expected a quoted string value for {_ENTITIES[subject]} (e.g. 'my-value'). "


def _clause(why: Misread, text: str, *, field: str) -> str:
    if field == "order_by":
        is_word = why.found.isidentifier() and why.at > 1
        if is_word:
            return f"Invalid ordering key in order_by clause '{text}'."
        return f"Invalid order_by clause '{text}'. Could not be parsed."
    return f"Invalid clause(s) in filter string: '{_whole(why, text) or text.strip()}'"


def _whole(why: Misread, text: str) -> str:
    """The word in the way; of a parenthesis all that it holds."""
    if why.found != "(":
        return why.found
    depth = 0
    for place, char in enumerate(text[why.at - 1 :], start=why.at):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text[why.at - 1 : place]
    return text[why.at - 1 :]


def _set(names: tuple[str, ...] | list[str]) -> str:
    """Names as Python shows a set of them; MLflow's come in any order."""
    return "{" + ", ".join(repr(name) for name in names) + "}"
