"""Projects in memory."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from seafloor.domain.errors import AlreadyExists
from seafloor.domain.experiments import DEFAULT_PROJECT, Project
from seafloor.stores.metadata.memory.rows import Rows
from seafloor.stores.metadata.project_records import both_have, still_contains, still_going


class MemoryProjects:
    """``ProjectRecords`` in memory."""

    _rows: Rows

    async def project_create(
        self, name: str, *, created_ns: int, description: str | None = None
    ) -> Project:
        """See ``ProjectRecords``."""
        if name in self._rows.projects:
            raise AlreadyExists(f'There is a project "{name}" already.', field="name")
        made = Project(name, created_ns, description)
        self._rows.projects[name] = made
        return made

    async def project_get(self, name: str) -> Project:
        """See ``ProjectRecords``."""
        self._rows.check_project(name)
        return self._rows.projects[name]

    async def project_list(self) -> tuple[Project, ...]:
        """See ``ProjectRecords``."""
        return tuple(sorted(self._rows.projects.values(), key=lambda found: found.name))

    async def project_describe(self, name: str, description: str) -> Project:
        """See ``ProjectRecords``."""
        self._rows.check_project(name)
        made = replace(self._rows.projects[name], description=description)
        self._rows.projects[name] = made
        return made

    async def project_delete(self, name: str, *, with_experiments: bool) -> None:
        """See ``ProjectRecords``."""
        rows = self._rows
        rows.check_project(name)
        for noun, count in self._in_the_way(name, experiments=not with_experiments):
            if count:
                raise still_contains(name, noun, count)
        own = self._experiments(name)
        for model in [one for one in rows.models.values() if one.experiment_id in own]:
            del rows.models[model.id]
            rows.model_metrics.pop(model.id, None)
        for experiment_id in own:
            del rows.experiments[experiment_id]
        rows.environments[:] = [one for one in rows.environments if one.project != name]
        for volume in rows.volumes.values():
            if volume.volume.project == name:
                volume.volume = replace(volume.volume, project=DEFAULT_PROJECT)
        del rows.projects[name]

    async def project_hand_over(self, name: str, *, to: str) -> None:
        """See ``ProjectRecords``."""
        rows = self._rows
        rows.check_project(name)
        rows.check_project(to)
        own = [one for one in rows.workloads.values() if one.workload.project == name]
        going = [
            one.workload
            for one in own
            if one.workload.origin == "launched" and not one.workload.state.is_final
        ]
        if going:
            raise still_going(name, len(going))
        conflicts = [*self._conflicts(name, to)]
        if conflicts:
            raise both_have(name, to, conflicts)
        for one in own:
            one.workload = replace(one.workload, project=to)
            one.idempotency_key = None
        for experiment_id in self._experiments(name):
            moved = replace(rows.experiments[experiment_id], project=to)
            rows.experiments[experiment_id] = moved
        rows.environments[:] = [
            replace(one, project=to) if one.project == name else one for one in rows.environments
        ]
        for volume in rows.volumes.values():
            if volume.volume.project == name:
                volume.volume = replace(volume.volume, project=to)
        del rows.projects[name]

    def _experiments(self, name: str) -> set[int]:
        return {one.id for one in self._rows.experiments.values() if one.project == name}

    def _in_the_way(self, name: str, *, experiments: bool) -> Iterator[tuple[str, int]]:
        rows, own = self._rows, self._experiments(name)
        if experiments:
            yield "experiments", len(own)
        yield "runs", sum(one.workload.project == name for one in rows.workloads.values())
        yield "traces", sum(one.experiment_id in own for one in rows.traces.values())
        living = [one for one in rows.environments if one.deleted_ns is None]
        yield "environments", sum(one.project == name for one in living)
        in_use = [one.volume for one in rows.volumes.values() if not one.deleted]
        yield "volumes", sum(one.project == name for one in in_use)

    def _conflicts(self, name: str, other: str) -> Iterator[tuple[str, str]]:
        rows = self._rows
        named: dict[str, list[tuple[str, str]]] = {
            "experiments": [(one.project, one.name) for one in rows.experiments.values()],
            "environments": [(one.project, one.name) for one in rows.environments],
            "volumes": [
                (one.volume.project, one.volume.name)
                for one in rows.volumes.values()
                if not one.deleted
            ],
        }
        for noun, found in named.items():
            mine, theirs = (
                {one for project, one in found if project == of} for of in (name, other)
            )
            for one in sorted(mine & theirs):
                yield noun, one
