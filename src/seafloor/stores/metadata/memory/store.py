"""The metadata store in memory: one module per noun, joined here."""

from __future__ import annotations

import time
from collections.abc import Callable

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums
from seafloor.domain.errors import StoreUnavailable
from seafloor.domain.ids import Sha256
from seafloor.domain.workloads import LIVING_STATES, WorkloadKind, WorkloadState
from seafloor.stores.artifacts.memory import MemoryManifestStore
from seafloor.stores.artifacts.protocol import IntentView
from seafloor.stores.metadata.memory.attempts import MemoryAttempts
from seafloor.stores.metadata.memory.environments import MemoryEnvironments
from seafloor.stores.metadata.memory.experiments import MemoryExperiments
from seafloor.stores.metadata.memory.leases import MemoryInstallation, MemoryLeases
from seafloor.stores.metadata.memory.models import MemoryModels
from seafloor.stores.metadata.memory.projects import MemoryProjects
from seafloor.stores.metadata.memory.rows import Rows
from seafloor.stores.metadata.memory.search import SummaryOf
from seafloor.stores.metadata.memory.tasks import MemoryTasks
from seafloor.stores.metadata.memory.traces import MemoryTraces
from seafloor.stores.metadata.memory.volumes import MemoryVolumes
from seafloor.stores.metadata.memory.workloads import MemoryLabels, MemoryWorkloads


class MemoryManifest:
    """``ManifestStore`` in memory."""

    _manifest: MemoryManifestStore

    async def manifest_put(self, owner: str, file: ArtifactFile) -> None:
        """See ``ManifestStore``."""
        await self._manifest.manifest_put(owner, file)

    async def manifest_get(self, owner: str, path: str) -> ArtifactFile:
        """See ``ManifestStore``."""
        return await self._manifest.manifest_get(owner, path)

    async def manifest_list(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """See ``ManifestStore``."""
        return await self._manifest.manifest_list(owner, folder, limit=limit, after=after)

    async def manifest_children(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
        """See ``ManifestStore``."""
        return await self._manifest.manifest_children(owner, folder, limit=limit, after=after)

    async def manifest_sums(self, owner: str, folder: str) -> ArtifactSums:
        """See ``ManifestStore``."""
        return await self._manifest.manifest_sums(owner, folder)

    async def manifest_delete(self, owner: str, path: str, *, intent: str | None = None) -> int:
        """See ``ManifestStore``."""
        return await self._manifest.manifest_delete(owner, path, intent=intent)

    async def intent_begin(
        self, owner: str, path: str, intent: str, *, sha256: Sha256 | None
    ) -> None:
        """See ``IntentStore``."""
        await self._manifest.intent_begin(owner, path, intent, sha256=sha256)

    async def intent_look(self, owner: str, path: str, intent: str) -> IntentView:
        """See ``IntentStore``."""
        return await self._manifest.intent_look(owner, path, intent)

    async def intent_end(
        self, owner: str, path: str, intent: str, row: ArtifactFile | None, *, alone: bool
    ) -> bool:
        """See ``IntentStore``."""
        return await self._manifest.intent_end(owner, path, intent, row, alone=alone)

    async def intent_drop(self, intent: str) -> None:
        """See ``IntentStore``."""
        await self._manifest.intent_drop(intent)

    async def manifest_recheck(self, owner: str, path: str) -> tuple[ArtifactFile, ...]:
        """See ``IntentStore``."""
        return await self._manifest.manifest_recheck(owner, path)


class MemoryMetadataStore(
    MemoryProjects,
    MemoryExperiments,
    MemoryWorkloads,
    MemoryAttempts,
    MemoryTasks,
    MemoryLeases,
    MemoryInstallation,
    MemoryLabels,
    MemoryEnvironments,
    MemoryModels,
    MemoryTraces,
    MemoryManifest,
    MemoryVolumes,
):
    """A ``MetadataStore`` that forgets.

    One event loop at a time: no call waits, so none sees another's half.

    Args:
        summary_of: What is known of a metric, by workload id and key, for searches; None when
            there is none. Without it no workload has metrics.
        now_ns: The clock of leases.
    """

    def __init__(
        self, summary_of: SummaryOf | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._rows = Rows()
        self._manifest = MemoryManifestStore()
        self._summary_of = summary_of or _no_metrics
        self._now_ns = now_ns
        self._closed = False

    async def check(self) -> None:
        """See ``MetadataStore``."""
        if self._closed:
            raise StoreUnavailable("The store is closed.")

    async def runs_living(self) -> dict[WorkloadState, int]:
        """See ``MetadataStore``."""
        found = [
            rows.workload.state
            for rows in self._rows.workloads.values()
            if rows.workload.kind is WorkloadKind.RUN and rows.workload.deleted_ns is None
        ]
        return {state: found.count(state) for state in LIVING_STATES}

    async def close(self) -> None:
        """See ``MetadataStore``."""
        self._closed = True


def _no_metrics(_workload_id: str, _key: str) -> None:
    return None
