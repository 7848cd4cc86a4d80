"""Looks for tasks on this machine that the database knows nothing of, and that are left alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from seafloor.app.store_checks import StoreCheck
from seafloor.app.strangers import is_known
from seafloor.boot.opening import open_metadata_database
from seafloor.boot.settings import Settings
from seafloor.domain.errors import SeafloorError
from seafloor.environments.usage import used_bytes
from seafloor.launch.local.folders import FORGOTTEN_FILE, AttemptFolders, attempt_folders, task_keys
from seafloor.launch.protocol import TaskKey
from seafloor.stores.metadata.sql.store import SqlMetadataStore

_NAMED_MAX: Final = 20


async def check_strangers(settings: Settings) -> list[StoreCheck]:
    """Name each attempt in the data folder of which the database has no record.

    Cost: a question to the database for each task that has a folder here, and a look at the status
    of every file of those that are named.
    """
    work_dir = settings.data_dir / "work"
    folders = {key: attempt_folders(work_dir, key) for key in task_keys(work_dir)}
    keys = [key for key, one in folders.items() if not one.is_kept and not one.is_forgotten]
    if not keys:
        return []
    try:
        unknown = await _unknown(settings, keys)
    except SeafloorError as error:
        said = f"whether the database knows the {len(keys)} tasks in {work_dir}: {error.message}"
        return [StoreCheck("unknown runs", "warn", f"not looked at: {said}", "Mend the database.")]
    roots: dict[Path, list[TaskKey]] = {}
    for key in unknown:
        roots.setdefault(folders[key].root, []).append(key)
    found = [_check(root, roots[root]) for root in list(roots)[:_NAMED_MAX]]
    if len(roots) > len(found):
        more = len(roots) - len(found)
        found.append(StoreCheck("unknown runs", "warn", f"{more} more below {work_dir}"))
    return found


async def _unknown(settings: Settings, keys: list[TaskKey]) -> list[TaskKey]:
    database = open_metadata_database(settings)
    try:
        metadata = SqlMetadataStore(database)
        return [key for key in keys if not await is_known(metadata, key)]
    finally:
        await database.close()


def _check(root: Path, keys: list[TaskKey]) -> StoreCheck:
    folders = [AttemptFolders(root, key.task).agent for key in keys]
    files = " ".join(shlex.quote(str(folder / FORGOTTEN_FILE)) for folder in folders)
    return StoreCheck(
        "unknown runs",
        "warn",
        f"the database does not know attempt {keys[0].attempt} of the run {keys[0].workload_id}, "
        f"as one does that was brought back from an older backup. It is left alone, and takes "
        f"{used_bytes(root) / 1e6:,.1f} MB: {root}",
        "Bring the newest database back, and the run goes on; or copy what you need of its output/ "
        f"and have the server end what lives of it, and remove it: `touch {files}`.",
    )
