"""Settings: code, then ``<data>/seafloor.toml``, then ``SEAFLOOR_SECTION__KEY``, then flags.

The one place of the server that reads the environment. Every setting is described in
``docs/reference/settings.md``; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seafloor.code.cache_bounds import CacheBounds
from seafloor.domain.errors import InvalidValue, nearest

PORT_DEFAULT = 7340
_PREFIX = "SEAFLOOR_"
# Up to the last @ before the path: a password that was not percent-encoded may hold one.
_PASSWORD = re.compile(r"(?<=://)([^:/?#]*):[^/?#]*@")


@dataclass(frozen=True)
class ServerSettings:
    """Where the server listens, and who may enter.

    Args:
        host: Address to listen on. Any but a loopback address needs ``token``.
        port: 0: the one of last time, or a free one.
        token: Static token that clients present; empty: no authentication (loopback only).
        metrics_token: Static token that reads ``/metrics`` and nothing else; empty: there is none.
        url: What clients and tasks are told; empty: from host and port.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        workspaces: Whether projects are workspaces for MLflow's clients, which then see and reach
            only the one that they name.
    """

    host: str = "127.0.0.1"
    port: int = PORT_DEFAULT
    token: str = dataclasses.field(default="", metadata={"secret": True})
    metrics_token: str = dataclasses.field(default="", metadata={"secret": True})
    url: str = ""
    log_level: str = "info"
    workspaces: bool = False


@dataclass(frozen=True)
class StoreSettings:
    """Where things are kept.

    Args:
        metadata: URL of the database; empty: ``sqlite:///<data>/seafloor.db``. A password in it
            is never shown.
        objects: URL of the object store; empty: ``file://<data>/objects``.
    """

    metadata: str = dataclasses.field(default="", metadata={"url": True})
    objects: str = dataclasses.field(default="", metadata={"url": True})


@dataclass(frozen=True)
class LaunchSettings:
    """How runs are launched.

    Args:
        starts_at_once_max: Runs that are prepared at the same time.
        reconcile_interval_s: Seconds between two looks at the running tasks.
        place_lost_after_s: Seconds without a word from another server of this installation after
            which what runs there is lost.
        kind: ``local``: as processes of this machine; ``kubernetes``: as pods of a cluster.
        kubeconfig: File with the cluster's address and credentials; empty: those of the pod that
            the server runs in, else ``KUBECONFIG`` or ``~/.kube/config``.
        context: Of the kubeconfig; empty: its current one.
        policy: The administrator's file for the cluster; empty: the defaults.
        mount_code: Whether commands see their code at the absolute path ``/code`` as well, and
            volumes at theirs, where this machine allows that (Linux, with user namespaces or as
            root).
        volumes_dir: Where the folders of volumes are; empty: ``volumes`` in the data folder.
            Several servers of one installation need one that they share.
    """

    starts_at_once_max: int = 4
    reconcile_interval_s: float = 1.0
    place_lost_after_s: float = 600.0
    mount_code: bool = True
    kind: str = "local"
    kubeconfig: str = ""
    context: str = ""
    policy: str = ""
    volumes_dir: str = ""


@dataclass(frozen=True)
class CodeSettings:
    """How much of the code that runs had is kept on this machine, so that none comes twice.

    Beyond each of these what was used longest ago goes; 0: no limit.

    Args:
        git_size_max_gib: Of repositories.
        large_files_size_max_gib: Of large files of git LFS.
        archives_size_max_gib: Of archives.
        snapshots_size_max_gib: Of snapshots of working folders.
        trees_size_max_gib: Of finished folders that runs share.
    """

    git_size_max_gib: float = 16.0
    large_files_size_max_gib: float = 16.0
    archives_size_max_gib: float = 16.0
    snapshots_size_max_gib: float = 4.0
    trees_size_max_gib: float = 16.0

    @property
    def bounds(self) -> CacheBounds:
        """The same in bytes."""
        return CacheBounds(
            _bytes_of(self.git_size_max_gib),
            _bytes_of(self.large_files_size_max_gib),
            _bytes_of(self.archives_size_max_gib),
            _bytes_of(self.snapshots_size_max_gib),
            _bytes_of(self.trees_size_max_gib),
        )


def _bytes_of(gib: float) -> int:
    return int(gib * 2**30) if gib else sys.maxsize


@dataclass(frozen=True)
class EnvironmentSettings:
    """How environments are built.

    Args:
        lock_timeout_s: Seconds that resolving may take.
        cache_size_max_gib: What built environments and their packages may take on this machine's
            disk; 0: no limit.
        index_url: Replaces the package index that uv is configured with.
        extra_index_urls: Package indexes that are asked before it, between spaces.
        proxy: Of package indexes and conda channels; empty: as this machine is set up.
        secrets: Names of secrets for private indexes and channels, between spaces; each goes to
            the hosts that it names, and to no other.
    """

    lock_timeout_s: float = 300.0
    cache_size_max_gib: float = 100.0
    index_url: str = dataclasses.field(default="", metadata={"url": True})
    extra_index_urls: str = dataclasses.field(default="", metadata={"url": True})
    proxy: str = dataclasses.field(default="", metadata={"url": True})
    secrets: str = ""


@dataclass(frozen=True)
class Settings:
    """All settings.

    Args:
        data_dir: Everything that is not elsewhere by URL lives below it.
        origins: ``section.key`` to where its value came from.
    """

    data_dir: Path
    server: ServerSettings = ServerSettings()
    stores: StoreSettings = StoreSettings()
    launch: LaunchSettings = LaunchSettings()
    code: CodeSettings = CodeSettings()
    environments: EnvironmentSettings = EnvironmentSettings()
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    @property
    def metadata_url(self) -> str:
        """The URL of the database; it may hold a password."""
        return self.stores.metadata or f"sqlite:///{self.data_dir / 'seafloor.db'}"

    @property
    def objects_url(self) -> str:
        """The URL of the object store."""
        return self.stores.objects or (self.data_dir / "objects").as_uri()

    def shown(self) -> dict[str, Any]:
        """Every setting with its value and origin; secrets are only said to be set or not."""
        in_effect: dict[str, Any] = {
            "stores.metadata": self.metadata_url,
            "stores.objects": self.objects_url,
        }
        shown: dict[str, Any] = {
            "data_dir": {"value": str(self.data_dir), "origin": self.origins.get("data_dir", "")}
        }
        for section, cls in SECTIONS.items():
            for field in dataclasses.fields(cls):
                name = f"{section}.{field.name}"
                value = in_effect.get(name, getattr(getattr(self, section), field.name))
                if field.metadata.get("secret"):
                    value = "<set>" if value else ""
                elif field.metadata.get("url"):
                    value = without_password(value)
                shown[name] = {"value": value, "origin": self.origins.get(name, "default")}
        return shown


def without_password(url: str) -> str:
    """A URL to be shown: the password of its user is left out.

    >>> without_password("postgresql://ann:secret@db/seafloor")
    'postgresql://ann:***@db/seafloor'
    """
    return _PASSWORD.sub(r"\1:***@", url)


SECTIONS: dict[str, type[Any]] = {
    "server": ServerSettings,
    "stores": StoreSettings,
    "launch": LaunchSettings,
    "code": CodeSettings,
    "environments": EnvironmentSettings,
}


_TYPES: dict[str, type[Any]] = {"str": str, "int": int, "float": float, "bool": bool}


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ  # noqa: TID251  # the one place


def load(
    *, data_dir: Path | None, flags: Mapping[str, object], variables: Mapping[str, str]
) -> Settings:
    """Read all settings.

    Args:
        data_dir: From the command line, or None.
        flags: ``section.key`` to the value given on the command line.
        variables: The process's environment.

    Raises:
        InvalidValue: an unknown section or key (with the nearest), or a value that does not fit.
    """
    data, origin = _data_dir(data_dir, variables)
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    origins: dict[str, str] = {"data_dir": origin}
    file = data / "seafloor.toml"
    for name, value in _from_file(file).items():
        _set(values, origins, name, value, origin=str(file))
    for name, (value, variable) in _from_variables(variables).items():
        _set(values, origins, name, value, origin=variable)
    for name, value in flags.items():
        if value is not None:
            _set(values, origins, name, value, origin="command line")
    made = {section: cls(**values[section]) for section, cls in SECTIONS.items()}
    return Settings(data_dir=data, origins=origins, **made)


def _data_dir(given: Path | None, variables: Mapping[str, str]) -> tuple[Path, str]:
    if given is not None:
        return given.expanduser().absolute(), "command line"
    if variables.get("SEAFLOOR_DATA"):
        return Path(variables["SEAFLOOR_DATA"]).expanduser().absolute(), "SEAFLOOR_DATA"
    home = variables.get("SEAFLOOR_HOME", "~/.seafloor")
    return (Path(home).expanduser() / "data").absolute(), "default"


def _from_file(file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # what is wrong with the folder is told later
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{file} is not TOML: {error}") from error
    except OSError as error:
        raise InvalidValue(f"{file} cannot be read: {error.strerror}.") from error
    found: dict[str, Any] = {}
    for section, body in data.items():
        if not isinstance(body, dict):
            raise InvalidValue(f"{file}: `{section}` must be a section, such as [server].")
        for key, value in body.items():  # pyright: ignore[reportUnknownVariableType]
            found[f"{section}.{key}"] = value
    return found


def _from_variables(variables: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for variable, value in variables.items():
        if variable.startswith(_PREFIX) and "__" in variable:
            section, _, key = variable[len(_PREFIX) :].lower().partition("__")
            found[f"{section}.{key}"] = (value, variable)
    return found


def _set(
    values: dict[str, dict[str, Any]],
    origins: dict[str, str],
    name: str,
    value: object,
    *,
    origin: str,
) -> None:
    section, _, key = name.partition(".")
    cls = SECTIONS.get(section)
    if cls is None:
        raise InvalidValue(
            f'{origin}: unknown section "{section}".{nearest(section, SECTIONS)}', field=name
        )
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if key not in fields:
        raise InvalidValue(f'{origin}: unknown setting "{name}".{nearest(key, fields)}', field=name)
    fit = _fit(value, _TYPES[str(fields[key].type)], name=name, origin=origin)
    values[section][key] = _fit_token(fit, name, origin) if name in _PRESENTED else fit
    origins[name] = origin


_PRESENTED = {"server.token", "server.metrics_token"}


def _fit_token(token: str, name: str, origin: str) -> str:
    """A token as a client can present it; one from a file has a line break behind it."""
    kept = token.strip()
    if kept and not (kept.isascii() and kept.isprintable() and " " not in kept):
        raise InvalidValue(
            f"{origin}: {name} has a space, a line break or a letter beyond ASCII in it, which "
            "no client could present.",
            field=name,
        )
    return kept


_SWITCHES = {"true": True, "false": False}


def _fit(value: object, wanted: type[Any], *, name: str, origin: str) -> Any:
    found = _converted(value, wanted, name=name, origin=origin)
    if isinstance(found, int | float) and not (math.isfinite(found) and found >= 0):
        raise InvalidValue(f'{origin}: {name} must be 0 or more, not "{value}".', field=name)
    return found


def _converted(value: object, wanted: type[Any], *, name: str, origin: str) -> Any:
    if wanted is bool:
        switch = value if isinstance(value, bool) else _SWITCHES.get(str(value).lower())
        if switch is None:
            raise InvalidValue(f'{origin}: {name} is true or false, not "{value}".', field=name)
        return switch
    if isinstance(value, bool):
        raise InvalidValue(f"{origin}: {name} must be a {wanted.__name__}.", field=name)
    if isinstance(value, wanted):
        return value
    if isinstance(value, int | float | str) and wanted in (int, float):
        try:
            return wanted(value)
        except ValueError as error:
            raise InvalidValue(
                f'{origin}: {name} must be a number, not "{value}".', field=name
            ) from error
    raise InvalidValue(f"{origin}: {name} must be a {wanted.__name__}.", field=name)
