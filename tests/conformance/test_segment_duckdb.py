"""DuckDB reads the data file of a segment as a stranger would."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.segment import encode_segment

COUNT = 70_000


def test_segment__asked_by_sql__answers_with_keys_steps_times_and_values(tmp_path: Path) -> None:
    step = np.arange(COUNT)
    value = step / 2
    value[7] = np.nan
    points = SeriesColumns(
        np.ones(COUNT, np.int32), step, 1_700_000_000_000 + step, value.view(np.uint64)
    )
    file = tmp_path / "segment.parquet"
    file.write_bytes(encode_segment({"acc": points, "loss": points}).data)
    with duckdb.connect() as connection:
        relation = connection.read_parquet(str(file))
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        found = connection.execute(
            "SELECT key, attempt, count(*), max(step), epoch_ms(max(time)), sum(isnan(value)::INT),"
            " max(value) FILTER (NOT isnan(value)) FROM read_parquet(?) GROUP BY ALL ORDER BY key",
            [str(file)],
        ).fetchall()
    assert types == {
        "key": "VARCHAR",
        "attempt": "INTEGER",
        "step": "BIGINT",
        "time": "TIMESTAMP WITH TIME ZONE",
        "value": "DOUBLE",
    }
    last = COUNT - 1
    wanted = (1, COUNT, last, 1_700_000_000_000 + last, 1, last / 2)
    assert found == [("acc", *wanted), ("loss", *wanted)]
