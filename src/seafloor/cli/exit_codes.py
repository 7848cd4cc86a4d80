"""What the exit codes of commands and of runs say. ``docs/reference/cli.md`` is made of it."""

from __future__ import annotations

from typing import Final

from seafloor.domain.workloads import Ending, WorkloadState
from seafloor.wire.exit_codes import (
    ANSWER_IS_NO,
    BUG,
    CONFLICT,
    INTERRUPTED,
    INVALID,
    NOT_ALLOWED,
    NOT_FOUND,
    OK,
    SOURCE,
    STORE,
    UNREACHABLE,
)

NOT_PREPARED: Final = 120
LOST: Final = 121
STOPPED: Final = 122
TIMED_OUT: Final = 124
NOT_EXECUTABLE: Final = 126
NO_SUCH_COMMAND: Final = 127
SIGNAL_FIRST: Final = 128

MEANINGS: Final = {
    OK: "done",
    ANSWER_IS_NO: "done, and the answer is no: a check failed, or something could not be sent",
    INVALID: "the command line, a spec or a value cannot be accepted",
    NOT_FOUND: "there is no such run, file, environment …",
    CONFLICT: "the name is taken, or the state of the object does not allow this",
    UNREACHABLE: "the server cannot be reached, is busy for too long, or is no Seafloor server",
    SOURCE: "code or packages could not be had from where you said",
    NOT_ALLOWED: "a token is missing, or does not allow this",
    STORE: "a store failed (full, damaged), or this version cannot do that",
    BUG: "a bug; the message names the file with its details",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""Of every command."""

RUN_MEANINGS: Final = {
    NOT_PREPARED: "the run failed before its command could be started (code, environment)",
    LOST: "the run was lost: nobody knows how its command ended",
    STOPPED: "the run was stopped",
    TIMED_OUT: "the run's timeout ended it",
    NOT_EXECUTABLE: "there is such a command, but it cannot be executed",
    NO_SUCH_COMMAND: "there is no such command, or its working folder is not there",
    INTERRUPTED: "you stopped following; the run goes on",
}
"""Of `seafloor run` beyond the command's own exit code; 128 + n: signal n ended the command."""


def code_of_run(state: WorkloadState, ending: Ending | None) -> int:
    """Which exit code a run has that ended.

    >>> code_of_run(WorkloadState.FAILED, Ending(exit_code=3))
    3
    >>> code_of_run(WorkloadState.FAILED, Ending(signal="SIGKILL"))
    137
    """
    if state is WorkloadState.SUCCEEDED:
        return OK
    if state is WorkloadState.STOPPED:
        return STOPPED
    if state is WorkloadState.LOST:
        return LOST
    if ending is None:
        return NOT_PREPARED
    if ending.timed_out:
        return TIMED_OUT
    if ending.exit_code is not None:
        return ending.exit_code or ANSWER_IS_NO
    return NOT_PREPARED if ending.signal is None else _code_of_signal(ending.signal)


def _code_of_signal(name: str) -> int:
    import signal

    try:
        return SIGNAL_FIRST + signal.Signals[name].value
    except KeyError:
        return LOST
