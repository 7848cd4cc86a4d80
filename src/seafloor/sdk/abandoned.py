"""Runs whose process is gone and has not said how they ended: whoever logs next is told of them."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Final

from seafloor.domain.errors import SeafloorError
from seafloor.sdk.processes import lives
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import list_segments
from seafloor.sdk.wal import read_begin

_RUNS_LOOKED_AT_MAX: Final = 100

_log = logging.getLogger("seafloor")
_told_of: set[Path] = set()


def tell_abandoned(settings: Settings, *, but: str) -> None:
    """Say, once in a process and its forked children, how many runs wait for ``seafloor sync``.

    Only runs of processes of this machine are counted, and nothing of them is opened for writing
    or locked: whoever brings them meanwhile is not disturbed.

    Args:
        settings: Where the spool is.
        but: A run to leave alone: somebody logs to it now.
    """
    if settings.spool in _told_of:
        return
    _told_of.add(settings.spool)
    count = count_abandoned(settings.spool, but=but)
    if count:
        runs = "1 run waits" if count == 1 else f"{count} runs or more wait"
        if 1 < count < _RUNS_LOOKED_AT_MAX - 1:
            runs = f"{count} runs wait"
        _log.warning(
            "seafloor: %s in %s, of processes that were killed or could not reach the server: "
            "`seafloor sync` sends what they logged, and says that they ended",
            runs,
            settings.spool,
        )


def count_abandoned(spool: Path, *, but: str) -> int:
    """Count the runs in a spool of which every process is gone; of many only the first are."""
    try:
        runs = sorted(path.name for path in spool.iterdir())[:_RUNS_LOOKED_AT_MAX]
    except OSError:
        return 0  # there is no spool yet, or none that may be read, of which the writer tells
    return sum(_is_abandoned(spool / run_id) for run_id in runs if run_id != but)


def _is_abandoned(folder: Path) -> bool:
    try:
        begins = [read_begin(segment.path) for segment in list_segments(folder)]
    except (OSError, SeafloorError):
        # Somebody has just sent it; or it is another user's, or of another version.
        return False
    here = socket.gethostname()
    return bool(begins) and all(
        begin is not None and begin.host == here and not lives(begin.pid) for begin in begins
    )
