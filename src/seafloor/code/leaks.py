"""What looks like a secret in a file of code: known forms of tokens, and private keys.

Only forms that are hardly ever anything else are looked for: a warning that is mostly wrong is not
read. What is found is named by file, line and kind; its value leaves this module never.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SCANNED_BYTES_MAX: Final = 16 << 20
"""Of each file; what people write by hand is smaller."""

_TAIL_BYTES: Final = 512
_TEXT_BYTES: Final = 8000

# What stands in every secret of a kind, to look for first since that costs little; the form; name.
_KINDS: Final = tuple(
    (mark, re.compile(form), name)
    for mark, form, name in (
        (
            b"PRIVATE KEY",
            rb"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----",
            "a private key",
        ),
        (b"AKIA", rb"\bAKIA[A-Z2-7]{16}\b(?<!EXAMPLE)", "an access key of AWS"),
        (b"ghp_", rb"\bghp_[A-Za-z0-9]{36}", "a token of GitHub"),
        (b"gho_", rb"\bgho_[A-Za-z0-9]{36}", "a token of GitHub"),
        (b"ghs_", rb"\bghs_[A-Za-z0-9]{36}", "a token of GitHub"),
        (b"github_pat_", rb"\bgithub_pat_[A-Za-z0-9_]{60}", "a token of GitHub"),
        (b"glpat-", rb"\bglpat-[A-Za-z0-9_-]{20}", "a token of GitLab"),
        (b"hf_", rb"\bhf_[A-Za-z]{34}\b", "a token of Hugging Face"),
        (b"xox", rb"\bxox[abeprs]-[0-9A-Za-z-]{20}", "a token of Slack"),
        (b"AIza", rb"\bAIza[0-9A-Za-z_-]{35}", "an API key of Google"),
        (b"sk-", rb"\bsk-(?:proj|ant|svcacct)-[A-Za-z0-9_-]{40}", "an API key of a model"),
        (b"npm_", rb"\bnpm_[A-Za-z0-9]{36}", "a token of npm"),
        (b"pypi-", rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50}", "a token of PyPI"),
        (b"sk_live_", rb"\bsk_live_[A-Za-z0-9]{24}", "a key of Stripe"),
        (b"AccountKey=", rb"\bAccountKey=[A-Za-z0-9+/]{86}==", "an account key of Azure"),
    )
)


@dataclass(frozen=True, order=True)
class Leak:
    """Something that looks like a secret.

    Args:
        line: From 1.
        kind: What it looks like, for people: ``"a token of GitHub"``.
    """

    line: int
    kind: str


class LeakScan:
    """Looks through one file as it is read; a file that is no text is not looked at."""

    def __init__(self) -> None:
        self._tail = b""
        self._lines = 1
        self._scanned_bytes = 0
        self._found: set[Leak] = set()
        self._is_over = False

    @property
    def found(self) -> list[Leak]:
        """What was found so far, by line."""
        return sorted(self._found)

    def feed(self, block: bytes) -> None:
        """Look through the next bytes of the file."""
        if not self._scanned_bytes and b"\0" in block[:_TEXT_BYTES]:
            self._is_over = True
        if self._is_over or not block:
            return
        text = self._tail + block
        for mark, form, name in _KINDS:
            if mark in text:
                for match in form.finditer(text):
                    line = self._lines + text.count(b"\n", 0, match.start())
                    self._found.add(Leak(line, name))
        self._scanned_bytes += len(block)
        self._is_over = self._scanned_bytes >= SCANNED_BYTES_MAX
        self._tail = text[-_TAIL_BYTES:]
        self._lines += text.count(b"\n", 0, len(text) - len(self._tail))
