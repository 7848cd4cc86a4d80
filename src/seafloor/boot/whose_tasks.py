"""Whether a data folder and a database belong together, and the folder is no other server's."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Final

from seafloor.app.leases import LeaseTerms
from seafloor.app.places import GRACE_S
from seafloor.app.strangers import is_known
from seafloor.boot.data_folder import DataFolder
from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import RECONCILER, Lease, lease_of_place
from seafloor.launch.protocol import Launcher
from seafloor.stores.metadata.protocol import MetadataStore

_ID: Final = "id"
"""Name of the value that tells one installation's database, and its copies, from another's."""

_LOOK_S: Final = 0.2
"""How often the lease of a place is looked at."""


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
    if noted is not None or await _lease_of(folder, metadata) is None:
        stranger = await _stranger(metadata, launcher)
        if stranger is not None:
            work = folder.path / "work"
            raise Conflict(
                f"{work} has tasks of runs that this database does not know, such as {stranger}: "
                "is it the one that the data folder was used with before? Start the server with "
                f"the --metadata of then; or, if these runs are gone for good, remove {work}."
            )
    folder.note_installation(own)


async def check_place_is_ours(folder: DataFolder, metadata: MetadataStore) -> None:
    """Refuse a copy of a data folder while the server of the folder that was copied runs.

    Both would drive the same runs, and this one, which has no folders of them, would take them for
    lost. A folder that was moved is told from a copy by the lease of its place: nobody renews it.

    Cost: where it was moved and its server was killed, the rest of that lease, 10 s at most.

    Raises:
        Conflict: so it is.
    """
    if not folder.is_where_it_was():
        first = lease = await _lease_of(folder, metadata)
        until_s = time.monotonic() + LeaseTerms().ttl_s + GRACE_S
        while first is not None and lease is not None and lease.left_ns > 0:
            if lease.expires_ns != first.expires_ns:
                file = folder.path / "place.id"
                raise Conflict(
                    f"{folder.path} is a copy of the data folder of a server that runs "
                    f"({lease.holder}), and would take its runs from it: remove {file}, and this "
                    "is a further server of the same installation."
                )
            if time.monotonic() > until_s:
                break  # nobody renews it: the clock of the database was set back
            await asyncio.sleep(_LOOK_S)
            lease = await _lease_of(folder, metadata)
    folder.note_where()


async def _lease_of(folder: DataFolder, metadata: MetadataStore) -> Lease | None:
    name = lease_of_place(folder.place())
    found = [lease for lease in await metadata.lease_list(RECONCILER) if lease.name == name]
    return found[0] if found else None


async def _stranger(metadata: MetadataStore, launcher: Launcher) -> WorkloadId | None:
    for key in await launcher.tasks():
        if not await is_known(metadata, key):
            return key.workload_id
    return None
