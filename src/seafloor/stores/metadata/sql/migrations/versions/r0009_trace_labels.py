"""A way into traces: by values of their tags and metadata."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_HEAD_CHARS = 64


def upgrade() -> None:
    """An index of trace_label."""
    # No database but SQLite takes a whole value of kilobytes into an index.
    name, value = "ix_trace_label_key_value", "value"
    if op.get_bind().dialect.name == "postgresql":
        name, value = f"{name}_head", sa.text(f"left(value, {_HEAD_CHARS})")
    op.create_index(
        op.f(name),
        "trace_label",
        ["key", value],
        unique=False,
        mariadb_length={"value": _HEAD_CHARS},
        mysql_length={"value": _HEAD_CHARS},
    )
