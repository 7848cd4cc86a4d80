"""On PostgreSQL: the index of metrics' last values says whose they are."""

from __future__ import annotations

from alembic import op


def upgrade() -> None:
    """Build ix_metric_summary_key_last anew, with the run beside the key.

    A million summaries take a second; who writes them waits meanwhile.
    """
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    name = "ix_metric_summary_key_last"
    bind.exec_driver_sql(f"DROP INDEX {name}")
    op.create_index(
        op.f(name), "metric_summary", ["key", "last"], postgresql_include=["workload_id"]
    )
