"""Trying the stores end to end, as an administrator does before he trusts them.

Each check does the real thing at the real place, under a name of its own, and takes it away again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from seafloor.domain.errors import AlreadyExists, NotFound, NotSupported, SeafloorError
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.trial import Buffers, reach_database, try_database
from seafloor.stores.objects.identity import IDENTITY_KEY
from seafloor.stores.objects.protocol import ObjectStore

CLOCK_OFF_WARN_S = 5.0
ROUND_TRIP_WARN_MS = 20.0
_CHECK_FOLDER = "seafloor-check"
_CHECK_BYTES = 3 * 1024 * 1024 + 17
_PRESIGN_S = 60
_DETAIL_CHARS_MAX = 300
_IDENTITY_BYTES_MAX = 64 * 1024
_PUT_HEADERS = {"x-ms-blob-type": "BlockBlob"}
"""Azure asks for it with every PUT; others pass over it."""


class StoreCheck(msgspec.Struct, frozen=True):
    """What one check found.

    Args:
        name: ``metadata`` or ``objects`` and what was tried.
        state: Whether it is well.
        said: What was seen.
        fix: What to do; empty when there is nothing to do.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    said: str
    fix: str = ""


async def check_metadata(database: Database) -> list[StoreCheck]:
    """Make, fill and drop a table; see how far away the database is and what its clock says.

    Returns:
        What was found, in the order in which it should be mended.
    """
    doing = "reach"
    try:
        await asyncio.to_thread(reach_database, database.engine)
        doing = "write"
        trial = await asyncio.to_thread(try_database, database.engine)
    except SeafloorError as error:
        return [StoreCheck(f"metadata: {doing}", "fail", _in_full(error), _DATABASE_FIXES[doing])]
    tables = "Seafloor's tables are there" if trial.migrated else "no Seafloor has used it yet"
    found = [
        StoreCheck("metadata: reach", "ok", f"{trial.server}; {tables}"),
        StoreCheck("metadata: write", "ok", "rows and tables are made, changed and removed"),
    ]
    away = f"{trial.round_trip_ms:.1f} ms for a round trip"
    if trial.round_trip_ms > ROUND_TRIP_WARN_MS:
        fix = "Have the server run near its database: a request takes several round trips."
        found.append(StoreCheck("metadata: distance", "warn", away, fix))
    else:
        found.append(StoreCheck("metadata: distance", "ok", away))
    if abs(trial.clock_ahead_s) > CLOCK_OFF_WARN_S:
        said = f"the database's clock and this machine's differ by {trial.clock_ahead_s:+.0f} s"
        fix = "Have both keep time (NTP)."
        found.append(StoreCheck("metadata: clock", "warn", said, fix))
    else:
        found.append(StoreCheck("metadata: clock", "ok", "agrees with this machine's"))
    if trial.buffers is not None:
        found.append(_memory(trial.buffers))
    return found


_SEE = "docs/how-to/databases.md"
_DATABASE_FIXES = {
    "reach": "Is it running, does it take connections, and are address, user, password and "
    f"database of the URL right? {_SEE}",
    "write": "Is it the primary, has it room, does it let statements take their time, and is the "
    f"user the owner of that database and of all tables there? {_SEE}",
}


def _in_full(error: SeafloorError) -> str:
    """What an operator may know: our words, and those of the database, which tell why."""
    said = " ".join(error.detail.split())[:_DETAIL_CHARS_MAX] if error.detail else ""
    return f"{error.message} ({said})" if said else error.message


def _memory(buffers: Buffers) -> StoreCheck:
    said = (
        f"{buffers.memory_bytes / 2**20:,.0f} MiB for tables of "
        f"{buffers.tables_bytes / 2**20:,.0f} MiB"
    )
    if buffers.tables_bytes <= buffers.memory_bytes:
        return StoreCheck("metadata: memory", "ok", said)
    fix = (
        "Searches wait for the disk: set innodb_buffer_pool_size to more than that. "
        "docs/how-to/databases.md"
    )
    return StoreCheck("metadata: memory", "warn", said, fix)


@dataclass
class _Trial:
    """One round through a store: what was found so far, and under which key."""

    objects: ObjectStore
    folder: str
    now_ns: Callable[[], int]
    content: bytes
    has_written: bool = False
    found: list[StoreCheck] = field(default_factory=list[StoreCheck])

    @property
    def key(self) -> str:
        return f"{self.folder}/written ö #1%+.bin"

    def say(self, what: str, said: str) -> None:
        self.found.append(StoreCheck(f"objects: {what}", "ok", said))

    def warn(self, what: str, said: str, fix: str) -> None:
        self.found.append(StoreCheck(f"objects: {what}", "warn", said, fix))

    def fail(self, what: str, said: str, fix: str) -> None:
        self.found.append(StoreCheck(f"objects: {what}", "fail", said, fix))


async def check_objects(
    objects: ObjectStore, *, new_id: str, now_ns: Callable[[], int]
) -> list[StoreCheck]:
    """Write, read, list, copy, sign and delete in an object store; the root's own is not touched.

    Args:
        new_id: Names the folder of this check: ``seafloor-check/<new_id>/``.
        now_ns: The clock of this machine, UTC.

    Returns:
        What was found, in the order in which it should be mended. It ends at the first failure
        that makes the rest meaningless; what was written is removed all the same.
    """
    content = b"seafloor" * (_CHECK_BYTES // 8 + 1)
    trial = _Trial(objects, f"{_CHECK_FOLDER}/{new_id}", now_ns, content[:_CHECK_BYTES])
    doing = "reach"
    try:
        await _identity(trial)
        doing = "write"
        await _write(trial)
        doing = "read"
        await _read(trial)
        doing = "list"
        await _list(trial)
        doing = "copy"
        await _copy(trial)
        doing = "presign"
        await _presign(trial)
        doing = "delete"
        await _delete(trial)
    except SeafloorError as error:
        trial.fail(doing, error.message, _FIXES[doing])
        if trial.has_written:
            await _tidy(trial)
    return trial.found


_FIXES = {
    "reach": "Mend the URL in stores.objects, the endpoint and the credentials in the environment.",
    "write": "Give the server's account the right to create objects there, and room.",
    "read": "Give the server's account the right to read objects there.",
    "list": "Give the server's account the right to list the bucket or folder.",
    "copy": "Give the server's account the right to read and create objects there.",
    "presign": "Give the server's account the right to sign, or a key to sign with.",
    "delete": "Give the server's account the right to delete objects there.",
}


async def _identity(trial: _Trial) -> None:
    # Read, not looked up: the answer to a HEAD has no body that could say why it is refused.
    chunks = trial.objects.read(IDENTITY_KEY, length=_IDENTITY_BYTES_MAX)
    try:
        size_bytes = sum([len(chunk) async for chunk in chunks])
    except NotFound:
        trial.say("reach", "it answers; no Seafloor has written there yet")
        return
    trial.say("reach", f"it answers; {IDENTITY_KEY} is there ({size_bytes} bytes)")


async def _stream(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1024 * 1024):
        yield content[start : start + 1024 * 1024]


async def _write(trial: _Trial) -> None:
    began_s = time.monotonic()
    info = await trial.objects.put(trial.key, _stream(trial.content))
    trial.has_written = True
    took_s = time.monotonic() - began_s
    if info.size_bytes != len(trial.content):
        trial.fail(
            "write",
            f"{len(trial.content):,} bytes were written, {info.size_bytes:,} are there",
            "Do not use this store: it does not keep what it acknowledges.",
        )
    trial.say("write", f"{len(trial.content):,} bytes in {took_s:.2f} s")
    off_s = (info.modified_ns - trial.now_ns()) / 1e9
    # Some stores tell whole seconds, and writing took a while.
    if abs(off_s) > CLOCK_OFF_WARN_S + took_s:
        trial.warn(
            "clock",
            f"the store's clock and this machine's differ by {off_s:+.0f} s",
            "Have both keep time (NTP): signatures expire by it.",
        )
    else:
        trial.say("clock", "agrees with this machine's")
    try:
        await trial.objects.put(trial.key, b"", if_absent=True)
    except AlreadyExists:
        trial.say("create only", "a second creator is refused")
    else:
        trial.fail(
            "create only",
            "an object that exists was created again",
            "Do not use this store: of two servers that create the same object both would "
            "believe that it is theirs.",
        )


async def _read(trial: _Trial) -> None:
    began_s = time.monotonic()
    whole = b"".join([chunk async for chunk in trial.objects.read(trial.key)])
    took_s = time.monotonic() - began_s
    part = b"".join([chunk async for chunk in trial.objects.read(trial.key, start=5, length=11)])
    if whole != trial.content or part != trial.content[5:16]:
        trial.fail(
            "read",
            "what was read is not what was written",
            "Do not use this store, and look at what is between it and this machine.",
        )
    else:
        trial.say("read", f"the same bytes in {took_s:.2f} s, a range too")


async def _list(trial: _Trial) -> None:
    page = await trial.objects.list(trial.folder)
    keys = [info.key for info in page.objects]
    if keys == [trial.key]:
        trial.say("list", "shows what was written")
    else:
        trial.fail(
            "list",
            f"shows {keys} where {[trial.key]} was written",
            "Do not use this store: what is kept could not be found again.",
        )


async def _copy(trial: _Trial) -> None:
    target = f"{trial.folder}/copied"
    info = await trial.objects.copy(trial.key, target)
    if info.size_bytes == len(trial.content):
        trial.say("copy", "within the store")
    else:
        trial.fail("copy", "a copy has another size", "Do not use this store.")


async def _presign(trial: _Trial) -> None:
    if not trial.objects.capabilities.presign:
        trial.say("presign", "this store cannot: files go through the server")
        return
    import httpx  # only an examination needs it, and every server's start would pay

    key = f"{trial.folder}/presigned"
    body = b"written by a URL"
    try:
        put = await trial.objects.presign(key, method="PUT", expires_s=_PRESIGN_S)
        get = await trial.objects.presign(key, method="GET", expires_s=_PRESIGN_S)
        async with httpx.AsyncClient(timeout=10.0) as client:
            written = await client.put(put, content=body, headers=_PUT_HEADERS)
            read = await client.get(get)
    except NotSupported as error:
        trial.warn("presign", error.message, "Files go through the server until then.")
        return
    except httpx.HTTPError as error:
        # Its words may hold the URL, which is a right.
        trial.warn(
            "presign",
            f"a signed URL cannot be reached from here ({type(error).__name__})",
            "Clients need a way to the store's endpoint; until then files go through the server.",
        )
        return
    if written.is_success and read.is_success and read.content == body:
        trial.say("presign", "a signed URL writes and reads from here")
    else:
        trial.fail(
            "presign",
            f"a signed URL is refused (PUT {written.status_code}, GET {read.status_code})",
            _FIXES["presign"],
        )


async def _delete(trial: _Trial) -> None:
    await trial.objects.delete_folder(trial.folder)
    try:
        await trial.objects.head(trial.key)
    except NotFound:
        trial.say("delete", "nothing of this check is left")
    else:
        trial.fail("delete", "a deleted object is still there", _FIXES["delete"])


async def _tidy(trial: _Trial) -> None:
    try:
        await trial.objects.delete_folder(trial.folder)
    except SeafloorError as error:
        trial.warn(
            "delete",
            f"what this check wrote may be left in {trial.folder}: {error.message}",
            "Remove that folder.",
        )
