"""The spec that users write: the top key is the kind, unknown fields are refused.

Plain data comes in (what a YAML or JSON reader gives) and typed specs go out. Every refusal names
the field by its dotted path and the nearest thing that would do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from seafloor.domain.code import ARCHIVE_MODES, SyncMode
from seafloor.domain.errors import InvalidValue, LimitExceeded, NotSupported, nearest
from seafloor.domain.names import check_name, check_path, check_slug
from seafloor.domain.quantities import parse_cpu, parse_duration, parse_memory
from seafloor.domain.spec_fields import read_fields, shown_type
from seafloor.domain.url_prefix import UrlPrefix, parse_url_prefix
from seafloor.domain.volumes import check_mount_path, check_volume_name, plain_path

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
COMMAND_BYTES_MAX = 128 * 1024
RETRIES_MAX = 100
CODE_SECRETS_MAX = 32
TASKS_MAX = 1000
MACHINE_TASKS_MAX = 64
"""How many tasks a run has where they are processes of one machine."""

_ROLE = re.compile(r"[a-z](?:[a-z0-9-]{0,13}[a-z0-9])?\Z")


class CodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where code comes from.

    Args:
        sync_mode: How it reaches ``/code``.
        url: Of the repository or archive; not for ``local`` and ``image``.
        ref: Branch, tag or commit, for ``git``.
        secret: Name of the secret that reaches a repository, or an archive on a web server.
        secrets: Names of further ones, for submodules and large files of a repository that are
            elsewhere, by the beginning of their addresses: ``{"example.com/team": "forge"}``.
        sparse: Of a repository only these folders and files; empty: all.
        path: The working folder, for ``local`` (relative to the spec's file) and ``image``.
        sha256: Of an archive; None: it is told by its size and ETag at submission.
        name: Of an archive's folder under ``/code``; None: that of the archive.
        strip_components: So many parts are taken off the paths in an archive, as tar does.
    """

    sync_mode: SyncMode
    url: str | None = None
    ref: str | None = None
    secret: str | None = None
    secrets: dict[str, str] = {}
    sparse: list[str] = []
    path: str | None = None
    sha256: str | None = None
    name: str | None = None
    strip_components: int = 0


class ResourcesSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a task may use.

    Args:
        cpu: Processors: 3, 0.5 or "500m".
        memory: "20Gi" or bytes.
        gpu: Whole devices.
        gpu_resource: What a cluster calls them, such as ``amd.com/gpu``; None: its usual ones.
        shared_memory: Size of ``/dev/shm``, "4Gi" or bytes.
        size: A name that a cluster's policy has for amounts; what is given beside it wins.
        pool: A name that a cluster's policy has for nodes.
    """

    cpu: int | float | str | None = None
    memory: int | str | None = None
    gpu: int | None = None
    gpu_resource: str | None = None
    shared_memory: int | str | None = None
    size: str | None = None
    pool: str | None = None

    @property
    def cpu_count(self) -> float | None:
        """Processors, or None for no limit."""
        return None if self.cpu is None else parse_cpu(self.cpu, field="resources.cpu")

    @property
    def memory_bytes(self) -> int | None:
        """Bytes, or None for no limit."""
        return None if self.memory is None else parse_memory(self.memory, field="resources.memory")


_SYSTEM = frozenset({"bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr"})


class VolumeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A volume and where it is attached."""

    volume: str
    path: str
    read_only: bool = False


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One role of a distributed experiment."""

    replicas: int = 1
    command: str | list[str] | None = None
    resources: ResourcesSpec = ResourcesSpec()
    environment: str | None = None


class ExperimentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An experiment, as written under the key ``experiment:``.

    Args:
        name: Of the experiment that the run belongs to.
        command: A shell line, or a list of arguments that no shell reads.
        run_name: Of the run; None: one is made up.
        project: Its project.
        environment: ``<name>`` or ``<name>@<version>``; None: the Python it is given.
        code: Where code comes from; None: none.
        resources, env, secrets, volumes: What the task gets.
        params, tags: Of the run.
        timeout: Seconds or "30m"; None: no limit.
        retries: How many further attempts a failure gets.
        tensorboard: Taken and kept, as other systems write it; nothing depends on it, since the
            events folder is always tailed and shown.
        tasks: Distributed: one block per role instead of command.
    """

    name: str
    command: str | list[str] | None = None
    run_name: str | None = None
    project: str = "default"
    environment: str | None = None
    code: CodeSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    volumes: list[VolumeSpec] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    timeout: str | int | float | None = None
    retries: int = 0
    tensorboard: bool = False
    tasks: dict[str, TaskSpec] = {}

    @property
    def timeout_s(self) -> float | None:
        """Seconds, or None for no limit."""
        return None if self.timeout is None else parse_duration(self.timeout, field="timeout")

    @property
    def role_environments(self) -> tuple[str, ...]:
        """What roles have instead of ``environment``, each once."""
        named = (task.environment for task in self.tasks.values())
        return tuple(dict.fromkeys(one for one in named if one is not None))


class EnvironmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An environment, as written under the key ``environment:``.

    Args:
        name: A slug.
        project: Its project.
        python: ``3.11`` or exact; None: the server's own.
        pip: Requirements (PEP 508).
        conda: ``channels`` and ``packages`` of conda. With packages, Python is one of them.
        image: A docker image, for Kubernetes. On this machine an environment needs packages as
            well; an image alone is refused when a run asks for it.
        description: What it is for.
    """

    name: str
    project: str = "default"
    python: str | None = None
    pip: list[str] = []
    image: str | None = None
    conda: dict[str, list[str]] = {}
    description: str | None = None


Spec = ExperimentSpec | EnvironmentSpec

_KINDS: dict[str, type[ExperimentSpec] | type[EnvironmentSpec]] = {
    "experiment": ExperimentSpec,
    "environment": EnvironmentSpec,
}
_KINDS_LATER = ("notebook", "serving", "template")
_CONDA = ("channels", "packages")
_FIELDS = frozenset(ExperimentSpec.__struct_fields__)
DESCRIPTION_CHARS_MAX = 10_000
VERSION_DIGITS_MAX = 9


def parse_spec(data: object) -> Spec:
    """Read a whole spec document.

    Raises:
        InvalidValue: it is not a spec; the message names field, nearest known name and fix.
        NotSupported: a kind or field that this version does not run.
    """
    kind, body = split_kind(data, _KINDS, later=_KINDS_LATER)
    if kind == "experiment":
        return parse_experiment(body)
    return parse_environment(body)


def split_kind(
    data: object, kinds: Collection[str], *, later: Collection[str] = ()
) -> tuple[str, object]:
    """Take the kind of a spec document from what stands under it.

    Args:
        kinds: Those that will do.
        later: Those of which is said that they will.

    Raises:
        InvalidValue: it is not a spec, or of none of the kinds.
        NotSupported: a later kind.
    """
    if not isinstance(data, dict):
        raise InvalidValue(
            "A spec is a mapping whose top key is its kind, such as `experiment:`. "
            f"This one is {shown_type(data)}."
        )
    document: dict[object, object] = data  # pyright: ignore[reportUnknownVariableType]
    found = [str(key) for key in document]
    if len(found) != 1 or (found[0] not in kinds and found[0] in _FIELDS):
        fix = " Put all of it below `experiment:`." if found and set(found) <= _FIELDS else ""
        shown = ", ".join(found[:12])[:200]
        raise InvalidValue(
            f"A spec has one top key, its kind: {' or '.join(kinds)}. "
            f"This one has {len(found)}: {shown or 'none'}.{fix}"
        )
    kind, body = next(iter(document.items()))
    if kind in later:
        raise NotSupported(
            f"A {kind} cannot be run by this version yet: use `experiment:`.", field=str(kind)
        )
    if kind not in kinds:
        raise InvalidValue(
            f'"{kind}" is not a kind of spec.{nearest(str(kind), kinds)}', field=str(kind)
        )
    return str(kind), body


def parse_experiment(body: object) -> ExperimentSpec:
    """Read what stands under ``experiment:``, with all that some launcher of a server may know.

    Raises:
        InvalidValue, NotSupported: no server could run it, wherever it launches runs.
    """
    spec = read_experiment(body)
    check_tasks(spec)
    if (spec.resources.gpu or 0) < 0:
        raise InvalidValue("A number of GPUs is 0 or more.", field="resources.gpu")
    return spec


def read_experiment(body: object) -> ExperimentSpec:
    """Read what stands under ``experiment:``, with all that some launcher may know.

    Raises:
        InvalidValue: no launcher could run it, as far as each field for itself says.
    """
    spec = read_fields(body, ExperimentSpec, what="An experiment")
    check_name(spec.name)
    check_slug(spec.project, field="project")
    if spec.run_name is not None:
        check_name(spec.run_name, field="run_name")
    check_code(spec.code)
    check_env(spec.env)
    # Evaluated for their errors.
    _ = (spec.timeout_s, spec.resources.cpu_count, spec.resources.memory_bytes)
    if not 0 <= spec.retries <= RETRIES_MAX:
        raise InvalidValue(
            f"retries must be 0..{RETRIES_MAX}, not {spec.retries}.", field="retries"
        )
    if spec.environment is not None:
        parse_environment_reference(spec.environment)
    return spec


def parse_environment(body: object) -> EnvironmentSpec:
    """Read what stands under ``environment:``; see ``parse_spec``."""
    spec = read_fields(body, EnvironmentSpec, what="An environment")
    check_slug(spec.name)
    check_slug(spec.project, field="project")
    if spec.description is not None and len(spec.description) > DESCRIPTION_CHARS_MAX:
        raise LimitExceeded(
            f"A description has at most {DESCRIPTION_CHARS_MAX:,} characters.",
            field="description",
        )
    for key in spec.conda:
        if key not in _CONDA:
            raise InvalidValue(
                f'"{key}" is not a field of `conda`.{nearest(key, _CONDA)}', field=f"conda.{key}"
            )
    if spec.conda.get("channels") and not spec.conda.get("packages"):
        raise InvalidValue(
            "Channels without packages do nothing: list `packages` as well.", field="conda.packages"
        )
    return spec


def parse_environment_reference(text: str) -> tuple[str, int | None]:
    """Read ``<name>`` or ``<name>@<version>``.

    >>> parse_environment_reference("digits@2")
    ('digits', 2)
    """
    name, at, version = text.partition("@")
    check_slug(name, field="environment")
    if not at:
        return name, None
    known = version.isascii() and version.isdigit() and len(version) <= VERSION_DIGITS_MAX
    if not known or int(version) < 1:
        raise InvalidValue(
            f'"{name}@{version[:40]}": the version after @ is a whole number from 1.',
            field="environment",
        )
    return name, int(version)


def check_tasks(spec: ExperimentSpec) -> None:
    """Refuse what has no command, or whose tasks cannot be told apart."""
    if not spec.tasks:
        check_command(spec.command)
        return
    if spec.command is not None:
        raise InvalidValue(
            "With `tasks`, each of them has its command: leave `command` out.", field="command"
        )
    for role, task in spec.tasks.items():
        if not _ROLE.match(role):
            raise InvalidValue(
                f'"{role}" cannot be a role: at most 15 lower-case letters, digits and "-".',
                field=f"tasks.{role}",
            )
        if not 1 <= task.replicas <= TASKS_MAX:
            raise InvalidValue(f"replicas is 1..{TASKS_MAX}.", field=f"tasks.{role}.replicas")
        if task.command is None:
            raise InvalidValue(f"The task {role} needs a command.", field=f"tasks.{role}.command")
        check_command(task.command)
        if task.environment is not None:
            parse_environment_reference(task.environment)
    names = [name for role, task in spec.tasks.items() for name in task_names(role, task.replicas)]
    if len(names) > TASKS_MAX or len(set(names)) < len(names):
        raise InvalidValue(
            f"A run has at most {TASKS_MAX} tasks, and `<role>-<number>` names one of them.",
            field="tasks",
        )


def task_names(role: str, replicas: int) -> tuple[str, ...]:
    """Names of the tasks of a role."""
    return tuple(f"{role}-{index}" for index in range(replicas))


def check_command(command: str | list[str] | None) -> None:
    """Refuse what cannot be executed."""
    words = [command or ""] if not isinstance(command, list) else command
    if not words or not words[0].strip():
        raise InvalidValue(
            'An experiment needs a command, such as "python train.py".', field="command"
        )
    if any("\0" in word for word in words):
        raise InvalidValue("A command must not hold NUL characters.", field="command")
    if sum(len(word.encode()) + 1 for word in words) > COMMAND_BYTES_MAX:
        raise InvalidValue(
            f"A command has at most {COMMAND_BYTES_MAX} bytes: put it into a script.",
            field="command",
        )


_MODES_OF: dict[str, tuple[SyncMode, ...]] = {
    "url": (SyncMode.GIT, *ARCHIVE_MODES),
    "ref": (SyncMode.GIT,),
    "secret": (SyncMode.GIT, SyncMode.HTTP),
    "secrets": (SyncMode.GIT,),
    "sparse": (SyncMode.GIT,),
    "path": (SyncMode.LOCAL, SyncMode.IMAGE),
    "sha256": ARCHIVE_MODES,
    "name": ARCHIVE_MODES,
    "strip_components": ARCHIVE_MODES,
}
"""Which fields of ``code`` go with which ``sync_mode``."""


def check_code(code: CodeSpec | None) -> None:
    """Refuse a code source whose fields do not go together."""
    if code is None:
        return
    mode = code.sync_mode
    for field, modes in _MODES_OF.items():
        if getattr(code, field) and mode not in modes:
            names = ", ".join(modes)
            raise InvalidValue(
                f"`{field}` is for sync_mode {names}, not for {mode}.", field=f"code.{field}"
            )
    if not code.url and mode in _MODES_OF["url"]:
        what = "repository" if mode is SyncMode.GIT else "archive"
        raise InvalidValue(f"sync_mode {mode} needs the {what}'s `url`.", field="code.url")
    if code.secret is not None:
        check_slug(code.secret, field="code.secret")
    check_secrets(code.secrets)
    for path in code.sparse:
        check_path(path, field="code.sparse")
    if mode is SyncMode.IMAGE and not (code.path or "/").startswith("/"):
        raise InvalidValue("A folder in an image is an absolute path.", field="code.path")


def check_secrets(secrets: Mapping[str, str]) -> None:
    """Refuse secrets of a repository that are for no address, or two for one.

    Raises:
        InvalidValue, LimitExceeded: there is such a one.
    """
    if len(secrets) > CODE_SECRETS_MAX:
        raise LimitExceeded(
            f"A repository has at most {CODE_SECRETS_MAX} secrets.", field="code.secrets"
        )
    seen: dict[UrlPrefix, str] = {}
    for prefix, name in secrets.items():
        check_slug(name, field="code.secrets")
        found = parse_url_prefix(prefix, field="code.secrets")
        if found in seen:
            raise InvalidValue(
                f'"{seen[found]}" and "{prefix}" are the same: leave one out.', field="code.secrets"
            )
        seen[found] = prefix


def parse_secrets_for(texts: Sequence[str]) -> dict[str, str]:
    """Read ``PREFIX=NAME`` texts, as a command line has them.

    Raises:
        InvalidValue, LimitExceeded: one is none, or see ``check_secrets``.

    >>> parse_secrets_for(["example.com/team=forge"])
    {'example.com/team': 'forge'}
    """
    found: dict[str, str] = {}
    for text in texts:
        prefix, equals, name = text.rpartition("=")
        if not equals or prefix in found:
            raise InvalidValue(
                f'"{text[:80]}" is not of the form PREFIX=NAME, or there twice.',
                field="--secret-for",
            )
        found[prefix] = name
    check_secrets(found)
    return found


def check_on_machine(spec: ExperimentSpec) -> None:
    """Refuse what runs cannot have that are processes of the server's machine.

    Raises:
        NotSupported: it asks for that.
    """
    count = sum(task.replicas for task in spec.tasks.values())
    if count > MACHINE_TASKS_MAX:
        raise InvalidValue(
            f"A run has at most {MACHINE_TASKS_MAX} tasks here, where all are processes of one "
            f"machine, and not {count}.",
            field="tasks",
        )
    _check_on_machine(spec.resources, "resources")
    for role, task in spec.tasks.items():
        _check_on_machine(task.resources, f"tasks.{role}.resources")
    if spec.secrets:
        raise NotSupported("Runs on this server are processes and get no secrets.", field="secrets")
    _check_volumes(spec.volumes)


def _check_on_machine(resources: ResourcesSpec, field: str) -> None:
    _ = (resources.cpu_count, resources.memory_bytes)
    if resources.gpu:
        raise NotSupported(
            "This server does not hand out GPUs: leave `gpu` out; a task sees those of its "
            "machine.",
            field=f"{field}.gpu",
        )
    for name in ("gpu_resource", "shared_memory", "size", "pool"):
        if getattr(resources, name) is not None:
            raise NotSupported(
                f"`{name}` is for clusters: leave it out, or give amounts.", field=f"{field}.{name}"
            )


def check_env(env: dict[str, str]) -> None:
    """Refuse what cannot be variables."""
    for name, value in env.items():
        if not ENV_NAME.match(name):
            raise InvalidValue(
                f'"{name}" cannot be an environment variable: use letters, digits and "_".',
                field=f"env.{name}",
            )
        if "\0" in value:
            raise InvalidValue("A variable must not hold NUL characters.", field=f"env.{name}")


def _check_volumes(volumes: Sequence[VolumeSpec]) -> None:
    """Check what tasks of this machine get, where paths are those of the machine."""
    taken: list[str] = []
    for number, volume in enumerate(volumes):
        check_volume_name(volume.volume, field=f"volumes[{number}].volume")
        field = f"volumes[{number}].path"
        check_mount_path(volume.path, field)
        path = plain_path(volume.path)
        if "\0" in path or path.split("/")[1] in _SYSTEM:
            raise InvalidValue(
                f'"{path}" is the system\'s: choose another, such as /data.', field=field
            )
        if any(f"{path}/".startswith(f"{one}/") or one.startswith(f"{path}/") for one in taken):
            raise InvalidValue(
                "Volumes cannot be at the same path, or one below another.", field=field
            )
        taken.append(path)
