"""``python -m seafloor.boot copy``: opens both sides, copies, and says how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec
from sqlalchemy.engine import make_url

from seafloor.app.copy.copying import Copy, CopyOptions
from seafloor.app.copy.progress import Progress
from seafloor.app.copy.sides import Side
from seafloor.boot.data_folder import DataFolder
from seafloor.boot.opening import (
    check_answers,
    open_metadata_database,
    open_object_store,
)
from seafloor.boot.settings import Settings, environment, load
from seafloor.boot.settings_file import write_stores
from seafloor.domain.errors import Conflict, InvalidValue, nearest
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.events.shared_store import SharedEventFileStore
from seafloor.stores.events.store import SpoolEventFileStore
from seafloor.stores.logs.shared_store import SharedLogStore
from seafloor.stores.logs.spool import SpoolLogStore
from seafloor.stores.metadata.sql.open import SCHEMES as DATABASE_SCHEMES
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.open import SCHEMES as OBJECT_SCHEMES

JOURNAL: Final = "copy.journal"
_TERMINAL_EVERY_S: Final = 0.2
_PLAIN_EVERY_S: Final = 5.0
_MIB: Final = 1024 * 1024
# What a server makes in its data folder and a copy does not know of.
_SERVERS_OWN: Final = (
    "server.json",
    "place.id",
    "place.where",
    "installation.id",
    "spool",
    "work",
    "cache",
)


@dataclass(frozen=True)
class CopyCommand:
    """What was asked for.

    Args:
        source, target: Data folders.
        metadata, objects: URLs of the target's stores; None: as its settings say.
        skip_damaged: Whether to end well without what is damaged in the source.
        json: Whether the result is one JSON document.
    """

    source: Path
    target: Path
    metadata: str | None = None
    objects: str | None = None
    skip_damaged: bool = False
    json: bool = False


class CopyResult(msgspec.Struct, frozen=True):
    """What a copy amounts to, also what earlier goes of it did.

    Args:
        rows: Rows of the database.
        files, file_bytes: Files of runs and models.
        runs, stream_bytes: Workloads, and the bytes of their logs and event files.
        objects, object_bytes: Everything else.
        digests: Compared in this go.
        damaged: What the source has lost, a sentence each.
        duration_s: Of this go.
    """

    rows: int
    files: int
    file_bytes: int
    runs: int
    stream_bytes: int
    objects: int
    object_bytes: int
    digests: int
    damaged: tuple[str, ...]
    duration_s: float


def copy(command: CopyCommand) -> None:
    """Copy an installation.

    Raises:
        SeafloorError: it is not whole yet; the same command goes on where it stopped.
    """
    _check_names(command)
    source = load(data_dir=command.source, flags={}, variables={})
    given = {"stores.metadata": command.metadata, "stores.objects": command.objects}
    target = load(data_dir=command.target, flags=given, variables={})
    _check_schemes(target)
    _check_places(source, target)
    result = asyncio.run(_copy(source, target, command))
    if command.json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    else:
        sys.stdout.write(_said(result))


def _check_names(command: CopyCommand) -> None:
    """Refuse folders that no URL can name: those of the stores are made of theirs."""
    for folder, field in ((command.source, "--from"), (command.target, "--to")):
        name = os.fsencode(folder.absolute()).decode("utf-8", "replace")
        if name != str(folder.absolute()):
            raise InvalidValue(
                f'The name of the folder "{name}" is not UTF-8: give one that is.', field=field
            )


def _check_schemes(target: Settings) -> None:
    """Refuse places for the copy that are of no kind we know: the command is wrong, no store."""
    for what, url, field, known in (
        ("database", target.metadata_url, "--metadata", DATABASE_SCHEMES),
        ("object store", target.objects_url, "--objects", OBJECT_SCHEMES),
    ):
        scheme, separator, _ = url.partition("://")
        if separator and scheme not in known:
            raise InvalidValue(
                f'No {what} is known as "{scheme}://".{nearest(scheme, known)}', field=field
            )


def _check_places(source: Settings, target: Settings) -> None:
    """Refuse a source that is none, and a target that is the source."""
    if source.data_dir.resolve() == target.data_dir.resolve():
        raise InvalidValue("The source and the target are one folder.", field="--to")
    for name, one, other in (
        ("metadata", source.metadata_url, target.metadata_url),
        ("objects", source.objects_url, target.objects_url),
    ):
        if one == other:
            raise InvalidValue(f"The source and the target have one place for {name}.")
    if not (source.data_dir / "server.lock").exists():
        raise InvalidValue(
            f"{source.data_dir} is no data folder: no server was ever started on it.",
            field="--from",
        )
    url = make_url(source.metadata_url)
    if url.drivername == "sqlite" and not Path(url.database or "").is_file():
        raise InvalidValue(
            f"There is no database at {url.database}: write the URLs of the source's stores into "
            f"[stores] of {source.data_dir}/seafloor.toml.",
            field="--from",
        )
    place = source.objects_url
    if place.startswith("file:") and not Path(unquote(urlsplit(place).path)).is_dir():
        raise InvalidValue(f"There are no objects at {place}.", field="--from")


async def _copy(source: Settings, target: Settings, command: CopyCommand) -> CopyResult:
    began_s = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.enter_context(_held(source.data_dir))
        folder = DataFolder(target.data_dir)
        stack.callback(folder.close)
        _check_folder(folder.path)
        from_side = await stack.enter_async_context(_side(source, "source"))
        to_side = await stack.enter_async_context(_side(target, "target"))
        urls = {"metadata": command.metadata, "objects": command.objects}
        given = {name: url for name, url in urls.items() if url is not None}
        options = CopyOptions(
            journal=folder.path / JOURNAL,
            copy_id=secrets.token_hex(16),
            skip_damaged=command.skip_damaged,
            save_settings=lambda: write_stores(folder.path / "seafloor.toml", given),
        )
        copying = Copy(from_side, to_side, options)
        async with _shown(copying.progress):
            await copying.run()
    return _result(copying.progress, time.monotonic() - began_s)


@contextmanager
def _held(data: Path) -> Generator[None]:
    """Hold a data folder as a server does, and change nothing in it."""
    lock = os.open(data / "server.lock", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Conflict(
            f"A server, or another copy, has {data} open: stop it with "
            f"`seafloor down --data {data}`, and give the same command again."
        ) from error
    try:
        yield
    finally:
        os.close(lock)


def _check_folder(target: Path) -> None:
    """Refuse a folder that a server has used."""
    if (target / JOURNAL).exists():
        return
    for name in _SERVERS_OWN:
        if (target / name).exists():
            raise Conflict(
                f'A server has used {target} (there is "{name}"): give another folder with --to.',
                field="--to",
            )


@asynccontextmanager
async def _side(settings: Settings, which: str) -> AsyncGenerator[Side]:
    """Open the stores of an installation; nothing is made or brought up to date."""
    async with AsyncExitStack() as stack:
        database = open_metadata_database(settings)
        stack.push_async_callback(database.close)
        objects = open_object_store(settings, environment())
        stack.push_async_callback(objects.close)
        metrics = SqlMetricStore(database, objects)
        stack.push_async_callback(metrics.close)
        is_shared = not settings.metadata_url.startswith("sqlite:")
        if is_shared:
            await check_answers(database, settings, f"The database of the {which}")
            logs = SharedLogStore(database, objects)
            event_files = SharedEventFileStore(database, objects, metrics)
        else:
            spool = settings.data_dir / "spool"
            logs = SpoolLogStore(spool / "logs")
            event_files = SpoolEventFileStore(spool / "events", objects, metrics, database)
        stack.push_async_callback(logs.close)
        stack.push_async_callback(event_files.close)
        yield Side(
            name=str(settings.data_dir),
            database=database,
            objects=objects,
            artifacts=ObjectArtifactStore(objects, SqlMetadataStore(database)),
            logs=logs,
            event_files=event_files,
            is_shared=is_shared,
        )


@asynccontextmanager
async def _shown(progress: Progress) -> AsyncGenerator[None]:
    """Say on standard error how far it is, until the end of what is done within."""
    showing = asyncio.create_task(_show(progress))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        if sys.stderr.isatty():
            _say("\r\x1b[K")


async def _show(progress: Progress) -> None:
    on_terminal = sys.stderr.isatty()
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(_TERMINAL_EVERY_S if on_terminal else _PLAIN_EVERY_S)
        line = _line(progress, time.monotonic() - began_s)
        _say(f"\r{line}\x1b[K" if on_terminal else f"{line}\n")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        sys.stderr.write(text)
        sys.stderr.flush()


def _line(progress: Progress, passed_s: float) -> str:
    """One line: what is done, how much of it, how fast, and how long it still takes."""
    share = progress.share
    remaining = _time(passed_s / share * (1 - share)) if share > 0.01 else "?"
    rate = progress.size_bytes / max(passed_s, 0.001) / _MIB
    counts = (
        f"{progress.rows:,}/{progress.rows_total:,} rows",
        f"{progress.files.items:,}/{progress.files.items_total:,} files",
        f"{progress.runs.items:,}/{progress.runs.items_total:,} runs",
        f"{progress.objects.items:,}/{progress.objects.items_total:,} objects",
        f"{progress.size_bytes / _MIB:,.1f} MiB",
    )
    return (
        f"{share:4.0%} {progress.doing}: {', '.join(counts)}; "
        f"{rate:,.1f} MiB/s, about {remaining} left"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _result(progress: Progress, duration_s: float) -> CopyResult:
    return CopyResult(
        rows=progress.rows,
        files=progress.files.items,
        file_bytes=progress.files.size_bytes,
        runs=progress.runs.items,
        stream_bytes=progress.runs.size_bytes,
        objects=progress.objects.items,
        object_bytes=progress.objects.size_bytes,
        digests=progress.digests,
        damaged=tuple(progress.damaged),
        duration_s=round(duration_s, 3),
    )


def _said(result: CopyResult) -> str:
    lines = [
        f"Copied in {_time(result.duration_s)}; {result.digests:,} digests agree.",
        f"  rows     {result.rows:,}",
        f"  files    {result.files:,} ({result.file_bytes / _MIB:,.1f} MiB)",
        f"  runs     {result.runs:,}, with {result.stream_bytes / _MIB:,.1f} MiB of logs and "
        "event files",
        f"  objects  {result.objects:,} ({result.object_bytes / _MIB:,.1f} MiB)",
        *(f"  damaged  {said}" for said in result.damaged),
    ]
    return "\n".join(lines) + "\n"
