"""Tries the stores and the cluster that the settings name; see ``app.store_checks``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from seafloor.app.clock import SystemClock, new_workload_id
from seafloor.app.store_checks import StoreCheck, check_metadata, check_objects
from seafloor.boot.opening import (
    open_metadata_database,
    open_object_store,
)
from seafloor.boot.settings import Settings, without_password
from seafloor.domain.errors import SeafloorError

_FREE_BYTES_WARN = 5 * 2**30


async def examine(settings: Settings, variables: Mapping[str, str]) -> list[StoreCheck]:
    """Check database, object store and cluster; what is written is taken away again."""
    return [
        *await _metadata(settings),
        *await _objects(settings, variables),
        *await _cluster(settings),
    ]


async def _cluster(settings: Settings) -> list[StoreCheck]:
    if settings.launch.kind == "local":
        return []
    from seafloor.boot.cluster import check_cluster

    return await check_cluster(settings)


async def _metadata(settings: Settings) -> list[StoreCheck]:
    shown = without_password(settings.metadata_url)
    try:
        database = open_metadata_database(settings)
    except SeafloorError as error:
        return [StoreCheck("metadata", "fail", error.message, "Correct stores.metadata.")]
    try:
        found = await check_metadata(database)
    finally:
        await database.close()
    return [StoreCheck("metadata", "ok", shown), *found]


async def _objects(settings: Settings, variables: Mapping[str, str]) -> list[StoreCheck]:
    url = settings.objects_url
    try:
        objects = open_object_store(settings, variables)
    except SeafloorError as error:
        return [StoreCheck("objects", "fail", error.message, "Correct stores.objects.")]
    clock = SystemClock()
    try:
        found = await check_objects(objects, new_id=new_workload_id(clock), now_ns=clock.now_ns)
        free = [_free_space(Path(url[7:]))] if objects.capabilities.local_files else []
    finally:
        await objects.close()
    return [StoreCheck("objects", "ok", without_password(url)), *found, *free]


def _free_space(folder: Path) -> StoreCheck:
    free_bytes = shutil.disk_usage(folder).free
    said = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes < _FREE_BYTES_WARN:
        return StoreCheck("objects: space", "warn", said, "Models and code may soon fill it.")
    return StoreCheck("objects: space", "ok", said)
