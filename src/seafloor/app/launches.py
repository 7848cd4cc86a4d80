"""What a launcher is asked to do for a run: from the record to a ``TaskLaunch``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from seafloor.app.environments import Environments
from seafloor.app.tokens import Tokens
from seafloor.domain.environments import Environment
from seafloor.domain.errors import NotFound
from seafloor.domain.specs import ExperimentSpec, VolumeSpec, parse_experiment
from seafloor.domain.volumes import plain_path
from seafloor.domain.workloads import Workload
from seafloor.launch.protocol import AttachedVolume, EnvironmentLockRef, TaskKey, TaskLaunch
from seafloor.stores.metadata.volume_records import VolumeRecords

_SDK: Final = re.compile(r"^seafloor *(\[[^\]]*\])? *(==|@)", re.MULTILINE)
"""The line of a lock that installs it."""


def lock_of(found: Environment) -> EnvironmentLockRef:
    """What a launcher needs of an environment."""
    return EnvironmentLockRef(found.reference, found.python, found.lock, found.digest, found.image)


def in_use(
    spec: ExperimentSpec,
    own: EnvironmentLockRef | None,
    roles: Mapping[str, EnvironmentLockRef],
) -> list[EnvironmentLockRef | None]:
    """The environments of a run's tasks; None: we do not know one.

    Args:
        own: Of the run.
        roles: Of roles, by their references.
    """
    if not spec.tasks:
        return [own]
    named = [task.environment for task in spec.tasks.values()]
    return [own if one is None else roles.get(one) for one in named]


class Launches:
    """Makes launches.

    Args:
        volumes: Who has which.
        volumes_elsewhere: Whether specs also name volumes that others keep, and we do not know.
        url: Where tasks reach the server.
        with_tokens: Whether tasks get tokens: not on a server without authentication.
    """

    def __init__(
        self,
        environments: Environments,
        tokens: Tokens,
        volumes: VolumeRecords,
        *,
        volumes_elsewhere: bool,
        url: str,
        with_tokens: bool,
    ) -> None:
        self._environments = environments
        self._volume_records = volumes
        self._volumes_elsewhere = volumes_elsewhere
        self._tokens = tokens
        self._url = url
        self._with_tokens = with_tokens

    async def launch_for(self, workload: Workload) -> TaskLaunch:
        """Make the launch of a run, with all of its tasks, for its newest attempt.

        The same record gives the same launch, so that a repeat after a crash is harmless.

        Raises:
            NotFound: its environment or a volume is gone for good.
        """
        spec = parse_experiment(workload.spec)
        environment = None
        if workload.environment is not None:
            found = await self._environments.resolve(workload.environment, project=workload.project)
            environment = lock_of(found)
        roles = await self._of_roles(spec, workload.project)
        token = self._tokens.issue(workload.id, workload.attempt) if self._with_tokens else None
        return TaskLaunch(
            key=TaskKey(workload.id, workload.attempt),
            api_path=f"/api/v1/runs/{workload.id}",
            command=spec.command or "",
            code=workload.code,
            environment=environment,
            role_environments=roles,
            env={
                **self.variables(workload, token, in_use(spec, environment, roles)),
                **spec.env,
            },
            token=token,
            cpu_count=spec.resources.cpu_count,
            memory_bytes=spec.resources.memory_bytes,
            timeout_s=spec.timeout_s,
            name=workload.name,
            spec=spec,
            volumes=await self._volumes(workload, spec.volumes),
        )

    async def _of_roles(self, spec: ExperimentSpec, project: str) -> dict[str, EnvironmentLockRef]:
        """Those of roles that we have: a run names their versions since its submission."""
        found: dict[str, EnvironmentLockRef] = {}
        for reference in spec.role_environments:
            if "@" not in reference:
                continue
            with suppress(NotFound):  # the cluster's administrator says what it is, or refuses it
                one = await self._environments.resolve(reference, project=project)
                found[reference] = lock_of(one)
        return found

    async def _volumes(
        self, workload: Workload, wanted: Sequence[VolumeSpec]
    ) -> tuple[AttachedVolume, ...]:
        if not wanted:
            return ()
        found = {one.name: one for one in await self._volume_records.volumes_of(workload.id)}
        for one in wanted:
            if one.volume not in found and not self._volumes_elsewhere:
                raise NotFound(
                    f'The volume "{one.volume}" that the run was submitted with is gone: submit '
                    "it anew with another.",
                    field="volumes",
                )
        return tuple(
            AttachedVolume(
                one.volume,
                found[one.volume].id,
                found[one.volume].content,
                plain_path(one.path),
                one.read_only,
            )
            for one in wanted
            if one.volume in found
        )

    def variables(
        self,
        workload: Workload,
        token: str | None,
        environments: Sequence[EnvironmentLockRef | None],
    ) -> dict[str, str]:
        """The variables that make users' tools find home.

        Where all environments are known to have our SDK, mlflow logs through its plugin; elsewhere
        it could not load it, so that it gets the plain address.

        Args:
            environments: Of the tasks; None: we do not know one.
        """
        has_plugin = all(one is not None and _SDK.search(one.lock) for one in environments)
        made = {
            "SEAFLOOR_URL": self._url,
            "SEAFLOOR_RUN_ID": workload.id,
            "SEAFLOOR_ATTEMPT": str(workload.attempt),
            "MLFLOW_TRACKING_URI": f"seafloor+{self._url}" if has_plugin else self._url,
            "MLFLOW_RUN_ID": workload.id,
            "MLFLOW_EXPERIMENT_ID": str(workload.experiment_id or 0),
        }
        if token is not None:
            made["SEAFLOOR_TOKEN"] = token
            made["MLFLOW_TRACKING_TOKEN"] = token
        return made
