"""Byte streams: logs and event files that several servers append to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Tables: byte_stream, byte_stream_row, byte_stream_chunk."""
    op.create_table(
        "byte_stream",
        sa.Column("id", types.number(), autoincrement=False, nullable=False),
        sa.Column("kind", types.short_text(16), nullable=False),
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("name", types.path_text(), nullable=False),
        sa.Column("version", types.number(), nullable=False),
        sa.Column("size_bytes", types.number(), nullable=False),
        sa.Column("settled_bytes", types.number(), nullable=False),
        sa.Column("sealed_bytes", types.number(), nullable=False),
        sa.Column("row_count", types.small_number(), nullable=False),
        sa.Column("finished", types.small_number(), nullable=False),
        sa.Column("seal_due", types.small_number(), nullable=False),
        sa.Column("summary", types.long_text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_byte_stream")),
        sa.UniqueConstraint(
            "workload_id",
            "kind",
            "attempt",
            "name",
            name=op.f("uq_byte_stream_workload_id_kind_attempt_name"),
        ),
    )
    op.create_index(
        op.f("ix_byte_stream_seal_due_kind_id"),
        "byte_stream",
        ["seal_due", "kind", "id"],
        unique=False,
    )
    for table, more in (
        ("byte_stream_row", [sa.Column("data", types.blob(), nullable=False)]),
        (
            "byte_stream_chunk",
            [
                sa.Column("object_key", types.path_text(), nullable=False),
                sa.Column("object_bytes", types.number(), nullable=False),
                sa.Column("index_bytes", types.number(), nullable=False),
            ],
        ),
    ):
        op.create_table(
            table,
            sa.Column("stream_id", types.number(), autoincrement=False, nullable=False),
            sa.Column("start", types.number(), autoincrement=False, nullable=False),
            sa.Column("size_bytes", types.number(), nullable=False),
            sa.Column("mark", types.blob(), nullable=False),
            *more,
            sa.ForeignKeyConstraint(
                ["stream_id"],
                ["byte_stream.id"],
                name=op.f(f"fk_{table}_stream_id_byte_stream"),
                ondelete="CASCADE",
            ),
            sa.PrimaryKeyConstraint("stream_id", "start", name=op.f(f"pk_{table}")),
        )
