"""Projects in the metadata store: the protocol. Joined to the others in ``protocol``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seafloor.domain.errors import InUse
from seafloor.domain.experiments import Project


class ProjectRecords(Protocol):
    """Projects. ``default`` always exists: callers do not ask to remove it."""

    async def project_create(
        self, name: str, *, created_ns: int, description: str | None = None
    ) -> Project:
        """Create a project; AlreadyExists when the name is taken."""
        ...

    async def project_get(self, name: str) -> Project:
        """Get a project, or NotFound with the nearest name."""
        ...

    async def project_list(self) -> tuple[Project, ...]:
        """All projects by name."""
        ...

    async def project_describe(self, name: str, description: str) -> Project:
        """Say what a project is for, instead of what was said; NotFound."""
        ...

    async def project_delete(self, name: str, *, with_experiments: bool) -> None:
        """Delete a project with its deleted environments, in one transaction.

        Volumes that were deleted and are not forgotten yet go on being so.

        Args:
            with_experiments: Its experiments and their logged models go with it. What has files
                never does: workloads, traces, volumes and living environments are in the way.

        Raises:
            NotFound: there is none.
            InUse: something is in the way. Nothing was changed.
        """
        ...

    async def project_hand_over(self, name: str, *, to: str) -> None:
        """Delete a project and give all that is in it to another, in one transaction.

        Raises:
            NotFound: there is no such project.
            InUse: names that both have, or a launched workload that has not ended, are in the way.
                Nothing was changed.
        """
        ...


# The words that MLflow's clients know.


def still_contains(name: str, noun: str, count: int) -> InUse:
    """That a project is not empty."""
    return InUse(
        f"Cannot delete workspace '{name}': table '{noun}' still contains {count} resource(s). "
        "Remove or reassign them before deleting the workspace."
    )


def still_going(name: str, count: int) -> InUse:
    """That workloads of a project have not ended."""
    return InUse(
        f"Cannot delete workspace '{name}': {count} of its runs have not ended. Stop them before "
        "deleting the workspace."
    )


def both_have(name: str, other: str, conflicts: Sequence[tuple[str, str]]) -> InUse:
    """That names of two projects are the same.

    Args:
        conflicts: What has the name, and the name.
    """
    details = "\n".join(f"  - {noun}: {one!r}" for noun, one in conflicts)
    return InUse(
        f"Cannot reassign resources from workspace '{name}' to '{other}': the following names "
        f"already exist in the {other} workspace and would cause conflicts:\n{details}\nRename or "
        "remove the conflicting resources before retrying."
    )
