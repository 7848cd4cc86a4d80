"""Leases: several servers on one database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Tables: lease, installation, artifact_intent. Attempts have a place."""
    op.create_table(
        "lease",
        sa.Column("name", types.short_text(250), nullable=False),
        sa.Column("holder", types.short_text(250), nullable=False),
        sa.Column("fence", types.number(), nullable=False),
        sa.Column("taken_ns", types.number(), nullable=False),
        sa.Column("expires_ns", types.number(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "installation",
        sa.Column("name", types.short_text(63), nullable=False),
        sa.Column("content", types.blob(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation")),
    )
    op.create_table(
        "artifact_intent",
        sa.Column("id", types.short_text(32), nullable=False),
        sa.Column("owner", types.short_text(34), nullable=False),
        sa.Column("path", types.path_text(), nullable=False),
        sa.Column("sha256", types.short_text(64), nullable=False),
        sa.Column("deletes", types.small_number(), nullable=False),
        sa.Column("outdated", types.small_number(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_intent")),
    )
    op.create_index(op.f("ix_artifact_intent_owner"), "artifact_intent", ["owner"], unique=False)
    op.add_column("attempt", sa.Column("place", types.short_text(63), nullable=True))
    op.add_column("attempt", sa.Column("fence", types.number(), nullable=True))
    op.add_column("attempt", sa.Column("launching_ns", types.number(), nullable=True))
