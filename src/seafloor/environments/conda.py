"""Conda packages, by rattler: choosing exact builds, fetching them, linking them into a folder.

::

    <root>/conda/<sha256>/<file>    packages as they came, shared between environments
    <root>/conda/repodata/          what channels said they have

Their scripts (``post-link``) are never run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

import rattler
import rattler.exceptions
from rattler.networking.client import Client
from rattler.networking.middleware import AuthenticationMiddleware
from rattler.package_streaming import download_to_path
from rattler.repo_data.record import RepoDataRecord

from seafloor.domain.addresses import without_secrets
from seafloor.domain.environments import LockedPackage
from seafloor.domain.errors import (
    InvalidValue,
    LimitExceeded,
    SeafloorError,
    SourceError,
    StoreFull,
)
from seafloor.environments.disk import disk_error, settled
from seafloor.environments.package_access import PackageAccess, package_access
from seafloor.environments.uv_command import PackageSource, Progress

PACKAGES_MAX: Final = 1_000
CHANNELS_MAX: Final = 50
RETRY_AFTER_S: Final = 30.0
MESSAGE_CHARS_MAX: Final = 800
_DEFAULT_SOURCE: Final = PackageSource()
_DOWNLOADS_AT_ONCE: Final = 6
_DEFAULTS: Final = (
    "https://repo.anaconda.com/pkgs/main",
    "https://repo.anaconda.com/pkgs/r",
)
_TOKEN: Final = re.compile(r"/t/[^/]+/")
_FULL: Final = "os error 28"
_REFUSED: Final = re.compile(r"\b40[13] (Unauthorized|Forbidden)")


def _errors(*names: str) -> tuple[type[Exception], ...]:
    """Errors of rattler's by name: they come out of its binary, so no checker knows their types."""
    return tuple(getattr(rattler.exceptions, name) for name in names)


_UNSOLVED: Final = _errors("SolverError")
_UNREACHED: Final = _errors("GatewayError", "FetchRepoDataError", "InvalidUrlError")
# What a download that fails raises is a bare RuntimeError, as of rattler 0.28.
_UNFETCHED: Final = (*_UNREACHED, RuntimeError)
_UNKNOWN_MACHINE: Final = _errors("DetectVirtualPackageError")
_NO_CHANNEL: Final = _errors("InvalidChannelError", "InvalidUrlError")
_NO_SPEC: Final = _errors("InvalidMatchSpecError")
_BROKEN: Final = _errors(
    "ExtractError", "InstallerError", "IoError", "LinkError", "TransactionError"
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Solved:
    """Exact packages.

    Args:
        python: The version of Python among them.
        packages: All of them.
        python_packages: Names of those that are modules of Python.
    """

    python: str
    packages: tuple[LockedPackage, ...]
    python_packages: frozenset[str]


async def solve_conda(
    *,
    channels: Sequence[str],
    packages: Sequence[str],
    python: str,
    folder: Path,
    timeout_s: float,
    source: PackageSource = _DEFAULT_SOURCE,
) -> Solved:
    """Choose exact builds, with a Python among them.

    Args:
        channels: Names, ``https://`` or ``file://`` addresses, absolute paths; the first that has
            a package is the one that gives it. Empty: ``conda-forge``.
        packages: Specs of conda, such as ``numpy >=2``.
        python: Which Python, ``3.11`` or exact.
        folder: ``<root>/conda``.
        source: Which proxy and which secrets there are for channels.

    Raises:
        InvalidValue: a channel or a spec is not acceptable; the message names it.
        SourceError: a channel is out of reach (then with ``retry_after_s``), or the packages
            do not go together.
    """
    sources = check_channels(channels)
    specs = check_packages(packages)
    if not any(_is_python(spec) for spec in packages):
        exact = python.count(".") == 2
        specs.append(_match_spec(f"python {python}" if exact else f"python {python}.*"))
    try:
        with ExitStack() as stack:
            access = await settled(stack.enter_context, package_access(source.secrets))
            async with asyncio.timeout(timeout_s):
                gateway = rattler.Gateway(
                    cache_dir=folder / "repodata", client=_client(access, source.proxy)
                )
                records = await rattler.solve(
                    sources=sources,
                    specs=specs,
                    gateway=gateway,
                    virtual_packages=await asyncio.to_thread(rattler.VirtualPackage.detect),
                )
    except TimeoutError as error:
        raise SourceError(
            f"Choosing the conda packages took more than {timeout_s:g} s and was stopped.",
            field="conda.packages",
        ) from error
    except _UNSOLVED as error:
        raise SourceError(
            f"The conda packages do not go together: {_shortened(str(error))}",
            field="conda.packages",
        ) from error
    except _UNREACHED as error:
        raise _unreachable(str(error)) from error
    except _UNKNOWN_MACHINE as error:
        raise SourceError(
            "What this machine offers to conda packages cannot be found out: "
            f"{_shortened(str(error))}",
            field="conda",
        ) from error
    return _solved(records)


def check_channels(channels: Sequence[str]) -> list[rattler.Channel]:
    """Read the channels of a user.

    Raises:
        InvalidValue: one is not acceptable.
        LimitExceeded: they are too many.
    """
    if len(channels) > CHANNELS_MAX:
        raise LimitExceeded(
            f"An environment has at most {CHANNELS_MAX} channels, not {len(channels)}.",
            field="conda.channels",
        )
    found: list[rattler.Channel] = []
    for at, name in enumerate(channels or ("conda-forge",)):
        found += [
            _channel(address, field=f"conda.channels[{at}]") for address in _addresses(name.strip())
        ]
    return found


def check_packages(packages: Sequence[str]) -> list[rattler.MatchSpec]:
    """Read the specs of a user.

    Raises:
        InvalidValue: one is not acceptable; names it and its place.
        LimitExceeded: they are too many.
    """
    if len(packages) > PACKAGES_MAX:
        raise LimitExceeded(
            f"An environment has at most {PACKAGES_MAX} conda packages, not {len(packages)}.",
            field="conda.packages",
        )
    found: list[rattler.MatchSpec] = []
    for at, text in enumerate(packages):
        try:
            found.append(_match_spec(text))
        except _NO_SPEC as error:
            shown = text if len(text) <= 120 else text[:117] + "…"
            raise InvalidValue(
                f'Conda package "{shown}" is refused: {error}. Write it like "numpy >=2" or '
                '"numpy=2.1.0=py311h_0".',
                field=f"conda.packages[{at}]",
            ) from error
    return found


async def fetch_packages(
    packages: Sequence[LockedPackage],
    *,
    folder: Path,
    progress: Progress,
    source: PackageSource = _DEFAULT_SOURCE,
) -> tuple[Path, ...]:
    """Have every package as a file, each checked against its sha256.

    What is there already is not fetched again. What fails leaves nothing half.

    Raises:
        SourceError: one cannot be fetched (names its address), or is not the one that was locked.
        StoreFull, StoreUnavailable: the disk.
    """
    gate = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)
    missing = [one for one in packages if not _path_of(one, folder).exists()]
    if missing:
        progress(f"fetching {len(missing)} conda package{'' if len(missing) == 1 else 's'}")

    async def fetch(client: Client, package: LockedPackage) -> None:
        async with gate:
            await _fetch(client, package, _path_of(package, folder))

    with ExitStack() as stack:
        access = await settled(stack.enter_context, package_access(source.secrets))
        client = _client(access, source.proxy)
        tasks = [asyncio.create_task(fetch(client, package)) for package in missing]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return tuple(_path_of(one, folder) for one in packages)


def _client(access: PackageAccess, proxy: str | None) -> Client:
    """Speak as this machine is set up, but for the secrets and the proxy that we are told of."""
    if access.conda is None and proxy is None:
        return Client([AuthenticationMiddleware()])
    config = ""
    if access.conda is not None:
        config += f"authentication-override-file = {json.dumps(str(access.conda))}\n"
    if proxy is not None:
        # Strings of JSON are strings of TOML.
        config += f"[proxy-config]\nhttp = {json.dumps(proxy)}\nhttps = {json.dumps(proxy)}\n"
    return Client.from_config(rattler.Config.from_toml(config))


async def link_packages(paths: Sequence[Path], prefix: Path, *, work: Path) -> None:
    """Make a folder of conda packages, each linked or copied, with the folder's path in its texts.

    When cancelled it is waited for, so that nothing is written afterwards.

    Args:
        paths: The files of packages that go together.
        prefix: The folder; is made.
        work: For what is gone afterwards; on the same disk.

    Raises:
        SourceError: a file is not a package.
        StoreFull, StoreUnavailable: the disk.
    """
    try:
        records = [await RepoDataRecord.from_package_archive(path) for path in paths]
        await _to_its_end(
            rattler.install(
                records,
                target_prefix=prefix,
                cache_dir=work / "extracted",
                execute_link_scripts=False,
                show_progress=False,
            )
        )
    except _BROKEN as error:
        raise _broken(str(error)) from error


def _addresses(channel: str) -> tuple[str, ...]:
    # The name of several channels, which only conda itself knows.
    if channel == "defaults":
        return _DEFAULTS
    return (Path(channel).as_uri(),) if channel.startswith("/") else (channel,)


def _channel(address: str, *, field: str) -> rattler.Channel:
    try:
        parts = urlsplit(address)
        secret = bool(parts.password or parts.username or _TOKEN.search(parts.path))
    except ValueError as error:
        raise InvalidValue("The address of a channel cannot be read.", field=field) from error
    if secret:
        raise InvalidValue(
            "A channel has a user, password or token in its address, where everybody would read it "
            "for ever. Leave it out; the administrator can give it to the server as a named secret "
            "(`environments.secrets`).",
            field=field,
        )
    relative = not parts.scheme and (not address or address[0] in ".~" or "\\" in address)
    if relative or parts.scheme not in ("", "https", "http", "file"):
        raise InvalidValue(
            f'Channel "{without_secrets(address)[:120]}" is refused: write a name such '
            "as conda-forge, an https:// or file:// address, or an absolute path.",
            field=field,
        )
    try:
        return rattler.Channel(address)
    except _NO_CHANNEL as error:
        raise InvalidValue(
            f'Channel "{without_secrets(address)[:120]}" is refused: {error}.', field=field
        ) from error


def _match_spec(text: str) -> rattler.MatchSpec:
    return rattler.MatchSpec(text.strip(), strict=False)


def _is_python(spec: str) -> bool:
    return re.match(r"(?:\S*::)?python(?![\w.-])", spec.strip()) is not None


def _solved(records: Sequence[RepoDataRecord]) -> Solved:
    packages: list[LockedPackage] = []
    for record in records:
        if record.sha256 is None:
            raise SourceError(
                f"The channel gives no sha256 for {record.file_name}, so it cannot be locked.",
                field="conda.packages",
            )
        packages.append(
            LockedPackage(
                kind="conda",
                name=record.name.normalized,
                version=str(record.version),
                build=str(record.build),
                url=record.url,
                sha256=record.sha256.hex(),
            )
        )
    python = [one.version for one in packages if one.name == "python"]
    modules = {
        record.name.normalized
        for record in records
        if any(need.split(" ")[0] in ("python", "python_abi") for need in record.depends)
    }
    return Solved(python[0] if python else "", tuple(packages), frozenset(modules))


async def _fetch(client: Client, package: LockedPackage, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        await settled(path.parent.mkdir, parents=True, exist_ok=True)
        parts = urlsplit(package.url)
        if parts.scheme == "file":
            await settled(shutil.copyfile, unquote(parts.path), part)
        else:
            await _to_its_end(download_to_path(client, package.url, part))
        found = await settled(_sha256, part)
        if found != package.sha256:
            raise SourceError(
                f"{package.url} is not the file that was locked: its sha256 is {found[:12]}…, not "
                f"{package.sha256[:12]}…. Somebody replaced it: create the environment again to "
                "lock what is there now.",
                field="conda.packages",
            )
        await settled(part.replace, path)
    except FileNotFoundError as error:
        raise SourceError(
            f"{package.url} is not there any more: put it back, or create the environment again.",
            field="conda.packages",
        ) from error
    except OSError as error:
        raise disk_error(error) from error
    except _UNFETCHED as error:
        raise _unreachable(str(error), url=package.url) from error
    finally:
        await settled(part.unlink, missing_ok=True)


async def _to_its_end(work: Awaitable[_T]) -> _T:
    """Await, and when cancelled wait for the end first: threads of rattler's go on writing."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task})


def _path_of(package: LockedPackage, folder: Path) -> Path:
    return folder / package.sha256 / unquote(package.url.rsplit("/", 1)[-1])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreachable(said: str, *, url: str | None = None) -> SeafloorError:
    if _FULL in said:
        return _full(said)
    if _REFUSED.search(said):
        return SourceError(
            f"{url or 'A conda channel'} refuses access: it asks for a password, or this server "
            "may not read it. The administrator can give it one as a named secret "
            "(`environments.secrets`).",
            field="conda.channels",
            detail=said,
        )
    where = f"{url} cannot be fetched" if url else "A conda channel cannot be read"
    return SourceError(
        f"{where}: {_shortened(said)} Check the address and the network of the server.",
        field="conda.channels",
        detail=said,
        retry_after_s=RETRY_AFTER_S,
    )


def _broken(said: str) -> SeafloorError:
    if _FULL in said:
        return _full(said)
    return SourceError(
        f"The conda packages cannot be put together: {_shortened(said)}",
        field="conda.packages",
        detail=said,
    )


def _full(said: str) -> StoreFull:
    return StoreFull(
        "No space is left for the conda packages: free some, or remove an environment "
        "(`seafloor env rm`). Nothing half built was kept.",
        detail=said,
    )


def _shortened(said: str) -> str:
    """In one line, the first cause and the last."""
    lines = [line.removeprefix("Caused by:").strip() for line in said.splitlines()]
    text = "; ".join(line.rstrip(":.;") for line in lines if line)
    text = text.removeprefix("Cannot solve the request because of: ")
    if len(text) > MESSAGE_CHARS_MAX:
        half = MESSAGE_CHARS_MAX // 2
        text = f"{text[:half]} … {text[-half:]}"
    return f"{text}." if text else "rattler did not say why."
