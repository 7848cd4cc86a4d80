"""Addresses of git repositories: what is accepted, what is kept, and the folder they become."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from seafloor.domain.errors import InvalidValue, LimitExceeded, nearest
from seafloor.domain.names import PATH_PART_BYTES_MAX

URL_CHARS_MAX: Final = 2048
REF_CHARS_MAX: Final = 250
SCHEMES: Final = ("https", "http", "ssh", "git", "file")
RECEIPT_FOLDER: Final = ".localized"
"""Name of the folder in which version 1 kept receipts, beside the localised folders."""

_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCP = re.compile(r"(?:[^/:@\s]+@)?(?:\[[^\]/]+\]|[^/:@\s]+):(?!//)(?P<path>.+)\Z")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


@dataclass(frozen=True)
class GitUrl:
    """The address of a repository, fit to be stored and shown.

    Args:
        text: Without user information that could be a secret; local paths absolute.
        folder: Name of the folder it is localised as.
        is_local: Whether it is a path of this machine (also ``file://``).
        is_ssh: Whether ssh takes us there.
    """

    text: str
    folder: str
    is_local: bool = False
    is_ssh: bool = False


def parse_git_url(url: str, *, field: str = "code.url") -> GitUrl:
    """Read the address of a repository as a user wrote it.

    Accepted: ``https://``, ``http://``, ``ssh://``, ``git://``, ``file://``, ``git@host:path`` and
    local paths, absolute or relative to the working directory.

    Raises:
        InvalidValue: it is empty, looks like an option, names a transport helper or an unknown
            scheme, or holds a password, a query or a fragment (which could be a secret).

    >>> parse_git_url("git@example.com:team/digits.git")
    GitUrl(text='git@example.com:team/digits.git', folder='digits', is_local=False, is_ssh=True)
    """
    text = url.strip()
    _check_text(text, field)
    scheme = _SCHEME.match(text)
    if scheme:
        return _parse_schemed(text, scheme[1].lower(), field)
    if _HELPER.match(text):
        raise InvalidValue(
            'A repository address with a transport helper ("name::…") is not accepted: use '
            "https://, ssh:// or a path.",
            field=field,
        )
    scp = _SCP.match(text)
    if scp and not Path(text).exists():
        return GitUrl(text=text, folder=_folder(scp["path"], field), is_ssh=True)
    path = Path(text).expanduser().absolute()
    return GitUrl(text=str(path), folder=_folder(str(path), field), is_local=True)


def _check_text(text: str, field: str) -> None:
    if not text:
        raise InvalidValue("The repository address is empty.", field=field)
    if len(text) > URL_CHARS_MAX:
        raise LimitExceeded(
            f"A repository address has at most {URL_CHARS_MAX} characters.", field=field
        )
    if text.startswith("-"):
        raise InvalidValue('A repository address must not begin with "-".', field=field)
    if _has_control(text):
        raise InvalidValue("A repository address must not hold control characters.", field=field)


def _has_control(text: str) -> bool:
    """Whether there are control characters in a text, or halves of characters."""
    return any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)


def _parse_schemed(text: str, scheme: str, field: str) -> GitUrl:
    if scheme not in SCHEMES:
        raise InvalidValue(
            f'"{scheme}://" is not a way to reach a git repository.{nearest(scheme, SCHEMES)}',
            field=field,
        )
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError as error:
        raise InvalidValue("The repository address is not a valid URL.", field=field) from error
    if parts.password is not None:
        raise InvalidValue(
            "The repository address holds a password, which would be stored and shown. Take it out "
            "and give it to git's credential helper, or use an ssh address.",
            field=field,
        )
    if parts.query or parts.fragment:
        raise InvalidValue(
            'A repository address has no "?…" or "#…" part: take it out (a token in it would be '
            "stored and shown), and name a branch, tag or commit in ref.",
            field=field,
        )
    if scheme == "file":
        return GitUrl(text=text, folder=_folder(parts.path, field), is_local=True)
    if not host or host.startswith("-"):
        raise InvalidValue("The repository address names no host.", field=field)
    if scheme in ("https", "http") and " " in parts.path:
        raise InvalidValue(
            'The repository address has a space in it, which no web address has: write "%20".',
            field=field,
        )
    kept = urlunsplit(without_secret(parts))
    return GitUrl(text=kept, folder=_folder(parts.path, field), is_ssh=scheme == "ssh")


def without_secret(parts: SplitResult) -> SplitResult:
    """Take out of a URL what could be a secret: over http any user, elsewhere a password.

    A lone user name in an http address is as often a token as a name, and git's credential
    helpers find the right entry without it.
    """
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme == "ssh" and parts.username:
        host = f"{parts.username}@{host}"
    return parts._replace(netloc=host, query="", fragment="")


def url_for_people(url: str) -> str:
    """Make an address that git has configured fit to be stored and shown.

    >>> url_for_people("https://user:token@example.com/a.git")
    'https://example.com/a.git'
    """
    if not _SCHEME.match(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit(without_secret(parts))


def _folder(path: str, field: str) -> str:
    name = path.rstrip("/")
    name = name.removesuffix("/.git").rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return check_folder(name.removesuffix(".git"), field=field)


def check_folder(name: str, *, field: str = "code.folder") -> str:
    """Check the name that localised code gets under the code folder.

    Raises:
        InvalidValue: it is empty, a path, ``.git``, the folder of receipts, begins with ``-``, or
            holds control characters.
        LimitExceeded: it has more bytes than a file name may have, less room for our suffixes.
    """
    refused = {"", ".", "..", ".git", RECEIPT_FOLDER, ".receipt.json"}
    refused |= {".localize.folder", ".localize.lock"}
    if name in refused or "/" in name or "\\" in name or name.startswith("-"):
        raise InvalidValue(
            f'The last part of the repository address, "{name}", cannot be the name of a folder.',
            field=field,
        )
    if _has_control(name):
        raise InvalidValue("A folder name must not hold control characters.", field=field)
    if len(name.encode()) > PATH_PART_BYTES_MAX - 32:
        raise LimitExceeded(
            f"The name of a code folder has at most {PATH_PART_BYTES_MAX - 32} bytes.", field=field
        )
    return name


def check_ref(ref: str, *, field: str = "code.ref") -> str:
    """Check the name of a branch, tag or commit by git's own rule (git-check-ref-format).

    Raises:
        InvalidValue: git could not have such a name, it looks like an option, or it is no text.
        LimitExceeded: longer than REF_CHARS_MAX characters.
    """
    if len(ref) > REF_CHARS_MAX:
        raise LimitExceeded(f"A ref has at most {REF_CHARS_MAX} characters.", field=field)
    wrong_part = any(
        not part or part.startswith(".") or part.endswith(".lock") for part in ref.split("/")
    )
    if _has_control(ref):
        raise InvalidValue("A ref must not hold control characters.", field=field)
    if wrong_part or _REF_FORBIDDEN.search(ref) or ref.startswith("-") or ref.endswith("."):
        raise InvalidValue(
            f'"{ref}" is not a branch, tag or commit: git has no such names. Leave ref out for the '
            "default branch.",
            field=field,
        )
    return ref
