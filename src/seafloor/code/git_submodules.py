"""Submodules: which commits of which other repositories a commit wants, and where."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.archive_entry import shown
from seafloor.code.git_command import run_git
from seafloor.code.git_tree import SUBMODULE_MODE, TreeEntry
from seafloor.code.git_url import parse_git_url
from seafloor.domain.errors import SourceError
from seafloor.domain.ids import GitCommit, parse_git_commit

_KEY: Final = re.compile(r"submodule\.(?P<name>.*)\.(?P<what>path|url|update)\Z", re.DOTALL)
_SPLIT: Final = re.compile(r"(?P<start>[a-z+]+://[^/]*|[^/]*:|)(?P<path>.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class Submodule:
    """One submodule of a commit.

    Args:
        path: In the folder, relative.
        url: Of its repository; None when ``.gitmodules`` does not name one, or says
            ``update = none``: git leaves such a folder empty.
        commit: Which the superproject wants.
    """

    path: str
    url: str | None
    commit: GitCommit

    @property
    def shown(self) -> str:
        """The path as text, for receipts and people: what is not UTF-8 in it as ``\\xff``."""
        return shown(os.fsencode(self.path))


def submodules_of(
    folder: Path, url: str, commit: GitCommit, entries: Sequence[TreeEntry]
) -> list[Submodule]:
    """List the submodules of a checked-out commit.

    Args:
        folder: The checked-out folder.
        url: Of its repository; relative addresses begin there.
        commit: Which is checked out.
        entries: What it has.

    Raises:
        InvalidValue: an address could never be one, or holds a password.
        SourceError: a repository from elsewhere names a path of this machine.
    """
    links = [entry for entry in entries if entry.mode == SUBMODULE_MODE]
    if not links:
        return []
    urls = _urls_by_path(folder, commit)
    found: list[Submodule] = []
    for link in links:
        path = os.fsdecode(link.path)
        raw = urls.get(path)
        address = None if raw is None else _address(raw, url, shown(link.path))
        found.append(Submodule(path, address, parse_git_commit(link.id)))
    return found


def _urls_by_path(folder: Path, commit: str) -> dict[str, str]:
    # Read from the commit, not from the folder, where .gitmodules could be a link to elsewhere.
    said = run_git(
        ["config", "-z", f"--blob={commit}:.gitmodules", "--get-regexp", r"^submodule\."],
        cwd=folder,
    )
    modules: dict[str, dict[str, str]] = {}
    for line in said.stdout.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = line.partition("\n")
        named = _KEY.match(key)
        if named:
            modules.setdefault(named["name"], {})[named["what"]] = value
    return {
        module["path"]: module["url"]
        for module in modules.values()
        if "path" in module and "url" in module and module.get("update") != "none"
    }


def _address(raw: str, parent: str, path: str) -> str:
    field = f".gitmodules of {parent}"
    if not raw.isascii() and raw != os.fsencode(raw).decode("utf-8", "replace"):
        raise SourceError(
            f'The address of the submodule "{path}" is not UTF-8: "{shown(os.fsencode(raw))}".',
            field=field,
        )
    relative = raw.startswith(("./", "../"))
    address = parse_git_url(join_url(parent, raw) if relative else raw, field=field)
    if address.is_local and not parse_git_url(parent).is_local:
        raise SourceError(
            f'The submodule "{path}" of {parent} is a path of this machine ("{raw}"), which a '
            "repository from elsewhere may not name. Use an https or ssh address.",
            field=field,
        )
    return address.text


def join_url(parent: str, relative: str) -> str:
    """Resolve the relative address of a submodule as git does.

    >>> join_url("https://example.com/team/app.git", "../lib.git")
    'https://example.com/team/lib.git'
    >>> join_url("git@example.com:team/app.git", "../../other/lib.git")
    'git@example.com:other/lib.git'
    """
    split = _SPLIT.match(parent)
    assert split is not None  # noqa: S101 - the pattern matches every text
    start, path = split["start"], split["path"]
    rooted = path.startswith("/")
    joined = posixpath.normpath(posixpath.join(path.strip("/"), relative))
    return start + ("/" if rooted else "") + joined
