"""Looks for what runs left on this machine that nobody could deliver."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from seafloor.app.store_checks import StoreCheck
from seafloor.boot.settings import Settings
from seafloor.domain.ids import WorkloadId
from seafloor.environments.usage import used_bytes
from seafloor.launch.local.folders import attempt_folders, task_keys

_NAMED_MAX: Final = 20


def check_kept(settings: Settings) -> list[StoreCheck]:
    """Name each attempt whose log or files wait for its user, with its size.

    Cost: a look at the status of every file that is kept.
    """
    kept: dict[Path, WorkloadId] = {}
    work_dir = settings.data_dir / "work"
    for key in task_keys(work_dir):
        folders = attempt_folders(work_dir, key)
        if folders.is_kept:
            kept[folders.root] = key.workload_id
    named = list(kept.items())[:_NAMED_MAX]
    found = [_check(root, run) for root, run in named]
    if len(kept) > len(named):
        more = len(kept) - len(named)
        found.append(StoreCheck("kept", "warn", f"{more} more below {work_dir}", found[0].fix))
    return found


def _check(root: Path, run: WorkloadId) -> StoreCheck:
    return StoreCheck(
        "kept",
        "warn",
        f"{used_bytes(root) / 1e6:,.1f} MB of the run {run} could not be delivered: {root}",
        "Copy what you need of its output/ and tasks/, then remove it: "
        f"`seafloor runs rm --purge {run}`, or `rm -r {shlex.quote(str(root))}`.",
    )
