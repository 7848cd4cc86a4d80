"""The spec that users write: the top key is the kind, unknown fields are refused.

Plain data comes in (what a YAML or JSON reader gives) and typed specs go out. Every refusal names
the field by its dotted path and the nearest thing that would do.
"""

from __future__ import annotations

import re
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from seafloor.domain.code import SyncMode
from seafloor.domain.errors import InvalidValue, NotSupported, nearest
from seafloor.domain.names import check_name, check_slug
from seafloor.domain.quantities import parse_cpu, parse_duration, parse_memory

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
COMMAND_BYTES_MAX = 128 * 1024
RETRIES_MAX = 100

_T = TypeVar("_T", bound=msgspec.Struct)


class CodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where code comes from.

    Args:
        sync_mode: How it reaches ``/code``.
        url: Of the repository or archive; not for ``local``.
        ref: Branch, tag or commit, for ``git``.
        path: The working folder, for ``local``; relative to the spec's file.
    """

    sync_mode: SyncMode
    url: str | None = None
    ref: str | None = None
    path: str | None = None


class ResourcesSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a task may use.

    Args:
        cpu: Processors: 3, 0.5 or "500m".
        memory: "20Gi" or bytes.
        gpu: Whole devices.
    """

    cpu: int | float | str | None = None
    memory: int | str | None = None
    gpu: int | None = None

    @property
    def cpu_count(self) -> float | None:
        """Processors, or None for no limit."""
        return None if self.cpu is None else parse_cpu(self.cpu, field="resources.cpu")

    @property
    def memory_bytes(self) -> int | None:
        """Bytes, or None for no limit."""
        return None if self.memory is None else parse_memory(self.memory, field="resources.memory")


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
        tags: Of the run.
        timeout: Seconds or "30m"; None: no limit.
        retries: How many further attempts a failure gets.
        tensorboard: Whether the page offers TensorBoard; the events folder is tailed either way.
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
    tags: dict[str, str] = {}
    timeout: str | int | float | None = None
    retries: int = 0
    tensorboard: bool = False
    tasks: dict[str, TaskSpec] = {}

    @property
    def timeout_s(self) -> float | None:
        """Seconds, or None for no limit."""
        return None if self.timeout is None else parse_duration(self.timeout, field="timeout")


class EnvironmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An environment, as written under the key ``environment:``.

    Args:
        name: A slug.
        project: Its project.
        python: ``3.11`` or exact; None: the server's own.
        pip: Requirements (PEP 508).
        image, conda: Kept for later versions; refused by this one when given.
    """

    name: str
    project: str = "default"
    python: str | None = None
    pip: list[str] = []
    image: str | None = None
    conda: dict[str, list[str]] = {}


Spec = ExperimentSpec | EnvironmentSpec

_KINDS: dict[str, type[ExperimentSpec] | type[EnvironmentSpec]] = {
    "experiment": ExperimentSpec,
    "environment": EnvironmentSpec,
}
_KINDS_LATER = ("notebook", "serving", "template")


def parse_spec(data: object) -> Spec:
    """Read a whole spec document.

    Raises:
        InvalidValue: it is not a spec; the message names field, nearest known name and fix.
        NotSupported: a kind or field that this version does not run.
    """
    if not isinstance(data, dict):
        raise InvalidValue(
            "A spec is a mapping whose top key is its kind, such as `experiment:`. "
            f"This one is {_shown_type(data)}."
        )
    document: dict[object, object] = data  # pyright: ignore[reportUnknownVariableType]
    kinds = [str(key) for key in document]
    if len(kinds) != 1:
        raise InvalidValue(
            "A spec has one top key, its kind: experiment or environment. "
            f"This one has {len(kinds)}: {', '.join(kinds) or 'none'}."
        )
    kind, body = next(iter(document.items()))
    if kind in _KINDS_LATER:
        raise NotSupported(
            f"A {kind} cannot be run by this version yet: use `experiment:`.", field=str(kind)
        )
    if kind not in _KINDS:
        raise InvalidValue(
            f'"{kind}" is not a kind of spec.{nearest(str(kind), _KINDS)}', field=str(kind)
        )
    if kind == "experiment":
        return parse_experiment(body)
    return parse_environment(body)


def parse_experiment(body: object) -> ExperimentSpec:
    """Read what stands under ``experiment:``; see ``parse_spec``."""
    spec = _convert(body, ExperimentSpec, path="")
    check_name(spec.name)
    check_slug(spec.project, field="project")
    if spec.run_name is not None:
        check_name(spec.run_name, field="run_name")
    _check_tasks(spec)
    _check_code(spec.code)
    _check_env(spec)
    # Evaluated for their errors.
    _ = (spec.timeout_s, spec.resources.cpu_count, spec.resources.memory_bytes)
    if not 0 <= spec.retries <= RETRIES_MAX:
        raise InvalidValue(f"retries must be 0..{RETRIES_MAX}.", field="retries")
    if spec.environment is not None:
        parse_environment_reference(spec.environment)
    _refuse_later(spec)
    return spec


def parse_environment(body: object) -> EnvironmentSpec:
    """Read what stands under ``environment:``; see ``parse_spec``."""
    spec = _convert(body, EnvironmentSpec, path="")
    check_slug(spec.name)
    check_slug(spec.project, field="project")
    if spec.image is not None:
        raise NotSupported(
            "Docker images need a Kubernetes launcher, which this version does not have: "
            "leave `image` out.",
            field="image",
        )
    if spec.conda:
        raise NotSupported(
            "conda packages are not built by this version: list them under `pip`.", field="conda"
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
    if not version.isascii() or not version.isdigit() or int(version) < 1:
        raise InvalidValue(
            f'"{text}": the version after @ is a whole number from 1.', field="environment"
        )
    return name, int(version)


def _check_tasks(spec: ExperimentSpec) -> None:
    if spec.tasks:
        raise NotSupported(
            "Distributed tasks are not run by this version: give one `command` instead.",
            field="tasks",
        )
    if spec.command is None or not spec.command or not str(spec.command).strip():
        raise InvalidValue(
            'An experiment needs a command, such as "python train.py".', field="command"
        )
    text = spec.command if isinstance(spec.command, str) else "\0".join(spec.command)
    if isinstance(spec.command, str) and "\0" in text:
        raise InvalidValue("A command must not hold NUL characters.", field="command")
    if len(text.encode(errors="surrogatepass")) > COMMAND_BYTES_MAX:
        raise InvalidValue(
            f"A command has at most {COMMAND_BYTES_MAX} bytes: put it into a script.",
            field="command",
        )


def _check_code(code: CodeSpec | None) -> None:
    if code is None:
        return
    if code.sync_mode is SyncMode.GIT:
        if not code.url:
            raise InvalidValue("sync_mode git needs the repository's `url`.", field="code.url")
        if code.path is not None:
            raise InvalidValue("`path` is for sync_mode local.", field="code.path")
    elif code.sync_mode is SyncMode.LOCAL:
        for field, value in (("url", code.url), ("ref", code.ref)):
            if value is not None:
                raise InvalidValue(f"`{field}` is for sync_mode git.", field=f"code.{field}")
    else:
        raise NotSupported(
            f"sync_mode {code.sync_mode} cannot be localised by this version: use git or local.",
            field="code.sync_mode",
        )


def _check_env(spec: ExperimentSpec) -> None:
    for name, value in spec.env.items():
        if not ENV_NAME.match(name):
            raise InvalidValue(
                f'"{name}" cannot be an environment variable: use letters, digits and "_".',
                field=f"env.{name}",
            )
        if "\0" in value:
            raise InvalidValue("A variable must not hold NUL characters.", field=f"env.{name}")


def _refuse_later(spec: ExperimentSpec) -> None:
    if spec.secrets:
        raise NotSupported("Secrets are not kept by this version.", field="secrets")
    if spec.volumes:
        raise NotSupported("Volumes are not attached by this version.", field="volumes")


def _convert(body: object, cls: type[_T], *, path: str) -> _T:
    _check_fields(body, cls, path=path)
    try:
        return msgspec.convert(body, cls)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".") or None
        raise InvalidValue(f"{text.replace('`', '')}.", field=field) from error


def _check_fields(body: object, cls: type[msgspec.Struct], *, path: str) -> None:
    """Refuse unknown fields with the nearest known one, at every depth, before conversion."""
    if not isinstance(body, dict):
        where = f"`{path}`" if path else "The spec"
        raise InvalidValue(
            f"{where} must be a mapping of fields, not {_shown_type(body)}.", field=path or None
        )
    fields: dict[object, object] = body  # pyright: ignore[reportUnknownVariableType]
    hints = get_type_hints(cls)
    for name, value in fields.items():
        here = f"{path}.{name}" if path else str(name)
        if name not in hints:
            raise InvalidValue(f'Unknown field "{name}".{nearest(str(name), hints)}', field=here)
        for inner in _structs_in(hints[str(name)]):
            _check_nested(value, inner, path=here)


def _check_nested(value: object, inner: tuple[str, type[msgspec.Struct]], *, path: str) -> None:
    shape, cls = inner
    if value is None:
        return
    if shape == "plain":
        _check_fields(value, cls, path=path)
    elif shape == "list" and isinstance(value, list):
        items: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        for number, item in enumerate(items):
            _check_fields(item, cls, path=f"{path}[{number}]")
    elif shape == "dict" and isinstance(value, dict):
        entries: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType]
        for key, item in entries.items():
            _check_fields(item, cls, path=f"{path}.{key}")


def _structs_in(hint: Any) -> list[tuple[str, type[msgspec.Struct]]]:
    origin = get_origin(hint)
    if origin is None:
        is_struct = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
        return [("plain", hint)] if is_struct else []
    if origin in (types.UnionType, Union):
        return [found for part in get_args(hint) for found in _structs_in(part)]
    shape = {list: "list", dict: "dict"}.get(origin)
    if shape is None:
        return []
    return [(shape, cls) for part in get_args(hint) for _, cls in _structs_in(part)]


def _shown_type(value: object) -> str:
    names: dict[type, str] = {
        str: "a text",
        int: "a number",
        float: "a number",
        list: "a list",
        bool: "a yes/no",
    }
    return "empty" if value is None else names.get(type(value), type(value).__name__)
