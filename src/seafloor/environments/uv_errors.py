"""What uv says when it fails, in words for the user.

uv has no error codes beyond its exit status, so its text is read here, and here only. What it
prints may name the administrator's index or hold a password in an address: no address leaves
this module but for its last part.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from typing import Final

from seafloor.domain.errors import SeafloorError, SourceError, StoreFull
from seafloor.environments.uv_command import UvEnded

MESSAGE_CHARS_MAX: Final = 600
RETRY_AFTER_S: Final = 30.0

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s`'\"<>()]+")
_FULL: Final = tuple(f"(os error {code})" for code in (errno.ENOSPC, errno.EDQUOT))
_UNREACHABLE: Final = (
    "error sending request",
    "error decoding response body",
    "network was disabled",
    "network is disabled",
    "network connectivity is disabled",
    "dns error",
    "operation timed out",
    "(500 ",
    "(502 ",
    "(503 ",
    "(504 ",
)
_REFUSED: Final = ("(401 ", "(403 ")
_REPLACED: Final = re.compile(r"Hash mismatch for `([^`\s]+)`")
_CONCLUSION: Final = re.compile(
    r",? ?(and )?we can conclude that (your requirements|the requirements) are unsatisfiable\.?"
)
# Older versions of uv draw a tree, newer ones write "error:" and "cause:".
_BULLET: Final = re.compile(r"^\s*(?:×|├─▶|╰─▶|│|error:|cause:|Caused by:)\s*")
_ASIDE: Final = ("warning:", "hint:", "Using ", "Creating ", "Resolved ", "Downloading ")


def error_of(ended: UvEnded, *, doing: str) -> SeafloorError:
    """Make the error that a failed command of uv stands for.

    Args:
        doing: What failed, begins the sentence: ``The requirements cannot be met``.

    Returns:
        ``StoreFull`` when no space was left; else ``SourceError`` about the field ``pip``.
    """
    text = ended.stderr
    if any(code in text for code in _FULL):
        return StoreFull(
            "No space is left for the packages: free some, or remove an environment "
            "(`seafloor env rm`). Nothing half built was kept.",
            detail=hide_addresses(text),
        )
    replaced = _REPLACED.search(text)
    if replaced is not None:
        return SourceError(
            f"{replaced[1]} of the package index is not the file that was locked: its sha256 is "
            "another. Somebody replaced it: create the environment again to lock what is there "
            "now.",
            field="pip",
            detail=hide_addresses(text),
        )
    said = _said(text)
    if any(phrase in text for phrase in _UNREACHABLE):
        return SourceError(
            "Seafloor could not reach the package index (or the address of a requirement). "
            f"Check the network of the server and try again. {_shortened(said[-1:])}".rstrip(),
            field="pip",
            detail=hide_addresses(text),
            retry_after_s=RETRY_AFTER_S,
        )
    if any(phrase in text for phrase in _REFUSED):
        return SourceError(
            "The package index refuses access: it asks for a password, or this server may not "
            "read it. The administrator can give it one as a named secret "
            "(`environments.secrets`), or in ~/.netrc.",
            field="pip",
            detail=hide_addresses(text),
        )
    return SourceError(f"{doing}: {_shortened(said)}", field="pip", detail=hide_addresses(text))


def hide_addresses(text: str) -> str:
    """Leave of every address its last part.

    >>> hide_addresses("at https://me:secret@index.example/simple/six/ it")
    'at …/six it'
    """
    return _ADDRESS.sub(lambda found: "…/" + found[0].rstrip("/").rsplit("/", 1)[-1], text)


def _said(text: str) -> list[str]:
    """The sentences of the explanation, most general first; asides left out."""
    sentences: list[str] = []
    aside = False
    for line in text.splitlines():
        if line.strip() and not line[0].isspace():
            aside = line.startswith(_ASIDE)
        if aside or not line.strip():
            continue
        if _BULLET.match(line) or not sentences:
            sentences.append("")
        part = _BULLET.sub("", line).strip()
        sentences[-1] = f"{sentences[-1]} {part}".strip()
    return [sentence for sentence in sentences if sentence]


def _shortened(sentences: Sequence[str]) -> str:
    if not sentences:
        return "uv did not say why."
    useful = [s for s in sentences if not s.startswith("No solution found when resolving")]
    text = " ".join(_CONCLUSION.sub("", hide_addresses(s)) for s in (useful or sentences))
    text = re.sub(r"^Because ", "", text).strip().rstrip(".") + "."
    if len(text) <= MESSAGE_CHARS_MAX:
        return text
    half = MESSAGE_CHARS_MAX // 2
    return f"{text[:half]} … {text[-half:]}"
