"""The tables. Changed only together with a migration; a test compares the two.

Times are nanoseconds UTC. Documents (specs, code, endings, receipts) are JSON texts.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in an INTEGER column.
_Serial = BigInteger().with_variant(Integer, "sqlite")
_NAME = String(500)
_KEY = String(250)
_ID = String(32)
_OWNER = String(34)
_PATH = String(1024)

project = Table(
    "project",
    METADATA,
    Column("name", _NAME, primary_key=True),
    Column("created_ns", BigInteger, nullable=False),
)

experiment = Table(
    "experiment",
    METADATA,
    Column("id", _Serial, primary_key=True),
    Column("project", _NAME, ForeignKey("project.name"), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("spec", Text),
    Column("artifact_location", Text),
    Column("created_ns", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Column("deleted_ns", BigInteger),
    UniqueConstraint("project", "name"),
)

experiment_tag = Table(
    "experiment_tag",
    METADATA,
    Column(
        "experiment_id", _Serial, ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("key", _KEY, primary_key=True),
    Column("value", Text, nullable=False),
)

workload = Table(
    "workload",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("project", _NAME, ForeignKey("project.name"), nullable=False),
    Column("experiment_id", _Serial, ForeignKey("experiment.id")),
    Column("name", _NAME, nullable=False),
    Column("user", _NAME, nullable=False),
    Column("state", String(16), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("spec", Text, nullable=False),
    Column("code", Text),
    Column("environment", _NAME),
    Column("created_ns", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Column("started_ns", BigInteger),
    Column("ended_ns", BigInteger),
    Column("deleted_ns", BigInteger),
    Column("attempt", Integer, nullable=False),
    Column("idempotency_key", String(250)),
    UniqueConstraint("project", "idempotency_key"),
    Index(None, "kind", "created_ns", "id"),
    Index(None, "kind", "project", "created_ns", "id"),
    Index(None, "kind", "experiment_id", "created_ns", "id"),
    # What the reconciler asks for every second: the few that live.
    Index(None, "kind", "state", "created_ns", "id"),
)


def _of_workload(*, primary_key: bool = True) -> Column[str]:
    return Column(
        "workload_id",
        _ID,
        ForeignKey("workload.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


attempt = Table(
    "attempt",
    METADATA,
    _of_workload(),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("started_ns", BigInteger),
    Column("ended_ns", BigInteger),
    Column("ending", Text),
    Column("receipts", Text, nullable=False),
    Column("environment", _NAME),
    Column("environment_digest", String(64)),
)

task = Table(
    "task",
    METADATA,
    _of_workload(),
    Column("attempt", Integer, primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("ending", Text),
    ForeignKeyConstraint(
        ["workload_id", "attempt"], ["attempt.workload_id", "attempt.number"], ondelete="CASCADE"
    ),
)

event = Table(
    "event",
    METADATA,
    _of_workload(),
    Column("sequence", Integer, primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("actor", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer),
    Column("state", String(16)),
)

param = Table(
    "param",
    METADATA,
    _of_workload(),
    Column("key", _KEY, primary_key=True),
    Column("value", Text, nullable=False),
)

tag = Table(
    "tag",
    METADATA,
    _of_workload(),
    Column("key", _KEY, primary_key=True),
    Column("value", Text, nullable=False),
)

environment = Table(
    "environment",
    METADATA,
    Column("project", _NAME, ForeignKey("project.name"), primary_key=True),
    Column("name", _NAME, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("python", String(64), nullable=False),
    Column("pip", Text, nullable=False),
    Column("conda_channels", Text, nullable=False),
    Column("conda_packages", Text, nullable=False),
    Column("image", Text),
    Column("lock", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("deleted_ns", BigInteger),
)

artifact = Table(
    "artifact",
    METADATA,
    # A workload's id, or a logged model's.
    Column("owner", _OWNER, primary_key=True),
    Column("path", _PATH, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

logged_model = Table(
    "logged_model",
    METADATA,
    Column("id", _OWNER, primary_key=True),
    Column("experiment_id", _Serial, ForeignKey("experiment.id"), nullable=False),
    Column("name", _NAME, nullable=False),
    Column("model_type", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("source_run_id", _ID, ForeignKey("workload.id", ondelete="SET NULL")),
    Column("params", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Column("deleted_ns", BigInteger),
    Index(None, "experiment_id", "created_ns"),
    Index(None, "source_run_id"),
)

model_metric = Table(
    "model_metric",
    METADATA,
    Column("id", _Serial, primary_key=True),
    Column("model_id", _OWNER, ForeignKey("logged_model.id", ondelete="CASCADE"), nullable=False),
    # The whole value as a document: NaN and infinities have no place in every database's floats.
    Column("document", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    UniqueConstraint("model_id", "digest"),
)

# What a run used and produced: datasets, models, outputs, each a document, in order.
workload_input = Table(
    "workload_input",
    METADATA,
    Column("id", _Serial, primary_key=True),
    _of_workload(primary_key=False),
    Column("kind", String(16), nullable=False),
    Column("document", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    # Of a dataset, for searching.
    Column("name", _NAME),
    Column("dataset_digest", _NAME),
    Column("context", Text),
    UniqueConstraint("workload_id", "kind", "digest"),
)

metric_journal = Table(
    "metric_journal",
    METADATA,
    Column("sequence", _Serial, primary_key=True),
    _of_workload(primary_key=False),
    Column("attempt", Integer, nullable=False),
    Column("points", Integer, nullable=False),
    Column("step_min", BigInteger, nullable=False),
    Column("step_max", BigInteger, nullable=False),
    Column("time_ms_min", BigInteger, nullable=False),
    Column("time_ms_max", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index(None, "workload_id", "sequence"),
)

metric_summary = Table(
    "metric_summary",
    METADATA,
    _of_workload(),
    Column("key", _KEY, primary_key=True),
    Column("points", BigInteger, nullable=False),
    Column("nans", BigInteger, nullable=False),
    # NULL for NaN and clamped for infinities: only for searching; `last_bits` holds the truth.
    Column("last", Double),
    Column("last_bits", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("last_time_ms", BigInteger, nullable=False),
    Column("min_bits", BigInteger),
    Column("max_bits", BigInteger),
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    # The greatest step and time of any point: what lies above cannot be a repeat.
    Column("step_max", BigInteger, nullable=False),
    Column("time_ms_max", BigInteger, nullable=False),
    Index(None, "key", "last"),
)

event_file = Table(
    "event_file",
    METADATA,
    _of_workload(),
    Column("attempt", Integer, primary_key=True),
    Column("path", _PATH, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("decoded_bytes", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("scalars", BigInteger, nullable=False),
    Column("problem", Text),
)
