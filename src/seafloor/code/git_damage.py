"""Whether a cached repository is damaged: proof of it, not a guess.

A git command fails for many reasons that say nothing of what it reads: memory, a full disk, a limit
of open files, a signal. Git has one exit code for all of them. So a cache is thrown away only for
what is seen here: a file that is missing, does not hold what its own checksum says, or an object
that git says is missing.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from seafloor.code.git_command import OWN_BARE, GitOptions, GitResult, run_git
from seafloor.domain.ids import GitCommit
from seafloor.domain.quantities import shown_count

PACK_SUFFIXES: Final = (".pack", ".rev", ".idx")
_READ_BYTES: Final = 1 << 20
_HEAD: Final = re.compile(rb"(?:ref: refs/\S+|[0-9a-f]{40,64})\n?\Z")
_SHALLOW: Final = re.compile(rb"(?:[0-9a-f]{40}\n|[0-9a-f]{64}\n)*\Z")


def damage_of(bare: Path, commit: GitCommit | None) -> str | None:
    """Look for proof that a bare repository of packs is damaged.

    Args:
        bare: The repository; nobody removes packs of it meanwhile.
        commit: What it should have all objects of; None: only its files are looked at.

    Returns:
        What is damaged, for the log; None: there is no proof.

    Raises:
        OSError: a file cannot be read for another reason than that it is missing.

    Cost: one read of every pack.
    """
    return _frame(bare) or _packs(bare) or (None if commit is None else _objects(bare, commit))


def _frame(bare: Path) -> str | None:
    """Look at what makes a folder a repository for git."""
    if not (bare / "objects").is_dir() or not (bare / "refs").is_dir():
        return "a folder of it is missing"
    if not _HEAD.match(_read(bare / "HEAD") or b""):
        return "HEAD is missing or cut"
    if b"bare = true" not in (_read(bare / "config") or b""):
        return "config is missing or cut"
    if not _SHALLOW.match(_read(bare / "shallow") or b""):
        return "shallow is cut"
    return None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _packs(bare: Path) -> str | None:
    folder = bare / "objects" / "pack"
    sum_name = "sha256" if b"sha256" in (_read(bare / "config") or b"") else "sha1"
    for index in sorted(folder.glob("pack-*.idx")):
        pack = index.with_suffix(".pack")
        if not pack.is_file():
            return f"{pack.name} is missing"
        for path in (index.with_suffix(suffix) for suffix in PACK_SUFFIXES):
            if path.is_file() and not _is_whole(path, sum_name):
                return f"{path.name} is cut or altered"
    return None


def _is_whole(path: Path, sum_name: str) -> bool:
    """Whether a file ends with the checksum of what stands before it, as git writes packs."""
    digest = hashlib.new(sum_name, usedforsecurity=False)
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - digest.digest_size
        while left > 0 and (block := file.read(min(left, _READ_BYTES))):
            digest.update(block)
            left -= len(block)
        return left == 0 and file.read() == digest.digest()


def _objects(bare: Path, commit: GitCommit) -> str | None:
    said = _git(bare, ["cat-file", "--batch-check"], stdin=f"{commit}\n".encode())
    if said.ok and said.text.endswith(" missing"):
        return f"the commit {commit} is missing"
    said = _git(bare, ["rev-list", "--objects", "--missing=print", commit])
    missing = [line for line in said.stdout.split(b"\n") if line.startswith(b"?")]
    return f"{shown_count(len(missing), 'object')} of {commit} missing" if missing else None


def _git(bare: Path, arguments: list[str], stdin: bytes = b"") -> GitResult:
    options = GitOptions(config=(OWN_BARE, f"safe.directory={bare}"), stdin=stdin)
    return run_git(arguments, cwd=bare, options=options)
