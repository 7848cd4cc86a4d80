"""The words of a search's text, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import PATH_STEPS_MAX

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<arrow>->>?)
      | (?P<text>'(?:[^']|'')*')
      | (?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.]))
      | (?P<operator>!=|<>|<=|>=|=|<|>)
      | (?P<mark>[(),])
      | (?P<word>(?:[^\W\d]|`[^`]*`|"[^"]*")(?:[\w/:.]|-(?!>)|`[^`]*`|"[^"]*"|(?<=\.)'[^']*')*)
    )""",
    re.VERBOSE,
)
_PATH_STEP = re.compile(
    r"""\.(?P<name>[^.\["\\*]+)|\."(?P<quoted>[^"\\*]+)"|\[(?P<at>[0-9]{1,6})\]"""
)


@dataclass(frozen=True)
class Token:
    """One word.

    Args:
        kind: ``text``, ``number``, ``operator``, ``mark``, ``arrow`` or ``word``.
        text: As it stands.
        at: The place of its first character, from 1.
    """

    kind: str
    text: str
    at: int


class Misread(Exception):
    """Why a text is not a search, for dialects with words of their own: the cause of the error.

    Args:
        reason: One of ``clause``, ``operator``, ``number``, ``text``, ``subject``, ``attribute``,
            ``dataset``, ``nullness``.
        found: The word that is in the way; empty at the end of the text.
        left: What is compared there, if it was read already: its subject and key.
        at: The place of the word's first character, from 1; 0 at the end.
    """

    def __init__(self, reason: str, found: str, left: tuple[str, str], at: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.found = found
        self.left = left
        self.at = at


def unreadable(
    message: str,
    *,
    field: str,
    reason: str = "clause",
    token: Token | None = None,
    left: tuple[str, str] = ("", ""),
) -> InvalidValue:
    """The error for a text that is not a search; its cause is a ``Misread``."""
    error = InvalidValue(message, field=field)
    found, at = ("", 0) if token is None else (token.text, token.at)
    error.__cause__ = Misread(reason, found, left, at)
    return error


def tokens(text: str, *, field: str) -> list[Token]:
    """Cut a text into words; InvalidValue where there is none."""
    made: list[Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            near = text[position:].lstrip()
            at = len(text) - len(near) + 1
            why = " A text ends with the quote it begins with." if near[0] in "'\"`" else ""
            raise unreadable(
                f"The {field} cannot be read at `{near[:20].strip()}` (character {at}).{why}",
                field=field,
                token=Token("odd", near, at),
            )
        kind = found.lastgroup
        made.append(Token(kind, found.group(kind), found.start(kind) + 1))
        position = found.end()
    return made


def unquoted(text: str) -> str:
    """A key without the quotes around it."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'":
        return text[1:-1]
    return text


def parse_path(text: str, *, field: str) -> tuple[str | int, ...]:
    """Read a path into a JSON document: ``$.optimizer.lr``, ``$.layers[0]."a b"``.

    Raises:
        InvalidValue: it is not one, or has too many steps.
    """
    steps: list[str | int] = []
    position = 1
    while text.startswith("$") and position < len(text):
        found = _PATH_STEP.match(text, position)
        if found is None:
            break
        at = found.group("at")
        steps.append(int(at) if at is not None else found.group("name") or found.group("quoted"))
        position = found.end()
    if not steps or position < len(text) or len(steps) > PATH_STEPS_MAX:
        raise unreadable(
            f"`{text[:40]}` is not a path into a document: write '$.name', '$.list[0]' or "
            f"'$.\"odd name\"', with at most {PATH_STEPS_MAX} steps.",
            field=field,
        )
    return tuple(steps)
