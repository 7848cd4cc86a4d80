"""Volumes on the wire."""

from __future__ import annotations

from typing import Annotated

import msgspec

from seafloor.domain.volumes import (
    AccessMode,
    OperationKind,
    VolumeClaim,
    VolumeHolder,
    VolumeSnapshot,
)


class VolumeCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /api/v1/volumes``.

    Args:
        name: Lower-case letters, digits and ``-``; unique in its project.
        access_mode: ``RWO``: one writer at a time. ``RWX``: many.
        size: "20Gi" or bytes; null: as much as there is room for; a cluster wants to be told.
        storage_class: Of the claim on Kubernetes.
    """

    name: str
    project: str = "default"
    access_mode: AccessMode = AccessMode.RWO
    size: str | int | None = None
    storage_class: str | None = None


class VolumeUnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that is being made or restored.

    Args:
        kind: Which.
        snapshot: Its number.
        started_ns: UTC.
        done_bytes, total_bytes: Of the files' content; ``total_bytes`` is 0 until it is known.
    """

    kind: OperationKind
    snapshot: int
    started_ns: int
    done_bytes: int
    total_bytes: int


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """A volume.

    Args:
        path: Its folder on the machine of the server; null: it is none.
        claim: What it is on a cluster, and how that fares; null: it is none.
        away: Why runs of this server cannot have it, one sentence; ``""``: they can.
        holders: Who has it attached.
        under_way: What is being done to it, null for nothing.
        problem: Why the last snapshot or restore failed; ``""``: it did not.
    """

    id: str
    project: str
    name: str
    access_mode: AccessMode
    size_bytes: int | None
    storage_class: str | None
    created_ns: int
    path: str | None
    claim: VolumeClaim | None
    away: str
    holders: tuple[VolumeHolder, ...]
    under_way: VolumeUnderWay | None
    problem: str


class VolumePage(msgspec.Struct, frozen=True):
    """``GET /api/v1/volumes``: by project and name; ``next`` is the cursor of the next page."""

    items: tuple[VolumeView, ...]
    next: str | None = None


class VolumeUsage(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /api/v1/volumes/{name}/usage``: what it holds now; every file is looked at.

    Args:
        files: Count of files and links.
        content_bytes: Sum of the files' sizes.
        disk_bytes: What they take on the disk.
    """

    files: int
    content_bytes: int
    disk_bytes: int


class VolumeSnapshotList(msgspec.Struct, frozen=True):
    """``GET /api/v1/volumes/{name}/snapshots``: by number."""

    items: tuple[VolumeSnapshot, ...]


class VolumeRestore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/volumes/{name}/restore``: which snapshot its content becomes."""

    snapshot: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class VolumeResize(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/volumes/{name}/resize``: "50Gi" or bytes."""

    size: str | int


class VolumeDeleted(msgspec.Struct, frozen=True):
    """``DELETE /api/v1/volumes/{name}``: what was removed."""

    name: str
