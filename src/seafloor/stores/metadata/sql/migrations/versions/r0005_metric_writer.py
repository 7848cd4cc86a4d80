"""Writers of metrics: which of a writer's batches was applied last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Table: metric_writer."""
    op.create_table(
        "metric_writer",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("writer", types.short_text(64), nullable=False),
        sa.Column("sequence", types.number(), nullable=False),
        sa.Column("sha256", types.short_text(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_metric_writer_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "writer", name=op.f("pk_metric_writer")),
    )
