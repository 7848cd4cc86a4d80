"""Processes of a session, as ``/proc`` shows them.

Every command leads a session of its own. The kernel does not give a session's id to a new process
while a member lives, so membership is certain where a process id alone is not.
"""

from __future__ import annotations

import os
import signal
import time
from typing import List, NamedTuple, Optional

_STATE, _PARENT, _GROUP, _SESSION, _START, _RSS = 0, 1, 2, 3, 19, 21


class Process(NamedTuple):
    """One process.

    Args:
        pid: Its id.
        state: ``R``, ``S``, ``Z`` (ended, not yet reaped), …
        group, session: Ids.
        start_ticks: When it started, in clock ticks since boot; with the boot it is unique.
        resident_bytes: Memory it has resident, shared pages included.
    """

    pid: int
    state: str
    group: int
    session: int
    start_ticks: int
    resident_bytes: int


_PAUSE_MIN_S, _PAUSE_MAX_S = 0.001, 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process(pid: int) -> Optional[Process]:
    """Look at a process; None when there is none."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as stream:
            text = stream.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, spaces and parentheses too.
    fields = text[text.rindex(b")") + 2 :].split()
    return Process(
        pid,
        fields[_STATE].decode(),
        int(fields[_GROUP]),
        int(fields[_SESSION]),
        int(fields[_START]),
        int(fields[_RSS]) * _PAGE_BYTES,
    )


def session_members(session: int) -> List[Process]:
    """The living processes of a session.

    Cost: one small read per process of the machine.
    """
    found: List[Process] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            seen = process(int(name))
            if seen is not None and seen.session == session and seen.state not in "ZX":
                found.append(seen)
    return found


def proportional_bytes(pid: int) -> Optional[int]:
    """Memory of a process, pages shared with n others counted by 1/n.

    A process that has ended has none; None when it belongs to another user or the kernel is old.
    """
    try:
        with open("/proc/{}/smaps_rollup".format(pid), "rb") as stream:
            for line in stream:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except ProcessLookupError:  # ending: its memory is given back before its entry goes
        return 0
    except FileNotFoundError:
        return None if process(pid) is not None else 0
    except OSError:
        return None
    return None


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; nothing when it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Gone, or all that is left of it took another user's identity.
        return


def kill_session(session: int, *, within_s: float = 1.0) -> int:
    """End every process of a session, also those that are forked meanwhile.

    Signals go to process groups: the kernel lets no process of one fork past such a signal, while
    one that is sent to each process in turn misses the children that it has by then.

    Args:
        within_s: How long to go on while there are still some: a process that waits for a disk
            dies when that answers.

    Returns:
        How many were found at first.
    """
    members = session_members(session)
    count = len(members)
    due_s = time.monotonic() + within_s
    pause_s = _PAUSE_MIN_S
    while members:
        for group in {member.group for member in members}:
            signal_group(group, signal.SIGKILL)
        if time.monotonic() >= due_s:
            break
        time.sleep(pause_s)
        pause_s = min(_PAUSE_MAX_S, pause_s * 2)
        members = session_members(session)
    return count
