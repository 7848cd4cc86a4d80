"""Many runs with params, tags and metrics, written straight into the tables.

Of run ``n`` everything follows from ``n``, so a test can say what a search must find. Through the
stores a million runs would take hours.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, insert, text

from seafloor.stores.metadata.sql import tables
from seafloor.testing.metadata_records import T0_NS, run_id

KEYS = 10
"""Of each: params p0 … p9, tags t0 … t9, metrics m0 … m9."""
OPTIMIZERS = ("adam", "adamw", "sgd", "lion")
AT_ONCE = 2_000
MS = 1_000_000

_ANALYZE = {
    "sqlite": ["ANALYZE"],
    "postgresql": ["VACUUM ANALYZE"],
    "mariadb": ["ANALYZE TABLE workload, param, tag, metric_summary"],
}


def chance(number: int, key: int) -> float:
    """Something between 0 and 1 that looks random: a metric's value."""
    mixed = (number * 0x9E3779B97F4A7C15 + key * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 29
    mixed = (mixed * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 32
    return (mixed >> 11) / (1 << 53)


def params_of(number: int) -> dict[str, str]:
    """The params of a run: one of four optimizers, a number, a document, and a few words."""
    found = {
        "p0": OPTIMIZERS[int(chance(number, 100) * len(OPTIMIZERS))],
        "p1": f"{chance(number, 101):.3f}",
        "p2": json.dumps({"optimizer": {"lr": round(chance(number, 102), 3)}}),
    }
    return found | {f"p{key}": f"value {number % (7 * key)}" for key in range(3, KEYS)}


def tags_of(number: int) -> dict[str, str]:
    """The tags of a run: the number of its thousand, and a few words."""
    return {"t0": str(number // 1000)} | {
        f"t{key}": f"tag {number % key}" for key in range(1, KEYS)
    }


def metrics_of(number: int) -> dict[str, float]:
    """The metrics of a run."""
    return {f"m{key}": chance(number, key) for key in range(KEYS)}


def fill(connection: Connection, numbers: range, *, experiments: int = 1) -> None:
    """Add runs.

    Args:
        connection: Of a transaction.
        numbers: Which; a run's id and time follow from its number.
        experiments: In how many experiments, from 0 on, in turn; they must exist.
    """
    for begin in range(numbers.start, numbers.stop, AT_ONCE):
        some = range(begin, min(begin + AT_ONCE, numbers.stop))
        for table, rows in (
            (tables.workload, [_workload(number, number % experiments) for number in some]),
            (tables.param, [row for number in some for row in _labels(number, params_of(number))]),
            (tables.tag, [row for number in some for row in _labels(number, tags_of(number))]),
            (tables.metric_summary, [row for number in some for row in _summaries(number)]),
        ):
            _insert(connection, table, rows)


def analyze(connection: Connection) -> None:
    """Have the database look at what it holds, as it does by itself after a while."""
    for statement in _ANALYZE[connection.dialect.name]:
        connection.execute(text(statement)).close()


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    if connection.dialect.name == "sqlite":  # thrice as fast as through the whole of SQLAlchemy
        driver = connection.connection.driver_connection
        assert driver is not None
        quoted = ", ".join(f'"{name}"' for name in names)
        marks = ", ".join("?" * len(names))
        driver.executemany(
            f"INSERT INTO {table.name} ({quoted}) VALUES ({marks})",  # noqa: S608  # our own names
            [tuple(row.values()) for row in rows],
        )
    else:
        connection.execute(insert(table), rows)


def _workload(number: int, experiment_id: int) -> dict[str, Any]:
    at_ns = T0_NS + number * 1_000 * MS
    return {
        "id": run_id(number),
        "kind": "run",
        "project": "default",
        "experiment_id": experiment_id,
        "name": f"run-{number}",
        "user": f"user {number % 20}",
        "state": "succeeded" if number % 10 else "failed",
        "origin": "tracked",
        "spec": "{}",
        "created_ns": at_ns,
        "updated_ns": at_ns + 60_000 * MS,
        "started_ns": at_ns,
        "ended_ns": at_ns + 60_000 * MS,
        "attempt": 0,
    }


def _labels(number: int, labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    for key, value in labels.items():
        yield {"workload_id": run_id(number), "key": key, "value": value}


def _summaries(number: int) -> Iterator[dict[str, Any]]:
    for key, value in metrics_of(number).items():
        (bits,) = struct.unpack("<q", struct.pack("<d", value))
        yield {
            "workload_id": run_id(number),
            "key": key,
            "points": 1,
            "nans": 0,
            "last": value,
            "last_bits": bits,
            "last_step": number % 100,
            "last_time_ms": 1_700_000_000_000 + number,
            "min_bits": bits,
            "max_bits": bits,
            "min_step": number % 100,
            "max_step": number % 100,
            "step_max": number % 100,
            "time_ms_max": 1_700_000_000_000 + number,
        }
