"""Sealed series: which there are, and which objects of theirs are to be removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Tables: metric_segment, metric_removal; on SQLite metric_journal anew."""
    if op.get_bind().dialect.name == "sqlite":
        _number_journal_for_good()
    op.create_table(
        "metric_segment",
        sa.Column("id", types.short_text(32), nullable=False),
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("points", types.number(), nullable=False),
        sa.Column("step_min", types.number(), nullable=False),
        sa.Column("step_max", types.number(), nullable=False),
        sa.Column("time_ms_min", types.number(), nullable=False),
        sa.Column("time_ms_max", types.number(), nullable=False),
        sa.Column("data_bytes", types.number(), nullable=False),
        sa.Column("index_bytes", types.number(), nullable=False),
        sa.Column("payload", types.blob(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_metric_segment_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_segment")),
    )
    op.create_index(
        op.f("ix_metric_segment_workload_id_step_min"),
        "metric_segment",
        ["workload_id", "step_min"],
        unique=False,
    )
    op.create_table(
        "metric_removal",
        sa.Column("object_key", types.path_text(), nullable=False),
        sa.Column("due_ns", types.number(), nullable=False),
        sa.PrimaryKeyConstraint("object_key", name=op.f("pk_metric_removal")),
    )
    op.create_index(op.f("ix_metric_removal_due_ns"), "metric_removal", ["due_ns"], unique=False)


def _number_journal_for_good() -> None:
    """Let SQLite never give a number of the journal again: only a new table can have that."""
    op.create_table(
        "metric_journal_anew",
        sa.Column("sequence", types.serial(), nullable=False),
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("points", types.small_number(), nullable=False),
        sa.Column("step_min", types.number(), nullable=False),
        sa.Column("step_max", types.number(), nullable=False),
        sa.Column("time_ms_min", types.number(), nullable=False),
        sa.Column("time_ms_max", types.number(), nullable=False),
        sa.Column("payload", types.blob(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_metric_journal_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_metric_journal")),
        sqlite_autoincrement=True,
    )
    op.execute("INSERT INTO metric_journal_anew SELECT * FROM metric_journal")
    op.drop_table("metric_journal")
    op.rename_table("metric_journal_anew", "metric_journal")
    for columns in (
        ["workload_id", "sequence"],
        ["workload_id", "time_ms_max"],
        ["workload_id", "step_min", "time_ms_min"],
    ):
        name = f"ix_metric_journal_{'_'.join(columns)}"
        op.create_index(op.f(name), "metric_journal", columns, unique=False)
