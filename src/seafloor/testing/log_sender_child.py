"""Sends a spool to the shared log store of a folder, as one of several servers would.

``python -m seafloor.testing.log_sender_child <folder> <piece bytes> <overlap bytes>``. It sends
pieces that overlap, goes on where the store says, seals now and then, and prints what it was told.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from seafloor.domain.errors import OutOfOrder
from seafloor.testing.log_spools import log_key, numbered
from seafloor.testing.log_worlds import shared_logs_in

LINES = 20_000


async def main(folder: str, piece_bytes: str, overlap_bytes: str) -> None:
    """Send until all is there."""
    world = shared_logs_in(Path(folder))
    data, at = numbered(LINES), 0
    while at < len(data):
        start = max(0, at - int(overlap_bytes))
        try:
            at = await world.append(
                log_key(), offset=start, data=data[start : at + int(piece_bytes)]
            )
        except OutOfOrder as exc:
            at = exc.next_offset or 0
        print(at, flush=True)
    await world.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
