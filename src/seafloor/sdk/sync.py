"""Sync: sends what processes left in the spool. One run that cannot be sent stops no other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import SeafloorError, StoreError
from seafloor.sdk.client import Client
from seafloor.sdk.courier import Account, Courier, Refusal, SegmentDelivery
from seafloor.sdk.leftovers import bring_segments, leftovers, remove_folder_if_empty
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import Segment, list_segments, remove_segment
from seafloor.sdk.spool_room import folder_bytes
from seafloor.sdk.wal import End, read_begin

ABANDONED: Final = "The process that logged this run ended without saying how."
COPY_ABANDONED_S: Final = 60.0
"""A forked child has no write-ahead file while it copies the first thing that it logs: a copy that
was written to within so long may be its."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run's spool.

    Args:
        run_id: The run.
        state: ``sent`` (nothing is left), ``live`` (its process lives and sends it itself), or
            ``left`` (``problem`` says why).
        problem: Why it is left.
        retryable: Whether the same may go well later: the server was away.
        points, params, tags, files, media: Accepted by the server.
        refused: Refused for good; kept in ``<home>/refused/<run id>.jsonl``.
        records_lost: Records that were damaged on the disk.
        records_dropped, points_dropped: What the process could not keep.
        bytes_torn: What was being written when a process died.
    """

    run_id: str
    state: str
    problem: str | None = None
    retryable: bool = False
    points: int = 0
    params: int = 0
    tags: int = 0
    files: int = 0
    media: int = 0
    refused: tuple[Refusal, ...] = ()
    records_lost: int = 0
    records_dropped: int = 0
    points_dropped: int = 0
    bytes_torn: int = 0


@dataclass(frozen=True)
class Waiting:
    """What waits in the spool.

    Args:
        runs: How many runs.
        size_bytes: Of their files.
    """

    runs: int
    size_bytes: int


def waiting_runs(settings: Settings) -> list[str]:
    """Name the runs of which something is in the spool, or may be, the oldest first.

    Raises:
        StoreError: the spool cannot be read.
    """
    try:
        return sorted(path.name for path in settings.spool.iterdir() if _may_wait(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(
            f"{settings.spool} cannot be read: {error.strerror or error}. "
            "Set SEAFLOOR_HOME to a folder of your own."
        ) from error


def _may_wait(folder: Path) -> bool:
    try:
        return bool(list_segments(folder))
    except OSError:
        return True  # another user's, say: whoever sends it says what is wrong


def count_waiting(settings: Settings) -> Waiting:
    """Say how much is in the spool.

    Raises:
        StoreError: as ``waiting_runs``.
    """
    runs = waiting_runs(settings)
    return Waiting(len(runs), sum(folder_bytes(settings.spool / run_id) for run_id in runs))


def sync_all(
    client: Client, settings: Settings, *, told: Callable[[RunReport], None]
) -> list[RunReport]:
    """Send all that waits.

    Args:
        client: The server.
        settings: Where the spool is.
        told: Of each run when it is done.

    Returns:
        A report for each run, the oldest first.
    """
    reports: list[RunReport] = []
    for run_id in waiting_runs(settings):
        report = sync_run(client, settings, run_id)
        told(report)
        reports.append(report)
    remove_abandoned_copies(settings)
    return reports


def remove_abandoned_copies(settings: Settings) -> None:
    """Remove copies of logged files that no record names, since their process was killed.

    Only of runs of which nothing waits: a record that does may name any of them.
    """
    with contextlib.suppress(OSError):
        for folder in settings.spool.iterdir():
            with contextlib.suppress(OSError):  # another user's
                _remove_abandoned_copies(folder)


def _remove_abandoned_copies(folder: Path) -> None:
    if list_segments(folder):
        return
    abandoned_s = time.time() - COPY_ABANDONED_S
    for copy in (folder / "files").iterdir():
        if copy.lstat().st_mtime < abandoned_s:
            copy.unlink()
    remove_folder_if_empty(folder)


def sync_run(client: Client, settings: Settings, run_id: str) -> RunReport:
    """Send what waits of one run. Does not raise: the report says what is wrong."""
    folder = settings.spool / run_id
    account = Account()
    courier = Courier(client, run_id, folder / "files", account)
    problem: SeafloorError | None = None
    left: list[Segment] = []
    try:
        with leftovers(folder) as writers:
            deliveries = [bring_segments(segments, courier) for segments in writers]
            is_alone = len(writers) == len({found.writer for found in list_segments(folder)})
            for delivery in deliveries:
                _end(delivery, courier, is_alone=is_alone)
            for delivery in deliveries:
                remove_segment(delivery.segment)
            remove_folder_if_empty(folder)
            _keep_refused(settings.home, run_id, account.refused)
        left = list_segments(folder)
    except SeafloorError as error:
        problem = error
    except OSError as error:
        problem = StoreError(f"{error.filename or folder}: {error.strerror or error}")
    state = "left" if problem is not None else "live" if left else "sent"
    return _report(run_id, account, state, problem)


def _end(delivery: SegmentDelivery, courier: Courier, *, is_alone: bool) -> None:
    """Say how the run ended: as its process said, or that it did not say."""
    delivery.finish(courier)
    if delivery.end is not None:
        return
    begin = read_begin(delivery.segment.path)
    if is_alone and begin is not None and begin.owner and begin.creates:
        ended_ns = delivery.segment.path.stat().st_mtime_ns
        courier.end(End("failed", ABANDONED, ended_ns))


def _keep_refused(home: Path, run_id: str, refused: list[Refusal]) -> None:
    if not refused:
        return
    folder = home / "refused"
    folder.mkdir(parents=True, exist_ok=True)
    with Path(folder, f"{run_id}.jsonl").open("ab") as file:
        for refusal in refused:
            file.write(msgspec.json.encode(refusal) + b"\n")


def _report(run_id: str, account: Account, state: str, problem: SeafloorError | None) -> RunReport:
    return RunReport(
        run_id=run_id,
        state=state,
        problem=None if problem is None else problem.message,
        retryable=problem is not None and problem.retryable,
        points=account.points,
        params=account.params,
        tags=account.tags,
        files=account.files,
        media=account.media,
        refused=tuple(account.refused),
        records_lost=account.records_lost,
        records_dropped=account.records_dropped,
        points_dropped=account.points_dropped,
        bytes_torn=account.bytes_torn,
    )
