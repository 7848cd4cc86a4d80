"""``.seafloorignore``: what is left out of a snapshot, whatever git thinks of it.

Git reads the rules of a file for one repository, and lets its own rules take back what they name.
Here they hold for all below the folder that the file is in: tracked, untracked, and what is in
submodules and nested repositories.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from seafloor.code.git_command import GitOptions, GitResult, run_git

IGNORE_FILE: Final = ".seafloorignore"
"""Read at the top of a repository, or of a folder outside git, next to every ``.gitignore``."""

_EMPTY_BLOB: Final = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
# What no other system could have as the name of a file, git refuses as if this were that system.
_ANY_NAME: Final = ("core.protectNTFS=false", "core.protectHFS=false")


class RulesUnread(Exception):
    """Git could not read the rules.

    Args:
        said: What it said.
    """

    def __init__(self, said: GitResult) -> None:
        super().__init__(said.stderr)
        self.said = said


def named_by(rules: Path, paths: Sequence[bytes]) -> set[bytes]:
    """Find the paths that a file of rules names.

    Args:
        rules: In the form of ``.gitignore``.
        paths: Of files and symlinks, relative to the folder of the rules; none is looked at.

    Raises:
        RulesUnread: git failed.

    Cost: three git commands.
    """
    # Git applies rules to what its index has without a look at any file. So it is given an index.
    with tempfile.TemporaryDirectory(prefix="seafloor-git-") as scratch:
        git_dir = Path(scratch)
        lines = b"".join(b"100644 %b\t%b\0" % (_EMPTY_BLOB, path) for path in paths)
        _git(git_dir, "init", "--quiet", "--bare", "--template=", "--object-format=sha1", ".")
        _git(git_dir, "update-index", "-z", "--index-info", stdin=lines)
        said = _git(
            git_dir, "ls-files", "-z", "--cached", "--ignored", f"--exclude-from={rules.absolute()}"
        )
    return set(said.stdout.split(b"\0"))


def _git(git_dir: Path, *arguments: str, stdin: bytes = b"") -> GitResult:
    here = () if arguments[0] == "init" else (f"--git-dir={git_dir}", f"--work-tree={git_dir}")
    options = GitOptions(config=_ANY_NAME, stdin=stdin)
    said = run_git([*here, *arguments], cwd=git_dir, options=options)
    if not said.ok:
        raise RulesUnread(said)
    return said
