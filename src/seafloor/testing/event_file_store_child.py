"""Appends a known tf.events file in small pieces and prints each accepted size.

``python -m seafloor.testing.event_file_store_child <module:factory> <folder>``; made to be killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from seafloor.testing.event_records import event_file_key, scalar_file
from seafloor.testing.event_worlds import EventWorld
from seafloor.testing.factory import store_from


async def main(factory: str, folder: str) -> None:
    """Append until somebody kills us, or all is there."""
    world = cast("EventWorld", store_from(factory, folder))
    await world.open()
    data = scalar_file(20_000)
    accepted = 0
    while accepted < len(data):
        piece = data[accepted : accepted + 777]
        accepted = await world.store.append(event_file_key(), offset=accepted, data=piece)
        print(accepted, flush=True)
    await world.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
