"""Tasks as processes of this machine: localised code, a built environment, and an agent each."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from seafloor.agent.bundle import build_agent
from seafloor.agent.folder import TaskFolder
from seafloor.code.archive import OpenRemote
from seafloor.code.cache_bounds import DEFAULT, CacheBounds
from seafloor.code.localize import TREES, Means, copy_beside, localize
from seafloor.code.receipts import read_document, receipt_path
from seafloor.domain.code import (
    ArchiveCode,
    GitCode,
    ImageCode,
    LocalizedCode,
    Receipt,
    SnapshotCode,
)
from seafloor.domain.errors import Conflict, PodRejected
from seafloor.domain.ids import Sha256, WorkloadId, parse_workload_id
from seafloor.domain.members import MAIN
from seafloor.domain.secrets import Secret, no_secrets
from seafloor.domain.volumes import volume_variable
from seafloor.environments.build import BuiltEnvironment, EnvironmentCache
from seafloor.launch.local.agents import Agents, Spawned, end_leftovers, last_words, read_pipe
from seafloor.launch.local.code_mounts import CodeMounts, shared_mount
from seafloor.launch.local.disk import disk_errors
from seafloor.launch.local.folders import (
    AttemptFolders,
    attempt_folders,
    bare_attempts,
    forget_task,
    keep_task,
    remove_task,
    task_keys,
)
from seafloor.launch.local.gang import environments_of, keys_of, launches_of, port_count
from seafloor.launch.local.observation import has_begun, is_gone, observe_ended, why_undelivered
from seafloor.launch.local.ports import Ports
from seafloor.launch.local.variables import command_variables
from seafloor.launch.protocol import (
    AttachedVolume,
    Prepared,
    TaskAbsent,
    TaskAlive,
    TaskKey,
    TaskLaunch,
    TaskObservation,
    TaskPreparing,
)
from seafloor.launch.volumes import VolumeFolders

START_TIMEOUT_S: Final = 120.0
"""Far more than a busy machine needs: a run whose agent is not ready by then fails."""

_NOT_BEGUN: Final = "The command is about to be started."


class LocalLauncher:
    """The launcher of one machine. One process at a time may have a working folder.

    It keeps nothing in memory that matters: what it says of a task it reads from the task's folder.

    Args:
        work_dir: Where tasks work; all below it is this launcher's.
        cache_dir: Kept between workloads: code, and the agent's file.
        server_file: JSON with the server's ``url``, for the agents.
        fetch_snapshot: Writes the archive of a digest to a path.
        open_remote: Opens the address of an archive.
        environments: Built environments.
        code_bounds: How much code is kept between workloads.
        code_mounts: Whether commands have their code at ``/code``; None: they do not.
        volumes: The folders of volumes; None: there are none.
        secret_of: Gives a secret by its name.
        inherited: Variables of which commands inherit a few; None: those of this process.
    """

    def __init__(
        self,
        *,
        work_dir: Path,
        cache_dir: Path,
        server_file: Path,
        fetch_snapshot: Callable[[Sha256, Path], None],
        open_remote: OpenRemote,
        environments: EnvironmentCache,
        code_bounds: CacheBounds = DEFAULT,
        code_mounts: CodeMounts | None = None,
        volumes: VolumeFolders | None = None,
        secret_of: Callable[[str], Secret] = no_secrets,
        inherited: Mapping[str, str] | None = None,
    ) -> None:
        self._work_dir = work_dir.absolute()
        self._cache_dir = cache_dir.absolute()
        self._server_file = server_file.absolute()
        self._fetch_snapshot = fetch_snapshot
        self._open_remote = open_remote
        self._secret_of = secret_of
        self._environments = environments
        self._code_bounds = code_bounds
        self._code_mounts = code_mounts or CodeMounts(wanted=False)
        self._volumes = volumes
        # A command inherits a few by name; which ones is for this room to know, not for settings.
        self._inherited = dict(os.environ if inherited is None else inherited)  # noqa: TID251
        self._agents = Agents()
        self._ports = Ports(self._work_dir)
        self._localizing: dict[TaskKey, asyncio.Future[Receipt]] = {}
        self._removing: WeakValueDictionary[TaskKey, asyncio.Lock] = WeakValueDictionary()
        self._salvaging: dict[TaskKey, asyncio.Task[None]] = {}

    async def prepare(self, launch: TaskLaunch, *, progress: Callable[[str], None]) -> Prepared:
        """Localise code and build the environment, at the same time; see the protocol."""
        begun_s = time.monotonic()
        tasks = tuple(attempt_folders(self._work_dir, key) for key in keys_of(launch))
        with disk_errors("Preparing a run"):
            await asyncio.to_thread(lambda: [folders.make() for folders in tasks])
            await asyncio.to_thread(self._check_volumes, launch)
        code = asyncio.create_task(self._localize(launch, tasks, progress))
        environments = asyncio.create_task(self._build(launch, tasks[0], progress))
        try:
            receipt, built = await asyncio.gather(code, environments)
        finally:
            for task in (code, environments):
                task.cancel()
            await asyncio.gather(code, environments, return_exceptions=True)
        new = [one for one in built if not one.cached]
        return Prepared(
            receipt,
            not new if built else None,
            time.monotonic() - begun_s,
            environment_fetched=bool(new) and all(one.fetched for one in new),
        )

    def _check_volumes(self, launch: TaskLaunch) -> None:
        for one in launch.volumes:
            self._folders_of_volumes.check(one.volume_id, one.content, name=one.name)

    @property
    def _folders_of_volumes(self) -> VolumeFolders:
        if self._volumes is None:
            raise PodRejected("This launcher has no volumes.")
        return self._volumes

    async def _localize(
        self,
        launch: TaskLaunch,
        tasks: Sequence[AttemptFolders],
        progress: Callable[[str], None],
    ) -> Receipt | None:
        """Localise the code of each task; the receipt is that of the first."""
        if launch.code is None or isinstance(launch.code, ImageCode):
            return None
        means = Means(
            self._cache_dir,
            self._fetch_snapshot,
            self._open_remote,
            progress,
            self._secret_of,
            bounds=self._code_bounds,
        )
        work = asyncio.ensure_future(asyncio.to_thread(self._make_code, launch.code, tasks, means))
        # A thread cannot be cancelled: its end is remembered, so that `release` can wait for it.
        self._localizing[launch.key] = work
        work.add_done_callback(lambda done: self._localized(launch.key, done))
        return await asyncio.shield(work)

    def _make_code(
        self, code: LocalizedCode, tasks: Sequence[AttemptFolders], means: Means
    ) -> Receipt:
        if self._code_mounts.share(means.cache_dir / TREES, self._work_dir):
            means = replace(means, shared_by=tasks[0].uses)
        first, *others = tasks
        receipt = localize(code, code_dir=first.code, means=means)
        quiet = replace(means, progress=_say_nothing)  # the same again, from the cache
        for folders in others:
            localize(code, code_dir=folders.code, means=quiet)
        return receipt

    def _localized(self, key: TaskKey, work: asyncio.Future[Receipt]) -> None:
        if self._localizing.get(key) is work:
            del self._localizing[key]
        if not work.cancelled():
            work.exception()  # whoever waited may have been cancelled

    async def _build(
        self, launch: TaskLaunch, folders: AttemptFolders, progress: Callable[[str], None]
    ) -> list[BuiltEnvironment]:
        # In use as long as that folder is there, whatever becomes of this server.
        return [
            await self._environments.get(one, progress, user=folders.uses)
            for one in environments_of(launch)
        ]

    async def start(self, launch: TaskLaunch) -> None:
        """Start the agent of a prepared task, or of each of several; see the protocol.

        The agents of several wait until the server has written down that all of them are there.

        Raises:
            PodRejected: it is not prepared, or an agent cannot be started.
            StoreFull, StoreUnavailable: the task's folder cannot be written.
        """
        self._agents.reap()
        built = await self._built(launch)
        with disk_errors("Starting a run"):
            work = asyncio.to_thread(self._begin_all, launch, built)
            agents = await _spawned(asyncio.ensure_future(work))
        # Each of them is waited for whatever becomes of another: its pipe is to be closed.
        ready = [self._ready(key, agent) for key, agent in agents.items()]
        for said in await asyncio.gather(*ready, return_exceptions=True):
            if said is not None:
                raise said

    async def _ready(self, key: TaskKey, agent: Spawned) -> None:
        try:
            said = await read_pipe(agent.pipe_fd, timeout_s=START_TIMEOUT_S)
        except TimeoutError as error:
            raise PodRejected(
                f"The task's agent (process {agent.pid}) was not ready in {START_TIMEOUT_S:g} s."
            ) from error
        if not said:
            words = last_words(self._task_folder(key))
            raise PodRejected(f"The task's agent ended at once: {words}")

    async def _built(self, launch: TaskLaunch) -> dict[str, BuiltEnvironment]:
        """The environments of a prepared launch, by their digests."""
        found: dict[str, BuiltEnvironment] = {}
        for one in environments_of(launch):
            built = await self._environments.find(one.digest)
            if built is None:
                raise PodRejected(f"The environment {one.reference} is not built.")
            found[one.digest] = built
        return found

    def _begin_all(
        self, launch: TaskLaunch, built: Mapping[str, BuiltEnvironment]
    ) -> dict[TaskKey, Spawned]:
        """Start those agents of a launch that are not there yet."""
        ports: tuple[int, ...] = ()
        if launch.spec.tasks:
            tasks = [attempt_folders(self._work_dir, key) for key in keys_of(launch)]
            for folders in tasks:
                folders.make()
            begun = any(self._has_agent(folders.agent) for folders in tasks)
            ports = self._ports.of(tasks[0], port_count(launch), begun=begun)
        agents: dict[TaskKey, Spawned] = {}
        with ExitStack() as undo:
            undo.callback(_close_pipes, agents)
            for one in launches_of(launch, ports):
                environment = None if one.environment is None else built[one.environment.digest]
                if (agent := self._begin(one, environment)) is not None:
                    agents[one.key] = agent
            undo.pop_all()
        return agents

    def _has_agent(self, folder: Path) -> bool:
        """Whether a task has or had an agent; one may hold the lock and not have written yet."""
        return self._agents.lives(folder) or TaskFolder(str(folder)).has("agent.json")

    def _begin(self, launch: TaskLaunch, built: BuiltEnvironment | None) -> Spawned | None:
        """Write ``task.json`` and start an agent, unless this task has or had one."""
        folders = attempt_folders(self._work_dir, launch.key)
        folders.make()
        folder = folders.agent
        lock_fd = self._agents.lock(folder)
        if lock_fd is None:
            return None
        try:
            task_folder = TaskFolder(str(folder))
            if task_folder.has("agent.json"):
                return None
            variables = command_variables(launch, folders, built, self._inherited)
            # Durable: without it nobody could deliver the spool after a crash of the machine.
            document = self._document(launch, folders, variables)
            task_folder.write("task.json", document, durable=True)
            pyz = build_agent(self._cache_dir / "agent")
            return self._agents.spawn(pyz, "exec", folder, lock_fd=lock_fd)
        finally:
            os.close(lock_fd)

    def _document(
        self, launch: TaskLaunch, folders: AttemptFolders, variables: dict[str, str]
    ) -> dict[str, object]:
        return {
            "workload_id": launch.key.workload_id,
            "attempt": launch.key.attempt,
            "task": launch.key.task,
            "api_path": launch.api_path,
            "command": launch.command,
            "cwd": str(_working_folder(launch, folders)),
            "env": variables,
            "code_dir": str(folders.code),
            "code_mount": self._code_mount(launch, folders),
            "volumes": [self._volume(one) for one in launch.volumes],
            "stage": self._stage_of_volumes(launch, folders),
            "output_dir": str(folders.output),
            "events_dir": str(folders.events),
            "server_file": str(self._server_file),
            "token": launch.token,
            "timeout_s": launch.timeout_s,
            "grace_s": launch.grace_s,
            "memory_bytes": launch.memory_bytes,
            "cpu_count": launch.cpu_count,
            "waits": bool(launch.spec.tasks),
            "receipts": _receipts(launch, folders),
            # This Python has the library, whatever the command's environment has.
            "sync_command": [sys.executable, "-m", "seafloor.cli", "sync"],
            "sync_dir": str(folders.client / "spool"),
        }

    def _code_mount(self, launch: TaskLaunch, folders: AttemptFolders) -> dict[str, str] | None:
        if launch.code is None or isinstance(launch.code, ImageCode):
            return None
        link = folders.code / launch.code.folder
        if not link.is_symlink():
            if not self._code_mounts.work():
                return None
            folders.stage.mkdir(exist_ok=True)
            return {"source": str(folders.code), "stage": str(folders.stage)}
        own = folders.layers
        wanted = shared_mount(own, link.readlink(), link.name)
        copy_beside(folders.code, Path(wanted["view"]))
        return {**wanted, "source": str(folders.code)}

    def _volume(self, one: AttachedVolume) -> dict[str, object]:
        return {
            "source": str(self._folders_of_volumes.path(one.volume_id, one.content)),
            "path": one.path,
            "read_only": one.read_only,
            "variable": volume_variable(one.name),
        }

    def _stage_of_volumes(self, launch: TaskLaunch, folders: AttemptFolders) -> str:
        """Where a root with their paths is made; empty: they are not to be at their paths."""
        if not launch.volumes or not self._code_mounts.wanted:
            return ""
        folders.stage.mkdir(exist_ok=True)
        return str(folders.stage)

    async def observe(self, key: TaskKey) -> TaskObservation:
        """Say how a task fares, from its lock and its files."""
        self._agents.reap()
        with disk_errors("Looking at a task"):
            return await asyncio.to_thread(self._observe, key)

    def _observe(self, key: TaskKey) -> TaskObservation:
        folder = self._task_folder(key)
        if not self._is_there(key):
            return TaskAbsent()
        # The lock first: what is read after it was free is final.
        if self._agents.lives(folder):
            waits = key.task != MAIN and not has_begun(folder)
            return TaskPreparing(_NOT_BEGUN) if waits else TaskAlive()
        return observe_ended(folder)

    def _is_there(self, key: TaskKey) -> bool:
        """Whether a task has a folder here; one that its command closed is opened again."""
        return TaskFolder(str(self._task_folder(key))).exists()

    async def tasks(self) -> tuple[TaskKey, ...]:
        """The tasks that have a folder here, and not one that is kept.

        An attempt that has lost the folders of its tasks still has its code: it counts as one.
        """
        self._agents.reap()
        with disk_errors("Listing tasks"):
            return await asyncio.to_thread(self._tasks)

    def _tasks(self) -> tuple[TaskKey, ...]:
        found = [
            key
            for key in task_keys(self._work_dir)
            if self._is_there(key) and not attempt_folders(self._work_dir, key).is_kept
        ]
        return (*found, *bare_attempts(self._work_dir))

    async def stop(self, key: TaskKey) -> None:
        """Leave word for the agent; one that lives no more will not read it."""
        folder = self._task_folder(key)
        with disk_errors("Stopping a task"):
            await asyncio.to_thread(_write_stop, folder)

    async def salvage(self, key: TaskKey) -> None:
        """Deliver what a lost agent left behind, and end what still lives of its command.

        Returns when what was left is delivered, or cannot be for now (then a further call tries
        again). Does nothing while an agent lives.
        """
        running = self._salvaging.get(key)
        if running is None:
            running = self._salvaging[key] = asyncio.create_task(self._salvage(key))
            running.add_done_callback(lambda done: self._salvaged(key, done))
        await asyncio.shield(running)

    def _salvaged(self, key: TaskKey, done: asyncio.Task[None]) -> None:
        self._salvaging.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waited may have been cancelled

    async def _salvage(self, key: TaskKey) -> None:
        with disk_errors("Delivering what a lost task left"):
            work = asyncio.to_thread(self._begin_salvage, key)
            for agent in (await _spawned(asyncio.ensure_future(work))).values():
                await read_pipe(agent.pipe_fd, timeout_s=None)
                await asyncio.to_thread(self._agents.wait, agent.pid)

    def _begin_salvage(self, key: TaskKey) -> dict[TaskKey, Spawned]:
        folder = self._task_folder(key)
        task_folder = TaskFolder(str(folder))
        if not task_folder.has("agent.json"):
            return {}
        lock_fd = self._agents.lock(folder)
        if lock_fd is None:
            return {}
        try:
            end_leftovers(folder)
            if task_folder.has("done.json"):
                if not is_gone(folder):
                    return {}
                # Whoever asks has records of it: they were brought back since.
                (folder / "done.json").unlink()
            pyz = build_agent(self._cache_dir / "agent")
            return {key: self._agents.spawn(pyz, "ship", folder, lock_fd=lock_fd)}
        finally:
            os.close(lock_fd)

    async def keep(self, key: TaskKey) -> str:
        """Leave what a task could not deliver to its user, until its run is purged.

        Code and environment are given back to the caches.

        Returns:
            Why it was not delivered, and where it is, as the end of a sentence.

        Raises:
            StoreFull: not even a name can be written.
        """
        folders = attempt_folders(self._work_dir, key)
        with disk_errors("Keeping what a task left"):
            async with self._removal(key):
                await asyncio.to_thread(keep_task, self._work_dir, key)
            why = await asyncio.to_thread(why_undelivered, folders.agent)
        return f"{why and f' ({why})'}; it is kept in {folders.root}"

    async def forget(self, workload_id: WorkloadId) -> None:
        """Remove what is kept of a workload, and note in the folders of the rest that it may go."""
        with disk_errors("Removing what a task left"):
            keys = await asyncio.to_thread(self._note_forgotten, parse_workload_id(workload_id))
        for key in keys:
            if attempt_folders(self._work_dir, key).is_kept:
                await self.release(key)

    def _note_forgotten(self, workload_id: WorkloadId) -> tuple[TaskKey, ...]:
        keys = tuple(task_keys(self._work_dir, workload_id))
        for key in keys:
            forget_task(self._work_dir, key)
        return keys

    async def is_forgotten(self, key: TaskKey) -> bool:
        """Whether its folder says so: it is noted before the records of a purged run go."""
        with disk_errors("Looking at a task"):
            folders = attempt_folders(self._work_dir, key)
            return await asyncio.to_thread(lambda: folders.is_forgotten)

    def whereabouts(self, key: TaskKey) -> str:
        """The folder of the attempt."""
        return str(attempt_folders(self._work_dir, key).root)

    async def release(self, key: TaskKey) -> None:
        """Remove the task's working folders, and nothing outside the launcher's own.

        Raises:
            Conflict: its agent lives.
        """
        attempt = msgspec.structs.replace(key, task=MAIN)
        localizing = self._localizing.get(attempt)
        if localizing is not None:
            await asyncio.wait({localizing})
        if isinstance(await self.observe(key), TaskAlive | TaskPreparing):
            raise Conflict("The task still runs: stop it first.")
        with disk_errors("Removing a task's folder"):
            async with self._removal(key):
                await asyncio.to_thread(remove_task, self._work_dir, key)

    def _removal(self, key: TaskKey) -> asyncio.Lock:
        """The last task of an attempt takes the rest along: two must not both be the last."""
        attempt = msgspec.structs.replace(key, task=MAIN)
        return self._removing.setdefault(attempt, asyncio.Lock())

    async def close(self) -> None:
        """Stop waiting for what is under way. Tasks, and deliveries of lost ones, go on."""
        under_way = list(self._salvaging.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._agents.reap()

    def _task_folder(self, key: TaskKey) -> Path:
        return attempt_folders(self._work_dir, key).agent


def _receipts(launch: TaskLaunch, folders: AttemptFolders) -> dict[str, object]:
    """What was localised for a task of several, by its folder; of one alone the server knows."""
    if not launch.spec.tasks:
        return {}
    found = read_document(receipt_path(folders.code))
    return {} if found is None else {found.folder: msgspec.to_builtins(found)}


def _say_nothing(_message: str) -> None:
    pass


def _close_pipes(agents: Mapping[TaskKey, Spawned]) -> None:
    for agent in agents.values():
        os.close(agent.pipe_fd)


async def _spawned(work: asyncio.Future[dict[TaskKey, Spawned]]) -> dict[TaskKey, Spawned]:
    """Wait for a thread that starts agents; also when cancelled, so that it is certain whether
    there are any afterwards."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled() and work.exception() is None:
            _close_pipes(work.result())
        raise


def _working_folder(launch: TaskLaunch, folders: AttemptFolders) -> Path:
    """Where the command starts: as a user in his own folder, or above his repository."""
    match launch.code:
        case None | GitCode() | ArchiveCode():
            return folders.code
        case ImageCode(path=path):
            return folders.code if path is None else Path(path)
        case SnapshotCode(folder=folder, subfolder=subfolder):
            return folders.code / folder / subfolder


def _write_stop(folder: Path) -> None:
    with suppress(FileNotFoundError):  # never started, or released
        TaskFolder(str(folder)).write("stop.json", {"time_ns": time.time_ns()})
