"""Volumes: attachable folders that outlive a workload, with snapshots; and who may have one when.

Whoever holds a volume is found, not kept: a workload that is not at its end holds what it was
submitted with. The rules here are asked within the transaction that attaches or begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound, nearest
from seafloor.domain.ids import Sha256, WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.quantities import parse_memory

VOLUME_NAME_CHARS_MAX: Final = 63
STORAGE_CLASS_CHARS_MAX: Final = 253
CLAIM_NAME_CHARS_MAX: Final = 253
SIZE_BYTES_MAX: Final = 1 << 60
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_CLASS: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\Z")


CODE_PATH: Final = "/code"
_TAKEN: Final = (CODE_PATH, "/dev", "/proc", "/sys", "/seafloor")
_TAKEN_ITSELF: Final = ("/tmp", "/home/seafloor")  # noqa: S108  # what is below them is free


class AccessMode(StrEnum):
    """How many may write to a volume at once; any number may read it.

    ``RWO``: one. ``RWX``: many. On Kubernetes they are ReadWriteOnce and ReadWriteMany.
    """

    RWO = "RWO"
    RWX = "RWX"


class OperationKind(StrEnum):
    """What may be under way on a volume."""

    SNAPSHOT = "snapshot"
    RESTORE = "restore"


class VolumeOperation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A snapshot that is being made, or restored. It is over with the server that does it.

    Args:
        kind: Which.
        snapshot: Number of the snapshot.
        content: Of a restore: number of the content that it makes; 0 otherwise.
        claim: Of the place whose server does it.
        started_ns: UTC.
        done_bytes, total_bytes: Of the files' content, as far as it is known.
    """

    kind: OperationKind
    snapshot: int
    content: int
    claim: Claim
    started_ns: int
    done_bytes: int = 0
    total_bytes: int = 0

    def is_same(self, other: VolumeOperation | None) -> bool:
        """Whether the other is this one, however far it has come."""
        return other is not None and (
            (self.kind, self.snapshot, self.content, self.claim)
            == (other.kind, other.snapshot, other.content, other.claim)
        )


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the metadata store keeps it.

    Args:
        id: 32 hex digits.
        project: Name of its project.
        name: Unique in the project among the volumes that are there.
        access_mode: How many may write at once.
        size_bytes: What it is meant to hold; None: as much as there is room for. A cluster
            keeps to it; a folder of this machine does not.
        storage_class: Of the claim on Kubernetes; None: the policy's or the cluster's.
        created_ns: UTC.
        namespace: Of the cluster in which its contents are claims; None: they are folders.
        content: Which of its contents is the current one: each restore makes a new one. 0: the
            first is not made yet, and whoever comes next makes it.
        snapshot_last: The highest number that a snapshot of it had; numbers are not used again.
        operation: What is under way, None for nothing.
        problem: Why the last operation failed; ``""``: it did not.
    """

    id: str
    project: str
    name: str
    access_mode: AccessMode
    created_ns: int
    size_bytes: int | None = None
    storage_class: str | None = None
    namespace: str | None = None
    content: int = 1
    snapshot_last: int = 0
    operation: VolumeOperation | None = None
    problem: str = ""


class VolumeSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a volume as it once was: an object that never changes.

    Args:
        number: 1, 2, … within the volume.
        sha256: Of the object's bytes; None: a cluster keeps it, and nobody counted what is in it.
        size_bytes: Of them; of one that a cluster keeps, what a restore of it needs at least.
        files: Count of files and links.
        content_bytes: Sum of the files' sizes.
        left_out: Count of sockets, fifos and devices, which are not kept.
        created_ns: UTC.
    """

    number: int
    sha256: Sha256 | None
    size_bytes: int
    files: int
    content_bytes: int
    created_ns: int
    left_out: int = 0


class ClaimState(StrEnum):
    """How the claim of a volume fares in its cluster."""

    BOUND = "bound"
    WAITING = "waiting"
    FAILING = "failing"
    LOST = "lost"
    MISSING = "missing"
    REMOVING = "removing"
    UNKNOWN = "unknown"


class ResizeState(StrEnum):
    """How the enlarging of a claim fares.

    ``UNDER_WAY``: the cluster is to do it, or does. ``AT_ATTACH``: its file system grows when a pod
    attaches it. ``FAILED``: the cluster could not; it may try again.
    """

    UNDER_WAY = "under_way"
    AT_ATTACH = "at_attach"
    FAILED = "failed"


class VolumeClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The claim that the content of a volume is on a cluster.

    Args:
        namespace, name: Of the PersistentVolumeClaim.
        state: How it fares.
        words: The same, one sentence for the user.
        size_bytes: What it really has; None: nothing yet.
        requested_bytes: What it asks the cluster for; None: nobody knows.
        resize: How its enlarging fares; None: it has what it asks for.
        storage_class: As the cluster says; None: it does not.
    """

    namespace: str
    name: str
    state: ClaimState
    words: str
    size_bytes: int | None = None
    requested_bytes: int | None = None
    resize: ResizeState | None = None
    storage_class: str | None = None


class VolumeSite(msgspec.Struct, frozen=True, kw_only=True):
    """Where the content of a volume is, as a server sees it.

    Args:
        path: Its folder on the machine of the server; None: it is none.
        claim: On a cluster; None: it is none.
        away: Why runs of this server cannot have it, one sentence; ``""``: they can.
    """

    path: str | None = None
    claim: VolumeClaim | None = None
    away: str = ""


class VolumeUse(msgspec.Struct, frozen=True):
    """A volume that a workload is submitted with."""

    volume_id: str
    read_only: bool


class VolumeHolder(msgspec.Struct, frozen=True):
    """A workload that is not at its end, and has a volume attached.

    Args:
        workload_id, name, kind: Of the workload.
        read_only: Whether it only reads.
    """

    workload_id: WorkloadId
    name: str
    kind: str
    read_only: bool

    def __str__(self) -> str:
        return f'the {self.kind} "{self.name}" ({self.workload_id})'


def check_volume_name(text: str, *, field: str = "name") -> str:
    """Check a volume's name: what a claim on Kubernetes can be called, and a variable tell apart.

    Raises:
        InvalidValue: it is not one.
        LimitExceeded: longer than VOLUME_NAME_CHARS_MAX characters.
    """
    if len(text) > VOLUME_NAME_CHARS_MAX:
        raise LimitExceeded(
            f"A volume's name has at most {VOLUME_NAME_CHARS_MAX} characters, not {len(text)}.",
            field=field,
        )
    if not _NAME.match(text):
        near = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        hint = f' "{near}" would do.' if near else ""
        raise InvalidValue(
            f'"{text}" cannot be a volume\'s name: use lower-case letters, digits and "-".{hint}',
            field=field,
        )
    return text


def check_storage_class(text: str) -> str:
    """Check the name of a storage class.

    Raises:
        InvalidValue: no cluster could have one of that name.
    """
    if len(text) > STORAGE_CLASS_CHARS_MAX or not _CLASS.match(text):
        raise InvalidValue(
            'A storage class is named by lower-case letters, digits, "-" and ".".',
            field="storage_class",
        )
    return text


def check_claim_name(text: str, *, field: str) -> str:
    """Check the name of a claim on Kubernetes.

    Raises:
        InvalidValue: no claim could have it.
    """
    if len(text) > CLAIM_NAME_CHARS_MAX or not _CLASS.match(text):
        raise InvalidValue(
            f'"{text}" names no claim: such names are of lower-case letters, digits, "-" and ".".',
            field=field,
        )
    return text


def check_size(text: str | int) -> int:
    """Read the size that a volume is to have, in bytes.

    Raises:
        InvalidValue: it is none.
        LimitExceeded: more than SIZE_BYTES_MAX.
    """
    size_bytes = parse_memory(text, field="size")
    if size_bytes > SIZE_BYTES_MAX:
        raise LimitExceeded("A volume has at most 1 EiB.", field="size")
    return size_bytes


def volume_variable(name: str) -> str:
    """Name the variable that tells a command where a volume is.

    >>> volume_variable("team-data")
    'SEAFLOOR_VOLUME_TEAM_DATA'
    """
    return f"SEAFLOOR_VOLUME_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"


def check_mount_path(path: str, field: str) -> None:
    """Check where something is to be attached.

    Raises:
        InvalidValue: not an absolute, plain path, or one that is taken.
    """
    plain = plain_path(path)
    parts = plain.split("/")[1:]
    if not path.startswith("/") or not plain or {"", ".", ".."} & set(parts) or ":" in path:
        raise InvalidValue(
            f'"{path}" is no place for it: give an absolute, plain path, such as /data.',
            field=field,
        )
    if plain in _TAKEN_ITSELF or any(plain == one or plain.startswith(f"{one}/") for one in _TAKEN):
        raise InvalidValue(f'"{path}" is used by the task itself: choose another.', field=field)


def plain_path(path: str) -> str:
    """A path without the slashes at its end."""
    return path.rstrip("/")


def snapshot_object(volume_id: str, number: int) -> str:
    """Key of a snapshot in the object store."""
    return f"{snapshot_folder(volume_id)}/{number}"


def snapshot_folder(volume_id: str) -> str:
    """What is above all snapshots of a volume."""
    return f"volumes/{volume_id}/snapshots"


def check_attach(volume: Volume, holders: Sequence[VolumeHolder], *, read_only: bool) -> None:
    """Refuse to attach a volume that others have.

    Args:
        volume: With what is certainly under way.
        holders: The others.

    Raises:
        Conflict: its one writer is another, or it is being restored or, for a writer, snapshotted.
    """
    _check_made(volume)
    under_way = volume.operation
    if under_way is not None and not (read_only and under_way.kind is OperationKind.SNAPSHOT):
        raise Conflict(_busy(volume, under_way), field="volumes")
    if read_only or volume.access_mode is AccessMode.RWX:
        return
    for holder in holders:
        if not holder.read_only:
            raise Conflict(
                f'The volume "{volume.name}" is attached for writing by {holder}, and one alone '
                "may write to it: wait for the end of that, stop it, or attach with "
                "`read_only: true`.",
                field="volumes",
            )


def check_snapshot(volume: Volume, holders: Sequence[VolumeHolder]) -> None:
    """Refuse to make a snapshot while somebody writes: it would be of no one moment.

    Raises:
        Conflict: somebody does, or something else is under way.
    """
    _check_made(volume)
    _check_idle(volume)
    for holder in holders:
        if not holder.read_only:
            raise Conflict(
                f'The volume "{volume.name}" is attached for writing by {holder}: a snapshot of '
                "files that are being written is none. Wait for its end, or stop it."
            )


def check_restore(volume: Volume, holders: Sequence[VolumeHolder]) -> None:
    """Refuse to restore a volume that somebody has.

    Raises:
        Conflict: so it is, or something else is under way.
    """
    _check_made(volume)
    _check_idle(volume)
    _check_free(volume, holders)


def check_resize(volume: Volume, *, before: int | None) -> None:
    """Refuse to give a volume another size while its content is being made, or has another.

    Args:
        before: The size that whoever asks saw, bytes.

    Raises:
        Conflict: it is not made, something is under way, or somebody was first.
    """
    _check_made(volume)
    _check_idle(volume)
    if volume.size_bytes != before:
        raise Conflict(
            f'The size of the volume "{volume.name}" was changed meanwhile: look at it, and repeat '
            "what you want."
        )


def check_removal(volume: Volume, holders: Sequence[VolumeHolder], *, snapshots: int) -> None:
    """Refuse to remove a volume that somebody has, or has kept snapshots of.

    Args:
        snapshots: How many of them are in the way.

    Raises:
        Conflict: so it is, or something is under way.
    """
    _check_idle(volume)
    _check_free(volume, holders)
    if snapshots:
        what = "1 snapshot" if snapshots == 1 else f"{snapshots} snapshots"
        raise Conflict(
            f'The volume "{volume.name}" has {what}: `--with-snapshots` removes them too.'
        )


def broken_off(operation: VolumeOperation) -> str:
    """Say that an operation ended with its server."""
    doing = "restoring" if operation.kind is OperationKind.RESTORE else "making"
    return (
        f"The server went away while {doing} snapshot {operation.snapshot}; the volume is as it "
        "was. Do it again."
    )


def no_snapshot(found: Volume, number: int) -> NotFound:
    """Say that a volume has no snapshot of a number."""
    return NotFound(
        f'The volume "{found.name}" has no snapshot {number}: see `seafloor volume show '
        f"{found.name}`.",
        field="snapshot",
    )


def no_volume(project: str, name: str, known: Sequence[str]) -> NotFound:
    """Say that there is no volume of a name, and which is near."""
    how = f"{nearest(name, known)} Create it with `seafloor volume create {name}`."
    return NotFound(f'There is no volume "{name}" in the project {project}.{how}', field="volume")


def _check_free(volume: Volume, holders: Sequence[VolumeHolder]) -> None:
    for holder in holders:
        raise Conflict(
            f'The volume "{volume.name}" is attached by {holder}: wait for its end, or stop it.'
        )


def _check_made(volume: Volume) -> None:
    if volume.content == 0:
        raise Conflict(
            f'The volume "{volume.name}" is not made yet: repeat `seafloor volume create '
            f"{volume.name}`."
        )


def _check_idle(volume: Volume) -> None:
    if volume.operation is not None:
        raise Conflict(_busy(volume, volume.operation))


def _busy(volume: Volume, operation: VolumeOperation) -> str:
    if operation.kind is OperationKind.RESTORE:
        what = f"is being restored from snapshot {operation.snapshot}"
    else:
        what = f"is being kept as snapshot {operation.snapshot}"
    return f'The volume "{volume.name}" {what}: wait until that is done.'
