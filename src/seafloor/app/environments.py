"""Environments: the use cases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from seafloor.app.clock import Clock
from seafloor.domain.environments import Environment, EnvironmentLock
from seafloor.domain.errors import NotSupported
from seafloor.domain.specs import parse_environment, parse_environment_reference
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.images import resolve_image
from seafloor.environments.lock import Asked
from seafloor.environments.stored import StoredFile
from seafloor.stores.metadata.protocol import MetadataStore


class Locker(Protocol):
    """Resolves requirements to exact versions."""

    async def __call__(self, asked: Asked) -> EnvironmentLock:
        """Lock; SourceError when it cannot be done, InvalidValue for a bad requirement."""
        ...


class EnvironmentDetails(msgspec.Struct, frozen=True):
    """An environment version, and its size on this machine (None: not built)."""

    environment: Environment
    size_bytes: int | None


class Environments:
    """Named, versioned, locked dependency sets."""

    def __init__(
        self,
        metadata: MetadataStore,
        cache: EnvironmentCache,
        locker: Locker,
        clock: Clock,
        resolve_image: Callable[[str], Awaitable[str]] = resolve_image,
    ) -> None:
        self._metadata = metadata
        self._cache = cache
        self._locker = locker
        self._clock = clock
        self._resolve_image = resolve_image

    async def create(self, spec: dict[str, Any]) -> EnvironmentDetails:
        """Lock an environment and keep it as the next version of its name.

        The same requirements that lock to the same versions give the version that is there.

        Args:
            spec: What stands under ``environment:``, plain data.

        Raises:
            InvalidValue, NotSupported: the spec is not acceptable.
            SourceError: the packages cannot be had, or do not go together; the image is not there.
            NotFound: no such project.
        """
        parsed = parse_environment(spec)
        await self._metadata.project_get(parsed.project)
        channels = tuple(parsed.conda.get("channels", ()))
        packages = tuple(parsed.conda.get("packages", ()))
        image = None if parsed.image is None else await self._resolve_image(parsed.image)
        lock = await self._locker(Asked(parsed.python, tuple(parsed.pip), channels, packages))
        created = await self._metadata.environment_create(
            Environment(
                project=parsed.project,
                name=parsed.name,
                version=0,
                python=lock.python,
                pip=tuple(parsed.pip),
                lock=lock.lock,
                digest=lock.digest,
                created_ns=self._clock.now_ns(),
                conda_channels=channels,
                conda_packages=packages,
                image=image,
                description=parsed.description or None,
            )
        )
        return await self._details(created)

    async def resolve(self, reference: str, *, project: str) -> Environment:
        """Get the version that ``<name>`` or ``<name>@<version>`` names now, or NotFound."""
        name, version = parse_environment_reference(reference)
        return await self._metadata.environment_get(project, name, version=version)

    async def resolve_to_run(self, reference: str, *, project: str) -> Environment:
        """Get the version that a new run would be in.

        Raises:
            NotFound: there is none.
            NotSupported: it is only an image, which this machine cannot run.
        """
        found = await self.resolve(reference, project=project)
        if found.is_image_only:
            raise NotSupported(
                f"The environment {found.name}@{found.version} is only a docker image, and runs on "
                "this server are processes. Give it pip or conda packages too, which are built "
                f"here (`seafloor env create {found.name} --pip PACKAGE`), or leave it out.",
                field="environment",
            )
        return found

    async def get(self, reference: str, *, project: str = "default") -> EnvironmentDetails:
        """Get a version, or NotFound with the nearest name."""
        return await self._details(await self.resolve(reference, project=project))

    async def list(self, *, project: str | None = None) -> tuple[EnvironmentDetails, ...]:
        """All living versions."""
        found = await self._metadata.environment_list(project=project)
        return tuple([await self._details(environment) for environment in found])

    async def delete(self, reference: str, *, project: str = "default") -> tuple[int, int]:
        """Delete one version (``name@2``) or all of a name.

        What is built is removed with its last living version; runs that used it stay as they are.
        What is stored goes first: where it cannot, all is as before, and this can be repeated.

        Returns:
            Versions deleted, bytes freed.

        Raises:
            NotFound: there is none.
            StoreUnavailable: the archive cannot be removed; nothing was deleted.
        """
        name, version = parse_environment_reference(reference)
        every = await self._metadata.environment_list(project=None)
        leaving = [
            environment
            for environment in every
            if environment.project == project
            and environment.name == name
            and version in (None, environment.version)
        ]
        digests = {environment.digest for environment in leaving}
        for digest in digests - {one.digest for one in every if one not in leaving}:
            await self._cache.remove_stored(digest)
        deleted = await self._metadata.environment_delete(
            project, name, version=version, deleted_ns=self._clock.now_ns()
        )
        living = {found.digest for found in await self._metadata.environment_list(project=None)}
        freed_bytes = 0
        for digest in digests - living:
            freed_bytes += await self._cache.remove(digest)
        return deleted, freed_bytes

    async def archive_file(self, digest: str, name: str) -> StoredFile:
        """A file of a stored environment, for machines that fetch it.

        Raises:
            NotFound: there is none of that name.
        """
        return await self._cache.archive_file(digest, name)

    async def _details(self, environment: Environment) -> EnvironmentDetails:
        return EnvironmentDetails(environment, await self._cache.size_bytes(environment.digest))
