"""On SQLite: params, tags and summaries lie in the order of their primary keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_TEXTS = sa.text(
    "SELECT type, sql FROM sqlite_master "
    "WHERE tbl_name = :name AND sql IS NOT NULL ORDER BY type = 'index'"
)


def upgrade() -> None:
    """Write the tables param, tag and metric_summary anew, without the ids of rows.

    It takes as much room again as they have, which is reused afterwards.
    """
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        return
    for name in ("param", "tag", "metric_summary"):
        (_, table), *indexes = bind.execute(_TEXTS, {"name": name}).all()
        bind.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {name}_before")
        bind.exec_driver_sql(f"{table} WITHOUT ROWID")
        bind.exec_driver_sql(
            f"INSERT INTO {name} SELECT * FROM {name}_before ORDER BY workload_id, key"  # noqa: S608  # our own names
        )
        bind.exec_driver_sql(f"DROP TABLE {name}_before")
        for _, index in indexes:
            bind.exec_driver_sql(index)
