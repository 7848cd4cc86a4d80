"""An export as neptune-exporter writes it, by the schema that its README gives.

The exporter itself needs an account at Neptune to have anything to export.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

T0 = datetime(2025, 3, 1, 12, 0, 0, 125_000, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct(
                [
                    ("type", pa.string()),
                    ("edges", pa.list_(pa.float64())),
                    ("values", pa.list_(pa.float64())),
                ]
            ),
        ),
    ]
)


def attribute(path: str, kind: str, value: Any) -> dict[str, Any]:
    """The row of an attribute with one value."""
    return {"attribute_path": path, "attribute_type": kind, f"{kind}_value": value}


def series(path: str, kind: str, step: str, value: Any) -> dict[str, Any]:
    """The row of a point of a series; its time follows from its step."""
    column = {
        "float_series": "float_value",
        "string_series": "string_value",
        "histogram_series": "histogram_value",
        "file_series": "file_value",
    }[kind]
    number = Decimal(step).quantize(Decimal("1.000000"))
    return {
        "attribute_path": path,
        "attribute_type": kind,
        "step": number,
        "timestamp": T0 + timedelta(seconds=float(number)),
        column: value,
    }


def safe(name: str) -> str:
    """A name as the exporter writes it in paths."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name) + f"-{digest}"


def write_run(
    data: Path, project: str, run: str, rows: Iterable[dict[str, Any]], *, parts: int = 1
) -> None:
    """Write the files of a run below the exporter's --data-path."""
    whole = [{"project_id": project, "run_id": run, **row} for row in rows]
    folder = data / safe(project)
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(whole) // parts)
    for part in range(parts):
        table = pa.Table.from_pylist(whole[part * size : (part + 1) * size], schema=SCHEMA)
        pq.write_table(table, folder / f"{safe(run)}_part_{part}.parquet", compression="snappy")
