"""Volumes whose contents are claims of a cluster."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Column: volume.namespace."""
    op.add_column("volume", sa.Column("namespace", types.short_text(64)))
