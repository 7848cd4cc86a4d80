"""The tables. Changed only together with a migration; a test compares the two.

Times are nanoseconds UTC. Documents (specs, code, endings, receipts) are JSON texts.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    func,
    literal_column,
)

from seafloor.stores.metadata.sql.column_types import (
    blob,
    float64,
    key_text,
    long_text,
    name_text,
    number,
    path_text,
    serial,
    short_text,
    small_number,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID_CHARS = 32
_OWNER_CHARS = 34  # a workload's id, or `m-` and 32 digits of a logged model's
_SHA256_CHARS = 64

project = Table(
    "project",
    METADATA,
    Column("name", name_text(), primary_key=True),
    Column("created_ns", number(), nullable=False),
    Column("description", long_text()),
)

experiment = Table(
    "experiment",
    METADATA,
    Column("id", serial(), primary_key=True),
    Column("project", name_text(), ForeignKey("project.name"), nullable=False),
    Column("name", name_text(), nullable=False),
    Column("spec", long_text()),
    Column("artifact_location", long_text()),
    Column("created_ns", number(), nullable=False),
    Column("updated_ns", number(), nullable=False),
    Column("deleted_ns", number()),
    UniqueConstraint("project", "name"),
)

experiment_tag = Table(
    "experiment_tag",
    METADATA,
    Column(
        "experiment_id", serial(), ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("key", key_text(), primary_key=True),
    Column("value", long_text(), nullable=False),
)

workload = Table(
    "workload",
    METADATA,
    Column("id", short_text(_ID_CHARS), primary_key=True),
    Column("kind", short_text(16), nullable=False),
    Column("project", name_text(), ForeignKey("project.name"), nullable=False),
    Column("experiment_id", serial(), ForeignKey("experiment.id")),
    Column("name", name_text(), nullable=False),
    Column("user", name_text(), nullable=False),
    Column("state", short_text(16), nullable=False),
    Column("origin", short_text(16), nullable=False),
    Column("spec", long_text(), nullable=False),
    Column("code", long_text()),
    Column("environment", short_text(300)),
    Column("created_ns", number(), nullable=False),
    Column("updated_ns", number(), nullable=False),
    Column("started_ns", number()),
    Column("ended_ns", number()),
    Column("deleted_ns", number()),
    Column("attempt", small_number(), nullable=False),
    Column("idempotency_key", short_text(250)),
    UniqueConstraint("project", "idempotency_key"),
    Index(None, "kind", "created_ns", "id"),
    Index(None, "kind", "project", "created_ns", "id"),
    Index(None, "kind", "experiment_id", "created_ns", "id"),
    # What the reconciler asks for every second: the few that live.
    Index(None, "kind", "state", "created_ns", "id"),
    # MLflow's order.
    Index(None, "kind", "started_ns", "id"),
    Index(None, "kind", "experiment_id", "started_ns", "id"),
    Index(None, "kind", "name", "id"),
)


def _of_workload(*, primary_key: bool = True) -> Column[str]:
    return Column(
        "workload_id",
        short_text(_ID_CHARS),
        ForeignKey("workload.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


attempt = Table(
    "attempt",
    METADATA,
    _of_workload(),
    Column("number", small_number(), primary_key=True),
    Column("state", short_text(16), nullable=False),
    Column("created_ns", number(), nullable=False),
    Column("started_ns", number()),
    Column("ended_ns", number()),
    Column("ending", long_text()),
    Column("receipts", long_text(), nullable=False),
    Column("environment", short_text(300)),
    Column("environment_digest", short_text(_SHA256_CHARS)),
    Column("place", short_text(63)),
    Column("fence", number()),
    Column("launching_ns", number()),
)

task = Table(
    "task",
    METADATA,
    _of_workload(),
    Column("attempt", small_number(), primary_key=True),
    Column("name", short_text(63), primary_key=True),
    Column("role", short_text(63), nullable=False),
    Column("state", short_text(16), nullable=False),
    Column("ending", long_text()),
    Column("started_ns", number()),
    Column("ended_ns", number()),
    Column("receipts", long_text()),
    ForeignKeyConstraint(
        ["workload_id", "attempt"], ["attempt.workload_id", "attempt.number"], ondelete="CASCADE"
    ),
)

event = Table(
    "event",
    METADATA,
    _of_workload(),
    Column("sequence", small_number(), primary_key=True),
    Column("time_ns", number(), nullable=False),
    Column("kind", short_text(16), nullable=False),
    Column("actor", short_text(32), nullable=False),
    Column("message", long_text(), nullable=False),
    Column("attempt", small_number()),
    Column("state", short_text(16)),
)

# On SQLite what is looked up by workload and key lies in the order of its primary key, as on
# MariaDB: a search looks at ten thousand such rows, and so finds each in one tree, not in two.
param = Table(
    "param",
    METADATA,
    _of_workload(),
    Column("key", key_text(), primary_key=True),
    Column("value", long_text(), nullable=False),
    sqlite_with_rowid=False,
)

tag = Table(
    "tag",
    METADATA,
    _of_workload(),
    Column("key", key_text(), primary_key=True),
    Column("value", long_text(), nullable=False),
    sqlite_with_rowid=False,
)

HEAD_CHARS = 64
"""How much of a param's, tag's or trace's label's value is in its index; SQLite takes all of it."""


def values_index(table: Table) -> str:
    """The name of SQLite's index of a table's values; those of the others begin so."""
    return f"ix_{table.name}_key_value"


def values_index_by_run(table: Table) -> str:
    """The name of MariaDB's and MySQL's index of the values of params or tags."""
    return f"{values_index(table)}_run"


def _index_values(table: Table) -> None:
    name = values_index(table)
    length = {"value": HEAD_CHARS}
    whole = Index(name, table.c.key, table.c.value, mariadb_length=length, mysql_length=length)
    whole.ddl_if(dialect=("sqlite", "mariadb", "mysql"))  # pyright: ignore[reportArgumentType]  # takes several
    Index(f"{name}_head", table.c.key, _head(table)).ddl_if(dialect="postgresql")


def _index_values_by_run(table: Table) -> None:
    """As ``_index_values``; the runs that have one text lie side by side, in the order of ids."""
    key, value, run = table.c.key, table.c.value, table.c.workload_id
    # It has the run by itself.
    Index(values_index(table), key, value).ddl_if(dialect="sqlite")
    length = {"value": HEAD_CHARS}
    name = values_index_by_run(table)
    beside = Index(name, key, value, run, mariadb_length=length, mysql_length=length)
    beside.ddl_if(dialect=("mariadb", "mysql"))  # pyright: ignore[reportArgumentType]  # takes several
    Index(f"{values_index(table)}_head", key, _head(table), run).ddl_if(dialect="postgresql")


def _head(table: Table) -> ColumnElement[str]:
    return func.left(table.c.value, literal_column(str(HEAD_CHARS)))


_index_values_by_run(param)
_index_values_by_run(tag)

environment = Table(
    "environment",
    METADATA,
    Column("project", name_text(), ForeignKey("project.name"), primary_key=True),
    Column("name", name_text(), primary_key=True),
    Column("version", small_number(), primary_key=True, autoincrement=False),
    Column("python", short_text(64), nullable=False),
    Column("pip", long_text(), nullable=False),
    Column("conda_channels", long_text(), nullable=False),
    Column("conda_packages", long_text(), nullable=False),
    Column("image", long_text()),
    Column("lock", long_text(), nullable=False),
    Column("digest", short_text(_SHA256_CHARS), nullable=False),
    Column("created_ns", number(), nullable=False),
    Column("deleted_ns", number()),
    Column("description", long_text()),
)

artifact = Table(
    "artifact",
    METADATA,
    # A workload's id, or a logged model's.
    Column("owner", short_text(_OWNER_CHARS), primary_key=True),
    Column("path", path_text(), primary_key=True),
    Column("size_bytes", number(), nullable=False),
    Column("sha256", short_text(_SHA256_CHARS), nullable=False),
    Column("created_ns", number(), nullable=False),
)

logged_model = Table(
    "logged_model",
    METADATA,
    Column("id", short_text(_OWNER_CHARS), primary_key=True),
    Column("experiment_id", serial(), ForeignKey("experiment.id"), nullable=False),
    Column("name", name_text(), nullable=False),
    Column("model_type", long_text(), nullable=False),
    Column("state", short_text(16), nullable=False),
    Column("source_run_id", short_text(_ID_CHARS), ForeignKey("workload.id", ondelete="SET NULL")),
    Column("params", long_text(), nullable=False),
    Column("tags", long_text(), nullable=False),
    Column("created_ns", number(), nullable=False),
    Column("updated_ns", number(), nullable=False),
    Column("deleted_ns", number()),
    Index(None, "experiment_id", "created_ns"),
    Index(None, "source_run_id"),
)

model_metric = Table(
    "model_metric",
    METADATA,
    Column("id", serial(), primary_key=True),
    Column(
        "model_id",
        short_text(_OWNER_CHARS),
        ForeignKey("logged_model.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column(
        "run_id",
        short_text(_ID_CHARS),
        ForeignKey("workload.id", ondelete="CASCADE"),
        nullable=False,
    ),
    # The whole value as a document: NaN and infinities have no place in every database's floats.
    Column("document", long_text(), nullable=False),
    Column("digest", short_text(_SHA256_CHARS), nullable=False),
    UniqueConstraint("model_id", "digest"),
    Index(None, "run_id"),
)

# What a run used and produced: datasets, models, outputs, each a document, in order.
workload_input = Table(
    "workload_input",
    METADATA,
    Column("id", serial(), primary_key=True),
    _of_workload(primary_key=False),
    Column("kind", short_text(16), nullable=False),
    Column("document", long_text(), nullable=False),
    Column("digest", short_text(_SHA256_CHARS), nullable=False),
    # Of a dataset, for searching.
    Column("name", short_text(500)),
    Column("dataset_digest", short_text(500)),
    Column("context", long_text()),
    UniqueConstraint("workload_id", "kind", "digest"),
    Index(None, "name"),
    Index(None, "dataset_digest"),
)

_TRACE_ID_CHARS = 50

trace = Table(
    "trace",
    METADATA,
    Column("id", short_text(_TRACE_ID_CHARS), primary_key=True),
    Column("experiment_id", serial(), ForeignKey("experiment.id"), nullable=False),
    Column("time_ms", number(), nullable=False),
    Column("duration_ms", number()),
    Column("state", short_text(16), nullable=False),
    Column("client_request_id", long_text()),
    Column("request_preview", long_text()),
    Column("response_preview", long_text()),
    Index(None, "experiment_id", "time_ms", "id"),
)


def _of_trace() -> Column[str]:
    return Column(
        "trace_id",
        short_text(_TRACE_ID_CHARS),
        ForeignKey("trace.id", ondelete="CASCADE"),
        primary_key=True,
    )


# Tags and metadata; `kind` says which.
trace_label = Table(
    "trace_label",
    METADATA,
    _of_trace(),
    Column("kind", short_text(16), primary_key=True),
    Column("key", key_text(), primary_key=True),
    Column("value", long_text(), nullable=False),
)

_index_values(trace_label)

trace_span = Table(
    "trace_span",
    METADATA,
    _of_trace(),
    Column("id", short_text(16), primary_key=True),
    Column("parent_id", short_text(16)),
    Column("name", long_text(), nullable=False),
    Column("type", long_text(), nullable=False),
    Column("status", short_text(16), nullable=False),
    Column("start_ns", number(), nullable=False),
    Column("end_ns", number()),
    # What of it is added up over the trace, a JSON document.
    Column("sums", long_text()),
    # The whole span, a JSON document compressed by zstd.
    Column("document", blob(), nullable=False),
)

trace_assessment = Table(
    "trace_assessment",
    METADATA,
    _of_trace(),
    Column("id", short_text(_TRACE_ID_CHARS), primary_key=True),
    Column("kind", short_text(16), nullable=False),
    Column("name", long_text(), nullable=False),
    Column("valid", small_number(), nullable=False),
    Column("created_ms", number(), nullable=False),
    # The value again, for searching: as a JSON text, and of a number or truth as a number.
    Column("value", long_text(), nullable=False),
    Column("number", float64()),
    Column("document", long_text(), nullable=False),
)

# Runs that traces were linked to by hand; the one in whose course a trace was made is metadata.
trace_run = Table(
    "trace_run",
    METADATA,
    _of_trace(),
    _of_workload(),
    Index(None, "workload_id"),
)

metric_journal = Table(
    "metric_journal",
    METADATA,
    Column("sequence", serial(), primary_key=True),
    _of_workload(primary_key=False),
    Column("attempt", small_number(), nullable=False),
    Column("points", small_number(), nullable=False),
    Column("step_min", number(), nullable=False),
    Column("step_max", number(), nullable=False),
    Column("time_ms_min", number(), nullable=False),
    Column("time_ms_max", number(), nullable=False),
    Column("payload", blob(), nullable=False),
    Index(None, "workload_id", "sequence"),
    # An append looks for repeats among the rows that reach up to its times.
    Index(None, "workload_id", "time_ms_max"),
    # A reader goes on from a step without sorting what comes before.
    Index(None, "workload_id", "step_min", "time_ms_min"),
    # A number is never given again, also after its row was sealed: the sealer looks for new ones.
    sqlite_autoincrement=True,
)

metric_segment = Table(
    "metric_segment",
    METADATA,
    Column("id", short_text(_ID_CHARS), primary_key=True),
    _of_workload(primary_key=False),
    Column("attempt", small_number(), nullable=False),
    Column("points", number(), nullable=False),
    Column("step_min", number(), nullable=False),
    Column("step_max", number(), nullable=False),
    Column("time_ms_min", number(), nullable=False),
    Column("time_ms_max", number(), nullable=False),
    # Of the two objects; 0 when the points are here.
    Column("data_bytes", number(), nullable=False),
    Column("index_bytes", number(), nullable=False),
    # As a row of the journal; NULL when the points are in objects.
    Column("payload", blob()),
    Index(None, "workload_id", "step_min"),
)

metric_removal = Table(
    "metric_removal",
    METADATA,
    Column("object_key", path_text(), primary_key=True),
    # Of the database's clock; until then a reader may still want the object.
    Column("due_ns", number(), nullable=False),
    Index(None, "due_ns"),
)

metric_summary = Table(
    "metric_summary",
    METADATA,
    _of_workload(),
    Column("key", key_text(), primary_key=True),
    Column("points", number(), nullable=False),
    Column("nans", number(), nullable=False),
    # NULL for NaN and clamped for infinities: only for searching; `last_bits` holds the truth.
    Column("last", float64()),
    Column("last_bits", number(), nullable=False),
    Column("last_step", number(), nullable=False),
    Column("last_time_ms", number(), nullable=False),
    Column("min_bits", number()),
    Column("max_bits", number()),
    Column("min_step", number()),
    Column("max_step", number()),
    # The greatest step and time of any point: what lies above cannot be a repeat.
    Column("step_max", number(), nullable=False),
    Column("time_ms_max", number(), nullable=False),
    # The others' indexes have the run by themselves.
    Index(None, "key", "last", postgresql_include=["workload_id"]),
    sqlite_with_rowid=False,
)

metric_writer = Table(
    "metric_writer",
    METADATA,
    _of_workload(),
    Column("writer", short_text(64), primary_key=True),
    # Of the last batch that was applied.
    Column("sequence", number(), nullable=False),
    Column("sha256", short_text(_SHA256_CHARS), nullable=False),
)

event_file = Table(
    "event_file",
    METADATA,
    _of_workload(),
    Column("attempt", small_number(), primary_key=True),
    Column("path", path_text(), primary_key=True),
    Column("size_bytes", number(), nullable=False),
    Column("decoded_bytes", number(), nullable=False),
    Column("records", number(), nullable=False),
    Column("scalars", number(), nullable=False),
    Column("problem", long_text()),
)

# What a run logged beside numbers (`stores/media`): each record once, by the digest of all it says.
media_record = Table(
    "media_record",
    METADATA,
    _of_workload(),
    Column("digest", short_text(32), primary_key=True),
    Column("key", key_text(), nullable=False),
    Column("kind", short_text(16), nullable=False),
    Column("step", number(), nullable=False),
    Column("time_ms", number(), nullable=False),
    Column("place", small_number(), nullable=False),
    Column("attempt", small_number(), nullable=False),
    Column("content", long_text(), nullable=False),
    # Of its blob; empty and 0 when it has none.
    Column("blob_sha256", short_text(_SHA256_CHARS), nullable=False),
    Column("blob_format", short_text(16), nullable=False),
    Column("blob_bytes", number(), nullable=False),
    Index(None, "workload_id", "key", "step", "time_ms", "place", "digest"),
)

media_series = Table(
    "media_series",
    METADATA,
    _of_workload(),
    Column("key", key_text(), primary_key=True),
    Column("kind", short_text(16), primary_key=True),
    Column("records", number(), nullable=False),
    Column("step_min", number(), nullable=False),
    Column("step_max", number(), nullable=False),
)

# Blobs whose bytes are durable; only to these a record may refer.
media_blob = Table(
    "media_blob",
    METADATA,
    _of_workload(),
    Column("sha256", short_text(_SHA256_CHARS), primary_key=True),
    Column("format", short_text(16), primary_key=True),
    Column("size_bytes", number(), nullable=False),
)

volume = Table(
    "volume",
    METADATA,
    Column("id", short_text(_ID_CHARS), primary_key=True),
    Column("project", name_text(), ForeignKey("project.name"), nullable=False),
    # Of one that is out of use "~" and its id: its name is free.
    Column("name", short_text(64), nullable=False),
    Column("access_mode", short_text(16), nullable=False),
    Column("size_bytes", number()),
    Column("storage_class", short_text(253)),
    Column("created_ns", number(), nullable=False),
    Column("deleted_ns", number()),
    Column("content", small_number(), nullable=False),
    Column("content_last", small_number(), nullable=False),
    Column("snapshot_last", small_number(), nullable=False),
    Column("operation", long_text()),
    Column("problem", long_text(), nullable=False),
    Column("namespace", short_text(64)),
    UniqueConstraint("project", "name"),
)

volume_snapshot = Table(
    "volume_snapshot",
    METADATA,
    Column(
        "volume_id",
        short_text(_ID_CHARS),
        ForeignKey("volume.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", small_number(), primary_key=True, autoincrement=False),
    Column("sha256", short_text(_SHA256_CHARS), nullable=False),
    Column("size_bytes", number(), nullable=False),
    Column("files", number(), nullable=False),
    Column("content_bytes", number(), nullable=False),
    Column("left_out", number(), nullable=False),
    Column("created_ns", number(), nullable=False),
)

volume_use = Table(
    "volume_use",
    METADATA,
    _of_workload(),
    Column(
        "volume_id",
        short_text(_ID_CHARS),
        ForeignKey("volume.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("read_only", small_number(), nullable=False),
    Index(None, "volume_id"),
)

lease = Table(
    "lease",
    METADATA,
    Column("name", short_text(250), primary_key=True),
    Column("holder", short_text(250), nullable=False),
    Column("fence", number(), nullable=False),
    Column("taken_ns", number(), nullable=False),
    Column("expires_ns", number(), nullable=False),
)

# What all servers of an installation share and nobody sets.
installation = Table(
    "installation",
    METADATA,
    Column("name", short_text(63), primary_key=True),
    Column("content", blob(), nullable=False),
)

# Files whose bytes are about to become visible (`stores/artifacts/store.py`).
artifact_intent = Table(
    "artifact_intent",
    METADATA,
    Column("id", short_text(32), primary_key=True),
    Column("owner", short_text(_OWNER_CHARS), nullable=False),
    Column("path", path_text(), nullable=False),
    Column("sha256", short_text(_SHA256_CHARS), nullable=False),
    Column("deletes", small_number(), nullable=False),
    Column("outdated", small_number(), nullable=False),
    Index(None, "owner"),
)

# What several servers append to (`stores/streams`): a log, or a tf.events file.
byte_stream = Table(
    "byte_stream",
    METADATA,
    # Drawn at random, so that a stream that is deleted and written anew is another one.
    Column("id", number(), primary_key=True, autoincrement=False),
    Column("kind", short_text(16), nullable=False),
    Column("workload_id", short_text(_ID_CHARS), nullable=False),
    Column("attempt", small_number(), nullable=False),
    Column("name", path_text(), nullable=False),
    # Rises with whatever changes what is kept; sealing does not.
    Column("version", number(), nullable=False),
    Column("size_bytes", number(), nullable=False),
    # Up to here nothing changes any more: where the record that is not whole yet begins.
    Column("settled_bytes", number(), nullable=False),
    # Up to here the bytes are in chunks, from here on in rows.
    Column("sealed_bytes", number(), nullable=False),
    Column("row_count", small_number(), nullable=False),
    Column("finished", small_number(), nullable=False),
    Column("seal_due", small_number(), nullable=False),
    # What the kind of stream knows of its bytes, a JSON document.
    Column("summary", long_text(), nullable=False),
    UniqueConstraint("workload_id", "kind", "attempt", "name"),
    Index(None, "seal_due", "kind", "id"),
)


def _of_stream() -> Column[int]:
    return Column(
        "stream_id",
        number(),
        ForeignKey("byte_stream.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )


byte_stream_row = Table(
    "byte_stream_row",
    METADATA,
    _of_stream(),
    Column("start", number(), primary_key=True, autoincrement=False),
    Column("size_bytes", number(), nullable=False),
    Column("mark", blob(), nullable=False),
    Column("data", blob(), nullable=False),
)

byte_stream_chunk = Table(
    "byte_stream_chunk",
    METADATA,
    _of_stream(),
    Column("start", number(), primary_key=True, autoincrement=False),
    Column("size_bytes", number(), nullable=False),
    Column("mark", blob(), nullable=False),
    Column("object_key", path_text(), nullable=False),
    Column("object_bytes", number(), nullable=False),
    # Of the object's end, its index.
    Column("index_bytes", number(), nullable=False),
)
