"""Plans: what would happen, without doing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seafloor.app.admission import Admission
from seafloor.app.code_sources import CodeSources, check_code
from seafloor.app.environments import Environments
from seafloor.app.experiments import Experiments
from seafloor.app.launches import Launches, in_use, lock_of
from seafloor.app.volumes import Attachments, Volumes
from seafloor.domain.code import ArchiveCode, CodeSource, GitCode, ImageCode
from seafloor.domain.environments import Environment
from seafloor.domain.ids import WorkloadId
from seafloor.domain.specs import ExperimentSpec, VolumeSpec, parse_experiment
from seafloor.domain.volumes import Volume
from seafloor.domain.workloads import Workload, WorkloadKind, WorkloadState
from seafloor.launch.protocol import EnvironmentLockRef
from seafloor.wire.server import Plan


class Plans:
    """Says what a spec would do."""

    def __init__(
        self,
        experiments: Experiments,
        environments: Environments,
        admission: Admission,
        code_sources: CodeSources,
        launches: Launches,
        volumes: Volumes,
    ) -> None:
        self._experiments = experiments
        self._environments = environments
        self._admission = admission
        self._code_sources = code_sources
        self._launches = launches
        self._volumes = volumes

    async def make(self, data: dict[str, Any], code: CodeSource | None) -> Plan:
        """Plan a run; creates nothing. Raises what creating it would raise."""
        spec = parse_experiment(data)
        code = await self._code_sources.resolve(spec, code)
        check_code(spec, code)
        environment, cached, lock = "the Python it is given", None, None
        environments = await self._admission.environments(spec)
        attached = await self._volumes.attachments(spec.volumes, project=spec.project)
        cluster_warnings = self._admission.check(spec, code, environments, attached.volumes)
        found = environments.get(spec.environment or "")
        if found is not None:
            details = await self._environments.get(found.reference, project=spec.project)
            environment = f"{found.reference} ({found.digest[:12]})"
            cached = details.size_bytes is not None
            lock = lock_of(found)
        roles = {name: lock_of(environments[name]) for name in _of_roles(spec, environments)}
        experiment = await self._experiments.find_usable(spec.name, project=spec.project)
        exists = experiment is not None
        return Plan(
            experiment=spec.name,
            experiment_exists=exists,
            environment=environment,
            environment_cached=cached,
            code=code,
            code_path=_code_path(code),
            command=spec.command or "",
            variables={**self._variables(spec, lock, roles), **spec.env},
            limits=_limits(spec),
            warnings=(
                *await self._code_sources.warnings(spec, code),
                *await self._volumes.warnings(spec.volumes),
                *cluster_warnings,
            ),
            steps=_steps(
                spec,
                code,
                attached,
                exists=exists,
                environment=environment,
                cached=cached,
                roles=roles,
            ),
        )

    def _variables(
        self,
        spec: ExperimentSpec,
        own: EnvironmentLockRef | None,
        roles: Mapping[str, EnvironmentLockRef],
    ) -> dict[str, str]:
        """What a task would see, of a run that has no id yet."""
        sample = Workload(
            id=WorkloadId("<id of the run>"),
            kind=WorkloadKind.RUN,
            project=spec.project,
            name="",
            user="",
            state=WorkloadState.QUEUED,
            origin="launched",
            created_ns=0,
            updated_ns=0,
            attempt=1,
        )
        variables = self._launches.variables(sample, None, in_use(spec, own, roles))
        return {**variables, "MLFLOW_EXPERIMENT_ID": "<id of the experiment>"}


def _of_roles(spec: ExperimentSpec, known: Mapping[str, Environment]) -> list[str]:
    return [one for one in spec.role_environments if one in known]


def _code_path(code: CodeSource | None) -> str | None:
    return None if code is None or isinstance(code, ImageCode) else f"/code/{code.folder}"


def _limits(spec: ExperimentSpec) -> dict[str, str]:
    limits = {"retries": str(spec.retries)}
    if spec.resources.cpu_count is not None:
        limits["cpu"] = f"{spec.resources.cpu_count:g}"
    if spec.resources.memory_bytes is not None:
        limits["memory"] = f"{spec.resources.memory_bytes} bytes"
    if spec.timeout_s is not None:
        limits["timeout"] = f"{spec.timeout_s:g} s"
    return limits


def _steps(
    spec: ExperimentSpec,
    code: CodeSource | None,
    attached: Attachments,
    *,
    exists: bool,
    environment: str,
    cached: bool | None,
    roles: Mapping[str, EnvironmentLockRef],
) -> tuple[str, ...]:
    steps: list[str] = []
    if not exists:
        steps.append(f'Create the experiment "{spec.name}" in project {spec.project}.')
    if isinstance(code, GitCode):
        steps.append(f"Check out {code.commit[:12]} of {code.url} to /code/{code.folder}.")
    elif isinstance(code, ArchiveCode):
        size = "" if code.size_bytes is None else f" ({code.size_bytes:,} bytes)"
        steps.append(f"Unpack {code.url}{size} to /code/{code.folder}.")
    elif isinstance(code, ImageCode):
        steps.append(f"Localise nothing: the code is there already ({code.path or 'anywhere'}).")
    elif code is not None:
        steps.append(f"Unpack the snapshot {code.sha256[:12]} to /code/{code.folder}.")
    if cached is None:
        steps.append("Use the Python that the launcher is run by.")
    else:
        steps.append(f"{'Use the built' if cached else 'Build the'} environment {environment}.")
    steps += _environments_of_roles(spec, roles)
    steps += [_attaching(one, attached.volumes.get(one.volume)) for one in spec.volumes]
    if spec.tasks:
        said = (f"{task.replicas} {role} ({task.command})" for role, task in spec.tasks.items())
        steps.append(f"Run, all or none: {', '.join(said)}")
    else:
        steps.append(f"Run: {spec.command}")
    if spec.retries:
        steps.append(f"On failure, try again up to {spec.retries} times.")
    return tuple(steps)


def _environments_of_roles(
    spec: ExperimentSpec, known: Mapping[str, EnvironmentLockRef]
) -> list[str]:
    named = {role: one.environment for role, one in spec.tasks.items() if one.environment}
    return [
        f"Use the environment {known[one].reference if one in known else one} for {role}."
        for role, one in named.items()
    ]


def _attaching(one: VolumeSpec, volume: Volume | None) -> str:
    rights = ", read-only" if one.read_only else ""
    if volume is None:
        return f"Attach the cluster's volume {one.volume} at {one.path}{rights}."
    of_it: list[str] = [volume.access_mode]
    if volume.size_bytes is not None:
        of_it.append(f"{volume.size_bytes:,} bytes")
    if volume.storage_class is not None:
        of_it.append(f"class {volume.storage_class}")
    return f"Attach the volume {one.volume} ({', '.join(of_it)}) at {one.path}{rights}."
