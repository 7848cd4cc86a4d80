"""Spools as an agent would write them, for tests of log stores."""

from __future__ import annotations

from collections.abc import Iterable

from seafloor.domain.ids import WorkloadId
from seafloor.stores.logs.protocol import LogKey
from seafloor.stores.logs.record import FLAG_LOSS, MAGIC, Record, encode_record

OUT, ERR, AGENT = range(3)
T0_NS = 1_700_000_000_000_000_000


def log_key(number: int = 1, attempt: int = 1, task: str = "main", setup: str = "") -> LogKey:
    """Name the log of the n-th workload."""
    return LogKey(WorkloadId(f"{number:032x}"), attempt, task, setup)


def line(number: int, text: bytes | str = b"", *, stream: int = OUT, end: int = 1) -> Record:
    """Make a line; its time follows from its number."""
    payload = text.encode() if isinstance(text, str) else text
    return Record(number, T0_NS + number * 1000, payload, stream, end)


def loss(number: int, count: int) -> Record:
    """Make a record that tells of lost lines."""
    return Record(number, T0_NS + number * 1000, b"%d" % count, AGENT, 0, FLAG_LOSS)


def spool(records: Iterable[Record]) -> bytes:
    """Write a whole spool."""
    return MAGIC + b"".join(encode_record(record) for record in records)


def numbered(count: int, *, width: int = 20) -> bytes:
    """Write a spool of so many lines, every fifth on ``err``."""
    return spool(
        line(number, b"%0*d" % (width, number), stream=ERR if number % 5 == 0 else OUT)
        for number in range(1, count + 1)
    )
