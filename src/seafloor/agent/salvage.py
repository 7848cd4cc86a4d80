"""``ship``: deliver what an agent that disappeared has left on disk."""

from __future__ import annotations

from contextlib import closing

from .execute import AGENT_FILE, EXIT_FILE
from .folder import TaskFolder
from .shipping import DONE_FILE, Shipping
from .spool import Spool
from .task import Task, read_task

SALVAGE_FILE = "salvage.json"
PATIENCE_S = 60.0


def ship(folder: TaskFolder) -> None:
    """Deliver what is left in a folder, whose lock this process holds. May be repeated.

    How the command ended is reported only when its agent wrote it down.

    Raises:
        BadTask: there is no task in the folder.
        Abandoned: nothing got through for PATIENCE_S; all is still on disk.
        OSError: the folder cannot be read or written.
    """
    task = read_task(folder)
    if folder.has(DONE_FILE) or not folder.has(AGENT_FILE):
        return
    with closing(Spool(folder.spool)) as spool:
        _deliver(folder, task, spool)


def _deliver(folder: TaskFolder, task: Task, spool: Spool) -> None:
    ended = folder.read(EXIT_FILE)
    if ended is None and not folder.has(SALVAGE_FILE):
        spool.say(_what_is_known(spool))
        folder.write(SALVAGE_FILE, {"damaged_bytes": spool.damaged_bytes})
    spool.sync()
    shipping = Shipping(folder, task, spool, patience_s=PATIENCE_S)
    shipping.command_ended(ended)
    shipping.run()


def _what_is_known(spool: Spool) -> str:
    said = (
        "The agent that watched the command disappeared. {} kept; what was printed "
        "after that is lost, and so is how the command ended."
    ).format("1 line was" if spool.lines == 1 else "{:,} lines were".format(spool.lines))
    if spool.damaged_bytes:
        said += " {:,} bytes at the end of its spool were damaged and cut off.".format(
            spool.damaged_bytes
        )
    return said
