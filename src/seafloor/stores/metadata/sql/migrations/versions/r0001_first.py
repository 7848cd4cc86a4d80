"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from seafloor.stores.metadata.sql import column_types as types


def upgrade() -> None:
    """Create every table, the project `default` and the experiment `Default`."""
    _projects_and_environments()
    _workloads()
    _attempts_and_events()
    _models_and_journal()
    _metrics_and_labels()
    _inputs_and_tasks()
    # Unless they are there: some databases commit each step by itself, and may stop between two.
    op.execute(
        "INSERT INTO project (name, created_ns) SELECT 'default', 0 FROM (SELECT 1 AS one) AS once "
        "WHERE NOT EXISTS (SELECT 1 FROM project WHERE name = 'default')"
    )
    op.execute(
        "INSERT INTO experiment (id, project, name, created_ns, updated_ns) "
        "SELECT 0, 'default', 'Default', 0, 0 FROM (SELECT 1 AS one) AS once "
        "WHERE NOT EXISTS (SELECT 1 FROM experiment WHERE id = 0)"
    )


def _projects_and_environments() -> None:
    """Tables: artifact, project, environment, experiment, experiment_tag."""
    op.create_table(
        "artifact",
        sa.Column("owner", types.short_text(34), nullable=False),
        sa.Column("path", types.path_text(), nullable=False),
        sa.Column("size_bytes", types.number(), nullable=False),
        sa.Column("sha256", types.short_text(64), nullable=False),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "path", name=op.f("pk_artifact")),
    )
    op.create_table(
        "project",
        sa.Column("name", types.name_text(), nullable=False),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_project")),
    )
    op.create_table(
        "environment",
        sa.Column("project", types.name_text(), nullable=False),
        sa.Column("name", types.name_text(), nullable=False),
        sa.Column("version", types.small_number(), autoincrement=False, nullable=False),
        sa.Column("python", types.short_text(64), nullable=False),
        sa.Column("pip", types.long_text(), nullable=False),
        sa.Column("conda_channels", types.long_text(), nullable=False),
        sa.Column("conda_packages", types.long_text(), nullable=False),
        sa.Column("image", types.long_text(), nullable=True),
        sa.Column("lock", types.long_text(), nullable=False),
        sa.Column("digest", types.short_text(64), nullable=False),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.Column("deleted_ns", types.number(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_environment_project_project")
        ),
        sa.PrimaryKeyConstraint("project", "name", "version", name=op.f("pk_environment")),
    )
    op.create_table(
        "experiment",
        sa.Column("id", types.serial(), nullable=False),
        sa.Column("project", types.name_text(), nullable=False),
        sa.Column("name", types.name_text(), nullable=False),
        sa.Column("spec", types.long_text(), nullable=True),
        sa.Column("artifact_location", types.long_text(), nullable=True),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.Column("updated_ns", types.number(), nullable=False),
        sa.Column("deleted_ns", types.number(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_experiment_project_project")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
        sa.UniqueConstraint("project", "name", name=op.f("uq_experiment_project_name")),
    )
    op.create_table(
        "experiment_tag",
        sa.Column("experiment_id", types.serial(), nullable=False),
        sa.Column("key", types.key_text(), nullable=False),
        sa.Column("value", types.long_text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiment.id"],
            name=op.f("fk_experiment_tag_experiment_id_experiment"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "key", name=op.f("pk_experiment_tag")),
    )


def _workloads() -> None:
    """Tables: workload."""
    op.create_table(
        "workload",
        sa.Column("id", types.short_text(32), nullable=False),
        sa.Column("kind", types.short_text(16), nullable=False),
        sa.Column("project", types.name_text(), nullable=False),
        sa.Column("experiment_id", types.serial(), nullable=True),
        sa.Column("name", types.name_text(), nullable=False),
        sa.Column("user", types.name_text(), nullable=False),
        sa.Column("state", types.short_text(16), nullable=False),
        sa.Column("origin", types.short_text(16), nullable=False),
        sa.Column("spec", types.long_text(), nullable=False),
        sa.Column("code", types.long_text(), nullable=True),
        sa.Column("environment", types.short_text(300), nullable=True),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.Column("updated_ns", types.number(), nullable=False),
        sa.Column("started_ns", types.number(), nullable=True),
        sa.Column("ended_ns", types.number(), nullable=True),
        sa.Column("deleted_ns", types.number(), nullable=True),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("idempotency_key", types.key_text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_workload_experiment_id_experiment")
        ),
        sa.ForeignKeyConstraint(
            ["project"], ["project.name"], name=op.f("fk_workload_project_project")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workload")),
        sa.UniqueConstraint(
            "project", "idempotency_key", name=op.f("uq_workload_project_idempotency_key")
        ),
    )
    op.create_index(
        op.f("ix_workload_kind_created_ns_id"),
        "workload",
        ["kind", "created_ns", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_workload_kind_experiment_id_created_ns_id"),
        "workload",
        ["kind", "experiment_id", "created_ns", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_workload_kind_project_created_ns_id"),
        "workload",
        ["kind", "project", "created_ns", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_workload_kind_state_created_ns_id"),
        "workload",
        ["kind", "state", "created_ns", "id"],
        unique=False,
    )


def _attempts_and_events() -> None:
    """Tables: attempt, event, event_file."""
    op.create_table(
        "attempt",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("number", types.small_number(), nullable=False),
        sa.Column("state", types.short_text(16), nullable=False),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.Column("started_ns", types.number(), nullable=True),
        sa.Column("ended_ns", types.number(), nullable=True),
        sa.Column("ending", types.long_text(), nullable=True),
        sa.Column("receipts", types.long_text(), nullable=False),
        sa.Column("environment", types.short_text(300), nullable=True),
        sa.Column("environment_digest", types.short_text(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_attempt_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "number", name=op.f("pk_attempt")),
    )
    op.create_table(
        "event",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("sequence", types.small_number(), nullable=False),
        sa.Column("time_ns", types.number(), nullable=False),
        sa.Column("kind", types.short_text(16), nullable=False),
        sa.Column("actor", types.short_text(32), nullable=False),
        sa.Column("message", types.long_text(), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=True),
        sa.Column("state", types.short_text(16), nullable=True),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_event_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "sequence", name=op.f("pk_event")),
    )
    op.create_table(
        "event_file",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("path", types.path_text(), nullable=False),
        sa.Column("size_bytes", types.number(), nullable=False),
        sa.Column("decoded_bytes", types.number(), nullable=False),
        sa.Column("records", types.number(), nullable=False),
        sa.Column("scalars", types.number(), nullable=False),
        sa.Column("problem", types.long_text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_event_file_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "attempt", "path", name=op.f("pk_event_file")),
    )


def _models_and_journal() -> None:
    """Tables: logged_model, metric_journal."""
    op.create_table(
        "logged_model",
        sa.Column("id", types.short_text(34), nullable=False),
        sa.Column("experiment_id", types.serial(), nullable=False),
        sa.Column("name", types.name_text(), nullable=False),
        sa.Column("model_type", types.long_text(), nullable=False),
        sa.Column("state", types.short_text(16), nullable=False),
        sa.Column("source_run_id", types.short_text(32), nullable=True),
        sa.Column("params", types.long_text(), nullable=False),
        sa.Column("tags", types.long_text(), nullable=False),
        sa.Column("created_ns", types.number(), nullable=False),
        sa.Column("updated_ns", types.number(), nullable=False),
        sa.Column("deleted_ns", types.number(), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiment.id"],
            name=op.f("fk_logged_model_experiment_id_experiment"),
        ),
        sa.ForeignKeyConstraint(
            ["source_run_id"],
            ["workload.id"],
            name=op.f("fk_logged_model_source_run_id_workload"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logged_model")),
    )
    op.create_index(
        op.f("ix_logged_model_experiment_id_created_ns"),
        "logged_model",
        ["experiment_id", "created_ns"],
        unique=False,
    )
    op.create_index(
        op.f("ix_logged_model_source_run_id"), "logged_model", ["source_run_id"], unique=False
    )
    op.create_table(
        "metric_journal",
        sa.Column("sequence", types.serial(), nullable=False),
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("points", types.small_number(), nullable=False),
        sa.Column("step_min", types.number(), nullable=False),
        sa.Column("step_max", types.number(), nullable=False),
        sa.Column("time_ms_min", types.number(), nullable=False),
        sa.Column("time_ms_max", types.number(), nullable=False),
        sa.Column("payload", types.blob(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_metric_journal_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_metric_journal")),
    )
    op.create_index(
        op.f("ix_metric_journal_workload_id_sequence"),
        "metric_journal",
        ["workload_id", "sequence"],
        unique=False,
    )
    op.create_index(
        op.f("ix_metric_journal_workload_id_time_ms_max"),
        "metric_journal",
        ["workload_id", "time_ms_max"],
        unique=False,
    )
    op.create_index(
        op.f("ix_metric_journal_workload_id_step_min_time_ms_min"),
        "metric_journal",
        ["workload_id", "step_min", "time_ms_min"],
        unique=False,
    )


def _metrics_and_labels() -> None:
    """Tables: metric_summary, param, tag."""
    op.create_table(
        "metric_summary",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("key", types.key_text(), nullable=False),
        sa.Column("points", types.number(), nullable=False),
        sa.Column("nans", types.number(), nullable=False),
        sa.Column("last", types.float64(), nullable=True),
        sa.Column("last_bits", types.number(), nullable=False),
        sa.Column("last_step", types.number(), nullable=False),
        sa.Column("last_time_ms", types.number(), nullable=False),
        sa.Column("min_bits", types.number(), nullable=True),
        sa.Column("max_bits", types.number(), nullable=True),
        sa.Column("min_step", types.number(), nullable=True),
        sa.Column("max_step", types.number(), nullable=True),
        sa.Column("step_max", types.number(), nullable=False),
        sa.Column("time_ms_max", types.number(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_metric_summary_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "key", name=op.f("pk_metric_summary")),
    )
    op.create_index(
        op.f("ix_metric_summary_key_last"), "metric_summary", ["key", "last"], unique=False
    )
    op.create_table(
        "param",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("key", types.key_text(), nullable=False),
        sa.Column("value", types.long_text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_param_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "key", name=op.f("pk_param")),
    )
    op.create_table(
        "tag",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("key", types.key_text(), nullable=False),
        sa.Column("value", types.long_text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_tag_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "key", name=op.f("pk_tag")),
    )


def _inputs_and_tasks() -> None:
    """Tables: workload_input, model_metric, task."""
    op.create_table(
        "workload_input",
        sa.Column("id", types.serial(), nullable=False),
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("kind", types.short_text(16), nullable=False),
        sa.Column("document", types.long_text(), nullable=False),
        sa.Column("digest", types.short_text(64), nullable=False),
        sa.Column("name", types.short_text(500), nullable=True),
        sa.Column("dataset_digest", types.short_text(500), nullable=True),
        sa.Column("context", types.long_text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_workload_input_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workload_input")),
        sa.UniqueConstraint(
            "workload_id", "kind", "digest", name=op.f("uq_workload_input_workload_id_kind_digest")
        ),
    )
    op.create_table(
        "model_metric",
        sa.Column("id", types.serial(), nullable=False),
        sa.Column("model_id", types.short_text(34), nullable=False),
        sa.Column("run_id", types.short_text(32), nullable=False),
        sa.Column("document", types.long_text(), nullable=False),
        sa.Column("digest", types.short_text(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["logged_model.id"],
            name=op.f("fk_model_metric_model_id_logged_model"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["workload.id"],
            name=op.f("fk_model_metric_run_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_metric")),
        sa.UniqueConstraint("model_id", "digest", name=op.f("uq_model_metric_model_id_digest")),
    )
    op.create_index(op.f("ix_model_metric_run_id"), "model_metric", ["run_id"], unique=False)
    op.create_table(
        "task",
        sa.Column("workload_id", types.short_text(32), nullable=False),
        sa.Column("attempt", types.small_number(), nullable=False),
        sa.Column("name", types.short_text(63), nullable=False),
        sa.Column("role", types.short_text(63), nullable=False),
        sa.Column("state", types.short_text(16), nullable=False),
        sa.Column("ending", types.long_text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workload_id", "attempt"],
            ["attempt.workload_id", "attempt.number"],
            name=op.f("fk_task_workload_id_attempt_attempt"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workload_id"],
            ["workload.id"],
            name=op.f("fk_task_workload_id_workload"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workload_id", "attempt", "name", name=op.f("pk_task")),
    )
