"""What a project is for, in its user's words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Column: project.description."""
    op.add_column("project", sa.Column("description", types.long_text()))
