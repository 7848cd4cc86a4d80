"""Building: from a lock to a folder with a Python in it, once per digest.

::

    <root>/<digest>/                            a virtual environment, at its final place
    <root>/<digest>/seafloor-environment.json   written last: without it the folder is a leftover
    <root>/locks/<digest>                       held while the folder is made or removed
    <root>/users/<digest>/                      who uses it (``usage``)
    <root>/uv/packages/                         uv's cache; files are linked from it, not copied
    <root>/conda/                               packages of conda (``conda``)

A virtual environment cannot be moved (its scripts name its path), hence no rename at the end.

Who builds one first puts an archive of it into the object store; every other machine fetches that
(``archive``, ``stored``). Storing, and making room on the disk, happen afterwards, beside the run.
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

import structlog

from seafloor.domain.environments import LockedPackage, parse_lock
from seafloor.domain.errors import (
    NotFound,
    NotSupported,
    SeafloorError,
    SourceError,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.domain.ids import Sha256, parse_sha256
from seafloor.environments.archive import (
    Damaged,
    Listing,
    NotMovable,
    list_folder,
    pack,
)
from seafloor.environments.bytecode import compile_modules, modules_of
from seafloor.environments.disk import disk_error, exclusive, remove_tree, settled
from seafloor.environments.package_access import check_addresses
from seafloor.environments.record import (
    RECORD_NAME,
    BuildRecord,
    Lock,
    checked_digest,
    contents_of,
    python_path,
    read_record,
    settle_record,
    write_record,
)
from seafloor.environments.site import Site, SiteBuilder
from seafloor.environments.stored import (
    TAR_FORMAT,
    EnvironmentArchives,
    StoredEnvironment,
    StoredFile,
    is_damage,
    not_stored,
)
from seafloor.environments.usage import Usage, used_bytes
from seafloor.environments.uv_command import PackageSource, Progress, find_uv

BUILD_TIMEOUT_S: Final = 1_800.0
FORGET_TIMEOUT_S: Final = 30.0
_DEFAULT_SOURCE: Final = PackageSource()
_log = structlog.get_logger(__name__)
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
        fetched: Whether it came from the object store, rather than being built.
    """

    path: Path
    python_path: Path
    digest: Sha256
    cached: bool
    duration_s: float
    fetched: bool = False


@dataclass(frozen=True)
class _Made:
    """An environment that was just made here.

    Args:
        skeleton, built: What to pack; None when it came from the object store.
        instead_of: A stored archive that turned out to be damaged.
        size_bytes: Of all its files, where that is known.
    """

    skeleton: Listing | None = None
    built: Listing | None = None
    instead_of: StoredEnvironment | None = None
    size_bytes: int | None = None


@dataclass
class _Build:
    """A build under way, and those of this process who wait for it."""

    task: asyncio.Task[BuiltEnvironment]
    listeners: list[Progress] = field(default_factory=list[Progress])
    said: list[str] = field(default_factory=list[str])
    waiters: int = 0


class EnvironmentCache:
    """The built environments of this machine; several processes may share one root.

    Args:
        root: Its folder, on a local disk. Is made when first needed.
        packages: Where packages come from.
        archives: Where built environments are stored for other machines; None: nowhere.
        size_max_bytes: What all below ``root`` may take on the disk. When it is more, environments
            that nobody uses go, those first that were not asked for longest. None: no limit.
        build_timeout_s: A build is given up after this.
        builds: Whether what is not stored is built here. Where it is not, an environment is fetched
            whole or not at all, and any Python of the same minor version will do for it.
    """

    def __init__(
        self,
        root: Path,
        *,
        packages: PackageSource = _DEFAULT_SOURCE,
        archives: EnvironmentArchives | None = None,
        size_max_bytes: int | None = None,
        build_timeout_s: float = BUILD_TIMEOUT_S,
        builds: bool = True,
    ) -> None:
        self._root = root.absolute()
        self._packages = packages
        self._archives = archives
        self._size_max_bytes = size_max_bytes
        self._builds_here = builds
        self._builder = SiteBuilder(self._root, packages, build_timeout_s, builds)
        self._usage = Usage(self._root)
        self._builds: dict[Sha256, _Build] = {}
        self._afterwards: set[asyncio.Task[None]] = set()
        self._unstored: dict[str, SeafloorError] = {}

    @property
    def root(self) -> Path:
        """Where everything of it lies."""
        return self._root

    @property
    def uv_cache_dir(self) -> Path:
        """Where packages are kept between builds."""
        return self._root / "uv"

    async def get(
        self, lock: Lock, progress: Progress | None = None, *, user: Path | None = None
    ) -> BuiltEnvironment:
        """Give the environment of a lock; fetch it, or else build it, if it is not there.

        Whoever asks for the same digest meanwhile, here or in another process, waits and shares
        the result. An error reaches everyone of this process who waits; another process then
        tries for itself. When nobody waits any more the build is stopped. What is not complete
        is never given out, whenever and however a build ends.

        Args:
            lock: What to build.
            progress: Told what is being done, one short sentence each.
            user: A folder; as long as it is there the environment is not removed.

        Raises:
            InvalidValue: the digest is not that of the lock on this platform.
            SourceError: the Python or a package could not be had.
            StoreFull: no space left.
            StoreUnavailable: the root cannot be used.
            NotSupported: there is no uv.

        Cost: a few file system calls when it is there.
        """
        started = time.monotonic()
        digest = checked_digest(lock)
        if await asyncio.to_thread(self._ask, digest, user) is not None:
            return self._built(digest, cached=True, started=started)
        build = self._builds.get(digest) or self._begin(digest, lock)
        build.waiters += 1
        if progress is not None:
            build.listeners.append(progress)
            if build.said:  # who joins hears what is being done
                progress(build.said[-1])
        try:
            built = await asyncio.shield(build.task)
        finally:
            build.waiters -= 1
            if build.waiters == 0 and not build.task.done():
                del self._builds[digest]
                build.task.cancel()
                await asyncio.wait({build.task})
        return replace(built, duration_s=time.monotonic() - started)

    async def store(self, lock: Lock, progress: Progress | None = None) -> StoredEnvironment:
        """Have an environment in the object store, for machines that cannot build; say what is.

        It is built here unless it is stored. May be repeated, by several servers at once.

        Raises:
            SourceError: it cannot be had, or cannot be moved to another machine.
            NotSupported: a later version of Seafloor has stored it, or there is no uv.
            InvalidValue, StoreFull, StoreUnavailable: see ``get``.

        Cost: one small read of the object store and one question when it is there.
        """
        if self._archives is None:
            raise NotSupported("Nothing is stored here for other machines.")
        digest = checked_digest(lock)
        for _ in range(2):
            stored = await self._archives.usable(digest)
            if stored is not None:
                return stored
            built = await self.get(lock, progress)
            await self.settle()
            if built.cached:
                # Whoever built it did not come to store it, or what was stored was withdrawn.
                await self._store_again(lock, progress or _nobody)
            elif (error := self._unstored.get(digest)) is not None:
                raise error
        stored = await self._archives.usable(digest)
        if stored is None:
            raise StoreUnavailable(f"The environment {digest[:12]} was not stored in the end.")
        return stored

    async def archive_file(self, digest: str, name: str) -> StoredFile:
        """Give a file of a stored environment: its record, or its archive.

        Raises:
            NotFound: there is none of that name.
        """
        if self._archives is None:
            raise NotFound("Nothing is stored here for other machines.")
        return await self._archives.file(parse_sha256(digest, field="digest"), name)

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

    async def settle(self) -> None:
        """Wait until what was built is stored, and room is made."""
        while self._afterwards:
            await asyncio.wait(self._afterwards)

    async def close(self) -> None:
        """Stop storing. What is not stored then is stored by whoever builds it next."""
        for task in self._afterwards:
            task.cancel()
        await self.settle()

    async def remove(self, digest: str) -> int:
        """Remove an environment that nobody uses, here and in the object store. May be repeated.

        One that is in use stays here until room is needed.

        Waits for a build of it to end. Packages that no other environment has leave the cache
        too; if that is busy they stay until they are fetched and removed again.

        Returns:
            The bytes that this gave back: what other environments share is not counted.

        Raises:
            StoreUnavailable: it cannot be removed.
            NotSupported: there is no uv.
        """
        await self.remove_stored(digest)
        return await self._remove_here(parse_sha256(digest, field="digest"))

    async def remove_stored(self, digest: str) -> None:
        """Remove what the object store has of an environment. May be repeated.

        Raises:
            StoreUnavailable: it may still be there.
        """
        if self._archives is not None:
            await self._archives.remove(parse_sha256(digest, field="digest"))

    async def _remove_here(self, name: Sha256) -> int:
        folder = self._root / name
        if not await asyncio.to_thread(folder.exists):
            return 0
        async with self._exclusive(name, waiting=_nothing):
            try:
                orphans = await asyncio.to_thread(self._orphans, name)
                if not await settled(self._withdraw, name):
                    return 0
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
        said: list[str] = []

        def tell(sentence: str) -> None:
            said.append(sentence)
            for listener in tuple(listeners):
                listener(sentence)

        task = asyncio.create_task(self._make(digest, lock, tell), name=f"environment {digest}")
        build = self._builds[digest] = _Build(task, listeners, said)

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

        fetched = False
        async with self._exclusive(digest, waiting=waiting) as held_fd:
            if await asyncio.to_thread(self._record, digest) is None:
                made = await self._build(digest, lock, held_fd=held_fd, tell=tell)
                fetched = made.built is None
                task = asyncio.create_task(self._afterwards_of(lock, made), name=f"store {digest}")
                self._afterwards.add(task)
                task.add_done_callback(self._afterwards.discard)
        return replace(self._built(digest, cached=False, started=started), fetched=fetched)

    async def _build(self, digest: Sha256, lock: Lock, *, held_fd: int, tell: Progress) -> _Made:
        started = time.monotonic()
        folder = self._root / digest
        work = self._work(digest)
        site = Site(lock, folder, work, held_fd=held_fd, tell=tell)
        done = False
        try:
            made = await self._fetch(site)
            if made is None or made.instead_of is not None:
                made = await self._build_new(site, instead_of=made and made.instead_of)
            await settled(write_record, folder, lock, started=started, size_bytes=made.size_bytes)
            done = True
        except OSError as error:
            raise disk_error(error) from error
        finally:
            await settled(_tidy, work, None if done else folder)
        return made

    async def _build_new(self, site: Site, *, instead_of: StoredEnvironment | None) -> _Made:
        """Fill the folder from an interpreter and packages."""
        if not self._builds_here:
            raise SourceError(
                f"The environment {site.lock.digest[:12]} cannot be fetched: what is stored of it "
                "is not whole.",
                field="environment",
            )
        site.tell(f"building an environment of {contents_of(site.lock)}")
        addresses = (site.lock.lock, *self._packages.addresses())
        await asyncio.to_thread(check_addresses, self._packages.secrets, addresses)
        await self._builder.skeleton(site)
        skeleton = await settled(list_folder, site.folder)
        await self._builder.install(site)
        return _Made(skeleton, await settled(list_folder, site.folder), instead_of)

    async def _fetch(self, site: Site) -> _Made | None:
        """Make the folder from a stored archive; None when there is none within reach."""
        if self._archives is None:
            return None
        stored = None
        try:
            stored = await self._archives.find(site.lock.digest)
            if stored is None:
                return None
            site.tell(f"fetching environment {stored.digest[:12]} ({stored.size_bytes:,} bytes)")
            await settled(site.work.mkdir, parents=True, exist_ok=True)
            if stored.format == TAR_FORMAT:
                await self._builder.fetch_tar(site, self._archives, stored)
                return _Made()
            return _Made(size_bytes=await self._builder.fetch_frames(site, self._archives, stored))
        except (StoreError, NotFound, Damaged) as error:
            if isinstance(error, StoreFull):
                raise
            _log.warning(
                "a stored environment could not be fetched",
                digest=site.lock.digest,
                error=str(error),
            )
            site.tell("the stored archive cannot be used, so the environment is built here")
            return _Made(instead_of=stored) if is_damage(error) else None

    async def _afterwards_of(self, lock: Lock, made: _Made) -> None:
        """Have it on the disk, store what was built, and make room.

        What fails is written to the log, and told to whoever asked for it to be stored.
        """
        await self._settle_on_disk(Sha256(lock.digest))
        self._unstored.pop(lock.digest, None)
        try:
            if made.built is not None and self._archives is not None:
                await self._store(lock, made)
        except (NotMovable, SeafloorError) as error:
            self._unstored[lock.digest] = not_stored(lock.digest, error)
            _log.warning(
                "an environment was not stored for other machines",
                digest=lock.digest,
                error=str(error),
            )
        try:
            await self._make_room()
        except SeafloorError as error:
            _log.warning("no room was made for environments", error=str(error))

    async def _settle_on_disk(self, digest: Sha256) -> None:
        try:
            async with self._exclusive(digest, waiting=_nothing):
                if await asyncio.to_thread(self._record, digest) is not None:
                    await settled(settle_record, self._root / digest, digest)
        except (SeafloorError, OSError) as error:
            _log.warning(
                "an environment may not outlast a crash of this machine",
                digest=digest,
                error=str(error),
            )

    async def _store(self, lock: Lock, made: _Made) -> None:
        digest = Sha256(lock.digest)
        work = self._work(digest)
        async with self._exclusive(digest, waiting=_nothing):
            try:
                await settled(work.mkdir, parents=True, exist_ok=True)
                await self._keep(lock, made, self._root / digest, work)
            except OSError as error:
                raise disk_error(error) from error
            finally:
                await settled(_tidy, work, None)

    async def _store_again(self, lock: Lock, tell: Progress) -> None:
        """Store an environment that was built before, unless it is stored.

        Runs may use its folder and may have changed it: another one is built beside, and goes.
        """
        digest = Sha256(lock.digest)
        work = self._work(digest)
        async with self._exclusive(digest, waiting=_nothing) as held_fd:
            if self._archives is None or await self._archives.find(digest) is not None:
                return
            site = Site(lock, work / "again", work, held_fd=held_fd, tell=tell)
            try:
                await settled(work.mkdir, parents=True, exist_ok=True)
                made = await self._build_new(site, instead_of=None)
                await self._keep(lock, made, site.folder, work)
            except OSError as error:
                raise disk_error(error) from error
            except NotMovable as error:
                raise not_stored(digest, error) from error
            finally:
                await settled(_tidy, work, None)

    async def _keep(self, lock: Lock, made: _Made, folder: Path, work: Path) -> None:
        """Pack a folder as it was when it was built, and store that."""
        skeleton, built = made.skeleton, made.built
        if self._archives is None or skeleton is None or built is None:
            return
        archive = work / "environment.frames"
        conda = [one for one in parse_lock(lock.lock) if one.kind == "conda"]
        files = await self._builder.conda_files(conda, _nobody)
        brought = [path for path in built if skeleton.get(path) != built[path]]
        packed = await settled(
            pack,
            folder,
            archive,
            skeleton=skeleton,
            built=built,
            packages=files,
            compiled=await compile_modules(
                python_path(folder), folder, modules_of(brought), into=work / "compiled"
            ),
        )
        await self._archives.keep(lock, archive, packed, instead_of=made.instead_of)

    async def _make_room(self) -> None:
        """Remove what was not used for longest until the rest fits; never what is in use."""
        if self._size_max_bytes is None:
            return
        over_bytes = await asyncio.to_thread(used_bytes, self._root) - self._size_max_bytes
        if over_bytes <= 0:
            return
        records = await self.list()
        for record in sorted(records, key=lambda one: self._usage.touched_ns(one.digest)):
            if over_bytes <= 0:
                return
            over_bytes -= await self._remove_here(Sha256(record.digest))
        if over_bytes > 0:
            _log.warning("the environments take more than their limit", over_bytes=over_bytes)

    def _ask(self, digest: Sha256, user: Path | None) -> BuildRecord | None:
        """Write down that an environment is asked for, then look whether it is there."""
        try:
            if user is not None:
                self._usage.add(digest, user)
            self._usage.touch(digest)
        except OSError as error:
            raise disk_error(error) from error
        return self._record(digest)

    def _withdraw(self, digest: Sha256) -> bool:
        """Make sure that nobody is given an environment any more; False when it is in use."""
        if self._usage.is_used(digest):
            return False
        record = self._root / digest / RECORD_NAME
        aside = record.with_name(f"{RECORD_NAME}.old")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            record.replace(aside)
        # Whoever asked in between has said so first, and waits for the lock, or has it already.
        if self._usage.is_used(digest):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                aside.replace(record)
            return False
        return True

    def _orphans(self, digest: str) -> Sequence[LockedPackage]:
        """The packages that only this environment has."""
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
        return parse_lock("\n".join(lines))

    async def _forget(self, packages: Sequence[LockedPackage], *, work: Path) -> None:
        """Take packages out of the caches, out of uv's unless other commands of uv keep it busy."""
        conda = [one for one in packages if one.kind == "conda"]
        for package in conda:
            await settled(shutil.rmtree, self._root / "conda" / package.sha256, ignore_errors=True)
        names = [one.name for one in packages if one.kind == "pip"]
        names = [found[0] for name in names if (found := _PACKAGE.match(name))]
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


def _tidy(work: Path, unfinished: Path | None) -> None:
    """Remove what a build leaves; a disk that refuses is not what the user must hear of."""
    shutil.rmtree(work, ignore_errors=True)
    if unfinished is not None:
        shutil.rmtree(unfinished, ignore_errors=True)


def _nothing() -> None:
    """Tell nobody."""


def _nobody(_: str) -> None:
    """Tell nobody."""
