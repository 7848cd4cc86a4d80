"""Environments in memory."""

from __future__ import annotations

from msgspec.structs import replace

from seafloor.domain.environments import Environment
from seafloor.domain.errors import NotFound, nearest
from seafloor.stores.metadata.memory.rows import Rows


class MemoryEnvironments:
    """``EnvironmentRecords`` in memory."""

    _rows: Rows

    async def environment_create(self, environment: Environment) -> Environment:
        """See ``EnvironmentRecords``."""
        self._rows.check_project(environment.project)
        named = self._named(environment.project, environment.name)
        living = [one for one in named if one.deleted_ns is None]
        if living and _is_same(living[-1], environment):
            return living[-1]
        made = replace(environment, version=len(named) + 1, deleted_ns=None)
        self._rows.environments.append(made)
        return made

    async def environment_get(
        self, project: str, name: str, *, version: int | None = None
    ) -> Environment:
        """See ``EnvironmentRecords``."""
        named = self._named(project, name)
        if version is None:
            found = [one for one in named if one.deleted_ns is None]
        else:
            found = [one for one in named if one.version == version]
        if not found:
            raise self._missing(project, name)
        return found[-1]

    async def environment_list(self, *, project: str | None) -> tuple[Environment, ...]:
        """See ``EnvironmentRecords``."""
        found = [
            one
            for one in self._rows.environments
            if one.deleted_ns is None and project in (None, one.project)
        ]
        return tuple(sorted(found, key=lambda one: (one.project, one.name, one.version)))

    async def environment_delete(
        self, project: str, name: str, *, version: int | None, deleted_ns: int
    ) -> int:
        """See ``EnvironmentRecords``."""
        count = 0
        for at, one in enumerate(self._rows.environments):
            wanted = (one.project, one.name) == (project, name) and version in (None, one.version)
            if wanted and one.deleted_ns is None:
                self._rows.environments[at] = replace(one, deleted_ns=deleted_ns)
                count += 1
        if not count:
            raise self._missing(project, name)
        return count

    def _named(self, project: str, name: str) -> list[Environment]:
        """The versions of a name, in order."""
        return [
            one for one in self._rows.environments if (one.project, one.name) == (project, name)
        ]

    def _missing(self, project: str, name: str) -> NotFound:
        living = {
            one.name
            for one in self._rows.environments
            if one.project == project and one.deleted_ns is None
        }
        return NotFound(
            f'There is no environment "{name}".{nearest(name, living)}', field="environment"
        )


def _is_same(one: Environment, other: Environment) -> bool:
    """Whether two versions ask for the same and were locked to the same."""
    return _wanted(one) == _wanted(other)


def _wanted(one: Environment) -> tuple[object, ...]:
    asked = (one.pip, one.conda_channels, one.conda_packages, one.image, one.description)
    return (one.digest, *asked)
