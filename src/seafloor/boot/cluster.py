"""The cluster that the settings name: opened for a server, or looked at by ``seafloor doctor``."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from seafloor.app.leases import LeaseHolder
from seafloor.app.places import OwnPlace
from seafloor.app.store_checks import StoreCheck
from seafloor.boot.render import load_policy
from seafloor.boot.settings import Settings
from seafloor.domain.errors import InvalidValue, SeafloorError, nearest
from seafloor.domain.leases import lease_of_place
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.kubernetes.cluster import (
    NEEDED_RIGHTS,
    SNAPSHOT_RIGHTS,
    VOLUME_RIGHTS,
    Cluster,
    Right,
)
from seafloor.launch.kubernetes.cluster_volumes import ClusterVolumes
from seafloor.launch.kubernetes.connection import Connection, read_config
from seafloor.launch.kubernetes.launcher import KubernetesLauncher
from seafloor.launch.kubernetes.names import SNAPSHOT_API
from seafloor.launch.kubernetes.policy import Policy
from seafloor.stores.logs.protocol import LogStore
from seafloor.stores.metadata.protocol import MetadataStore

_KINDS: Final = ("local", "kubernetes")
_RIGHTS_FIX: Final = (
    "Give the server's account a Role with them, as docs/how-to/kubernetes.md shows."
)


class OpenedCluster(msgspec.Struct, frozen=True):
    """What drives pods.

    Args:
        launcher: Of the cluster.
        place: All servers of an installation share it; one at a time drives it.
        volumes: Claims of it.
    """

    launcher: KubernetesLauncher
    place: OwnPlace
    volumes: ClusterVolumes


async def open_cluster(
    settings: Settings,
    metadata: MetadataStore,
    environments: EnvironmentCache,
    logs: LogStore,
    stack: AsyncExitStack,
    *,
    url: str,
    on_change: Callable[[], None],
) -> OpenedCluster:
    """Open the cluster; it is not asked anything yet, and may be away.

    Raises:
        InvalidValue: the settings, the credentials or the policy cannot be.
        NotFound: there is no such policy file.
    """
    connection = _connect(settings)
    stack.push_async_callback(connection.close)
    first = f"kubernetes-{secrets.token_hex(6)}".encode()
    place = (await metadata.installation_value("kubernetes_place", first=first)).decode()
    cluster, policy = Cluster(connection), _policy(settings)
    launcher = KubernetesLauncher(
        cluster,
        policy,
        place=place,
        url=url,
        on_change=on_change,
        environments=environments,
        logs=logs,
    )
    stack.push_async_callback(launcher.close)
    holder = LeaseHolder(metadata, lease_of_place(place), on_change=on_change)
    volumes = ClusterVolumes(cluster, policy, place=place)
    return OpenedCluster(launcher, OwnPlace(place, holder, is_shared=True), volumes)


def _connect(settings: Settings, *, tries_max: int | None = None) -> Connection:
    launch = settings.launch
    if launch.kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise InvalidValue(
            f'launch.kind is one of {known}, not "{launch.kind}".{nearest(launch.kind, _KINDS)}',
            field="launch.kind",
        )
    kubeconfig = Path(launch.kubeconfig).expanduser() if launch.kubeconfig else None
    config = read_config(kubeconfig, launch.context or None)
    return Connection(config) if tries_max is None else Connection(config, tries_max=tries_max)


def _policy(settings: Settings) -> Policy:
    path = settings.launch.policy
    return load_policy(Path(path).expanduser() if path else None)


async def check_cluster(settings: Settings) -> list[StoreCheck]:
    """Say whether the cluster can be used: reached, its namespaces there, the rights had."""
    try:
        connection = _connect(settings, tries_max=2)
        policy = _policy(settings)
    except SeafloorError as error:
        return [StoreCheck("cluster", "fail", error.message, "Correct [launch] of seafloor.toml.")]
    try:
        return await _checks(Cluster(connection), policy)
    except SeafloorError as error:
        fix = "Is it up, and are address and credentials those of launch.kubeconfig?"
        return [StoreCheck("cluster", "fail", error.message, fix)]
    finally:
        await connection.close()


async def _checks(cluster: Cluster, policy: Policy) -> list[StoreCheck]:
    found = [StoreCheck("cluster", "ok", f"{cluster.url}, {await cluster.version()}")]
    for namespace in policy.namespaces:
        if set(namespace) & set("*?["):
            continue
        name = f"cluster: {namespace}"
        if not await cluster.has_namespace(namespace):
            fix = f"kubectl create namespace {namespace}, or correct `namespaces` of the policy."
            found.append(StoreCheck(name, "fail", "there is no such namespace", fix))
            continue
        lacking = [right for right in NEEDED_RIGHTS if not await cluster.allows(right, namespace)]
        if lacking:
            said = f"not allowed: {_shown(lacking)}"
            found.append(StoreCheck(name, "fail", said, _RIGHTS_FIX))
        else:
            found.append(StoreCheck(name, "ok", "all rights that runs need"))
    found += await _volumes(cluster, policy.namespaces[0])
    if policy.images.seafloor is None:
        said = "the policy names no image of Seafloor: no outputs of pods come"
        found.append(StoreCheck("cluster: image", "warn", said, "Set `images.seafloor`."))
    return found


async def _volumes(cluster: Cluster, namespace: str) -> list[StoreCheck]:
    """Whether volumes can be made, and snapshots of them; runs without them go on."""
    wanted = {"cluster: volumes": VOLUME_RIGHTS, "cluster: snapshots of volumes": SNAPSHOT_RIGHTS}
    found: list[StoreCheck] = []
    for name, rights in wanted.items():
        lacking = [right for right in rights if not await cluster.allows(right, namespace)]
        if rights == SNAPSHOT_RIGHTS and not await cluster.has_snapshots():
            said = f"none: the cluster has no VolumeSnapshots ({SNAPSHOT_API})"
            found.append(StoreCheck(name, "ok", said))
        elif lacking:
            said = f"not allowed: {_shown(lacking)}"
            found.append(StoreCheck(name, "warn", said, _RIGHTS_FIX))
        else:
            found.append(StoreCheck(name, "ok", "all rights that they need"))
    return found


def _shown(rights: list[Right]) -> str:
    resources = dict.fromkeys(right.resource for right in rights)
    return "; ".join(
        f"{', '.join(right.verb for right in rights if right.resource == resource)} {resource}"
        for resource in resources
    )
