"""What git says when it fails, in the user's words.

Git has no error codes: for everything that goes wrong with a repository it exits with 128. So its
words are matched here, in one table, against git run in the C locale (``git_command``).
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from seafloor.code.archive_entry import shown
from seafloor.code.git_command import GitResult
from seafloor.domain.errors import SourceError, StoreFull


@dataclass(frozen=True)
class _Case:
    """Words of git or ssh, any of which means one thing.

    Args:
        words: Lower-case parts of what is said.
        message: For the user; ``{url}``, ``{secret}`` and ``{reason}`` are filled in.
    """

    words: tuple[str, ...]
    message: str


_PRIVATE: Final = (
    "{url} asks for a password, and there is none for it here: it is private, or it does not exist "
    "(many hosts say the same of both). Check the address; for a private repository give git a "
    "credential helper or an ssh key that may read it."
)

_PROXY: Final = _Case(
    ("from proxy after connect", "connect tunnel failed", "could not resolve proxy"),
    "The proxy on the way to {url} does not let us through. Check its address and password, in "
    "https_proxy or git's http.proxy, or name the host in no_proxy.",
)

_LIMITS: Final = _Case(
    (
        "out of memory",
        "cannot allocate memory",
        "died of signal",
        "too many open files",
        "resource temporarily unavailable",
        "file table overflow",
    ),
    "git ran short of memory, open files or processes on this machine while it worked on {url} "
    "({reason}). Try again, or raise the limits of what localises code.",
)
"""Said by our own git; what the other side says of itself begins with ``remote:``."""

_NO_REPOSITORY: Final = _Case(
    (
        "does not appear to be a git repository",
        "not a git repository",
        "is this a git repository",
        "not valid: could not determine hash algorithm",
    ),
    "{url} is not a git repository. Check the address.",
)

_BROKEN: Final = _Case(
    (
        "bytes of body are still expected",
        "unexpected disconnect",
        "early eof",
        "transfer closed with",
        "remote end hung up",
        "connection closed by",
        "rpc failed",
    ),
    "What {url} sends breaks off in the middle ({reason}). Check the way there, then try again.",
)
"""Git says so, too, when it was itself that could not go on."""

# In this order: ssh's reason stands before git's general "Could not read from remote repository".
_CASES: Final = (
    _Case(
        ("could not resolve host", "name or service not known", "unable to look up"),
        "The host of {url} is not known. Check its spelling and this machine's network.",
    ),
    _Case(
        ("host key verification failed",),
        "The host of {url} is not among the known hosts of ssh, or its key has changed. Check its "
        "key and add it with: ssh-keyscan HOST >> ~/.ssh/known_hosts",
    ),
    _Case(
        ("no user exists for uid",),
        "ssh, which {url} needs, does nothing for a user id without a name. Install libnss-wrapper "
        "where this runs, run it as a user of /etc/passwd, or use the https address.",
    ),
    _Case(
        ("permission denied (", "too many authentication failures"),
        "The host of {url} refused our ssh key. Add a key that may read the repository, or use its "
        "https address.",
    ),
    _Case(
        ("ssl certificate", "certificate verification failed", "ssl peer certificate"),
        "The certificate of {url} is not trusted by this machine. Add its authority to the "
        "system's certificates.",
    ),
    _Case(
        (
            "connection refused",
            "connection timed out",
            "failed to connect",
            "couldn't connect",
            "network is unreachable",
            "no route to host",
            "connection reset",
            "operation too slow",
            "operation timed out",
            "empty reply from server",
        ),
        "The host of {url} cannot be reached, or stopped answering. Check the address and this "
        "machine's network, then try again.",
    ),
    _Case(
        ("authentication failed",),
        "The host of {url} refused the user or the password that this machine has for it, as many "
        "hosts do where there is no such repository. Correct them in git's credential helper, and "
        "check the address.",
    ),
    _Case(
        (
            "terminal prompts disabled",
            "could not read username",
            "could not read password",
            "returned error: 401",
            "returned error: 403",
            "repository not found",
        ),
        _PRIVATE,
    ),
    _Case(
        ("missing object", "object does not exist on the server"),
        "A large file of {url} is not in its git LFS store. Push it with: git lfs push --all "
        "origin",
    ),
    _Case(
        ("' not found", "returned error: 404", "returned error: 410"),
        "There is no repository at {url}. Check the address; hosts also say this of private "
        "repositories.",
    ),
    _Case(
        ("returned error: 429",),
        "The host of {url} was asked too often. Wait a while, and try again.",
    ),
    _Case(
        ("returned error: 5",),
        "The host of {url} has a problem of its own. Try again later.",
    ),
    _Case(
        ("redirects followed", "not supported or disabled in libcurl", "returned error: 30"),
        "{url} leads to another address, where git cannot follow ({reason}): a page to log in at, "
        "or the repository has moved. Name the repository itself.",
    ),
    _Case(
        ("dubious ownership",),
        "{url} belongs to another user of this machine, and git refuses to read it. Allow it with: "
        "git config --global --add safe.directory '{url}'",
    ),
    _NO_REPOSITORY,
    _Case(
        ("bad line length character", "expected flush after", "invalid server response"),
        "What answers at {url} does not speak as git does ({reason}): it is a page to log in at, "
        "something in between, or a server that broke off. Check the address, then try again.",
    ),
    _BROKEN,
)

_CASES_WITH_SECRET: Final = (
    _Case(
        ("remote host identification has changed",),
        "The host of {url} shows another key than the one that is known of it: somebody may stand "
        'in between. If it was replaced, set the key "known_hosts" of the secret "{secret}" anew.',
    ),
    _Case(
        ("host key verification failed",),
        "The host of {url} is not among the known hosts. Check its key (ssh-keyscan shows it) and "
        'put its line into the key "known_hosts" of the secret "{secret}".',
    ),
    _Case(
        ("error in libcrypto", "incorrect passphrase", "invalid format"),
        'The key "ssh-privatekey" of the secret "{secret}" cannot be read: it is damaged, or has a '
        "passphrase. Set one that has none, from its file.",
    ),
    _Case(
        ("permission denied (",),
        'The host of {url} refused the ssh key of the secret "{secret}": add its public part '
        "there, with the right to read the repository.",
    ),
    _Case(
        ("ssl certificate", "certificate verification failed", "ssl peer certificate"),
        "The certificate of {url} is not trusted. Put the certificate of its authority into the "
        'key "ca.crt" of the secret "{secret}".',
    ),
    _Case(
        ("could not read username", "could not read password"),
        "{url} leads to another host, which asks for a password, and the secret "
        '"{secret}" is not for that one. Use the address that it leads to, or set the key "hosts".',
    ),
    _Case(
        ("authentication failed", "returned error: 401"),
        'The host of {url} refused the user or the password of the secret "{secret}": set them '
        "anew.",
    ),
    _Case(
        ("returned error: 403", "repository not found", "' not found", "returned error: 404"),
        'There is no repository at {url} that the account of the secret "{secret}" may read. '
        "Check the address and the account's rights.",
    ),
)
"""Looked at first when a secret was used: then it is this that the user can mend."""

_NOT_SERVED: Final = (
    "not our ref",
    "unadvertised object",
    "couldn't find remote ref",
    "dumb http transport does not support shallow",
    "does not support filter",
)


def is_not_served(result: GitResult) -> bool:
    """Tell whether the server has, or gives, no such commit or ref when asked in this way."""
    said = result.stderr.lower()
    return any(words in said for words in _NOT_SERVED)


def error_of(
    result: GitResult,
    url: str,
    *,
    field: str = "code.url",
    secret: str | None = None,
    what: str | None = None,
) -> SourceError | StoreFull:
    """Make the error for a user of a git command that failed.

    Args:
        result: What git said.
        url: Of the repository, fit to be shown.
        field: That the user should look at.
        secret: Name of the one that was used.
        what: Could not be read, where that is not the repository itself.
    """
    said = result.stderr.lower()
    if _is_full(said):
        return StoreFull(
            f"There is no space left on this machine for the code of {url}. Free some and try "
            "again.",
            detail=result.stderr,
        )
    if result.code < 0:
        return SourceError(
            f"git was ended by signal {-result.code} ({_signal_name(-result.code)}) while it "
            f"worked on {url}, as systems do where memory is short. Try again, or allow more of it "
            "where code is localised.",
            field=field,
            detail=result.stderr,
        )
    reason = _last_words(result.stderr)
    if _is_limited(said):
        message = _LIMITS.message.format(url=url, reason=reason)
        return SourceError(message, field=field, detail=result.stderr)
    case = _case_of(said, _CASES if secret is None else (*_CASES_WITH_SECRET, *_CASES))
    if case is _NO_REPOSITORY and (misplaced := _misplaced(url)):
        return SourceError(misplaced, field=field, detail=result.stderr)
    if case is not None:
        message = case.message.format(url=url, secret=secret, reason=shown(reason.encode()))
        return SourceError(message, field=field, detail=result.stderr)
    return SourceError(
        f"git could not read {what or url}: {shown(reason.encode())}",
        field=field,
        detail=result.stderr,
    )


def _misplaced(url: str) -> str | None:
    """Say what is wrong with a path of this machine where git found no repository."""
    if not url.startswith(("/", "file://")):
        return None
    path = Path(unquote(url.removeprefix("file://")) if url.startswith("file://") else url)
    if not path.exists():
        return f'There is no folder "{path}".'
    around = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if around is None or (path / ".git").exists():
        return None
    return f'"{path}" is a folder inside the repository "{around}": name the repository itself.'


def is_short(result: GitResult) -> bool:
    """Tell whether this machine had too little of something for a git command, or ended it."""
    said = result.stderr.lower()
    return result.code < 0 or _is_full(said) or _is_limited(said)


def blames_remote(result: GitResult) -> bool:
    """Tell whether it is the other side, or the way there, that a git command failed for.

    That there is no repository git says of either side, and that it broke off.
    """
    case = None if is_short(result) else _case_of(result.stderr.lower(), _CASES)
    return case is not None and case not in (_NO_REPOSITORY, _BROKEN)


def _is_full(said: str) -> bool:
    return "no space left on device" in said or "disk quota exceeded" in said


def _case_of(said: str, cases: Sequence[_Case]) -> _Case | None:
    found = (case for case in (_PROXY, *cases) if any(words in said for words in case.words))
    return next(found, None)


def _is_limited(said: str) -> bool:
    own = "\n".join(line for line in said.splitlines() if not line.startswith("remote:"))
    return any(words in own for words in _LIMITS.words)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"


def _last_words(stderr: str) -> str:
    """The line in which git says what was fatal, for failures that the table does not know."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal: ", "error: ", "ERROR: "))]
    chosen = (fatal or lines or ["it gave no reason"])[0]
    return chosen.partition(": ")[2] if chosen in fatal else chosen


def no_commit(name: str, url: str, kind: str) -> SourceError:
    """Say that an id is one of something else: a tag, a tree or a blob."""
    return SourceError(
        f"{name} of {url} is a {kind}, not a commit: name a branch, a tag by its name, or a "
        "commit.",
        field="code.ref",
    )
