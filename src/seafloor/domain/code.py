"""Code: where it comes from, and the proof of what arrived."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from seafloor.domain.bounds import Count
from seafloor.domain.ids import GitCommit, Sha256


class SyncMode(StrEnum):
    """How code reaches a workload; the spec's ``sync_mode``."""

    GIT = "git"
    LOCAL = "local"
    S3 = "s3"
    GS = "gs"
    ABFS = "abfs"
    HDFS = "hdfs"
    HTTP = "http"
    FILE = "file"
    IMAGE = "image"


class GitCode(msgspec.Struct, frozen=True, tag="git", tag_field="kind", forbid_unknown_fields=True):
    """A commit of a git repository.

    Args:
        url: As the user gave it, without a password.
        ref: The branch, tag or commit that he named; None when he named none (the default branch).
        commit: What ref was when the workload was submitted.
        folder: Name of the folder under ``/code``.
    """

    url: str
    commit: GitCommit
    folder: str
    ref: str | None = None


class SnapshotCode(
    msgspec.Struct, frozen=True, tag="snapshot", tag_field="kind", forbid_unknown_fields=True
):
    """A working folder as it was, kept as ``code/<sha256>.tar.zst``.

    Args:
        sha256: Digest of the ``.tar.zst``.
        size_bytes: Its size.
        folder: Name of the folder under ``/code``.
        git_url, git_commit, git_branch, git_dirty: What git said of the folder, for people to
            find their way back; None outside git, and ``git_branch`` None on a detached HEAD.
        subfolder: The folder the command was given in, relative to the snapshot's root
            (``""`` for the root itself). The command starts there.
    """

    sha256: Sha256
    size_bytes: Count
    folder: str
    subfolder: str = ""
    git_url: str | None = None
    git_commit: GitCommit | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None


CodeSource = GitCode | SnapshotCode
"""A resolved, immutable code source. Archives join this union with their own kinds."""


class Receipt(msgspec.Struct, frozen=True):
    """The proof of what was localised; written last, so a folder without one is not whole.

    Args:
        format_version: Of this document (``docs/formats/receipt.md``).
        kind: ``git`` or ``snapshot``.
        url: Where from; for a snapshot its object key.
        ref: What the user named, if anything.
        commit: Git commit, or None.
        tree: Git tree id of what was checked out, or None.
        sha256: Of the archive, or None.
        files: Count of regular files and symlinks.
        size_bytes: Sum of their sizes.
        duration_s: How long it took.
        cached: Whether nothing had to be fetched.
        submodules: Path to commit.
    """

    kind: str
    url: str
    files: int
    size_bytes: int
    duration_s: float
    cached: bool
    ref: str | None = None
    commit: GitCommit | None = None
    tree: str | None = None
    sha256: Sha256 | None = None
    submodules: dict[str, str] = {}
    format_version: int = 1
