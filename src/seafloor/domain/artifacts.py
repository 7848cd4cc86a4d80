"""Artifacts: files that a workload keeps."""

from __future__ import annotations

import msgspec

from seafloor.domain.ids import Sha256


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
