"""Running uv: never asks, never downloads a Python, reads no configuration of a folder around it.

What a machine or a user configured for uv (index, proxies, certificates, credentials) is kept;
what the server is told in ``PackageSource`` comes on top. Every command runs in a folder that
holds a ``uv.toml`` of ours: uv takes the nearest one, so that a ``pyproject.toml`` above the data
folder says nothing here.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import importlib
import json
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.domain.errors import NotSupported, SourceError
from seafloor.environments.disk import settled
from seafloor.environments.package_access import (
    PackageAccess,
    SecretsOf,
    no_package_secrets,
    package_access,
)

ERROR_LINES_MAX: Final = 400
ERROR_LINE_CHARS_MAX: Final = 2_000
_READ_BYTES: Final = 64 * 1024
_TOLD: Final = ("Downloading ", "Building ", "Prepared ", "Installed ")

Progress = Callable[[str], None]
"""Told what is being done, one short sentence each."""


@dataclass(frozen=True)
class PackageSource:
    """Where packages come from, on top of what uv is configured with on this machine.

    Args:
        index_url: Replaces the package index. May hold a password: it is written to a file that
            only this user reads, never to a command line.
        extra_index_urls: Indexes that are asked before it.
        find_links: Absolute folders, or addresses, with wheels that are candidates as well.
        offline: Take only what is in the cache and in ``find_links``.
        proxy: Address of a proxy for indexes, and for channels of conda.
        secrets: For the hosts of private indexes and channels.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    offline: bool = False
    proxy: str | None = None
    secrets: SecretsOf = no_package_secrets

    def addresses(self) -> tuple[str, ...]:
        """Every address that is asked for packages."""
        index = () if self.index_url is None else (self.index_url,)
        return (*index, *self.extra_index_urls, *self.find_links)

    def configuration(self) -> str:
        """Say it in uv's own words, as a ``uv.toml``."""
        # Strings of JSON are strings of TOML.
        lines: list[str] = []
        if self.index_url is not None:
            lines.append(f"index-url = {json.dumps(self.index_url)}")
        if self.extra_index_urls:
            lines.append(f"extra-index-url = {json.dumps(list(self.extra_index_urls))}")
        if self.proxy is not None:
            proxy = json.dumps(self.proxy)
            lines += [f"http-proxy = {proxy}", f"https-proxy = {proxy}"]
        if self.find_links:
            lines.append(f"find-links = {json.dumps(list(self.find_links))}")
        if self.offline:
            lines.append("offline = true")
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class UvEnded:
    """How a command of uv ended.

    Args:
        returncode: 0 when all went well.
        stdout: All of it.
        stderr: Its last lines, without colours.
    """

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class UvCommand:
    """The uv of this machine with one cache.

    Args:
        binary: The program.
        cache_dir: Where it keeps packages it fetched and built.
        packages: Where they come from.
    """

    binary: Path
    cache_dir: Path
    packages: PackageSource

    async def run(
        self,
        *args: str,
        folder: Path,
        timeout_s: float,
        held_fd: int | None = None,
        progress: Progress | None = None,
    ) -> UvEnded:
        """Run one command; it and all it started are dead when this raises.

        Args:
            folder: Where it runs; is created, and gets our ``uv.toml``.
            timeout_s: Given up after this.
            held_fd: A locked file that uv keeps open: when this process is killed, the lock
                lasts until the uv it left behind has ended too.
            progress: Told of downloads and builds.

        Raises:
            SourceError: it took longer than ``timeout_s``.
            NotSupported: uv cannot be started.
            InvalidValue, NotFound: a secret cannot be used; see ``package_access``.
        """
        await settled(self._prepare, folder)
        with contextlib.ExitStack() as stack:
            access = await settled(stack.enter_context, package_access(self.packages.secrets))
            process = await self._start(args, folder=folder, held_fd=held_fd, access=access)
            return await self._ended(process, timeout_s, progress)

    async def _ended(
        self, process: asyncio.subprocess.Process, timeout_s: float, progress: Progress | None
    ) -> UvEnded:
        ended = False
        try:
            async with asyncio.timeout(timeout_s):
                stdout, stderr = await asyncio.gather(
                    _read_all(process.stdout), _read_tail(process.stderr, progress)
                )
                returncode = await process.wait()
            ended = True
        except TimeoutError as error:
            raise SourceError(
                f"uv was still at work on the packages after {timeout_s:g} s and was stopped. "
                "Try again: what it has fetched is kept.",
                field="pip",
            ) from error
        finally:
            if not ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return UvEnded(returncode, stdout, stderr)

    async def _start(
        self, args: tuple[str, ...], *, folder: Path, held_fd: int | None, access: PackageAccess
    ) -> asyncio.subprocess.Process:
        options = ("--cache-dir", str(self.cache_dir), "--no-python-downloads")
        quiet = ("--color", "never", "--no-progress")
        try:
            return await asyncio.create_subprocess_exec(
                str(self.binary),
                *args,
                *options,
                *quiet,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env=None if access.netrc is None else _environment(access.netrc),
                pass_fds=() if held_fd is None else (held_fd,),
                start_new_session=True,
            )
        except OSError as error:
            raise NotSupported(
                f"uv cannot be started ({error.strerror}): reinstall `seafloor[server]`.",
                detail=str(error),
            ) from error

    def _prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "uv.toml"
        config.unlink(missing_ok=True)
        config.touch(mode=0o600)
        config.write_text(self.packages.configuration(), encoding="utf-8")


def find_uv(cache_dir: Path, packages: PackageSource) -> UvCommand:
    """Find uv: the one installed with the server, else the one on PATH.

    Its own cache is the folder ``packages`` of ``cache_dir``, since it refuses to run inside.

    Raises:
        NotSupported: there is none.
    """
    return UvCommand(_binary(), cache_dir.absolute() / "packages", packages)


def _environment(netrc: Path) -> dict[str, str]:
    return {**os.environ, "NETRC": str(netrc)}  # noqa: TID251 - what uv would have inherited


def _binary() -> Path:
    with contextlib.suppress(ImportError, FileNotFoundError):
        return Path(importlib.import_module("uv").find_uv_bin())
    on_path = shutil.which("uv")
    if on_path is None:
        raise NotSupported("Environments are built by uv, which is missing: install `uv`.")
    return Path(on_path)


async def _read_all(stream: asyncio.StreamReader | None) -> str:
    return "" if stream is None else (await stream.read()).decode(errors="replace")


async def _read_tail(stream: asyncio.StreamReader | None, progress: Progress | None) -> str:
    """Read to the end in constant memory, telling of every line worth it."""
    lines: deque[str] = deque(maxlen=ERROR_LINES_MAX)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    while stream is not None:
        chunk = await stream.read(_READ_BYTES)
        *whole, rest = (rest + decoder.decode(chunk, final=not chunk)).split("\n")
        rest = rest[:ERROR_LINE_CHARS_MAX]
        for line in whole:
            _keep(line, lines, progress)
        if not chunk:
            break
    _keep(rest, lines, progress)
    return "\n".join(lines)


def _keep(line: str, lines: deque[str], progress: Progress | None) -> None:
    shown = line[:ERROR_LINE_CHARS_MAX].rstrip()
    lines.append(shown)
    if progress is not None and shown.strip().startswith(_TOLD):
        progress(shown.strip())
