"""What is in an export, read as a stranger would: with DuckDB."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import duckdb

from seafloor.sdk.exports.manifest import TABLES

Rows = list[tuple[Any, ...]]


def query(folder: Path, sql: str) -> Rows:
    """Ask DuckDB; ``{table}`` is the files of a table."""
    places = {
        name: f"'{folder}/{'metrics/*' if name == 'metrics' else name}.parquet'" for name in TABLES
    }
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql.format(**places)).fetchall()


def content(folder: Path) -> dict[str, Rows]:
    """Every row of every table, sorted, without what cannot be the same on another server."""
    made = {
        "projects": query(folder, "SELECT name FROM {projects}"),
        "experiments": query(
            folder,
            "SELECT project, name, name = 'Default' OR epoch_ns(created), deleted IS NULL, "
            "list_sort(map_entries(tags)), spec, runs, models FROM {experiments}".replace(
                "name = 'Default' OR epoch_ns(created)",
                "CASE WHEN name = 'Default' THEN 0 ELSE epoch_ns(created) END",
            ),
        ),
        "runs": query(
            folder,
            "SELECT * EXCLUDE (experiment_id, updated, deleted, events, tags), deleted IS NULL, "
            "tags - (SELECT count(*) FROM {tags} AS t WHERE t.run_id = r.run_id "
            "AND t.key = 'seafloor.import.missing' AND r.state = 'running') FROM {runs} AS r",
        ),
        # A run that goes on here has a tag that says that it was brought, and this alone.
        "tags": query(
            folder,
            "SELECT t.* FROM {tags} AS t JOIN {runs} AS r USING (run_id) "
            "WHERE NOT (t.key = 'seafloor.import.missing' AND r.state = 'running')",
        ),
        "models": query(
            folder,
            "SELECT * EXCLUDE (experiment_id, updated, deleted, params, tags), deleted IS NULL, "
            "list_sort(map_entries(params)), list_sort(map_entries(tags)) FROM {models}",
        ),
        "traces": query(
            folder,
            "SELECT * EXCLUDE (experiment_id, tags, metadata), list_sort(map_entries(tags)), "
            "list_sort(map_entries(metadata)) FROM {traces}",
        ),
        "metrics": bits(
            query(folder, "SELECT run_id, key, attempt, step, epoch_ms(time), value FROM {metrics}")
        ),
    }
    for name in TABLES:
        if name not in made and name != "events":
            made[name] = query(folder, "FROM {" + name + "}")
    return {name: sorted(rows, key=repr) for name, rows in made.items()}


def bits(rows: Rows) -> Rows:
    """Points with the bits of their values, which say what ``==`` does not."""
    return [(*row[:-1], struct.pack("<d", row[-1]).hex()) for row in rows]
