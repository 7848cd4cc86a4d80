"""Appends a known spool to a store in small pieces and prints each accepted size.

``python -m seafloor.testing.log_store_child <module:factory> <folder>``; made to be killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from seafloor.stores.logs.protocol import LogStore
from seafloor.testing.factory import store_from
from seafloor.testing.log_spools import log_key, numbered


async def main(factory: str, folder: str) -> None:
    """Append until somebody kills us, or all is there."""
    store = cast("LogStore", store_from(factory, folder))
    data = numbered(20_000)
    accepted = 0
    while accepted < len(data):
        piece = data[accepted : accepted + 1_777]
        accepted = await store.append(log_key(), offset=accepted, data=piece)
        print(accepted, flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
