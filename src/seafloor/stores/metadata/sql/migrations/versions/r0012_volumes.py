"""Volumes, their snapshots, and the workloads that were submitted with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Tables: volume, volume_snapshot, volume_use."""
    op.create_table(
        "volume",
        sa.Column("id", types.short_text(32), nullable=False),
        sa.Column("project", types.name_text(), nullable=False),
        sa.Column("name", types.short_text(64), nullable=False),
        sa.Column("access_mode", types.short_text(16), nullable=False),
        sa.Column("size_bytes", types.number(), nullable=True),
        sa.Column("storage_class", types.short_text(253), nullable=True),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.Column("deleted_ns", types.number(), nullable=True),
        sa.Column("content", types.small_number(), nullable=False),
        sa.Column("content_last", types.small_number(), nullable=False),
        sa.Column("snapshot_last", types.small_number(), nullable=False),
        sa.Column("operation", types.long_text(), nullable=True),
        sa.Column("problem", types.long_text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_volume_project_project")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume")),
        sa.UniqueConstraint("project", "name", name=op.f("uq_volume_project_name")),
    )
    op.create_table(
        "volume_snapshot",
        sa.Column("volume_id", types.short_text(32), nullable=False),
        sa.Column("number", types.small_number(), autoincrement=False, nullable=False),
        sa.Column("sha256", types.short_text(64), nullable=False),
        sa.Column("size_bytes", types.number(), nullable=False),
        sa.Column("files", types.number(), nullable=False),
        sa.Column("content_bytes", types.number(), nullable=False),
        sa.Column("left_out", types.number(), nullable=False),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
            name=op.f("fk_volume_snapshot_volume_id_volume"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("volume_id", "number", name=op.f("pk_volume_snapshot")),
    )
    op.create_table(
        "volume_use",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("volume_id", types.short_text(32), nullable=False),
        sa.Column("read_only", types.small_number(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_volume_use_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["volume_id"],
            ["volume.id"],
            name=op.f("fk_volume_use_volume_id_volume"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "volume_id", name=op.f("pk_volume_use")),
    )
    op.create_index(op.f("ix_volume_use_volume_id"), "volume_use", ["volume_id"], unique=False)
