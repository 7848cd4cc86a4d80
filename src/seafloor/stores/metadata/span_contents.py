"""Comparisons that no database makes: with the contents of spans, and by regular expressions.

Documents are compressed; of regular expressions see ``regular_expressions``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from seafloor.domain.search import Operator
from seafloor.domain.span_documents import searched_text
from seafloor.domain.traces import CONTENT_KEY, TraceComparison, TraceSubject
from seafloor.stores.metadata.comparisons import fold
from seafloor.stores.metadata.regular_expressions import RegularExpression

_WORDS = re.compile(r"[^\W\d_]{3,}")
_LINKS = b'"links"'
_SKELETON = fold(
    searched_text(
        b'{"span_id":"","events":[{}],"links":[{}],"status":{},"attributes":[{"key":"mlflow.x"}]}'
    )
    + " STATUS_CODE_OK STATUS_CODE_ERROR STATUS_CODE_UNSET true false null NaN Infinity"
)


def is_of_contents(found: TraceComparison) -> bool:
    """Whether a comparison is with the contents of a span."""
    return found.subject is TraceSubject.SPAN and found.key == CONTENT_KEY


def is_made_here(found: TraceComparison) -> bool:
    """Whether no database can make a comparison."""
    return is_of_contents(found) or found.operator is Operator.RLIKE


class ContentTest:
    """Says of documents of spans whether comparisons with the contents hold, all of them.

    Cost: of a document without the words that are asked for a look for them; of another the
    decoding. The time grows with the length of a text, whatever the pattern is.
    """

    def __init__(self, comparisons: Sequence[TraceComparison]) -> None:
        regular = [
            RegularExpression(str(one.value))
            for one in comparisons
            if one.operator is Operator.RLIKE
        ]
        self.steps = sum(one.steps for one in regular)
        others = [one for one in comparisons if one.operator is not Operator.RLIKE]
        self._tests = [*map(_test, others), *(one.matches for one in regular)]
        # What stands in a text as it stands in the document, whoever wrote that.
        self._words = {
            word.encode()
            for one in comparisons
            if one.operator is Operator.LIKE
            for word in _WORDS.findall(str(one.value))
            if word.isascii() and fold(word) not in _SKELETON
        }

    def holds(self, document: bytes) -> bool:
        """Whether all comparisons hold for a span."""
        # Only ids of links are written in another way.
        if _LINKS not in document and not all(word in document for word in self._words):
            return False
        text = searched_text(document)
        return all(test(text) for test in self._tests)


def _test(found: TraceComparison) -> Callable[[str], bool]:
    pattern = str(found.value)
    match found.operator:
        case Operator.LIKE:
            return _Like(pattern).matches
        case Operator.ILIKE:
            like = _Like(fold(pattern))
            return lambda text: like.matches(fold(text))
        case Operator.EQ:
            return lambda text: text == pattern
        case _:
            return lambda text: text != pattern


class _Like:
    """A pattern, matched piece by piece: the first place of each piece is as good as any other."""

    def __init__(self, pattern: str) -> None:
        first, *others = pattern.split("%")
        self._first = _piece(first)
        self._whole = not others
        self._last = _piece(others.pop()) if others else None
        self._last_chars = len(pattern) - pattern.rfind("%") - 1
        self._between = [_piece(one) for one in others if one]

    def matches(self, text: str) -> bool:
        """Whether a text is as the pattern says."""
        if self._whole:
            return self._first.fullmatch(text) is not None
        found = self._first.match(text)
        if found is None:
            return False
        at = found.end()
        for piece in self._between:
            found = piece.search(text, at)
            if found is None:
                return False
            at = found.end()
        begin = len(text) - self._last_chars
        return begin >= at and self._last is not None and bool(self._last.fullmatch(text, begin))


def _piece(text: str) -> re.Pattern[str]:
    parts = ("." if char == "_" else re.escape(char) for char in text)
    return re.compile("".join(parts), re.DOTALL)
