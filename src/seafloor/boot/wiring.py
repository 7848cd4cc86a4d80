"""Names the implementations and wires everything."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from seafloor import __version__
from seafloor.app.application import Application, Identity
from seafloor.app.artifacts import RunArtifacts
from seafloor.app.charts import Charts
from seafloor.app.clock import SystemClock, new_workload_id
from seafloor.app.code_sources import CodeSources
from seafloor.app.environments import Environments
from seafloor.app.experiments import Experiments, Projects
from seafloor.app.launches import Launches
from seafloor.app.leases import LeaseHolder, LeaseTerms
from seafloor.app.models import Models
from seafloor.app.places import LostPlaces, OwnPlace
from seafloor.app.plans import Plans
from seafloor.app.reconciler import Reconciler
from seafloor.app.runs import RunRooms, Runs, RunStores
from seafloor.app.snapshots import Snapshots
from seafloor.app.tasks import Tasks, TaskStores
from seafloor.app.tokens import Tokens
from seafloor.app.traces import Traces
from seafloor.app.wakeup import Wakeup
from seafloor.boot.archives import remote_opener
from seafloor.boot.data_folder import DataFolder
from seafloor.boot.opening import metadata_url, open_metadata_database, open_object_store
from seafloor.boot.settings import Settings, environment
from seafloor.boot.streams import Below, open_streams
from seafloor.domain.ids import Sha256
from seafloor.domain.leases import lease_of_place
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.lock import Asked, EnvironmentLock, lock_environment
from seafloor.environments.stored import EnvironmentArchives
from seafloor.launch.local.code_mounts import CodeMounts
from seafloor.launch.local.launcher import LocalLauncher
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.entries.sql import SqlEntryStore
from seafloor.stores.events.media import EventMedia
from seafloor.stores.media.store import ObjectMediaStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.identity import identify
from seafloor.stores.secrets.folder import SECRETS_FOLDER, FolderSecrets


@asynccontextmanager
async def open_application(
    settings: Settings, folder: DataFolder, *, url: str
) -> AsyncGenerator[Application]:
    """Open every store, bring the database up to date, make every use case; close on leaving."""
    clock, wakeup = SystemClock(), Wakeup()
    async with AsyncExitStack() as stack:
        database = open_metadata_database(settings)
        stack.push_async_callback(database.close)
        await database.migrate()
        metadata = SqlMetadataStore(database)
        objects = open_object_store(settings, environment())
        stack.push_async_callback(objects.close)
        await identify(objects, new_id=new_workload_id(clock))
        metrics = SqlMetricStore(database, objects)
        stack.push_async_callback(metrics.close)
        below = Below(database, objects, metrics, metadata)
        shared = not metadata_url(settings).startswith("sqlite:")
        streams = await open_streams(below, folder, stack, shared=shared)
        logs, event_files = streams.logs, streams.event_files
        artifacts = ObjectArtifactStore(objects, metadata)
        media = ObjectMediaStore(database, objects)
        stack.push_async_callback(media.close)
        entries = SqlEntryStore(database, metrics)
        stores = RunStores(metadata, metrics, logs, artifacts, event_files, media, entries)

        cache = EnvironmentCache(
            folder.sub("cache/environments"),
            archives=EnvironmentArchives(objects),
            size_max_bytes=int(settings.environments.cache_size_max_gib * 2**30) or None,
        )
        stack.push_async_callback(cache.close)
        # One key for all servers of an installation: a token of one is good at the others.
        key = await metadata.installation_value("token_key", first=folder.key())
        tokens = Tokens(key, metadata, clock)
        snapshots = Snapshots(objects)
        code_mounts = CodeMounts(wanted=settings.launch.mount_code)
        code_sources = _code_sources(settings, code_mounts)
        experiments = Experiments(metadata, clock)
        environments = Environments(metadata, cache, _locker(settings, cache), clock)
        launches = Launches(environments, tokens, url=url, with_tokens=bool(settings.server.token))
        delivered = TaskStores(
            metadata, logs, event_files, artifacts, EventMedia(event_files, media)
        )
        tasks = Tasks(delivered, clock, wakeup)
        launcher = LocalLauncher(
            work_dir=folder.sub("work"),
            cache_dir=folder.sub("cache"),
            server_file=folder.server_file,
            fetch_snapshot=_fetcher(snapshots, asyncio.get_running_loop()),
            open_remote=remote_opener(environment()),
            environments=cache,
            code_mounts=code_mounts,
            secret_of=_secrets(settings).get,
        )
        stack.push_async_callback(launcher.close)
        reconciler = Reconciler(
            metadata,
            tasks,
            launches,
            launcher,
            wakeup,
            clock,
            place=_own_place(folder, metadata, wakeup),
            lost_places=LostPlaces(
                metadata, tasks, clock, given_up_after_s=settings.launch.place_lost_after_s
            ),
            interval_s=settings.launch.reconcile_interval_s,
            starts_at_once_max=settings.launch.starts_at_once_max,
        )
        run_artifacts = RunArtifacts(metadata, artifacts)
        rooms = RunRooms(experiments, environments, snapshots, code_sources, run_artifacts)
        runs = Runs(stores, rooms, clock, wakeup)
        yield Application(
            identity=Identity(
                version=__version__,
                url=url,
                data_dir=str(settings.data_dir),
                python=sys.executable,
                token=settings.server.token,
                started_ns=clock.now_ns(),
                settings=settings.shown(),
                workspaces=settings.server.workspaces,
            ),
            clock=clock,
            stores=stores,
            projects=Projects(metadata, clock),
            experiments=experiments,
            runs=runs,
            charts=Charts(runs, metrics),
            run_artifacts=run_artifacts,
            models=Models(metadata, artifacts, clock),
            tasks=tasks,
            environments=environments,
            snapshots=snapshots,
            plans=Plans(experiments, environments, code_sources, launches),
            tokens=tokens,
            traces=Traces(metadata, artifacts),
            reconciler=reconciler,
            sealer=streams.sealer,
        )


def _code_sources(settings: Settings, mounts: CodeMounts) -> CodeSources:
    return CodeSources(remote_opener(environment()), _secrets(settings), mounts.work)


def _secrets(settings: Settings) -> FolderSecrets:
    return FolderSecrets(settings.data_dir / SECRETS_FOLDER)


def _own_place(folder: DataFolder, metadata: MetadataStore, wakeup: Wakeup) -> OwnPlace:
    place = folder.place()
    # The folder is locked, so whoever held its lease before is no more.
    terms = LeaseTerms(supersede=True)
    name = lease_of_place(place)
    return OwnPlace(place, LeaseHolder(metadata, name, terms, on_change=wakeup.ring))


def _locker(settings: Settings, cache: EnvironmentCache):
    async def lock(asked: Asked) -> EnvironmentLock:
        return await lock_environment(
            asked, root=cache.root, timeout_s=settings.environments.lock_timeout_s
        )

    return lock


def _fetcher(
    snapshots: Snapshots, loop: asyncio.AbstractEventLoop
) -> Callable[[Sha256, Path], None]:
    """Let a localiser's thread copy a snapshot out of the object store."""

    async def copy(sha256: Sha256, target: Path) -> None:
        with target.open("wb") as stream:  # writes go to the page cache
            async for chunk in snapshots.read(sha256):
                stream.write(chunk)

    def fetch(sha256: Sha256, target: Path) -> None:
        asyncio.run_coroutine_threadsafe(copy(sha256, target), loop).result()

    return fetch
