"""Media: histograms, images, tables, texts and audio of workloads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Tables: media_record, media_series, media_blob."""
    op.create_table(
        "media_record",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("digest", types.short_text(32), nullable=False),
        sa.Column("key", types.key_text(), nullable=False),
        sa.Column("kind", types.short_text(16), nullable=False),
        sa.Column("step", types.number(), nullable=False),
        sa.Column("time_ms", types.number(), nullable=False),
        sa.Column("place", types.small_number(), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("content", types.long_text(), nullable=False),
        sa.Column("blob_sha256", types.short_text(64), nullable=False),
        sa.Column("blob_format", types.short_text(16), nullable=False),
        sa.Column("blob_bytes", types.number(), nullable=False),
        *_keys("media_record", "digest"),
    )
    columns = ["workload_id", "key", "step", "time_ms", "place", "digest"]
    op.create_index(
        op.f(f"ix_media_record_{'_'.join(columns)}"), "media_record", columns, unique=False
    )
    op.create_table(
        "media_series",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("key", types.key_text(), nullable=False),
        sa.Column("kind", types.short_text(16), nullable=False),
        sa.Column("records", types.number(), nullable=False),
        sa.Column("step_min", types.number(), nullable=False),
        sa.Column("step_max", types.number(), nullable=False),
        *_keys("media_series", "key", "kind"),
    )
    op.create_table(
        "media_blob",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("sha256", types.short_text(64), nullable=False),
        sa.Column("format", types.short_text(16), nullable=False),
        sa.Column("size_bytes", types.number(), nullable=False),
        *_keys("media_blob", "sha256", "format"),
    )


def _keys(table: str, *columns: str) -> tuple[sa.Constraint, sa.Constraint]:
    return (
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f(f"fk_{table}_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", *columns, name=op.f(f"pk_{table}")),
    )
