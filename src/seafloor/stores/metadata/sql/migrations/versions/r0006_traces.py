"""Traces of generative models, with their spans and what is said of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Tables: trace, trace_label, trace_span, trace_assessment, trace_run."""
    op.create_table(
        "trace",
        sa.Column("id", types.short_text(50), nullable=False),
        sa.Column("experiment_id", types.serial(), nullable=False),
        sa.Column("time_ms", types.number(), nullable=False),
        sa.Column("duration_ms", types.number(), nullable=True),
        sa.Column("state", types.short_text(16), nullable=False),
        sa.Column("client_request_id", types.long_text(), nullable=True),
        sa.Column("request_preview", types.long_text(), nullable=True),
        sa.Column("response_preview", types.long_text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_trace_experiment_id_experiment")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trace")),
    )
    op.create_index(
        op.f("ix_trace_experiment_id_time_ms_id"),
        "trace",
        ["experiment_id", "time_ms", "id"],
        unique=False,
    )
    _of_trace(
        "trace_label",
        [
            sa.Column("kind", types.short_text(16), nullable=False),
            sa.Column("key", types.key_text(), nullable=False),
            sa.Column("value", types.long_text(), nullable=False),
        ],
        ["kind", "key"],
    )
    _of_trace(
        "trace_span",
        [
            sa.Column("id", types.short_text(16), nullable=False),
            sa.Column("parent_id", types.short_text(16), nullable=True),
            sa.Column("name", types.long_text(), nullable=False),
            sa.Column("type", types.long_text(), nullable=False),
            sa.Column("status", types.short_text(16), nullable=False),
            sa.Column("start_ns", types.number(), nullable=False),
            sa.Column("end_ns", types.number(), nullable=True),
            sa.Column("sums", types.long_text(), nullable=True),
            sa.Column("document", types.blob(), nullable=False),
        ],
        ["id"],
    )
    _of_trace(
        "trace_assessment",
        [
            sa.Column("id", types.short_text(50), nullable=False),
            sa.Column("kind", types.short_text(16), nullable=False),
            sa.Column("name", types.long_text(), nullable=False),
            sa.Column("valid", types.small_number(), nullable=False),
            sa.Column("created_ms", types.number(), nullable=False),
            sa.Column("value", types.long_text(), nullable=False),
            sa.Column("number", types.float64(), nullable=True),
            sa.Column("document", types.long_text(), nullable=False),
        ],
        ["id"],
    )
    _of_trace(
        "trace_run",
        [
            sa.Column("workload_id", types.short_text(32), nullable=False),
            sa.ForeignKeyConstraint(
                ["workload_id"],
                ["workload.id"],
                name=op.f("fk_trace_run_workload_id_workload"),
                ondelete="CASCADE",
            ),
        ],
        ["workload_id"],
    )
    op.create_index(op.f("ix_trace_run_workload_id"), "trace_run", ["workload_id"], unique=False)


def _of_trace(name: str, parts: list[Any], key: list[str]) -> None:
    """A table of what belongs to a trace, and goes with it."""
    op.create_table(
        name,
        sa.Column("trace_id", types.short_text(50), nullable=False),
        *parts,
        sa.ForeignKeyConstraint(
            ["trace_id"], ["trace.id"], name=op.f(f"fk_{name}_trace_id_trace"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trace_id", *key, name=op.f(f"pk_{name}")),
    )
