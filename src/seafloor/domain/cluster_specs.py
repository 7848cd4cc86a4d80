"""Specs that a cluster runs: experiments with all their fields, notebooks and servings.

What the launcher for processes refuses (secrets, GPUs, images) is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from seafloor.domain.errors import InvalidValue
from seafloor.domain.names import check_name, check_slug
from seafloor.domain.quantities import parse_memory
from seafloor.domain.spec_fields import read_fields
from seafloor.domain.specs import (
    ENV_NAME,
    TASKS_MAX,
    CodeSpec,
    EnvironmentSpec,
    ExperimentSpec,
    ResourcesSpec,
    VolumeSpec,
    check_code,
    check_command,
    check_env,
    check_tasks,
    parse_environment_reference,
    read_experiment,
    split_kind,
)
from seafloor.domain.volumes import check_mount_path, plain_path

PORT_MAX = 65535
_OBJECT = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z")
_SECRET_KEY = re.compile(r"(?!\.\.?\Z|\.\.)[A-Za-z0-9._-]{1,253}\Z")
_DEVICE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,200}[a-z0-9])?/[A-Za-z0-9](?:[\w.-]{0,61}\w)?\Z")
_HOME_DEFAULT = "10Gi"


class NotebookSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A notebook session, as written under the key ``notebook:``.

    Args:
        name, project, environment, code, resources, env, secrets, volumes: As of an experiment.
        command: What listens on the port; None: JupyterLab.
        port: Where it listens, above 1023.
        home: Size of the volume that outlives the session; "20Gi" or bytes.
        storage_class: Of that volume; None: the policy's.
    """

    name: str
    project: str = "default"
    environment: str | None = None
    code: CodeSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    volumes: list[VolumeSpec] = []
    command: str | list[str] | None = None
    port: int = 8888
    home: int | str = _HOME_DEFAULT
    storage_class: str | None = None

    @property
    def home_bytes(self) -> int:
        """Size of the home volume."""
        return parse_memory(self.home, field="home")


class AutoscaleSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many replicas a serving has.

    Args:
        max_replicas: At most so many; at least ``replicas``.
        cpu_percent: Of what is asked for, above which there are more.
    """

    max_replicas: int
    cpu_percent: int = 80


class ServingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A serving, as written under the key ``serving:``.

    Args:
        name, project, environment, code, resources, env, secrets, volumes: As of an experiment.
        command: What listens on the port.
        port: Where it listens, above 1023.
        replicas: How many there are, or at least are.
        autoscale: None: as many as ``replicas``.
        health: Path that answers 200 when it is ready; None: the port is only connected to.
    """

    name: str
    command: str | list[str]
    project: str = "default"
    environment: str | None = None
    code: CodeSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    volumes: list[VolumeSpec] = []
    port: int = 8080
    replicas: int = 1
    autoscale: AutoscaleSpec | None = None
    health: str | None = None


ClusterSpec = ExperimentSpec | NotebookSpec | ServingSpec


class SecretRef(msgspec.Struct, frozen=True):
    """A Secret of the cluster, by name: its value is nothing that Seafloor ever has.

    Args:
        secret: Its name.
        key: Which of its entries; None: all, as files.
    """

    secret: str
    key: str | None


def parse_cluster_spec(data: object) -> ClusterSpec | EnvironmentSpec:
    """Read a whole spec document.

    Raises:
        InvalidValue: it is not a spec; the message names field, nearest known name and fix.
    """
    kind, body = split_kind(data, ("experiment", "notebook", "serving", "environment"))
    if kind == "environment":
        return _environment(body)
    spec: ClusterSpec
    if kind == "experiment":
        spec = read_experiment(body)
        check_tasks(spec)
    elif kind == "notebook":
        spec = read_fields(body, NotebookSpec, what="A notebook")
        _check_notebook(spec)
    else:
        spec = read_fields(body, ServingSpec, what="A serving")
        _check_serving(spec)
    check_on_cluster(spec)
    return spec


def check_on_cluster(spec: ClusterSpec) -> None:
    """Refuse what is no resource, secret or volume of a cluster.

    Raises:
        InvalidValue: it names one that cannot be.
    """
    for field, resources in _resources(spec):
        _check_resources(resources, field)
    for name, text in spec.secrets.items():
        parse_secret(name, text)
    if spec.code is not None and spec.code.secret is not None:
        _check_object(spec.code.secret, "code.secret")
    _check_volumes(spec)


def parse_secret(name: str, text: str) -> SecretRef:
    """Read one entry of ``secrets``.

    Args:
        name: A variable, or an absolute path that the Secret's entries become files below.
        text: ``<secret>/<key>``; for a path also ``<secret>``.

    >>> parse_secret("GIT_TOKEN", "team/git-token")
    SecretRef(secret='team', key='git-token')
    """
    field = f"secrets.{name}"
    secret, slash, key = text.partition("/")
    as_files = name.startswith("/")
    if as_files:
        check_mount_path(name, field)
    elif not ENV_NAME.match(name):
        raise InvalidValue(
            f'"{name}" is neither a variable nor an absolute path: use letters, digits and "_", '
            "or begin with a slash.",
            field=field,
        )
    if not _OBJECT.match(secret) or (slash and not _SECRET_KEY.match(key)):
        raise InvalidValue(
            "A secret is named, never given: write `<secret>/<key>`, the name of a Secret of the "
            "cluster and one of its keys.",
            field=field,
        )
    if not slash and not as_files:
        raise InvalidValue(
            f"Which key of the secret becomes {name}? Write `<secret>/<key>`.", field=field
        )
    return SecretRef(secret, key or None)


def _environment(body: object) -> EnvironmentSpec:
    spec = read_fields(body, EnvironmentSpec, what="An environment")
    check_slug(spec.name)
    check_slug(spec.project, field="project")
    if spec.image is None:
        raise InvalidValue(
            "For a pod an environment needs an `image` with the packages in it.", field="image"
        )
    if spec.pip or spec.conda:
        field = "pip" if spec.pip else "conda"
        raise InvalidValue(
            f"Packages are not installed when a pod starts: put them into the image, and leave "
            f"`{field}` out.",
            field=field,
        )
    return spec


def _check_common(spec: NotebookSpec | ServingSpec) -> None:
    check_name(spec.name)
    check_slug(spec.project, field="project")
    check_code(spec.code)
    check_env(spec.env)
    if spec.environment is not None:
        parse_environment_reference(spec.environment)
    if not 1024 <= spec.port <= PORT_MAX:
        raise InvalidValue(
            f"A port is 1024..{PORT_MAX}: below that only root may listen.", field="port"
        )


def _check_notebook(spec: NotebookSpec) -> None:
    _check_common(spec)
    if spec.command is not None:
        check_command(spec.command)
    _ = spec.home_bytes


def _check_serving(spec: ServingSpec) -> None:
    _check_common(spec)
    check_command(spec.command)
    if not 1 <= spec.replicas <= TASKS_MAX:
        raise InvalidValue(f"replicas is 1..{TASKS_MAX}.", field="replicas")
    scale = spec.autoscale
    if scale is not None:
        if not spec.replicas <= scale.max_replicas <= TASKS_MAX:
            raise InvalidValue(
                f"max_replicas is {spec.replicas}..{TASKS_MAX}: at least `replicas`.",
                field="autoscale.max_replicas",
            )
        if not 1 <= scale.cpu_percent <= 100:
            raise InvalidValue("cpu_percent is 1..100.", field="autoscale.cpu_percent")
    if spec.health is not None and not spec.health.startswith("/"):
        raise InvalidValue("health is a path, such as /health.", field="health")


def _resources(spec: ClusterSpec) -> Iterator[tuple[str, ResourcesSpec]]:
    yield "resources", spec.resources
    if isinstance(spec, ExperimentSpec):
        for role, task in spec.tasks.items():
            yield f"tasks.{role}.resources", task.resources


def _check_resources(resources: ResourcesSpec, field: str) -> None:
    _ = (resources.cpu_count, resources.memory_bytes)
    if resources.gpu is not None and resources.gpu < 0:
        raise InvalidValue("A number of GPUs is 0 or more.", field=f"{field}.gpu")
    if resources.gpu_resource is not None and not _DEVICE.match(resources.gpu_resource):
        raise InvalidValue(
            "Devices of a cluster are named like nvidia.com/gpu.", field=f"{field}.gpu_resource"
        )
    if resources.shared_memory is not None:
        parse_memory(resources.shared_memory, field=f"{field}.shared_memory")


def _check_object(name: str, field: str) -> None:
    if not _OBJECT.match(name):
        raise InvalidValue(
            'Objects of a cluster are named by lower-case letters, digits, "-" and ".".',
            field=field,
        )


def _check_volumes(spec: ClusterSpec) -> None:
    taken: dict[str, str] = {}
    for number, volume in enumerate(spec.volumes):
        if not _OBJECT.match(volume.volume):
            raise InvalidValue(
                'A volume is named by lower-case letters, digits, "-" and ".".',
                field=f"volumes[{number}].volume",
            )
        check_mount_path(volume.path, f"volumes[{number}].path")
        taken[plain_path(volume.path)] = f"volumes[{number}].path"
    for name in (name for name in spec.secrets if name.startswith("/")):
        if plain_path(name) in taken:
            raise InvalidValue(f"Two things cannot both be at {name}.", field=f"secrets.{name}")
    if len(taken) < len(spec.volumes):
        raise InvalidValue("Two volumes cannot be at the same path.", field="volumes")
