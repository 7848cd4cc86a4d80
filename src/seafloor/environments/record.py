"""The record of a built environment: what is in the folder, and the proof that it is whole."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Final, Protocol

import msgspec

from seafloor.domain.environments import environment_digest
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import Sha256
from seafloor.environments.disk import (
    boot_id,
    disk_error,
    folder_size_bytes,
    sync_disk_of,
    write_lasting,
    write_whole,
)
from seafloor.environments.interpreters import platform_tag

RECORD_NAME: Final = "seafloor-environment.json"
RECORD_FORMAT: Final = 1


class Lock(Protocol):
    """What a build needs: ``EnvironmentLock``, ``Environment`` and a launch have it."""

    @property
    def python(self) -> str:
        """Exact version."""
        ...

    @property
    def lock(self) -> str:
        """Exact requirements, one a line."""
        ...

    @property
    def digest(self) -> str:
        """``environment_digest`` of them on the platform they were locked for."""
        ...


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``seafloor-environment.json``: says that a folder is complete, and what is in it.

    Args:
        format: 1.
        digest, python, platform, lock: As in ``EnvironmentLock``.
        build_id: Differs from build to build.
        size_bytes: Of all its files.
        built_ns: When it was complete, UTC.
        duration_s: How long it took.
        boot_id: Not all of it may be on the disk yet: it counts for as long as the machine is not
            started anew (``disk.boot_id``). None: it is on the disk.
    """

    format: int
    digest: str
    python: str
    platform: str
    lock: str
    build_id: str
    size_bytes: int
    built_ns: int
    duration_s: float
    boot_id: str | None = None


_RECORD: Final = msgspec.json.Decoder(BuildRecord)


def checked_digest(lock: Lock) -> Sha256:
    """Name the environment of a lock.

    Raises:
        InvalidValue: the lock is of another kind of machine.
    """
    digest = environment_digest(python=lock.python, platform=platform_tag(), lock=lock.lock)
    if digest != lock.digest:
        raise InvalidValue(
            f"This environment was locked for another kind of machine than this one "
            f"({platform_tag()}): create it again on this server.",
            field="environment",
        )
    return digest


def contents_of(lock: Lock) -> str:
    """Say in a few words what a lock holds."""
    count = len(lock.lock.splitlines())
    return f"Python {lock.python} and {count} package{'' if count == 1 else 's'}"


def python_path(folder: Path) -> Path:
    """Name the Python of an environment's folder."""
    return folder / "bin" / "python"


def read_record(folder: Path, digest: str) -> BuildRecord | None:
    """Read the record of an environment that can be used, as far as a glance can tell.

    Returns:
        None when it is not complete: no record, a torn one, one of another version of Seafloor,
        one whose files may be lost since the machine was started anew, or no Python to start.

    Raises:
        StoreUnavailable: the folder cannot be read.
    """
    try:
        data = (folder / RECORD_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise disk_error(error) from error
    try:
        record = _RECORD.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    known = record.format == RECORD_FORMAT and record.digest == digest
    if record.boot_id is not None and record.boot_id != boot_id():
        return None
    return record if known and os.access(python_path(folder), os.X_OK) else None


def write_record(
    folder: Path, lock: Lock, *, started: float, size_bytes: int | None = None
) -> None:
    """Write the record, which makes the folder an environment.

    It can be used at once: a process that is killed loses nothing of what it wrote. That a crash
    of the machine does not lose it either is what ``settle_record`` sees to.

    Args:
        started: When the build began, on the monotonic clock.
        size_bytes: Of all files, where that is known; None: they are counted.

    Raises:
        OSError: it could not be written; the folder is not an environment.
    """
    record = BuildRecord(
        format=RECORD_FORMAT,
        digest=lock.digest,
        python=lock.python,
        platform=platform_tag(),
        lock=lock.lock,
        build_id=uuid.uuid4().hex,
        size_bytes=folder_size_bytes(folder) if size_bytes is None else size_bytes,
        built_ns=time.time_ns(),
        duration_s=round(time.monotonic() - started, 3),
        boot_id=boot_id(),
    )
    write = write_lasting if record.boot_id is None else write_whole
    write(folder / RECORD_NAME, msgspec.json.encode(record))


def settle_record(folder: Path, digest: str) -> None:
    """Have an environment on the disk, and its record say so; blocks as long as the disk takes.

    Only for who holds the lock of the environment. One that goes meanwhile stays gone.

    Raises:
        OSError: it is not on the disk for sure, and its record says what it said.
        StoreUnavailable: its folder cannot be read.
    """
    sync_disk_of(folder)
    record = read_record(folder, digest)
    if record is not None and record.boot_id is not None:
        lasting = msgspec.structs.replace(record, boot_id=None)
        write_lasting(folder / RECORD_NAME, msgspec.json.encode(lasting))
