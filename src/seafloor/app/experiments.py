"""Projects and experiments: the use cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seafloor.app.clock import Clock
from seafloor.domain.errors import AlreadyExists, Conflict, LimitExceeded, NotFound
from seafloor.domain.experiments import Experiment, Project
from seafloor.domain.ids import WorkloadId
from seafloor.domain.names import check_key, check_name, check_slug
from seafloor.domain.search import Lifecycle
from seafloor.domain.specs import parse_experiment
from seafloor.stores.metadata.protocol import MetadataStore

TAG_CHARS_MAX = 20_000
PROJECTS_REMEMBERED_MAX = 100_000
"""Of so many runs and experiments the project is remembered: about 15 MB."""


class Projects:
    """Namespaces."""

    def __init__(self, metadata: MetadataStore, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._known: dict[WorkloadId | int, str] = {}
        self._made_ns: dict[str, int] = {}

    async def create(self, name: str, *, description: str | None = None) -> Project:
        """Create a project; InvalidValue, LimitExceeded or AlreadyExists."""
        check_slug(name)
        _check_description(description or "")
        return await self._metadata.project_create(
            name, created_ns=self._clock.now_ns(), description=description
        )

    async def list(self) -> tuple[Project, ...]:
        """All projects by name."""
        return await self._metadata.project_list()

    async def get(self, name: str) -> Project:
        """Get a project, or NotFound with the nearest name."""
        found = await self._metadata.project_get(name)
        if self._made_ns.get(name) != found.created_ns:
            # One that was deleted and made again: what was in the other is elsewhere or gone.
            self._known.clear()
            self._made_ns[name] = found.created_ns
        return found

    async def describe(self, name: str, description: str) -> Project:
        """Say what a project is for; LimitExceeded, NotFound."""
        _check_description(description)
        return await self._metadata.project_describe(name, description)

    async def of_run(self, workload_id: WorkloadId, *, hoped: str | None = None) -> str:
        """The project of a run, or NotFound; mostly without asking the store.

        A run leaves its project only when that is deleted, so what was once read may be
        remembered, also of a run that another server purged meanwhile.

        Args:
            hoped: Where it should be. What is remembered of it being elsewhere is not believed.
        """
        found = self._known.get(workload_id)
        if found is None or hoped not in (None, found):
            found = self._remembered(
                workload_id, (await self._metadata.workload_get(workload_id)).project
            )
        return found

    async def of_experiment(self, experiment_id: int, *, hoped: str | None = None) -> str:
        """The project of an experiment, or NotFound; likewise."""
        found = self._known.get(experiment_id)
        if found is None or hoped not in (None, found):
            found = self._remembered(
                experiment_id, (await self._metadata.experiment_get(experiment_id)).project
            )
        return found

    def _remembered(self, key: WorkloadId | int, project: str) -> str:
        if len(self._known) >= PROJECTS_REMEMBERED_MAX:
            self._known.clear()
        self._known[key] = project
        return project


def _check_description(text: str) -> None:
    if len(text) > TAG_CHARS_MAX:
        raise LimitExceeded(
            f"A description has at most {TAG_CHARS_MAX} characters.", field="description"
        )


class Experiments:
    """Named groups of runs."""

    def __init__(self, metadata: MetadataStore, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock

    async def create(
        self,
        name: str,
        *,
        project: str = "default",
        tags: dict[str, str] | None = None,
        spec: dict[str, Any] | None = None,
        artifact_location: str | None = None,
        created_ns: int | None = None,
    ) -> Experiment:
        """Create an experiment; ``created_ns`` is of one brought from elsewhere, None: now.

        Raises:
            InvalidValue: the name, a tag's key or the spec is not one.
            AlreadyExists: the name is taken, be it by a deleted experiment.
            NotFound: no such project.
        """
        check_name(name)
        _check_tags(tags or {})
        if spec is not None:
            parse_experiment(spec)
        now_ns = self._clock.now_ns()
        return await self._metadata.experiment_create(
            Experiment(
                id=-1,
                project=check_slug(project, field="project"),
                name=name,
                created_ns=now_ns if created_ns is None else created_ns,
                updated_ns=now_ns,
                spec=spec,
                artifact_location=artifact_location,
                tags=tags or {},
            )
        )

    async def get(self, experiment_id: int) -> Experiment:
        """Get one by id, deleted ones too, or NotFound."""
        return await self._metadata.experiment_get(experiment_id)

    async def get_by_name(self, name: str, *, project: str = "default") -> Experiment:
        """Get one by name, deleted ones too, or NotFound."""
        return await self._metadata.experiment_get_by_name(project, name)

    async def ensure(self, name: str, *, project: str = "default") -> Experiment:
        """Get the experiment of that name, creating it when there is none.

        Raises:
            Conflict: it was deleted.
        """
        try:
            found = await self._metadata.experiment_get_by_name(project, name)
        except NotFound:
            try:
                return await self.create(name, project=project)
            except AlreadyExists:  # someone else was faster
                found = await self._metadata.experiment_get_by_name(project, name)
        return _usable(found)

    async def find_usable(self, name: str, *, project: str) -> Experiment | None:
        """Say what ``ensure`` would give; None: it would create it.

        Raises:
            NotFound: no such project.
            Conflict: the experiment was deleted.
        """
        await self._metadata.project_get(project)
        try:
            return _usable(await self._metadata.experiment_get_by_name(project, name))
        except NotFound:
            return None

    async def list(
        self, *, project: str | None = None, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[Experiment, ...]:
        """All of them, newest first."""
        return await self._metadata.experiment_list(project=project, lifecycle=lifecycle)

    async def update(
        self,
        experiment_id: int,
        *,
        name: str | None = None,
        spec: dict[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
    ) -> Experiment:
        """Change the fields that are not None, and tags, all of it or none.

        Raises:
            AlreadyExists: the name is taken, be it by a deleted experiment.
            Conflict: it was deleted.
            NotFound: no such experiment, or no tag to delete.
        """
        _check_tags(tags or {})
        if name is not None:
            check_name(name)
        if spec is not None:
            parse_experiment(spec)
        found = await self._metadata.experiment_get(experiment_id)
        if found.deleted_ns is not None:
            raise Conflict("A deleted experiment cannot be changed: restore it first.")
        return await self._metadata.experiment_update(
            experiment_id,
            updated_ns=self._clock.now_ns(),
            name=name,
            spec=spec,
            set_tags=tags,
            delete_tags=delete_tags,
        )

    async def change_tags(
        self, experiment_id: int, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Set and delete tags."""
        _check_tags(set_)
        await self._metadata.experiment_tags_change(experiment_id, set_=set_, delete=delete)

    async def delete(self, experiment_id: int) -> None:
        """Delete an experiment with its runs; restorable; repeating is harmless."""
        if experiment_id == 0:
            raise Conflict("The Default experiment cannot be deleted.")
        found = await self._metadata.experiment_get(experiment_id)
        if found.deleted_ns is None:
            await self._metadata.experiment_set_deleted(
                experiment_id, deleted_ns=self._clock.now_ns()
            )

    async def restore(self, experiment_id: int) -> None:
        """Restore an experiment with the runs that went with it; repeating is harmless."""
        await self._metadata.experiment_set_deleted(experiment_id, deleted_ns=None)


def _check_tags(tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        check_key(key, field="tags")
        if len(value) > TAG_CHARS_MAX:
            raise LimitExceeded(
                f"A tag has at most {TAG_CHARS_MAX} characters; this one has {len(value)}.",
                field=f"tags.{key}",
            )


def _usable(found: Experiment) -> Experiment:
    if found.deleted_ns is not None:
        raise Conflict(
            f'The experiment "{found.name}" was deleted: restore it or use another name.',
            field="name",
        )
    return found
