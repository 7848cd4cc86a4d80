"""Regular expressions of strangers: read by RE2, whose time grows with the text, not beyond.

They are looked for here and not in the database: each has another syntax, and in all of them there
are short patterns that take years. Neither groups that are referred to nor looks ahead or behind
are part of RE2's syntax, for which there is no such promise.
"""

from __future__ import annotations

import re2

from seafloor.domain.errors import InvalidValue, LimitExceeded

PATTERN_CHARS_MAX = 1_000
STEPS_MAX = 500
"""Of the program of one; at worst each is taken for each byte, at some nanoseconds."""
_MEMORY_BYTES = 1 << 20
"""For the states that are kept of one; those that do not fit are found again."""


class RegularExpression:
    """A pattern that is looked for anywhere in a text, as Python's ``re.search`` does.

    ``.`` is any character but a newline, ``$`` the end of the text, ``\\w``, ``\\d``, ``\\s`` and
    ``\\b`` are about ASCII.

    Raises:
        InvalidValue: it is none.
        LimitExceeded: it is too long, or too large when its repetitions are written out.

    >>> RegularExpression("^a+b").matches("aab")
    True
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > PATTERN_CHARS_MAX:
            raise LimitExceeded(
                f"A regular expression has at most {PATTERN_CHARS_MAX} characters.", field="filter"
            )
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        options.log_errors = False
        options.never_capture = True
        try:
            self._made = re2.compile(pattern, options)
        except re2.error as error:
            raise InvalidValue(
                f"`{pattern[:100]}` is not a regular expression (RE2): {_said(error)}.",
                field="filter",
            ) from error
        finally:
            re2.purge()  # it would keep the last 128, with their states
        self.steps = self._made.programsize
        if self.steps > STEPS_MAX:
            raise LimitExceeded(
                f"The regular expression `{pattern[:100]}` is too large: it has {self.steps} steps "
                f"when its repetitions are written out, of at most {STEPS_MAX}.",
                field="filter",
            )

    def matches(self, text: str) -> bool:
        """Whether it is found in a text.

        Cost: without the interpreter's lock; at worst some 7 ns a step and byte, mostly 7 ns a
        byte.
        """
        return self._made.search(text.encode()) is not None


def escaped(text: str) -> str:
    """A pattern that is found where a text is."""
    return re2.escape(text)


def _said(error: re2.error) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
