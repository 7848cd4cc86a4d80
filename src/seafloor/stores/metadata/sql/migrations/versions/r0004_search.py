"""Ways into runs: by names, start times, values of params and tags, datasets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_HEAD_CHARS = 64

_JSON_AT = """
CREATE OR REPLACE FUNCTION seafloor_json_at(document text, path text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    found json;
    step json;
BEGIN
    found := document::json;
    FOR step IN SELECT * FROM json_array_elements(path::json) LOOP
        IF json_typeof(step) = 'number' AND json_typeof(found) = 'array' THEN
            found := found -> (step #>> '{}')::int;
        ELSIF json_typeof(step) = 'string' AND json_typeof(found) = 'object' THEN
            found := found -> (step #>> '{}');
        ELSE
            RETURN NULL;
        END IF;
        IF found IS NULL THEN
            RETURN NULL;
        END IF;
    END LOOP;
    IF json_typeof(found) IN ('object', 'array', 'null') THEN
        RETURN NULL;
    END IF;
    RETURN found #>> '{}';
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;  -- it is no JSON
END $$
"""


def upgrade() -> None:
    """Indexes of workload, param, tag, workload_input; on PostgreSQL a function."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for columns in (
        ["kind", "name", "id"],
        ["kind", "started_ns", "id"],
        ["kind", "experiment_id", "started_ns", "id"],
    ):
        op.create_index(op.f(f"ix_workload_{'_'.join(columns)}"), "workload", columns, unique=False)
    for column in ("name", "dataset_digest"):
        op.create_index(
            op.f(f"ix_workload_input_{column}"), "workload_input", [column], unique=False
        )
    for table in ("param", "tag"):
        # No database but SQLite takes a whole value of kilobytes into an index.
        name, value = f"ix_{table}_key_value", "value"
        if is_postgresql:
            name, value = f"{name}_head", sa.text(f"left(value, {_HEAD_CHARS})")
        op.create_index(
            op.f(name),
            table,
            ["key", value],
            unique=False,
            mariadb_length={"value": _HEAD_CHARS},
            mysql_length={"value": _HEAD_CHARS},
        )
    if is_postgresql:
        op.execute(_JSON_AT)
