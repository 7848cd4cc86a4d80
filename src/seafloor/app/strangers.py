"""Tasks that the records do not know: of runs that began after the backup they were brought back
from.

The records may yet be brought back from a newer one, and then such a run goes on. So nothing is
done to its tasks: no command is ended, nothing is delivered and nothing removed. What tells them
from tasks of purged runs is a note that purging leaves with these before the records of the run go
(``Launcher.forget``); so a purge that was interrupted comes to its end at a later pass.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import structlog

from seafloor.app.leases import boot_time_s
from seafloor.domain.errors import NotFound
from seafloor.domain.members import MAIN
from seafloor.launch.protocol import Launcher, TaskAbsent, TaskEnded, TaskKey
from seafloor.stores.metadata.protocol import MetadataStore

_log = structlog.get_logger(__name__)

_AGAIN_S: Final = 10.0
"""After so long one is looked at again."""


async def is_known(metadata: MetadataStore, key: TaskKey) -> bool:
    """Whether there are records of a task's attempt."""
    try:
        found = await metadata.workload_get(key.workload_id)
    except NotFound:
        return False
    return key.attempt <= found.attempt


class Strangers:
    """Finds them, and says of each once where it is.

    What it keeps in memory can be lost: it saves questions, and repeated words in the log.
    """

    def __init__(self, metadata: MetadataStore, launcher: Launcher) -> None:
        self._metadata = metadata
        self._launcher = launcher
        self._due_s: dict[TaskKey, float] = {}

    def keep(self, keys: Collection[TaskKey]) -> None:
        """Forget those that are not there any more."""
        self._due_s = {key: due_s for key, due_s in self._due_s.items() if key in keys}

    async def has(self, key: TaskKey) -> bool:
        """Whether a task is to be left alone.

        One of which there is nothing but code, or whose every word was delivered, is not: what is
        left of it is no use to anybody. (Of several, one that ended waits for the others.)

        Raises:
            StoreError: it cannot be told now.
        """
        if boot_time_s() < self._due_s.get(key, 0.0):
            return True
        if await is_known(self._metadata, key) or await self._launcher.is_forgotten(key):
            self._due_s.pop(key, None)
            return False
        seen = await self._launcher.observe(key)
        delivered = isinstance(seen, TaskEnded) and seen.delivered and key.task == MAIN
        if delivered or isinstance(seen, TaskAbsent):
            return False
        if key not in self._due_s:
            _log.warning(
                "a task is left alone: the records know nothing of it, as after an older backup "
                "was brought back; see docs/how-to/back-up.md and `seafloor doctor`",
                run_id=key.workload_id,
                attempt=key.attempt,
                task=key.task,
                where=self._launcher.whereabouts(key),
            )
        self._due_s[key] = boot_time_s() + _AGAIN_S
        return True
