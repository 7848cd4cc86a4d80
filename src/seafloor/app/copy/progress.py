"""How far a copy is, for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# About how long each takes, in ms: what the share that is done is made of.
_ROW_MS: Final = 0.05
_ITEM_MS: Final = 6.0
_MIB_MS: Final = 12.0
_MIB: Final = 1024 * 1024


@dataclass
class Amount:
    """Things of one kind, of all that there are."""

    items: int = 0
    items_total: int = 0
    size_bytes: int = 0
    bytes_total: int = 0

    def add(self, size_bytes: int, *, items: int = 1) -> None:
        """Count what is done."""
        self.items += items
        self.size_bytes += size_bytes

    @property
    def work_ms(self) -> float:
        """About how long what is done takes."""
        return self.items * _ITEM_MS + self.size_bytes / _MIB * _MIB_MS

    @property
    def work_total_ms(self) -> float:
        """About how long all takes."""
        size_bytes = max(self.bytes_total, self.size_bytes)
        return max(self.items_total, self.items) * _ITEM_MS + size_bytes / _MIB * _MIB_MS


@dataclass
class Progress:
    """All that is counted while a copy goes on; whoever shows it looks at it now and then.

    Args:
        doing: What is being done.
        rows, rows_total: Rows of the database.
        rows_read, rows_read_total: How often rows were looked at, for whatever reason.
        files: Artifacts.
        runs: Workloads, with the bytes of their logs and event files.
        objects: Everything else in the object store.
        event_files, logs: How many there were.
        digests: How many digests were compared.
        damaged: What cannot be copied, a sentence each.
    """

    doing: str = "looking at the source"
    rows: int = 0
    rows_total: int = 0
    rows_read: int = 0
    rows_read_total: int = 0
    files: Amount = field(default_factory=Amount)
    runs: Amount = field(default_factory=Amount)
    objects: Amount = field(default_factory=Amount)
    logs: int = 0
    event_files: int = 0
    digests: int = 0
    damaged: list[str] = field(default_factory=list[str])

    @property
    def amounts(self) -> tuple[Amount, ...]:
        """What holds bytes."""
        return (self.files, self.runs, self.objects)

    @property
    def size_bytes(self) -> int:
        """Bytes copied, rows aside."""
        return sum(amount.size_bytes for amount in self.amounts)

    @property
    def share(self) -> float:
        """Which part of the work is done, 0..1; an estimate."""
        total_ms = self.rows_read_total * _ROW_MS + sum(a.work_total_ms for a in self.amounts)
        done_ms = self.rows_read * _ROW_MS + sum(a.work_ms for a in self.amounts)
        return min(1.0, done_ms / total_ms) if total_ms else 0.0

    def look(self, rows: int) -> None:
        """Count rows that were looked at."""
        self.rows_read += rows

    def copy(self, rows: int) -> None:
        """Count rows that the target has by now."""
        self.rows += rows
        self.rows_read += rows
