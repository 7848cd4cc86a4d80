"""Volumes in the metadata store: the protocol. Joined to the others in ``protocol``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.volumes import (
    OperationKind,
    Volume,
    VolumeHolder,
    VolumeOperation,
    VolumeSnapshot,
)

VOLUMES_MAX = 1000
"""How many one page of them has at most."""


class VolumeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an operation on a volume.

    Args:
        snapshot: The one that was made, None otherwise.
        restored: Whether the content that it made is to be the current one.
        problem: Why it failed; ``""``: it did not.
    """

    snapshot: VolumeSnapshot | None = None
    restored: bool = False
    problem: str = ""


class VolumeRecords(Protocol):
    """Volumes, their snapshots, and who has them.

    An operation counts as under way while its place's lease has the fence of its claim and has not
    ended. One of a server that is gone is no more, in every answer and for every rule; what that
    server may still do is refused at ``volume_end``.
    """

    async def volume_create(self, volume: Volume) -> Volume:
        """Add a volume.

        Raises:
            NotFound: no such project.
            AlreadyExists: the project has one of that name.
        """
        ...

    async def volume_made(self, volume_id: str) -> None:
        """Note that the first content of a volume is there; nothing happens if it was before.

        Raises:
            NotFound: no such volume.
        """
        ...

    async def volume_get(self, project: str, name: str) -> Volume:
        """Get one, or NotFound with the nearest name."""
        ...

    async def volume_list(
        self, *, project: str | None, limit: int, after: tuple[str, str] | None = None
    ) -> tuple[Volume, ...]:
        """List volumes by project and name.

        Args:
            after: Project and name of the last one of the page before.
        """
        ...

    async def volume_holders(
        self, volume_ids: Sequence[str]
    ) -> dict[str, tuple[VolumeHolder, ...]]:
        """Find who has volumes attached, the oldest first; volumes that nobody has are left out."""
        ...

    async def volumes_of(self, workload_id: WorkloadId) -> tuple[Volume, ...]:
        """The volumes that a workload was submitted with and that are still there, by name."""
        ...

    async def volume_snapshots(self, volume_id: str) -> tuple[VolumeSnapshot, ...]:
        """The snapshots of a volume by number."""
        ...

    async def volume_begin(
        self, volume_id: str, kind: OperationKind, *, snapshot: int, claim: Claim, started_ns: int
    ) -> VolumeOperation:
        """Note that an operation begins, unless a rule of ``domain.volumes`` is against it.

        Args:
            snapshot: Which is to be restored; of one that is made, the store gives the number.

        Raises:
            NotFound: no such volume or snapshot.
            Conflict: a rule is against it.
            StaleLease: the claim is none any more.
        """
        ...

    async def volume_progress(self, volume_id: str, operation: VolumeOperation) -> None:
        """Note how far an operation has come.

        Raises:
            StaleLease: it is not under way.
        """
        ...

    async def volume_end(
        self, volume_id: str, operation: VolumeOperation, result: VolumeResult
    ) -> None:
        """Note what came of an operation, all of it at once.

        Raises:
            StaleLease: it is not under way: it counts for nothing.
        """
        ...

    async def volume_resize(self, volume_id: str, *, before: int | None, after: int | None) -> None:
        """Note another size of a volume, bytes.

        Args:
            before: The size that it has.
            after: The size that it gets; the same one is none the worse.

        Raises:
            NotFound: no such volume.
            Conflict: a rule of ``domain.volumes`` is against it; nothing was written.
        """
        ...

    async def volume_delete(self, volume_id: str, *, with_snapshots: bool, deleted_ns: int) -> None:
        """Take a volume out of use for good; its name is free at once.

        Raises:
            NotFound: no such volume.
            Conflict: a rule of ``domain.volumes`` is against it.
        """
        ...

    async def volumes_deleted(self) -> tuple[str, ...]:
        """The ids of volumes that are out of use, of which something may be left."""
        ...

    async def volume_forget(self, volume_id: str) -> None:
        """Remove what is known of a volume out of use; nothing happens to any other."""
        ...
