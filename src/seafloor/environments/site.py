"""Where an environment is being made, and what fills its folder: packages, or what is stored."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from seafloor.domain.environments import LockedPackage, parse_lock
from seafloor.domain.errors import SourceError
from seafloor.environments.archive import Unpacking, list_folder
from seafloor.environments.disk import remove_tree, settled
from seafloor.environments.interpreters import find_interpreter
from seafloor.environments.record import RECORD_NAME, Lock, python_path
from seafloor.environments.stored import EnvironmentArchives, StoredEnvironment
from seafloor.environments.tar_archive import unpack_tar, unpack_tar_packages
from seafloor.environments.uv_command import PackageSource, Progress, find_uv
from seafloor.environments.uv_errors import error_of

_UNPACKERS: Final = 4
_FRAMES_WAITING: Final = 8
# `sync` installs what is listed and resolves nothing; links to the package cache cost no space,
# and where the file system has none uv copies.
_SYNC: Final = ("pip", "sync", "--allow-empty-requirements", "--link-mode=hardlink")
# On top of conda packages nothing may be removed that they brought.
_ADD: Final = ("pip", "install", "--no-deps", "--link-mode=hardlink", "--requirement")
_SUM: Final = "#sha256="


@dataclass(frozen=True)
class Site:
    """Where an environment is being made.

    Args:
        lock: Of what.
        folder: Its final place.
        work: For what is gone afterwards.
        held_fd: The lock file, for children.
        tell: Told what is being done.
    """

    lock: Lock
    folder: Path
    work: Path
    held_fd: int = field(kw_only=True)
    tell: Progress = field(kw_only=True)

    @cached_property
    def conda(self) -> Sequence[LockedPackage]:
        """The conda packages of the lock."""
        return [one for one in parse_lock(self.lock.lock) if one.kind == "conda"]


@dataclass(frozen=True)
class SiteBuilder:
    """Fills the folders of environments; whoever calls it holds the lock of the folder.

    Args:
        root: Of all environments and their packages.
        packages: Where packages come from.
        timeout_s: A command of uv is given up after this.
        builds_here: As ``EnvironmentCache`` is told.
    """

    root: Path
    packages: PackageSource
    timeout_s: float
    builds_here: bool

    @property
    def _uv_cache_dir(self) -> Path:
        return self.root / "uv"

    async def fetch_frames(
        self, site: Site, archives: EnvironmentArchives, stored: StoredEnvironment
    ) -> int | None:
        """Unpack frames while others arrive, the first while the skeleton is still being made.

        Returns:
            The size of all files; None where the skeleton is conda's, whose files nobody counted.
        """
        of_conda = stored.package_frames > 0
        unpacking = Unpacking(site.folder, site.work / "packages", waits=not of_conda)
        threads = ThreadPoolExecutor(_UNPACKERS, thread_name_prefix="unpack")
        loop = asyncio.get_running_loop()
        waiting: set[asyncio.Future[None]] = set()

        async def wait(at_most: int) -> None:
            while len(waiting) > at_most:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                waiting.difference_update(done)
                for one in done:
                    one.result()

        async def begin() -> None:
            await self.skeleton(site)
            unpacking.begin(await settled(list_folder, site.folder))

        try:
            if not of_conda:
                waiting.add(asyncio.create_task(begin()))
            async with aclosing(archives.frames(stored)) as frames:
                at = 0
                async for data, frame in frames:
                    waiting.add(loop.run_in_executor(threads, unpacking.frame, data, frame))
                    at += 1
                    await wait(_FRAMES_WAITING)
                    if at == stored.package_frames:
                        await wait(0)
                        await self.skeleton(site, unpacking.packages)
            await wait(0)
            await settled(unpacking.end)
        finally:
            # Nothing may be written once the folder's lock is given back.
            unpacking.give_up()
            for one in waiting:
                one.cancel()
            await settled(threads.shutdown, cancel_futures=True)
            await asyncio.gather(*waiting, return_exceptions=True)
        return None if of_conda else unpacking.size_bytes

    async def fetch_tar(
        self, site: Site, archives: EnvironmentArchives, stored: StoredEnvironment
    ) -> None:
        target = site.work / "environment.tar.zst"
        await archives.fetch(stored, target)
        brought = await settled(unpack_tar_packages, target, site.work / "packages")
        await self.skeleton(site, brought)
        await settled(unpack_tar, target, site.folder)

    async def skeleton(self, site: Site, brought: Sequence[Path] = ()) -> None:
        """Make the folder as it is before pip's packages: conda's, or an empty virtual environment.

        Args:
            brought: Files of conda packages; empty: they are fetched from their channels.
        """
        await settled(remove_tree, site.folder, first=RECORD_NAME)
        if site.conda:
            from seafloor.environments.conda import link_packages  # see conda_files

            paths = brought or await self.conda_files(site.conda, site.tell)
            await link_packages(paths, site.folder, work=site.work)
            if not await asyncio.to_thread(os.access, python_path(site.folder), os.X_OK):
                raise SourceError(
                    "The conda packages have no Python that can be started: is `python` of these "
                    "channels a real one?",
                    field="conda.packages",
                )
            return
        uv = find_uv(self._uv_cache_dir, self.packages)
        wanted = site.lock.python
        if not self.builds_here:
            wanted = ".".join(wanted.split(".")[:2])
        interpreter = await find_interpreter(uv, wanted, folder=site.work)
        python = str(interpreter.path)
        await self._run(site, "venv", "--no-project", "--python", python, str(site.folder))

    async def conda_files(
        self, packages: Sequence[LockedPackage], tell: Progress
    ) -> Sequence[Path]:
        if not packages:
            return ()
        # It needs rattler, a large binary: only a server with conda packages loads it.
        from seafloor.environments.conda import fetch_packages

        return await fetch_packages(
            packages, folder=self.root / "conda", progress=tell, source=self.packages
        )

    async def install(self, site: Site) -> None:
        """Put pip's packages on top of a skeleton."""
        every = site.lock.lock.splitlines()
        lines = [line for line in every if [one.kind for one in parse_lock(line)] == ["pip"]]
        requirements = str(await settled(_write_requirements, site.work, lines))
        python = ("--python", str(python_path(site.folder)))
        # Sums that are there are compared either way.
        summed = all(one.hashes or _SUM in one.version for one in parse_lock("\n".join(lines)))
        check = "--require-hashes" if summed else "--verify-hashes"
        if not site.conda:
            await self._run(site, *_SYNC, requirements, *python, check)
        elif lines:
            await self._run(site, *_ADD, requirements, *python, check)

    async def _run(self, site: Site, *args: str) -> None:
        uv = find_uv(self._uv_cache_dir, self.packages)
        ended = await uv.run(
            *args, folder=site.work, timeout_s=self.timeout_s, held_fd=site.held_fd
        )
        if ended.returncode != 0:
            raise error_of(ended, doing="The environment could not be built")


def _write_requirements(work: Path, lines: Sequence[str]) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    path = work / "requirements.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
