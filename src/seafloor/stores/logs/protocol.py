"""The log store: what tasks print, as a stream of records addressed by offset.

The agent writes each line as a record (``docs/formats/log-spool.md``) into its own spool and sends
that file's bytes; the store appends the same bytes at the same offsets. So a repeat is harmless, a
gap is impossible, and what is kept is exactly what the agent had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from seafloor.domain.ids import WorkloadId
from seafloor.domain.logs import LogLine

_APART: Final = "@"
"""Stands between a task and what prepares it; no name of either has it."""


class LogKey(msgspec.Struct, frozen=True):
    """Which log: of one task of one attempt of one workload, or of what prepared that task.

    Args:
        setup: What prepared it, such as the container ``git-localize`` of its pod; ``""``: the log
            is the task's own.
    """

    workload_id: WorkloadId
    attempt: int
    task: str = "main"
    setup: str = ""

    @property
    def stem(self) -> str:
        """Its name among the logs of an attempt.

        >>> LogKey(WorkloadId("0" * 32), 1, "main", "git-localize").stem
        'main@git-localize'
        """
        return f"{self.task}{_APART}{self.setup}" if self.setup else self.task


def log_key_of(workload_id: WorkloadId, attempt: int, stem: str) -> LogKey:
    """The key of a log by its name."""
    task, _, setup = stem.partition(_APART)
    return LogKey(workload_id, attempt, task, setup)


class LogState(msgspec.Struct, frozen=True):
    """What is known of a log.

    Args:
        size_bytes: Accepted bytes: the offset the next append must have.
        lines: How many lines are kept.
        lines_missing: Numbers that were skipped or reported lost.
        first_time_ns, last_time_ns: Of the first and last line; None when empty.
        finished: Whether the log takes no more.
    """

    size_bytes: int
    lines: int
    lines_missing: int
    first_time_ns: int | None
    last_time_ns: int | None
    finished: bool


class LogPage(msgspec.Struct, frozen=True):
    """Lines in order.

    Args:
        lines: May be empty.
        next_line: Number to ask for to go on.
        total_lines: How many lines there are now.
        finished: Whether no line follows these, ever.
        lines_missing: Numbers that were skipped or reported lost, in all of the log.
    """

    lines: tuple[LogLine, ...]
    next_line: int
    total_lines: int
    finished: bool
    lines_missing: int = 0


class LogStore(Protocol):
    """What tasks print."""

    async def append(self, key: LogKey, *, offset: int, data: bytes) -> int:
        """Append record bytes; durable when it returns.

        Bytes below the accepted size are compared in length only and skipped, so a repeat is
        harmless. ``data`` may begin and end anywhere, also inside a record.

        Args:
            offset: Where data begins in the agent's spool.
            data: At most 8 MiB.

        Returns:
            The offset the store wants next (its accepted size).

        Raises:
            OutOfOrder: offset is above the accepted size; ``next_offset`` says where to go on.
            Closed: the log is finished and data would add to it.
            StoreCorrupt: a record's checksum is wrong; the bytes before it were accepted.
            StoreFull: nothing was accepted.
        """
        ...

    async def state(self, key: LogKey) -> LogState:
        """Describe a log; one never written is empty."""
        ...

    async def keys(self, workload_id: WorkloadId) -> tuple[LogKey, ...]:
        """The logs of a workload by attempt and stem."""
        ...

    async def page(
        self, key: LogKey, *, from_line: int, limit: int, stream: str | None = None
    ) -> LogPage:
        """Read lines from a number on; never more than 1 MiB of text.

        Args:
            from_line: >= 1; negative counts from the end (-10: the last ten).
            limit: 1..10,000.
            stream: Only of this stream (``out``, ``err``, ``agent``).
        """
        ...

    def follow(self, key: LogKey, *, from_line: int) -> AsyncIterator[LogPage]:
        """Yield pages as lines arrive, an empty page at least every 15 s, until finished.

        A page has at most 128 KiB of text, so that who reads slowly costs little memory.
        """
        ...

    def raw(self, key: LogKey, *, stream: str | None = None) -> AsyncIterator[bytes]:
        """Stream the bytes the task printed, terminators included, in constant memory."""
        ...

    def records(self, key: LogKey, *, start: int = 0) -> AsyncIterator[bytes]:
        """Stream the accepted bytes themselves, as ``append`` takes them, in constant memory.

        A finished log is given to its last byte, also when a record in it is damaged.

        Args:
            start: First byte. At or past the end: nothing is yielded.
        """
        ...

    async def finish(self, key: LogKey) -> None:
        """Take no more. Repeatable."""
        ...

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete all logs of a workload; return the bytes freed. Repeatable."""
        ...

    async def close(self) -> None:
        """Give back what the store holds. Safe to repeat."""
        ...
