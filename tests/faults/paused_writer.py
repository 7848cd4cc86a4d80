"""Begins a write, says so, and goes on when it is told to: to be paused in between."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import Connection, insert

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import project


async def main(url: str) -> None:
    """Write two rows, with a line to standard output and one from standard input in between."""
    database = Database(url)
    told = False

    def write(connection: Connection) -> None:
        nonlocal told
        connection.execute(insert(project), {"name": "paused-1", "created_ns": 1})
        if not told:
            told = True
            print("holding", flush=True)
            sys.stdin.readline()
        connection.execute(insert(project), {"name": "paused-2", "created_ns": 1})

    try:
        await database.write(write)
    except StoreUnavailable as error:
        print("unavailable", error.message, flush=True)
    else:
        print("written", flush=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
