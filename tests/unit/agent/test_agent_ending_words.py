"""How an ending is told."""

from __future__ import annotations

import signal

import pytest

from seafloor.agent.endings import (
    MEMORY,
    POD_ENDED,
    STOPPED,
    TIMED_OUT,
    ending_of,
    signal_name,
)

KILLED, TERMINATED = int(signal.SIGKILL), int(signal.SIGTERM)


def exited(code: int) -> int:
    """As ``waitpid`` has it."""
    return code << 8


@pytest.mark.parametrize(
    ("status", "cause", "exit_code", "name", "reason"),
    [
        (exited(0), None, 0, None, ""),
        (exited(1), None, 1, None, ""),
        (KILLED, None, None, "SIGKILL", ""),
        (exited(0), STOPPED, 0, None, ""),
        (exited(1), STOPPED, 1, None, "Stopped as asked; the command ended with exit code 1."),
        (TERMINATED, STOPPED, None, "SIGTERM", "Stopped as asked; the command ended by SIGTERM."),
        (
            exited(0),
            POD_ENDED,
            None,
            "SIGTERM",
            "The pod was told to end, and the command with it; it ended with exit code 0.",
        ),
        (
            exited(3),
            POD_ENDED,
            3,
            None,
            "The pod was told to end, and the command with it; it ended with exit code 3.",
        ),
        (
            KILLED,
            TIMED_OUT,
            None,
            "SIGKILL",
            "The command ran longer than its timeout of L and was ended (by SIGKILL).",
        ),
        (
            KILLED,
            MEMORY,
            None,
            "SIGKILL",
            "The command used more memory than its limit of L and was killed.",
        ),
        (
            exited(137),
            None,
            137,
            None,
            "Exit code 137: the shell says that SIGKILL ended the program.",
        ),
        (
            exited(126),
            None,
            126,
            None,
            "Exit code 126: the shell found the program but may not execute it.",
        ),
        (exited(255), None, 255, None, ""),
    ],
)
def test_ending_of__status_and_cause__code_signal_and_sentence(
    status: int, cause: str | None, exit_code: int | None, name: str | None, reason: str
) -> None:
    ending = ending_of(status, cause=cause, command="shell line", limit="L")
    assert (ending.exit_code, ending.signal, ending.reason) == (exit_code, name, reason)
    assert ending.timed_out == (cause == TIMED_OUT)
    assert ending.memory_exceeded == (cause == MEMORY)


def test_ending_of__arguments__exit_code_means_what_the_program_means() -> None:
    assert ending_of(exited(137), cause=None, command=["x"]).reason == ""


def test_signal_name__unknown__a_number() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(40) == "signal 40"
