"""How a command ended, in the words of the report and in the user's."""

from __future__ import annotations

import os
import signal
from typing import Any, Dict, NamedTuple, Optional, Union

STOPPED, TIMED_OUT, MEMORY, POD_ENDED = "stopped", "timed out", "memory", "pod ended"


class Ending(NamedTuple):
    """How a task ended; the fields are those of the report (``domain.workloads.Ending``)."""

    reason: str = ""
    exit_code: Optional[int] = None
    signal: Optional[str] = None
    timed_out: bool = False
    memory_exceeded: bool = False

    def document(self) -> Dict[str, Any]:
        """As it stands in ``exit.json`` and in the report."""
        return self._asdict()


def ending_of(
    status: int,
    *,
    cause: Optional[str],
    command: Union[str, "list[str]"],
    limit: str = "",
) -> Ending:
    """Say how a command ended.

    Args:
        status: As ``waitpid`` gave it.
        cause: STOPPED, TIMED_OUT, MEMORY or POD_ENDED when the agent set out to end it; None
            otherwise.
        command: What was started.
        limit: Of time or memory, for the user.
    """
    exit_code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    name = signal_name(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None
    how = "by {}".format(name) if name else "with exit code {}".format(exit_code)
    if cause == MEMORY:
        reason = "The command used more memory than its limit of {} and was killed.".format(limit)
    elif cause == TIMED_OUT:
        reason = "The command ran longer than its timeout of {} and was ended ({}).".format(
            limit, how
        )
    elif cause == POD_ENDED:
        reason = "The pod was told to end, and the command with it; it ended {}.".format(how)
        # Who saves his state on SIGTERM and ends with 0 has not finished what he began.
        if exit_code == 0:
            exit_code, name = None, "SIGTERM"
    elif cause == STOPPED and exit_code != 0:
        reason = "Stopped as asked; the command ended {}.".format(how)
    else:
        reason = _shell_reason(exit_code) if isinstance(command, str) else ""
    return Ending(reason, exit_code, name, cause == TIMED_OUT, cause == MEMORY)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)


def _shell_reason(exit_code: Optional[int]) -> str:
    """What a shell means by an exit code of its own."""
    if exit_code is None or exit_code < 126:
        return ""
    if exit_code == 126:
        return "Exit code 126: the shell found the program but may not execute it."
    if exit_code == 127:
        return "Exit code 127: the shell found no such program; the log has its message."
    if 128 < exit_code <= 128 + 64:
        return "Exit code {}: the shell says that {} ended the program.".format(
            exit_code, signal_name(exit_code - 128)
        )
    return ""
