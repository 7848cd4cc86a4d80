"""When the tasks of distributed runs started and ended, and what was localised for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Columns of task: started_ns, ended_ns, receipts; null for tasks of before."""
    op.add_column("task", sa.Column("started_ns", types.number(), nullable=True))
    op.add_column("task", sa.Column("ended_ns", types.number(), nullable=True))
    op.add_column("task", sa.Column("receipts", types.long_text(), nullable=True))
