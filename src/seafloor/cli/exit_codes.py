"""What the exit code of a command says. ``docs/reference/cli.md`` is made from this."""

from __future__ import annotations

from typing import Final

from seafloor.domain.errors import (
    AlreadyExists,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    InvalidValue,
    LimitExceeded,
    NotFound,
    SeafloorError,
    SourceError,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from seafloor.domain.workloads import Ending, WorkloadState

OK: Final = 0
ANSWER_IS_NO: Final = 1
INVALID: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
UNREACHABLE: Final = 5
SOURCE: Final = 6
NOT_ALLOWED: Final = 7
STORE: Final = 8
BUG: Final = 9
NOT_PREPARED: Final = 120
LOST: Final = 121
STOPPED: Final = 122
TIMED_OUT: Final = 124
NOT_EXECUTABLE: Final = 126
NO_SUCH_COMMAND: Final = 127
INTERRUPTED: Final = 130
SIGNAL_FIRST: Final = 128

MEANINGS: Final = {
    OK: "done",
    ANSWER_IS_NO: "done, and the answer is no: a check failed, or something could not be sent",
    INVALID: "the command line, a spec or a value cannot be accepted",
    NOT_FOUND: "there is no such run, file, environment …",
    CONFLICT: "the name is taken, or the state of the object does not allow this",
    UNREACHABLE: "the server cannot be reached, or is busy for too long",
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

# The first class that fits counts, so narrow ones stand before wide ones.
_CLASSES: Final[tuple[tuple[type[SeafloorError], int], ...]] = (
    (NotFound, NOT_FOUND),
    (AlreadyExists, CONFLICT),
    (Conflict, CONFLICT),
    (Unauthenticated, NOT_ALLOWED),
    (Forbidden, NOT_ALLOWED),
    (InvalidValue, INVALID),
    (LimitExceeded, INVALID),
    (SourceError, SOURCE),
    (StoreUnavailable, UNREACHABLE),
    (ClusterUnavailable, UNREACHABLE),
    (StoreError, STORE),
    (ClusterError, STORE),
)


def code_of_error(error: SeafloorError) -> int:
    """Which exit code an error has."""
    for cls, code in _CLASSES:
        if isinstance(error, cls):
            return code
    return BUG


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
