"""Where runs are launched: on this machine, or in the cluster that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from seafloor.app.admission import ClusterRules
from seafloor.app.clock import SystemClock
from seafloor.app.leases import LeaseHolder, LeaseTerms
from seafloor.app.places import OwnPlace
from seafloor.app.snapshots import Snapshots
from seafloor.app.volume_folders import FolderContents
from seafloor.app.wakeup import Wakeup
from seafloor.boot.archives import remote_opener
from seafloor.boot.data_folder import DataFolder
from seafloor.boot.settings import Settings, environment
from seafloor.boot.whose_tasks import check_place_is_ours, check_tasks_are_ours
from seafloor.domain.ids import Sha256
from seafloor.domain.leases import lease_of_place
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.local.code_mounts import CodeMounts
from seafloor.launch.local.launcher import LocalLauncher
from seafloor.launch.local.volumes import LocalVolumes
from seafloor.launch.protocol import Launcher
from seafloor.launch.volumes import VolumeContents
from seafloor.stores.logs.protocol import LogStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.secrets.folder import SECRETS_FOLDER, FolderSecrets


class Launching(NamedTuple):
    """What drives tasks.

    Args:
        launcher: Where they run.
        place: Whose they are.
        rules: What may be submitted; None: all that this machine can do.
        url: Where tasks reach the server.
        code_is_mounted: Whether commands have their code at ``/code``.
        volumes: Where the contents of volumes are.
        volume_place: In whose name this server makes and restores snapshots.
        shares_volumes: Whether specs also name volumes that others keep.
        mount_problem: Why volumes cannot be at some paths; ``""``: they can.
    """

    launcher: Launcher
    place: OwnPlace
    rules: ClusterRules | None
    url: str
    code_is_mounted: Callable[[], bool]
    volumes: VolumeContents
    volume_place: OwnPlace
    shares_volumes: bool = False
    mount_problem: Callable[[Sequence[str]], str] = lambda _: ""


class LaunchRooms(NamedTuple):
    """What a launcher stands on."""

    metadata: MetadataStore
    logs: LogStore
    objects: ObjectStore
    environments: EnvironmentCache
    wakeup: Wakeup


async def open_launching(
    settings: Settings, folder: DataFolder, stack: AsyncExitStack, below: LaunchRooms, *, url: str
) -> Launching:
    """Open the launcher of the settings; it is closed with the stack.

    Raises:
        InvalidValue, NotFound: see ``open_cluster``.
        Conflict: see ``check_place_is_ours`` and ``check_tasks_are_ours``.
    """
    await check_place_is_ours(folder, below.metadata)
    if settings.launch.kind != "local":
        # Late: a server of one machine need not load what speaks to clusters.
        from seafloor.boot.cluster import open_cluster

        cluster = await open_cluster(
            settings,
            below.metadata,
            below.environments,
            below.logs,
            stack,
            url=url,
            on_change=below.wakeup.ring,
        )
        launcher = cluster.launcher
        # The cluster's place is another server's, maybe; this one's own data folder is not.
        own = _own_place(folder, below.metadata, below.wakeup)
        await stack.enter_async_context(own.holder.holding())
        return Launching(
            launcher=launcher,
            place=cluster.place,
            rules=launcher,
            url=launcher.url,
            code_is_mounted=lambda: True,
            volumes=cluster.volumes,
            volume_place=own,
            shares_volumes=True,
        )
    code_mounts = CodeMounts(wanted=settings.launch.mount_code)
    volumes = LocalVolumes(_volumes_dir(settings, folder))
    local = LocalLauncher(
        work_dir=folder.sub("work"),
        cache_dir=folder.sub("cache"),
        server_file=folder.server_file,
        fetch_snapshot=_fetcher(Snapshots(below.objects), asyncio.get_running_loop()),
        open_remote=remote_opener(environment()),
        environments=below.environments,
        code_bounds=settings.code.bounds,
        code_mounts=code_mounts,
        volumes=volumes,
        secret_of=open_secrets(settings).get,
    )
    stack.push_async_callback(local.close)
    await check_tasks_are_ours(folder, below.metadata, local)
    place = _own_place(folder, below.metadata, below.wakeup)
    return Launching(
        launcher=local,
        place=place,
        rules=None,
        url=url,
        code_is_mounted=code_mounts.work,
        volumes=FolderContents(volumes, below.objects, SystemClock()),
        volume_place=place,
        mount_problem=code_mounts.problem,
    )


def _volumes_dir(settings: Settings, folder: DataFolder) -> Path:
    given = settings.launch.volumes_dir
    return Path(given).expanduser() if given else folder.sub("volumes")


def open_secrets(settings: Settings) -> FolderSecrets:
    """The secrets of repositories."""
    return FolderSecrets(settings.data_dir / SECRETS_FOLDER)


def _own_place(folder: DataFolder, metadata: MetadataStore, wakeup: Wakeup) -> OwnPlace:
    place = folder.place()
    # The folder is locked, so whoever held its lease before is no more.
    terms = LeaseTerms(supersede=True)
    name = lease_of_place(place)
    return OwnPlace(place, LeaseHolder(metadata, name, terms, on_change=wakeup.ring))


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
