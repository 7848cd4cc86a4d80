"""A branch, tag or commit that a user names becomes a commit, before anything else exists."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.free_space import Growth
from seafloor.code.git_access import GitReach, git_access
from seafloor.code.git_command import OWN_BARE, GitOptions, GitResult, run_git
from seafloor.code.git_errors import error_of, is_not_served, no_commit
from seafloor.code.git_url import GitUrl, check_ref, parse_git_url
from seafloor.domain.code import GitCode
from seafloor.domain.errors import SourceError, StoreFull, nearest
from seafloor.domain.ids import GitCommit, parse_git_commit
from seafloor.domain.secrets import Secret

_FULL_COMMIT: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_ABBREVIATED: Final = re.compile(r"[0-9a-f]{4,63}\Z")
_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
_CANDIDATES_SHOWN: Final = 5


def resolve_git(
    url: str,
    ref: str | None,
    *,
    timeout_s: float = 60,
    secret: Secret | None = None,
    secrets: Mapping[str, Secret] | None = None,
    sparse: Sequence[str] = (),
) -> GitCode:
    """Find the commit that a ref of a repository is now.

    Nothing is kept on disk. Nothing is ever asked of a user: a repository that wants a password
    which neither the secret nor git's credential helpers know is an error.

    Args:
        url: ``https://``, ``ssh://``, ``git@host:path``, ``file://`` or a local path; a relative
            path becomes absolute.
        ref: Branch, tag, full name (``refs/heads/x``), commit or abbreviated commit; None for the
            default branch. A branch or tag goes before an abbreviated commit of the same letters.
        timeout_s: For all of it.
        secret: What reaches the repository; None: as this machine is set up.
        secrets: By the beginning of the addresses that they are for.
        sparse: What of it will be checked out; only written down.

    Returns:
        The source with its full commit; annotated tags are peeled.

    Raises:
        InvalidValue: ``url`` or ``ref`` could never be one, ``url`` holds a password, or the
            a secret is not for its host.
        SourceError: the repository cannot be reached, asks for a password, is missing or empty,
            is not a repository, has no such ref, or has a branch and a tag of that name.

    Cost: one ``git ls-remote``, which asks for the named refs only. An abbreviated commit, and a
    full one that is no tip, need a fetch of commits (without files, where the server can do that)
    into a temporary folder as well.
    """
    address = parse_git_url(url)
    if ref is not None:
        check_ref(ref)
    deadline_s = time.monotonic() + timeout_s
    with git_access(address.text, secret, secrets) as access:
        remote = _Remote(address, access.to(address.text), deadline_s)
        if ref is None or ref == "HEAD":
            commit = remote.default_commit()
        elif _FULL_COMMIT.match(ref.lower()):
            commit = remote.full_commit(ref.lower())
        else:
            commit = remote.commit_of(ref)
    name = None if secret is None else secret.name
    names = {prefix: each.name for prefix, each in (secrets or {}).items()}
    return GitCode(
        address.text,
        commit,
        address.folder,
        ref=ref,
        secret=name,
        sparse=tuple(sparse),
        secrets=names,
    )


@dataclass(frozen=True)
class _Remote:
    """A repository somewhere, how it is reached, and until when it may answer."""

    address: GitUrl
    reach: GitReach
    deadline_s: float

    def default_commit(self) -> GitCommit:
        refs = self._list(["HEAD"])
        if "HEAD" in refs:
            return refs["HEAD"]
        raise SourceError(
            f"{self.address.text} has no default branch: name one in ref."
            f"{nearest('main', self._names())}",
            field="code.ref",
        )

    def commit_of(self, ref: str) -> GitCommit:
        wanted = [ref] if ref.startswith("refs/") else [_BRANCHES + ref, _TAGS + ref]
        if ref.startswith(("heads/", "tags/")):
            wanted.append(f"refs/{ref}")
        refs = self._list([*wanted, *(f"{name}^{{}}" for name in wanted)])
        found = {name: refs.get(f"{name}^{{}}", refs[name]) for name in wanted if name in refs}
        if len(set(found.values())) > 1:
            raise SourceError(
                f'"{ref}" is both a branch and a tag of {self.address.text}, and they differ. '
                f"Write {' or '.join(sorted(found))}.",
                field="code.ref",
            )
        if found:
            return next(iter(found.values()))
        if _ABBREVIATED.match(ref):
            return self._abbreviated_commit(ref)
        raise self._missing(ref)

    def full_commit(self, commit: str) -> GitCommit:
        refs = self._list([])
        names = [name for name, found in refs.items() if found == commit]
        for name in names:
            if f"{name}^{{}}" in refs:  # the id of an annotated tag, not of what it is for
                return refs[f"{name}^{{}}"]
        if names:
            return parse_git_commit(commit)
        if len(commit) != _id_chars(refs):
            raise self._missing(commit)
        with tempfile.TemporaryDirectory(prefix="seafloor-git-") as folder:
            bare = self._bare(Path(folder), len(commit))
            if not self._fetch(bare, ["--depth=1"], [commit]):
                self._fetch_all(bare)
            found = self._peeled(bare, commit)
            kind = self._git(["cat-file", "-t", commit], bare)
        if found is None and kind.ok:
            raise no_commit(commit, self.address.text, kind.text)
        if found is None:
            raise self._missing(commit)
        return found

    def _abbreviated_commit(self, start: str) -> GitCommit:
        with tempfile.TemporaryDirectory(prefix="seafloor-git-") as folder:
            bare = self._bare(Path(folder), _id_chars(self._list([])))
            self._fetch_all(bare)
            objects = self._git(["rev-parse", f"--disambiguate={start}"], bare).text.split()
            peeled = {self._peeled(bare, name) for name in objects}
        commits = sorted(commit for commit in peeled if commit is not None)
        if not commits:
            raise self._missing(start)
        if len(commits) > 1:
            shown = ", ".join(commits[:_CANDIDATES_SHOWN])
            raise SourceError(
                f'"{start}" could be any of {len(commits)} commits of {self.address.text}: '
                f"{shown}. Write more of it.",
                field="code.ref",
            )
        return commits[0]

    def _list(self, patterns: Iterable[str]) -> dict[str, GitCommit]:
        """Every ref that matches, by its full name; all of them without a pattern."""
        result = self._git(["ls-remote", "--quiet", "--", self.address.text, *patterns])
        if not result.ok:
            raise _misplaced(self.address) or self._error(result)
        lines = (line.split("\t", 1) for line in result.text.splitlines())
        return {name: GitCommit(commit) for commit, name in lines}

    def _names(self) -> list[str]:
        """Branches and tags as users write them.

        Raises:
            SourceError: there is none at all.
        """
        refs = self._list([])
        if not refs:
            raise SourceError(
                f"{self.address.text} is empty: it has no commit yet. Push one and try again.",
                field="code.url",
            )
        short = (name.removeprefix(_BRANCHES).removeprefix(_TAGS) for name in refs)
        return sorted({name for name in short if not name.endswith("^{}")} - {"HEAD"})

    def _missing(self, ref: str) -> SourceError:
        names = self._names()
        return SourceError(
            f'{self.address.text} has no branch, tag or commit "{ref}".{nearest(ref, names)}',
            field="code.ref",
        )

    def _bare(self, folder: Path, id_chars: int) -> Path:
        kind = "sha256" if id_chars == 64 else "sha1"
        arguments = ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}"]
        made = self._git([*arguments, "."], folder)
        if not made.ok:
            raise self._error(made)
        return folder

    def _fetch_all(self, bare: Path) -> None:
        self._fetch(bare, [], [f"+{_BRANCHES}*:{_BRANCHES}*", f"+{_TAGS}*:{_TAGS}*"])

    def _fetch(self, bare: Path, flags: Sequence[str], refspecs: Sequence[str]) -> bool:
        """Fetch commits; False when the server does not give what was asked in this way."""
        arguments = ["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--update-shallow"]
        if not self.address.is_local:
            # A repository of this machine filters nothing as a rule. Where it is shallow, too, git
            # would fetch what is beyond by a git that does the same, and so on without end.
            arguments.append("--filter=tree:0")
        growth = Growth(bare, f"What is to be looked through of {self.address.text}")
        result = self._git([*arguments, *flags, "origin", *refspecs], bare, growth.look)
        if not result.ok and not is_not_served(result):
            raise self._error(result)
        return result.ok

    def _peeled(self, bare: Path, name: str) -> GitCommit | None:
        said = self._git(["rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"], bare)
        return parse_git_commit(said.text) if said.ok else None

    def _git(
        self,
        arguments: Sequence[str],
        cwd: Path | None = None,
        watch: Callable[[], None] | None = None,
    ) -> GitResult:
        own_bare = () if cwd is None else (OWN_BARE,)
        # The remote is a setting of the command, so that the address stands in no file.
        options = GitOptions(
            config=(f"remote.origin.url={self.address.text}", *own_bare, *self.reach.config),
            timeout_s=max(0.1, self.deadline_s - time.monotonic()),
            ssh_command=self.reach.ssh_command,
            # What was left out by the filter is not fetched one by one afterwards.
            env=(*self.reach.env, ("GIT_NO_LAZY_FETCH", "1")),
            hidden=self.reach.hidden,
            watch=watch,
        )
        return run_git(arguments, cwd=cwd, options=options)

    def _error(self, result: GitResult) -> SourceError | StoreFull:
        return error_of(result, self.address.text, secret=self.reach.secret)


def _id_chars(refs: Mapping[str, GitCommit]) -> int:
    """How long the ids of a repository are; as long as most, where it has none."""
    return next((len(commit) for commit in refs.values()), 40)


def _misplaced(address: GitUrl) -> SourceError | None:
    """Say what is wrong with a local path that git could not read, if the path is the reason."""
    path = Path(address.text.removeprefix("file://"))
    if not address.is_local or (path / ".git").exists():
        return None
    if not path.exists():
        return SourceError(f'There is no folder "{path}".', field="code.url")
    around = next((parent for parent in path.parents if (parent / ".git").exists()), None)
    if around is None:
        return None
    return SourceError(
        f'"{path}" is a folder inside the repository "{around}": name the repository itself.',
        field="code.url",
    )
