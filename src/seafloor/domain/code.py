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


ARCHIVE_MODES = (
    SyncMode.S3,
    SyncMode.GS,
    SyncMode.ABFS,
    SyncMode.HDFS,
    SyncMode.HTTP,
    SyncMode.FILE,
)
"""Those whose code is an archive somewhere else."""


class GitCode(msgspec.Struct, frozen=True, tag="git", tag_field="kind", forbid_unknown_fields=True):
    """A commit of a git repository.

    Args:
        url: As the user gave it, without a password.
        ref: The branch, tag or commit that he named; None when he named none (the default branch).
        commit: What ref was when the workload was submitted.
        folder: Name of the folder under ``/code``.
        secret: Name of the secret that reaches it; None: as the machine is set up.
        secrets: Names of further ones, for submodules and large files elsewhere, by the beginning
            of the addresses that they are for; the longest that fits is used.
        sparse: The only folders and files that are checked out; none: all.
    """

    url: str
    commit: GitCommit
    folder: str
    ref: str | None = None
    secret: str | None = None
    sparse: tuple[str, ...] = ()
    secrets: dict[str, str] = {}


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


class ArchiveCode(
    msgspec.Struct, frozen=True, tag="archive", tag_field="kind", forbid_unknown_fields=True
):
    """An archive somewhere: a tar or zip in a bucket, on a web server, in HDFS or in a folder.

    What it was when the workload was submitted is told by ``sha256`` or, without one, by size and
    etag: one that is not the same any more is refused.

    Args:
        url: Where it is, without credentials.
        folder: Name of the folder under ``/code``.
        size_bytes: Its size; None when the place does not say.
        etag: Changes whenever its content does: ETag, generation, or time of change; None when
            the place has none (then there is a sha256).
        sha256: As the user gave it; None when he gave none.
        strip_components: So many parts are taken off the front of every path in it.
        secret: Name of the secret that a web server is shown; None: as the machine is set up.
    """

    url: str
    folder: str
    size_bytes: Count | None = None
    etag: str | None = None
    sha256: Sha256 | None = None
    strip_components: int = 0
    secret: str | None = None


class ImageCode(
    msgspec.Struct, frozen=True, tag="image", tag_field="kind", forbid_unknown_fields=True
):
    """Code that is where the workload runs already: nothing is localised, nothing is proven.

    Args:
        path: The folder the command starts in; None: an empty one of its own.
    """

    path: str | None = None


LocalizedCode = GitCode | SnapshotCode | ArchiveCode
"""What becomes a folder under ``/code``, with a receipt."""

CodeSource = LocalizedCode | ImageCode
"""A resolved code source; what is localised of it is immutable."""


LFS_LISTED_MAX = 1000
"""Large files that a receipt names; it is read with every run."""


class Receipt(msgspec.Struct, frozen=True):
    """The proof of what was localised; written last, so a folder without one is not whole.

    Args:
        format_version: Of this document (``docs/formats/receipt.md``).
        kind: ``git``, ``archive`` or ``snapshot``.
        url: Where from; for a snapshot its object key.
        ref: What the user named, if anything.
        commit: Git commit, or None.
        tree: Git tree id of what was checked out, or None.
        sha256: Of the archive or snapshot, or None.
        etag: Of the archive where it lay, or None.
        files: Count of regular files and symlinks.
        size_bytes: Sum of their sizes.
        duration_s: How long it took.
        cached: Whether nothing had to be fetched.
        submodules: Path to commit.
        lfs_files: Count of files that git keeps in LFS.
        lfs: Path to sha256 of the first LFS_LISTED_MAX of them; the tree proves them all.
        localizer: Version of Seafloor that localised it; empty before it was written down.
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
    etag: str | None = None
    localizer: str = ""
    lfs_files: int = 0
    lfs: dict[str, str] = {}
