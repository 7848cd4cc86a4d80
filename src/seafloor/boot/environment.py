"""``fetch-environment``: one stored environment, from a server into a folder. For pods."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.domain.errors import NotFound, SeafloorError, StoreCorrupt, StoreUnavailable
from seafloor.domain.ids import parse_sha256
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.stored import (
    RECORD_FILE,
    EnvironmentArchives,
    StoredEnvironment,
    Unusable,
    archive_name,
)
from seafloor.sdk.client import Client
from seafloor.sdk.discovery import require_server
from seafloor.sdk.settings import read_settings
from seafloor.stores.objects.local.store import LocalObjectStore

_PATIENCE_S: Final = 1800.0
_PAUSE_S: Final = 5.0
_GONE_S: Final = 60.0
"""For how long an archive may be missing that its record names: one is being replaced."""

_FETCHED: Final = ".fetched"


@dataclass(frozen=True)
class FetchCommand:
    """What was asked for.

    Args:
        digest: Of the environment.
        to: It will be in the folder of that name below.
    """

    digest: str
    to: Path


@dataclass
class _Seen:
    """What the tries so far have seen.

    Args:
        sha256: Of the archive that the last record named; None: there was no record yet.
        gone_s: Since when that archive is missing, on the monotonic clock.
    """

    sha256: str | None = None
    gone_s: float | None = None


def run(command: FetchCommand) -> None:
    """Fetch it; a server that is away is waited for.

    Raises:
        NotFound: the server does not have it, or not any more: it was damaged.
        SourceError: there is no Python here that it can be used with.
        StoreUnavailable: the server does not answer for half an hour.
    """
    deadline_s = time.monotonic() + _PATIENCE_S
    seen = _Seen()
    while True:
        try:
            size_bytes, duration_s = asyncio.run(_fetch(command, seen))
        except SeafloorError as error:
            if not error.retryable or time.monotonic() > deadline_s:
                raise
            sys.stderr.write(f"{error.message} Trying again.\n")
            time.sleep(_PAUSE_S)
        else:
            where = command.to / command.digest
            sys.stdout.write(f"{where}: {size_bytes:,} bytes fetched, {duration_s:.2f} s\n")
            return


async def _fetch(command: FetchCommand, seen: _Seen) -> tuple[int, float]:
    settings = read_settings()
    digest = parse_sha256(command.digest, field="--digest")
    root = command.to.absolute()
    fetched = root / _FETCHED
    folder = fetched / "environments" / digest
    with_server = Client(require_server(settings), settings.token or "")
    started_s = time.monotonic()

    async def bring(name: str) -> None:
        target = folder / name
        await asyncio.to_thread(with_server.environments.archive_file, digest, name, target)

    objects = LocalObjectStore(fetched)
    try:
        try:
            await bring(RECORD_FILE)
        except NotFound as error:
            if seen.sha256 is None:
                raise
            raise NotFound(
                f"The stored archive of environment {digest[:12]} was damaged and was withdrawn: "
                "start the run again and it is built anew."
            ) from error
        archives = EnvironmentArchives(objects)
        stored = await archives.look(digest)
        if not isinstance(stored, StoredEnvironment):
            why = Unusable.DAMAGED if stored is None else stored
            raise StoreCorrupt(
                f"The record of environment {digest[:12]} is of no use here: {why.value}."
            )
        if stored.sha256 != seen.sha256:
            seen.sha256, seen.gone_s = stored.sha256, None
        try:
            await bring(archive_name(stored))
        except NotFound as error:
            raise _gone(digest, seen) from error
        cache = EnvironmentCache(root, archives=archives, builds=False)
        await cache.get(stored)
        await cache.close()
    finally:
        await objects.close()
        await asyncio.to_thread(shutil.rmtree, fetched, ignore_errors=True)
    return stored.size_bytes, time.monotonic() - started_s


def _gone(digest: str, seen: _Seen) -> SeafloorError:
    """Say what an archive's absence is: it was replaced at this moment, or it is lost."""
    if seen.gone_s is None:
        seen.gone_s = time.monotonic()
    if time.monotonic() - seen.gone_s < _GONE_S:
        return StoreUnavailable(f"The archive of environment {digest[:12]} is gone.")
    return NotFound(
        f"The stored archive of environment {digest[:12]} is gone from the object store: start "
        "the run again and it is built anew."
    )
