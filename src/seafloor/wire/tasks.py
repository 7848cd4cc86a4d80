"""What an agent reports of its task."""

from __future__ import annotations

import msgspec

from seafloor.domain.bounds import Count, TimeNs
from seafloor.domain.code import Receipt
from seafloor.domain.workloads import Ending


class TaskStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST …/attempts/{n}/tasks/{task}/start``: the command was started.

    Args:
        receipts: Of its code, by folder, when it was localised where the command runs; fields of a
            receipt that this version does not know are ignored.
    """

    time_ns: TimeNs
    pid: Count = 0
    host: str = ""
    receipts: dict[str, Receipt] = {}


class TaskEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST …/attempts/{n}/tasks/{task}/end``: it ended and everything was delivered.

    Args:
        lines, log_bytes: What the agent wrote into its spool.
        lines_lost: Lines it could not keep.
        event_files: tf.events files delivered.
        output_files: Files of the output folder delivered.
        output_failed: Paths that could not be delivered, the first of very many.
        output_failed_more: How many more could not.
    """

    time_ns: TimeNs
    ending: Ending
    lines: Count = 0
    lines_lost: Count = 0
    log_bytes: Count = 0
    event_files: Count = 0
    output_files: Count = 0
    output_failed: list[str] = []
    output_failed_more: Count = 0


class Appended(msgspec.Struct, frozen=True):
    """The answer to an append at an offset: where the next one begins."""

    next_offset: int


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a report: the state the workload is in now."""

    state: str
