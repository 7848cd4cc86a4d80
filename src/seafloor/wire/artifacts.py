"""Artifacts and tf.events files on the wire."""

from __future__ import annotations

import msgspec

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile


class ArtifactFolder(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/artifacts?folder=…``: what is directly below a folder, paged."""

    folder: str
    items: tuple[ArtifactEntry, ...]
    next: str | None = None


class ArtifactFiles(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/artifacts?folder=…&recursive=true``: all files below, paged."""

    folder: str
    items: tuple[ArtifactFile, ...]
    next: str | None = None


class ArtifactDeleted(msgspec.Struct, frozen=True):
    """``DELETE /api/v1/runs/{id}/artifacts/{path}``."""

    files: int


class EventFileView(msgspec.Struct, frozen=True):
    """One tf.events file; see ``stores.events.protocol.EventFile``."""

    path: str
    attempt: int
    size_bytes: int
    records: int
    scalars: int
    problem: str | None = None


class EventFileList(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/event-files``."""

    items: tuple[EventFileView, ...]


class SnapshotStored(msgspec.Struct, frozen=True):
    """``PUT /api/v1/snapshots/{sha256}``; ``created`` is false when it was there already."""

    sha256: str
    size_bytes: int
    created: bool
