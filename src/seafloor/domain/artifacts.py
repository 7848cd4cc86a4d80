"""Artifacts: files that a workload keeps."""

from __future__ import annotations

import msgspec

from seafloor.domain.errors import PreconditionFailed
from seafloor.domain.ids import Sha256

ANY = "*"
"""In place of a digest: whatever it is."""


class ArtifactFile(msgspec.Struct, frozen=True):
    """One file of a manifest.

    Args:
        path: Relative, parts joined by ``/`` (``domain.names.check_path``).
        size_bytes: Of its content.
        sha256: Of its content.
        created_ns: When it was put, UTC.
    """

    path: str
    size_bytes: int
    sha256: Sha256
    created_ns: int


class FileCondition(msgspec.Struct, frozen=True):
    """What has to be true of a path for a file to be put there, or deleted.

    Args:
        any_of: Digests; the file there has one of them. With ``ANY`` there is a file. None: all
            the same.
        none_of: Digests; the file there has none of them. With ``ANY`` there is no file.
    """

    any_of: frozenset[str] | None = None
    none_of: frozenset[str] = frozenset()

    def check(self, path: str, file: ArtifactFile | None) -> None:
        """Compare with the file that is there, if any.

        Raises:
            PreconditionFailed: it is not so.
        """
        has = frozenset[str]() if file is None else {file.sha256, ANY}
        if not (self.none_of & has or (self.any_of is not None and not self.any_of & has)):
            return
        now = "not there" if file is None else f"there with the sha256 {file.sha256}"
        raise PreconditionFailed(
            f'"{path}" is {now}, which is not what the request asks for. Nothing was changed: '
            "read it again, and decide anew.",
            field="path",
        )


NONE_THERE = FileCondition(none_of=frozenset({ANY}))
"""There is no file."""


class ArtifactEntry(msgspec.Struct, frozen=True):
    """One line of a folder listing: a file, or a folder with what is below it.

    Args:
        path: Of the file or folder, relative to the workload's artifacts.
        is_folder: Which of the two.
        size_bytes: Of the file; of all files below for a folder.
        files: 1, or the count of files below.
        sha256: Of the file; None for a folder.
    """

    path: str
    is_folder: bool
    size_bytes: int
    files: int
    sha256: Sha256 | None = None

    @property
    def place(self) -> str:
        """Where it stands in a listing: a folder where its files do, after ``a.b`` and ``a-b``.

        >>> ArtifactEntry("a", is_folder=True, size_bytes=1, files=1).place
        'a/'
        """
        return f"{self.path}/" if self.is_folder else self.path


class ArtifactSums(msgspec.Struct, frozen=True):
    """How many files there are, and what they take together.

    Args:
        files: Count.
        size_bytes: Of all of them.
    """

    files: int
    size_bytes: int
