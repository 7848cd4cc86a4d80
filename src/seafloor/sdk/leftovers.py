"""What writers that are gone left in the spool."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from seafloor.sdk.courier import Courier, SegmentDelivery
from seafloor.sdk.spool import Segment, list_segments, lock_segment, remove_segment


@contextmanager
def leftovers(folder: Path, *, but: str | None = None) -> Generator[list[list[Segment]]]:
    """Take the segments of every writer of a run that is gone.

    Args:
        folder: Of the run in the spool.
        but: A writer to leave alone.

    Yields:
        The segments of each such writer, in order. No other process sends them meanwhile.
    """
    taken: list[list[Segment]] = []
    locks: list[int] = []
    try:
        for writer, group in groupby(list_segments(folder), key=lambda found: found.writer):
            segments = list(group)
            lock = None if writer == but else lock_segment(segments[-1])
            if lock is not None:
                locks.append(lock)
                taken.append(segments)
        yield taken
    finally:
        for lock in locks:
            os.close(lock)


def bring_segments(segments: list[Segment], courier: Courier) -> SegmentDelivery:
    """Bring all records of a writer that is gone.

    Returns:
        The last segment, brought but for its end; the others are removed.

    Raises:
        SeafloorError, OSError: as ``SegmentDelivery.step``.
    """
    delivery = SegmentDelivery(segments[0])
    for segment in segments:
        delivery = SegmentDelivery(segment)
        while delivery.step(courier) > 0:
            pass
        courier.account.bytes_torn += delivery.torn_bytes
        if segment != segments[-1]:
            remove_segment(segment)
    return delivery


def remove_folder_if_empty(folder: Path) -> None:
    """Remove the folder of a run of which nothing waits; another process may do so as well.

    Raises:
        OSError: it could not be removed.
    """
    for path in (folder / "files", folder):
        try:
            path.rmdir()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
