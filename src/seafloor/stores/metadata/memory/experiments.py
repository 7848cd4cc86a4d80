"""Experiments in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from seafloor.domain.errors import AlreadyExists, NoSuchTag, NotFound, nearest
from seafloor.domain.experiments import Experiment
from seafloor.domain.search import Lifecycle
from seafloor.stores.metadata.memory.rows import Rows


class MemoryExperiments:
    """``ExperimentRecords`` in memory."""

    _rows: Rows

    async def experiment_create(self, experiment: Experiment) -> Experiment:
        """See ``ExperimentRecords``."""
        self._rows.check_project(experiment.project)
        self._check_free(experiment.project, experiment.name)
        self._rows.experiment_id += 1
        made = replace(
            experiment,
            id=self._rows.experiment_id,
            tags=dict(experiment.tags),
            deleted_ns=None,
        )
        self._rows.experiments[made.id] = made
        return made

    async def experiment_get(self, experiment_id: int) -> Experiment:
        """See ``ExperimentRecords``."""
        return self._rows.experiment(experiment_id)

    async def experiment_get_many(self, ids: Collection[int]) -> dict[int, Experiment]:
        """See ``ExperimentRecords``."""
        return {one: self._rows.experiments[one] for one in ids if one in self._rows.experiments}

    async def experiment_get_by_name(self, project: str, name: str) -> Experiment:
        """See ``ExperimentRecords``."""
        names: list[str] = []
        for found in self._rows.experiments.values():
            if found.project == project:
                names.append(found.name)
                if found.name == name:
                    return found
        raise NotFound(f'There is no experiment "{name}".{nearest(name, names)}', field="name")

    async def experiment_list(
        self, *, project: str | None, lifecycle: Lifecycle
    ) -> tuple[Experiment, ...]:
        """See ``ExperimentRecords``."""
        found = [
            one
            for one in self._rows.experiments.values()
            if project in (None, one.project) and lives(one.deleted_ns, lifecycle)
        ]
        return tuple(sorted(found, key=lambda one: (-one.created_ns, -one.id)))

    async def experiment_update(
        self,
        experiment_id: int,
        *,
        updated_ns: int,
        name: str | None = None,
        spec: dict[str, Any] | None = None,
        set_tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
    ) -> Experiment:
        """See ``ExperimentRecords``."""
        found = self._rows.experiment(experiment_id)
        if name is not None and name != found.name:
            self._check_free(found.project, name)
        made = replace(
            found,
            updated_ns=updated_ns,
            name=found.name if name is None else name,
            spec=found.spec if spec is None else spec,
            tags=changed_tags(found.tags, set_=set_tags or {}, delete=delete_tags),
        )
        self._rows.experiments[experiment_id] = made
        return made

    async def experiment_tags_change(
        self, experiment_id: int, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``ExperimentRecords``."""
        found = self._rows.experiment(experiment_id)
        tags = changed_tags(found.tags, set_=set_, delete=delete)
        self._rows.experiments[experiment_id] = replace(found, tags=tags)

    async def experiment_set_deleted(self, experiment_id: int, *, deleted_ns: int | None) -> None:
        """See ``ExperimentRecords``."""
        found = self._rows.experiment(experiment_id)
        if (found.deleted_ns is None) is (deleted_ns is None):
            return
        self._rows.experiments[experiment_id] = replace(found, deleted_ns=deleted_ns)
        for rows in self._rows.workloads.values():
            one = rows.workload
            if one.experiment_id == experiment_id and one.deleted_ns == found.deleted_ns:
                rows.workload = replace(one, deleted_ns=deleted_ns)

    def _check_free(self, project: str, name: str) -> None:
        for found in self._rows.experiments.values():
            if (found.project, found.name) == (project, name):
                how = " (deleted; restore it or choose another name)" if found.deleted_ns else ""
                raise AlreadyExists(f"Experiment '{name}' already exists{how}.", field="name")


def lives(deleted_ns: int | None, lifecycle: Lifecycle) -> bool:
    """Whether something is among the living or deleted that are asked for."""
    return lifecycle is Lifecycle.ALL or (deleted_ns is None) is (lifecycle is Lifecycle.ACTIVE)


def changed_tags(
    tags: Mapping[str, str], *, set_: Mapping[str, str], delete: Sequence[str]
) -> dict[str, str]:
    """Tags after a change; NoSuchTag when one to delete is missing."""
    for key in delete:
        if key not in tags:
            raise NoSuchTag(f'There is no tag "{key}".{nearest(key, tags)}', field="key")
    return {key: value for key, value in tags.items() if key not in delete} | dict(set_)
