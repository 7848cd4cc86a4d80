"""Whether a database is the one that knows the runs of which there are tasks in a data folder."""

from __future__ import annotations

import secrets
from typing import Final

from seafloor.app.strangers import is_known
from seafloor.boot.data_folder import DataFolder
from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import RECONCILER, lease_of_place
from seafloor.launch.protocol import Launcher
from seafloor.stores.metadata.protocol import MetadataStore

_ID: Final = "id"
"""Name of the value that tells one installation's database, and its copies, from another's."""


async def check_tasks_are_ours(
    folder: DataFolder, metadata: MetadataStore, launcher: Launcher
) -> None:
    """Refuse another database than before while there are tasks of runs that it does not know.

    Its server would take these runs for gone: their commands would be ended, and what was not
    delivered removed. The data folder notes which database it was used with last; one that an
    older version used has no note, and there the lease of its place says it.

    Raises:
        Conflict: they are another's.
    """
    own = (await metadata.installation_value(_ID, first=secrets.token_hex(16).encode())).decode()
    noted = folder.installation()
    if noted == own:
        return
    if noted is not None or not await _had_its_place(folder, metadata):
        stranger = await _stranger(metadata, launcher)
        if stranger is not None:
            work = folder.path / "work"
            raise Conflict(
                f"{work} has tasks of runs that this database does not know, such as {stranger}: "
                "is it the one that the data folder was used with before? Start the server with "
                f"the --metadata of then; or, if these runs are gone for good, remove {work}."
            )
    folder.note_installation(own)


async def _had_its_place(folder: DataFolder, metadata: MetadataStore) -> bool:
    name = lease_of_place(folder.place())
    return any(lease.name == name for lease in await metadata.lease_list(RECONCILER))


async def _stranger(metadata: MetadataStore, launcher: Launcher) -> WorkloadId | None:
    for key in await launcher.tasks():
        if not await is_known(metadata, key):
            return key.workload_id
    return None
