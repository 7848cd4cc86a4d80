"""On PostgreSQL and MariaDB: the indexes of params' and tags' values say whose they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

_HEAD_CHARS = 64


def upgrade() -> None:
    """Build the indexes of values anew, with the run beside the value.

    A million params take one to two seconds; who writes them waits meanwhile. On PostgreSQL the
    index grows tenfold, to what the primary key's takes.
    """
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":
        return
    for table in ("param", "tag"):
        before = f"ix_{table}_key_value"
        if bind.dialect.name == "postgresql":
            head = f"{before}_head"
            bind.exec_driver_sql(f"DROP INDEX {head}")
            value = sa.text(f"left(value, {_HEAD_CHARS})")
            op.create_index(op.f(head), table, ["key", value, "workload_id"])
            continue
        length = {"value": _HEAD_CHARS}
        op.create_index(
            op.f(f"{before}_run"),
            table,
            ["key", "value", "workload_id"],
            mariadb_length=length,
            mysql_length=length,
        )
        if sa.inspect(bind).has_index(table, before):  # else an earlier one, which broke off, did
            op.drop_index(op.f(before), table)
