"""What goes wrong with a store of large files, in the user's words.

Git-lfs shows what a store says of itself, which can be anything. So the status of the answer and
the address that failed are what is gone by, where there are some (``git_lfs_watch``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from seafloor.code.archive_entry import shown
from seafloor.code.git_access import GitReach
from seafloor.code.git_command import GitResult
from seafloor.code.git_errors import error_of, is_short
from seafloor.code.git_lfs_watch import STALL_S, StoreTalk, without_queries
from seafloor.domain.errors import SourceError, StoreFull

_FAILED_AT: Final = re.compile(r"Failed to fetch some objects from '([^']+)'")
_OF_FILE: Final = re.compile(r"^\[[^\]]*\] .*: \[(\d{3})\] (.*)$", re.MULTILINE)
"""How git-lfs says that a store answered for one file alone."""

_NO_PASSWORD: Final = ("could not read username", "could not read password", "prompts disabled")
_NO_STORE: Final = ("expected json type", "unable to parse http response")
_BROKEN: Final = (
    "unexpected eof",
    "connection reset",
    "broken pipe",
    "stream error",
    "i/o timeout",
)


@dataclass(frozen=True)
class LfsErrors:
    """Makes the errors of one fetch.

    Args:
        url: Of the repository.
        reach: How its store was reached.
    """

    url: str
    reach: GitReach

    def given_up(self, talk: StoreTalk) -> SourceError:
        """Say why git-lfs was ended: it would have gone on without end."""
        if talk.status in {401, 429}:
            return self._error(self._of_status(talk.status, talk.url, ""))
        at = f" at {talk.url}" if talk.url else ""
        return self._error(
            f"The git LFS store of {self.url}{at} has sent next to nothing for {STALL_S:.0f} s, "
            "and was given up. Check that it can be reached from here and is well, then try again."
        )

    def failed(self, said: GitResult, talk: StoreTalk) -> SourceError | StoreFull:
        """Say why git-lfs fetched nothing, or not all.

        Args:
            said: Its words.
            talk: What it asked, looked at to its end.
        """
        words = without_queries(said.stderr)
        lowered = words.lower()
        found = _FAILED_AT.search(words)
        at = talk.url or (found[1] if found else self.url)
        message = None
        if not is_short(said):
            message = self._of_words(words, lowered, at)
            if message is None and talk.status:
                message = self._of_status(talk.status, at, lowered, _said(words))
        if message is not None:
            return self._error(message, words)
        what = f"the large files (git LFS) of {self.url} from {at}"
        return error_of(replace(said, stderr=words), self.url, secret=self.reach.secret, what=what)

    def _of_words(self, words: str, lowered: str, at: str) -> str | None:
        one = _OF_FILE.search(words)
        if one is not None and one[1] in {"404", "410"}:
            return self._missing(at)
        if one is not None:
            return (
                f"The git LFS store of {self.url} at {at} does not give a large file "
                f"({one[1]}){_quoted(one[2])}. Its owner can tell why."
            )
        if any(each in lowered for each in _NO_STORE):
            return (
                f"What answers at {at} is no git LFS store: a page to log in at, or something in "
                f"between. Check lfs.url in .lfsconfig of {self.url}, and the way there."
            )
        if any(each in lowered for each in _BROKEN):
            return (
                f"The connection to the git LFS store of {self.url} at {at} broke off again and "
                "again. Try again later; what came is kept."
            )
        return None

    def _of_status(self, status: int, at: str, lowered: str, said: str = "") -> str:
        store = f"The git LFS store of {self.url} at {at}"
        match status:
            case 401:
                return self._of_password(store, lowered)
            case 403:
                return (
                    f"{store} does not let us read (403){said}. Give the account"
                    f"{self._of_secret()} the right to read there, or look whether the store's "
                    "quota is used up."
                )
            case 404 | 410 if at.endswith("/objects/batch"):
                return (
                    f"There is no git LFS store of {self.url} at {at}, or none that the "
                    f"account{self._of_secret()} may see. Check lfs.url in .lfsconfig, and the "
                    "account's rights."
                )
            case 404 | 410:
                return self._missing(at)
            case 429:
                return f"{store} was asked too often (429). Wait a while, and try again."
            case 507 | 509:
                return (
                    f"{store} has no space or no bandwidth left ({status}){said}. Its owner has to "
                    "see to that."
                )
            case _ if status >= 500:
                return f"{store} has a problem of its own ({status}){said}. Try again later."
            case _:
                return f"{store} refused what it was asked ({status}){said}."

    def _of_password(self, store: str, lowered: str) -> str:
        names = " or ".join(f'"{name}"' for name in self.reach.opened_by)
        if any(each in lowered for each in _NO_PASSWORD):
            others = f", as no secret here ({names}) is for it" if names else ""
            return (
                f"{store} asks for a password, and there is none for it{others}. Name a secret for "
                "that address in code.secrets, or give git a credential helper for it."
            )
        if names:
            return f"{store} refused the user or the password of the secret {names}: set them anew."
        return (
            f"{store} refused the user or the password that this machine has for it. Correct them "
            "in git's credential helper."
        )

    def _of_secret(self) -> str:
        names = " or ".join(f'"{name}"' for name in self.reach.opened_by)
        return f" of the secret {names}" if names else ""

    def _missing(self, at: str) -> str:
        return (
            f"A large file of {self.url} is not in its git LFS store ({at}). Push it with: git lfs "
            "push --all origin"
        )

    @staticmethod
    def _error(message: str, detail: str = "") -> SourceError:
        return SourceError(message, field="code.url", detail=detail or None)


def _said(words: str) -> str:
    """What the store says of itself, where it says something."""
    line = next((each for each in words.splitlines() if each.startswith("batch response: ")), "")
    line = line.removeprefix("batch response: ").removeprefix("Fatal error: ").strip()
    return "" if line.startswith("LFS: ") else _quoted(line)


def _quoted(line: str) -> str:
    return f', and says "{shown(line.encode())}"' if line else ""
