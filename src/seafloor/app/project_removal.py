"""Removing a project: if it is empty, into another, or with all that is in it."""

from __future__ import annotations

from msgspec.structs import replace

from seafloor.app.environments import Environments
from seafloor.app.runs import Runs
from seafloor.app.traces import Traces
from seafloor.app.volumes import Volumes
from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.search import Lifecycle, WorkloadQuery
from seafloor.domain.workloads import LIVING_STATES
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.metadata.project_records import still_going
from seafloor.stores.metadata.protocol import MetadataStore, WorkloadPage
from seafloor.stores.metadata.volume_records import VOLUMES_MAX

RUNS_AT_ONCE = 100


class ProjectRemoval:
    """The three ways in which a project ends. ``default`` never does: callers refuse that."""

    def __init__(
        self,
        metadata: MetadataStore,
        artifacts: ArtifactStore,
        runs: Runs,
        environments: Environments,
        volumes: Volumes,
    ) -> None:
        self._metadata = metadata
        self._runs = runs
        self._artifacts = artifacts
        self._traces = Traces(metadata, artifacts)
        self._environments = environments
        self._volumes = volumes

    async def of_empty(self, name: str) -> None:
        """Delete a project in which nothing is, deleted experiments and runs neither.

        Raises:
            NotFound, InUse: nothing was changed.
        """
        await self._metadata.project_delete(name, with_experiments=False)

    async def into(self, name: str, other: str) -> None:
        """Delete a project and give what is in it to another, in one transaction.

        Raises:
            NotFound, InUse: nothing was changed.
        """
        await self._metadata.project_hand_over(name, to=other)

    async def with_all(self, name: str) -> None:
        """Delete a project and everything in it for good: files first, its row last.

        Not one transaction: a repeat goes on where it stopped. What is made in it meanwhile is in
        the way at the end, and a repeat takes that too.

        Raises:
            NotFound: there is none.
            InUse: a launched run has not ended. Nothing was changed.
        """
        await self._metadata.project_get(name)
        living = await self._going(name)
        if living:
            raise still_going(name, living)
        await self._purge_runs(name)
        for experiment in await self._metadata.experiment_list(
            project=name, lifecycle=Lifecycle.ALL
        ):
            await self._traces.delete(experiment.id, until_ms=INT64_MAX)
            for model in await self._metadata.model_list([experiment.id], lifecycle=Lifecycle.ALL):
                await self._artifacts.delete_all(model.id)
        for environment in await self._environments_of(name):
            await self._environments.delete(environment, project=name)
        while found := await self._metadata.volume_list(project=name, limit=VOLUMES_MAX):
            for volume in found:
                await self._volumes.delete(volume.name, project=name, with_snapshots=True)
        await self._metadata.project_delete(name, with_experiments=True)

    async def _going(self, name: str) -> int:
        query = WorkloadQuery(
            project=name, states=LIVING_STATES, lifecycle=Lifecycle.ALL, limit=RUNS_AT_ONCE
        )
        page = await self._metadata.workload_search(query)
        going = _launched(page)
        while page.next is not None:
            page = await self._metadata.workload_search(replace(query, cursor=page.next))
            going += _launched(page)
        return going

    async def _purge_runs(self, name: str) -> None:
        query = WorkloadQuery(project=name, lifecycle=Lifecycle.ALL, limit=RUNS_AT_ONCE)
        while found := (await self._metadata.workload_search(query)).items:
            for one in found:
                await self._runs.purge(one.id)

    async def _environments_of(self, name: str) -> tuple[str, ...]:
        found = await self._metadata.environment_list(project=name)
        return tuple(sorted({one.name for one in found}))


def _launched(page: WorkloadPage) -> int:
    return sum(one.origin == "launched" for one in page.items)
