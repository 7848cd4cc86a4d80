"""Names the implementations and wires everything."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from seafloor import __version__
from seafloor.app.admission import Admission
from seafloor.app.application import Application, Identity
from seafloor.app.artifacts import RunArtifacts
from seafloor.app.charts import Charts
from seafloor.app.clock import Clock, SystemClock, new_workload_id
from seafloor.app.code_sources import CodeSources
from seafloor.app.environments import Environments
from seafloor.app.experiments import Experiments, Projects
from seafloor.app.launches import Launches
from seafloor.app.models import Models
from seafloor.app.places import LostPlaces
from seafloor.app.plans import Plans
from seafloor.app.project_removal import ProjectRemoval
from seafloor.app.reconciler import Reconciler
from seafloor.app.runs import RunRooms, Runs, RunStores
from seafloor.app.snapshots import Snapshots
from seafloor.app.tasks import Tasks, TaskStores
from seafloor.app.tokens import Tokens
from seafloor.app.traces import Traces
from seafloor.app.usage import Usage
from seafloor.app.volumes import Volumes
from seafloor.app.wakeup import Wakeup
from seafloor.boot.archives import remote_opener
from seafloor.boot.data_folder import DataFolder
from seafloor.boot.launching import Launching, LaunchRooms, open_launching, open_secrets
from seafloor.boot.opening import (
    bring_up_to_date,
    open_metadata_database,
    open_object_store,
)
from seafloor.boot.settings import Settings, environment
from seafloor.boot.streams import Below, open_streams
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.lock import Asked, EnvironmentLock, lock_environment
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.entries.sql import SqlEntryStore
from seafloor.stores.events.media import EventMedia
from seafloor.stores.media.store import ObjectMediaStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.identity import identify
from seafloor.stores.objects.protocol import ObjectStore


@asynccontextmanager
async def open_application(
    settings: Settings, folder: DataFolder, *, url: str
) -> AsyncGenerator[Application]:
    """Open every store, bring the database up to date, make every use case; close on leaving."""
    clock, wakeup = SystemClock(), Wakeup()
    async with AsyncExitStack() as stack:
        database = open_metadata_database(settings)
        stack.push_async_callback(database.close)
        await bring_up_to_date(database, settings)
        metadata = SqlMetadataStore(database)
        objects = open_object_store(settings, environment())
        stack.push_async_callback(objects.close)
        await identify(objects, new_id=new_workload_id(clock))
        metrics = SqlMetricStore(database, objects)
        stack.push_async_callback(metrics.close)
        below = Below(database, objects, metrics, metadata)
        shared = not settings.metadata_url.startswith("sqlite:")
        streams = await open_streams(below, folder, stack, shared=shared)
        logs, event_files = streams.logs, streams.event_files
        artifacts = ObjectArtifactStore(objects, metadata)
        media = ObjectMediaStore(database, objects)
        stack.push_async_callback(media.close)
        entries = SqlEntryStore(database, metrics)
        stores = RunStores(metadata, metrics, logs, artifacts, event_files, media, entries)

        cache = _environment_cache(settings, folder, objects)
        stack.push_async_callback(cache.close)
        # One key for all servers of an installation: a token of one is good at the others.
        key = await metadata.installation_value("token_key", first=folder.key())
        tokens = Tokens(key, metadata, clock)
        snapshots = Snapshots(objects)
        launching = await open_launching(
            settings, folder, stack, LaunchRooms(metadata, logs, objects, cache, wakeup), url=url
        )
        code_sources = CodeSources(
            remote_opener(environment()), open_secrets(settings), launching.code_is_mounted
        )
        experiments = Experiments(metadata, clock)
        environments = Environments(metadata, cache, _locker(settings, cache), clock)
        admission = Admission(environments, launching.rules)
        launches = _launches(settings, launching, environments, tokens, metadata)
        volumes = _open_volumes(metadata, launching, clock, stack)
        delivered = TaskStores(
            metadata, logs, event_files, artifacts, EventMedia(event_files, media)
        )
        tasks = Tasks(delivered, clock, wakeup)
        reconciler = Reconciler(
            metadata,
            tasks,
            launches,
            launching.launcher,
            wakeup,
            clock,
            place=launching.place,
            lost_places=LostPlaces(
                metadata, tasks, clock, given_up_after_s=settings.launch.place_lost_after_s
            ),
            interval_s=settings.launch.reconcile_interval_s,
            starts_at_once_max=settings.launch.starts_at_once_max,
        )
        run_artifacts = RunArtifacts(metadata, artifacts)
        rooms = RunRooms(
            experiments,
            admission,
            snapshots,
            code_sources,
            run_artifacts,
            volumes,
            launching.launcher,
        )
        runs = Runs(stores, rooms, clock, wakeup)
        yield Application(
            identity=_identity(settings, url, started_ns=clock.now_ns()),
            clock=clock,
            stores=stores,
            projects=Projects(metadata, clock),
            project_removal=ProjectRemoval(metadata, artifacts, runs, environments, volumes),
            experiments=experiments,
            runs=runs,
            charts=Charts(runs, metrics),
            run_artifacts=run_artifacts,
            models=Models(metadata, artifacts, clock),
            tasks=tasks,
            environments=environments,
            snapshots=snapshots,
            plans=Plans(experiments, environments, admission, code_sources, launches, volumes),
            tokens=tokens,
            traces=Traces(metadata, artifacts),
            usage=Usage(metadata, objects, logs, event_files),
            volumes=volumes,
            reconciler=reconciler,
            sealer=streams.sealer,
        )


def _identity(settings: Settings, url: str, *, started_ns: int) -> Identity:
    return Identity(
        version=__version__,
        url=url,
        data_dir=str(settings.data_dir),
        python=sys.executable,
        token=settings.server.token,
        started_ns=started_ns,
        settings=settings.shown(),
        workspaces=settings.server.workspaces,
        metrics_token=settings.server.metrics_token,
    )


def _environment_cache(
    settings: Settings, folder: DataFolder, objects: ObjectStore
) -> EnvironmentCache:
    return EnvironmentCache(
        folder.sub("cache/environments"),
        packages=_package_source(settings),
        archives=EnvironmentArchives(objects),
        size_max_bytes=int(settings.environments.cache_size_max_gib * 2**30) or None,
    )


def _launches(
    settings: Settings,
    launching: Launching,
    environments: Environments,
    tokens: Tokens,
    metadata: MetadataStore,
) -> Launches:
    return Launches(
        environments,
        tokens,
        metadata,
        volumes_elsewhere=launching.shares_volumes,
        url=launching.url,
        with_tokens=bool(settings.server.token),
    )


def _open_volumes(
    metadata: MetadataStore,
    launching: Launching,
    clock: Clock,
    stack: AsyncExitStack,
) -> Volumes:
    volumes = Volumes(
        metadata, launching.volumes, launching.volume_place, clock, launching.mount_problem
    )
    stack.push_async_callback(volumes.close)
    return volumes


def _locker(settings: Settings, cache: EnvironmentCache):
    async def lock(asked: Asked) -> EnvironmentLock:
        return await lock_environment(
            asked,
            root=cache.root,
            timeout_s=settings.environments.lock_timeout_s,
            packages=_package_source(settings),
        )

    return lock


def _package_source(settings: Settings) -> PackageSource:
    asked, secrets = settings.environments, open_secrets(settings)
    return PackageSource(
        index_url=asked.index_url or None,
        extra_index_urls=tuple(asked.extra_index_urls.split()),
        proxy=asked.proxy or None,
        secrets=lambda: [secrets.get(name) for name in asked.secrets.split()],
    )
