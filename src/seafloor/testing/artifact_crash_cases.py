"""What an artifact store over files and SQLite does when it is killed.

Work for ``os_faults``; and, run as a program, a writer to be killed at any moment:
``python -m seafloor.testing.artifact_crash_cases <folder>`` puts file after file, each path again
and again, and prints one line per acknowledged file: path and sha256.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.artifact_store_suite import put_bytes
from seafloor.testing.databases import database_url
from seafloor.testing.os_faults import Work

OLD = b"old" * 1_000
NEW = b"newer" * 300_000
PATHS = 5


@asynccontextmanager
async def artifacts_in(folder: Path) -> AsyncGenerator[ObjectArtifactStore]:
    """Open a store over a folder and its database."""
    database = Database(database_url(folder))
    await database.migrate()
    objects = LocalObjectStore(folder / "objects")
    yield ObjectArtifactStore(objects, SqlMetadataStore(database))
    await objects.close()
    await database.close()


def _work(folder: Path, path: str) -> Work:
    async def prepare() -> None:
        async with artifacts_in(folder) as store:
            await put_bytes(store, "a/b", OLD)

    async def put() -> None:
        async with artifacts_in(folder) as store:
            await put_bytes(store, path, NEW)

    asyncio.run(prepare())
    return lambda: asyncio.run(put())


def create(folder: Path) -> Work:
    """Put a new file beside one."""
    return _work(folder, "new/file")


def replace(folder: Path) -> Work:
    """Put a file that is there."""
    return _work(folder, "a/b")


async def main(folder: Path) -> None:
    """Put files until somebody kills us."""
    async with artifacts_in(folder) as store:
        for number in itertools.count():
            data = b"%d " % number * 1_000
            file = await put_bytes(store, f"f/{number % PATHS}", data)
            print(file.path, file.sha256, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
