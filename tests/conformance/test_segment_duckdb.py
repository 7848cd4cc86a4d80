"""DuckDB reads the data file of a segment as a stranger would."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

from seafloor.domain.metrics import TIME_MS_MAX
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


def test_segment__of_odd_numbers__gives_duckdb_every_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bounds = np.iinfo(np.int64)
    step = np.sort(random.integers(bounds.min, bounds.max, COUNT, endpoint=True))
    step[0], step[-1] = bounds.min, bounds.max
    time_ms = random.integers(0, TIME_MS_MAX, COUNT, endpoint=True)
    bits = random.integers(0, (1 << 64) - 1, COUNT, dtype=np.uint64, endpoint=True)
    bits[:4] = [1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, (0x7FF0 << 48) + 1]
    points = SeriesColumns(np.zeros(COUNT, np.int32), step, time_ms, bits)
    file = tmp_path / "segment.parquet"
    file.write_bytes(encode_segment({"": points, "größe": points}).data)
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT step, epoch_ms(time) AS ms, value FROM read_parquet(?) WHERE key = ''"
            " ORDER BY file_row_number",
            [str(file)],
        ).fetchnumpy()
    assert (found["step"] == step).all()
    assert (found["ms"] == time_ms).all()
    assert (np.asarray(found["value"]).view(np.uint64) == bits).all()
