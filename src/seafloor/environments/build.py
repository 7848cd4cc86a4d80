"""Building: from a lock to a folder with a Python in it, once per digest.

::

    <root>/<digest>/                            a virtual environment, at its final place
    <root>/<digest>/seafloor-environment.json   written last: without it the folder is a leftover
    <root>/locks/<digest>                       held while the folder is made or removed
    <root>/uv/packages/                         uv's cache; files are linked from it, not copied

A virtual environment cannot be moved (its scripts name its path), hence no rename at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from seafloor.domain.environments import environment_digest
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.ids import Sha256, parse_sha256
from seafloor.environments.disk import disk_error, exclusive, remove_tree, settled
from seafloor.environments.interpreters import find_interpreter, platform_tag
from seafloor.environments.record import (
    RECORD_NAME,
    BuildRecord,
    Lock,
    python_path,
    read_record,
    write_record,
)
from seafloor.environments.uv_command import PackageSource, Progress, find_uv
from seafloor.environments.uv_errors import error_of

BUILD_TIMEOUT_S: Final = 1_800.0
FORGET_TIMEOUT_S: Final = 30.0
_DEFAULT_SOURCE: Final = PackageSource()
# `sync` installs what is listed and resolves nothing; links to the package cache cost no space,
# and where the file system has none uv copies.
_SYNC: Final = ("pip", "sync", "--allow-empty-requirements", "--link-mode=hardlink")
_PACKAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class BuiltEnvironment:
    """An environment that can be used.

    Args:
        path: Its folder.
        python_path: Its Python.
        digest: Its name.
        cached: Whether it was there when it was asked for.
        duration_s: How long the asking took.
    """

    path: Path
    python_path: Path
    digest: Sha256
    cached: bool
    duration_s: float


@dataclass
class _Build:
    """A build under way, and those of this process who wait for it."""

    task: asyncio.Task[BuiltEnvironment]
    listeners: list[Progress] = field(default_factory=list[Progress])
    waiters: int = 0


class EnvironmentCache:
    """The built environments of this machine; several processes may share one root.

    Args:
        root: Its folder, on a local disk. Is made when first needed.
        packages: Where packages come from.
        build_timeout_s: A build is given up after this.
    """

    def __init__(
        self,
        root: Path,
        *,
        packages: PackageSource = _DEFAULT_SOURCE,
        build_timeout_s: float = BUILD_TIMEOUT_S,
    ) -> None:
        self._root = root.absolute()
        self._packages = packages
        self._build_timeout_s = build_timeout_s
        self._builds: dict[Sha256, _Build] = {}

    @property
    def uv_cache_dir(self) -> Path:
        """Where packages are kept between builds."""
        return self._root / "uv"

    async def get(self, lock: Lock, progress: Progress | None = None) -> BuiltEnvironment:
        """Give the environment of a lock, building it if it is not there.

        Whoever asks for the same digest meanwhile, here or in another process, waits and shares
        the result. An error reaches everyone of this process who waits; another process then
        tries for itself. When nobody waits any more the build is stopped. What is not complete
        is never given out, whenever and however a build ends.

        Args:
            lock: What to build.
            progress: Told what is being done, one short sentence each.

        Raises:
            InvalidValue: the digest is not that of the lock on this platform.
            SourceError: the Python or a package could not be had.
            StoreFull: no space left.
            StoreUnavailable: the root cannot be used.
            NotSupported: there is no uv.

        Cost: a few file system calls when it is there.
        """
        started = time.monotonic()
        digest = _checked(lock)
        found = await self.find(digest)
        if found is not None:
            return replace(found, duration_s=time.monotonic() - started)
        build = self._builds.get(digest) or self._begin(digest, lock)
        build.waiters += 1
        if progress is not None:
            build.listeners.append(progress)
        try:
            built = await asyncio.shield(build.task)
        finally:
            build.waiters -= 1
            if build.waiters == 0 and not build.task.done():
                del self._builds[digest]
                build.task.cancel()
                await asyncio.wait({build.task})
        return replace(built, duration_s=time.monotonic() - started)

    async def find(self, digest: str) -> BuiltEnvironment | None:
        """Give an environment if it is there and whole, as far as a glance can tell."""
        started = time.monotonic()
        record = await asyncio.to_thread(self._record, parse_sha256(digest, field="digest"))
        if record is None:
            return None
        return self._built(Sha256(record.digest), cached=True, started=started)

    async def list(self) -> tuple[BuildRecord, ...]:
        """The record of every environment that is there, oldest first."""
        return await asyncio.to_thread(self._records)

    async def remove(self, digest: str) -> int:
        """Remove an environment; the caller knows that nothing runs in it. May be repeated.

        Waits for a build of it to end. Packages that no other environment has leave the cache
        too; if that is busy they stay until they are fetched and removed again.

        Returns:
            The bytes that this gave back: what other environments share is not counted.

        Raises:
            StoreUnavailable: it cannot be removed.
            NotSupported: there is no uv.
        """
        name = parse_sha256(digest, field="digest")
        folder = self._root / name
        if not await asyncio.to_thread(folder.exists):
            return 0
        async with self._exclusive(name, waiting=_nothing):
            try:
                orphans = await asyncio.to_thread(self._orphans, name)
                # From here on nobody is given the environment.
                await settled((folder / RECORD_NAME).unlink, missing_ok=True)
                await self._forget(orphans, work=self._work(name))
                return await settled(remove_tree, folder, first=RECORD_NAME)
            except OSError as error:
                raise disk_error(error) from error
            finally:
                await settled(_tidy, self._work(name), None)

    async def size_bytes(self, digest: str) -> int | None:
        """Say how large an environment was when it was built, or None if it is not there.

        Files that it shares with others count in full.
        """
        record = await asyncio.to_thread(self._record, parse_sha256(digest, field="digest"))
        return None if record is None else record.size_bytes

    def _begin(self, digest: Sha256, lock: Lock) -> _Build:
        listeners: list[Progress] = []

        def tell(sentence: str) -> None:
            for listener in tuple(listeners):
                listener(sentence)

        task = asyncio.create_task(self._make(digest, lock, tell), name=f"environment {digest}")
        build = self._builds[digest] = _Build(task, listeners)

        def ended(task: asyncio.Task[BuiltEnvironment]) -> None:
            if self._builds.get(digest) is build:
                del self._builds[digest]
            if not task.cancelled():
                task.exception()  # a last waiter may have gone in the same moment

        task.add_done_callback(ended)
        return build

    async def _make(self, digest: Sha256, lock: Lock, tell: Progress) -> BuiltEnvironment:
        """Build under the lock, unless another process just has."""
        started = time.monotonic()

        def waiting() -> None:
            tell(f"waiting for another build of environment {digest[:12]}")

        async with self._exclusive(digest, waiting=waiting) as held_fd:
            if await asyncio.to_thread(self._record, digest) is None:
                await self._build(digest, lock, held_fd=held_fd, tell=tell)
        return self._built(digest, cached=False, started=started)

    async def _build(self, digest: Sha256, lock: Lock, *, held_fd: int, tell: Progress) -> None:
        started = time.monotonic()
        folder = self._root / digest
        work = self._work(digest)
        uv = find_uv(self.uv_cache_dir, self._packages)

        async def run(*args: str) -> None:
            ended = await uv.run(
                *args, folder=work, timeout_s=self._build_timeout_s, held_fd=held_fd
            )
            if ended.returncode != 0:
                raise error_of(ended, doing="The environment could not be built")

        done = False
        try:
            await settled(remove_tree, folder, first=RECORD_NAME)
            interpreter = await find_interpreter(uv, lock.python, folder=work)
            requirements = await settled(_write_requirements, work, lock.lock)
            tell(f"building an environment of {_contents(lock)}")
            await run("venv", "--no-project", "--python", str(interpreter.path), str(folder))
            await run(*_SYNC, "--python", str(python_path(folder)), str(requirements))
            await settled(write_record, folder, lock, started=started)
            done = True
        except OSError as error:
            raise disk_error(error) from error
        finally:
            await settled(_tidy, work, None if done else folder)

    def _orphans(self, digest: str) -> Sequence[str]:
        """Name the packages that only this environment has."""
        leaving = self._record(digest)
        if leaving is None:
            return ()
        staying = {
            line
            for record in self._records()
            if record.digest != digest
            for line in record.lock.splitlines()
        }
        lines = [line for line in leaving.lock.splitlines() if line not in staying]
        return [found[0] for line in lines if (found := _PACKAGE.match(line))]

    async def _forget(self, names: Sequence[str], *, work: Path) -> None:
        """Take packages out of uv's cache, unless other commands of uv keep it busy."""
        if not names:
            return
        uv = find_uv(self.uv_cache_dir, self._packages)
        with contextlib.suppress(SourceError):  # too long: they stay, and are not counted
            await uv.run("cache", "clean", *names, folder=work, timeout_s=FORGET_TIMEOUT_S)

    def _work(self, digest: Sha256) -> Path:
        return self._root / "locks" / f"{digest}.work"

    def _exclusive(
        self, digest: Sha256, *, waiting: Callable[[], None]
    ) -> AbstractAsyncContextManager[int]:
        return exclusive(self._root / "locks" / digest, waiting=waiting)

    def _built(self, digest: Sha256, *, cached: bool, started: float) -> BuiltEnvironment:
        folder = self._root / digest
        return BuiltEnvironment(
            path=folder,
            python_path=python_path(folder),
            digest=digest,
            cached=cached,
            duration_s=time.monotonic() - started,
        )

    def _record(self, digest: str) -> BuildRecord | None:
        return read_record(self._root / digest, digest)

    def _records(self) -> tuple[BuildRecord, ...]:
        try:
            names = [entry.name for entry in os.scandir(self._root) if len(entry.name) == 64]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise disk_error(error) from error
        records = [record for name in names if (record := self._record(name)) is not None]
        return tuple(sorted(records, key=lambda record: (record.built_ns, record.digest)))


def _checked(lock: Lock) -> Sha256:
    digest = environment_digest(python=lock.python, platform=platform_tag(), lock=lock.lock)
    if digest != lock.digest:
        raise InvalidValue(
            f"This environment was locked for another kind of machine than this one "
            f"({platform_tag()}): create it again on this server.",
            field="environment",
        )
    return digest


def _contents(lock: Lock) -> str:
    count = len(lock.lock.splitlines())
    return f"Python {lock.python} and {count} package{'' if count == 1 else 's'}"


def _write_requirements(work: Path, lock: str) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    path = work / "requirements.txt"
    path.write_text(lock, encoding="utf-8")
    return path


def _tidy(work: Path, unfinished: Path | None) -> None:
    """Remove what a build leaves; a disk that refuses is not what the user must hear of."""
    shutil.rmtree(work, ignore_errors=True)
    if unfinished is not None:
        shutil.rmtree(unfinished, ignore_errors=True)


def _nothing() -> None:
    """Tell nobody."""
