"""Logs: lines, numbered where they were printed."""

from __future__ import annotations

import msgspec

LINE_BYTES_MAX = 64 * 1024
"""A longer line is cut into pieces of this size; every piece but the last is ``continued``."""


class LogLine(msgspec.Struct, frozen=True):
    """One line, or one piece of a long one.

    Args:
        number: Counted from 1 by the agent within attempt and task; a gap is a loss.
        time_ns: UTC, when the agent read it.
        stream: ``out``, ``err``, or ``agent`` (said by Seafloor, not by the task).
        text: Decoded as UTF-8; bytes that are not are shown as U+FFFD (the raw bytes are kept).
        end: What ended it: ``\\n``, ``\\r``, ``\\r\\n`` or ``""`` (end of stream, or continued).
        continued: Whether the next line of this stream goes on with it.
    """

    number: int
    time_ns: int
    stream: str
    text: str
    end: str = "\n"
    continued: bool = False
