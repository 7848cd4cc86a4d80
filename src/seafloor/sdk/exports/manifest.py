"""What is in an export: its tables, their columns, and the manifest that makes it whole.

The bytes are described in ``docs/formats/export.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import SourceError
from seafloor.sdk.exports.arrow import arrow

FORMAT: Final = "seafloor.export"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"

TABLES: Final[dict[str, dict[str, str]]] = {
    "projects": {"name": "text", "created": "ns"},
    "experiments": {
        "experiment_id": "int64",
        "project": "text",
        "name": "text",
        "created": "ns",
        "updated": "ns?",
        "deleted": "ns?",
        "artifact_location": "text?",
        "tags": "labels",
        "spec": "text?",
        "runs": "int64",
        "models": "int64",
    },
    "runs": {
        "run_id": "text",
        "experiment_id": "int64",
        "project": "text",
        "experiment": "text",
        "name": "text",
        "user": "text",
        "kind": "text",
        "origin": "text",
        "state": "text",
        "created": "ns",
        "updated": "ns",
        "started": "ns?",
        "ended": "ns?",
        "deleted": "ns?",
        "attempt": "int32",
        "environment": "text?",
        "code": "text?",
        "ending": "text?",
        "spec": "text?",
        "params": "int64",
        "tags": "int64",
        "metrics": "int64",
        "inputs": "int64",
        "media": "int64",
        "files": "int64",
        "attempts": "int64",
        "events": "int64",
        "log_lines": "int64",
    },
    "params": {"run_id": "text", "key": "text", "value": "text"},
    "tags": {"run_id": "text", "key": "text", "value": "text"},
    "inputs": {
        "run_id": "text",
        "kind": "text",
        "name": "text?",
        "digest": "text?",
        "source_type": "text?",
        "source": "text?",
        "schema": "text?",
        "profile": "text?",
        "tags": "labels?",
        "model_id": "text?",
        "step": "int64?",
    },
    "media": {
        "run_id": "text",
        "key": "text",
        "kind": "text",
        "step": "int64",
        "time": "ms",
        "place": "int32",
        "content": "text",
        "sha256": "text?",
        "format": "text?",
        "size_bytes": "int64?",
    },
    "files": {
        "run_id": "text",
        "kind": "text",
        "attempt": "int32",
        "path": "text",
        "size_bytes": "int64",
        "sha256": "text",
    },
    "attempts": {
        "run_id": "text",
        "attempt": "int32",
        "state": "text",
        "created": "ns",
        "started": "ns?",
        "ended": "ns?",
        "environment": "text?",
        "record": "text",
    },
    "events": {
        "run_id": "text",
        "sequence": "int64",
        "time": "ns",
        "kind": "text",
        "actor": "text",
        "message": "text",
        "attempt": "int32?",
        "state": "text?",
    },
    "log_lines": {
        "run_id": "text",
        "attempt": "int32",
        "task": "text",
        "number": "int64",
        "time": "ns",
        "stream": "text",
        "text": "text",
        "end": "text",
        "continued": "bool",
    },
    "models": {
        "model_id": "text",
        "experiment_id": "int64",
        "source_run_id": "text?",
        "name": "text",
        "model_type": "text",
        "state": "text",
        "created": "ns",
        "updated": "ns",
        "deleted": "ns?",
        "params": "labels",
        "tags": "labels",
        "metrics": "int64",
        "files": "int64",
    },
    "model_metrics": {
        "model_id": "text",
        "run_id": "text",
        "key": "text",
        "value": "float64",
        "step": "int64",
        "time": "ms",
        "dataset_name": "text?",
        "dataset_digest": "text?",
    },
    "model_files": {"model_id": "text", "path": "text", "size_bytes": "int64", "sha256": "text"},
    "traces": {
        "trace_id": "text",
        "experiment_id": "int64",
        "time": "ms",
        "duration_ms": "int64?",
        "state": "text",
        "client_request_id": "text?",
        "request_preview": "text?",
        "response_preview": "text?",
        "tags": "labels",
        "metadata": "labels",
        "spans": "int64",
        "assessments": "int64",
        "runs": "int64",
        "files": "int64",
    },
    "spans": {
        "trace_id": "text",
        "span_id": "text",
        "parent_id": "text?",
        "name": "text",
        "type": "text",
        "status": "text",
        "start": "ns",
        "end": "ns?",
        "document": "text",
    },
    "assessments": {
        "trace_id": "text",
        "assessment_id": "text",
        "name": "text",
        "kind": "text",
        "value": "text",
        "error": "text?",
        "source_type": "text",
        "source_id": "text",
        "span_id": "text?",
        "rationale": "text?",
        "metadata": "labels",
        "overrides": "text?",
        "valid": "bool",
        "created": "ms",
        "updated": "ms",
    },
    "trace_runs": {"trace_id": "text", "run_id": "text"},
    "trace_files": {"trace_id": "text", "path": "text", "size_bytes": "int64", "sha256": "text"},
    "metrics": {
        "run_id": "text",
        "key": "text",
        "attempt": "int32",
        "step": "int64",
        "time": "ms",
        "value": "float64",
    },
}
"""Each table with its columns; ``?``: may be null.

``runs`` says of each run how many rows the tables of those names have of it; these rows stand in
the order of the runs, which stand in the order of their experiments. ``experiments``, ``models``
and ``traces`` say it likewise; traces stand in the order of the experiments that they name.
"""

OF_A_RUN: Final = (
    "params",
    "tags",
    "metrics",
    "inputs",
    "media",
    "files",
    "attempts",
    "events",
    "log_lines",
)
OF_A_MODEL: Final = {"metrics": "model_metrics", "files": "model_files"}
OF_A_TRACE: Final = {
    "spans": "spans",
    "assessments": "assessments",
    "runs": "trace_runs",
    "files": "trace_files",
}
ADDED: Final = frozenset({"traces", *OF_A_TRACE.values()})
"""Tables that the first exports do not have; they hold no traces."""
_COLUMNS_ADDED: Final = {"models": frozenset({"deleted"})}
"""Columns that the first exports do not have; they hold no deleted models."""
IN_PARTS: Final = frozenset({"metrics"})
"""Tables that are a folder of files, in order of their names."""


class TableFile(msgspec.Struct, frozen=True):
    """One file of a table."""

    rows: int
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest.json``, written last: an export without it is not whole.

    Args:
        created_ns: When the export was whole, UTC.
        server: Whose installation it was: address and version, for people.
        only: What was asked for, if not all.
        counts: Rows of each table, and what they add up to.
        files: Path to each table's files.
        missing: What the server itself has lost, and why; no table has a row of it.
    """

    format: str = FORMAT
    version: int = VERSION
    created_ns: int
    server: dict[str, str]
    only: dict[str, Any]
    counts: dict[str, int]
    files: dict[str, TableFile]
    missing: tuple[str, ...] = ()


def schema(table: str, *, first: bool = False) -> Any:
    """The Arrow schema of a table.

    Args:
        first: Whether that of the first exports, which have fewer columns.
    """
    pa = arrow()
    types = {
        "text": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "ns": pa.timestamp("ns", tz="UTC"),
        "ms": pa.timestamp("ms", tz="UTC"),
        "labels": pa.map_(pa.string(), pa.string()),
    }
    fields = [
        pa.field(name, types[kind.rstrip("?")], nullable=kind.endswith("?"))
        for name, kind in TABLES[table].items()
        if not (first and name in _COLUMNS_ADDED.get(table, ()))
    ]
    return pa.schema(fields, metadata={FORMAT: str(VERSION)})


def blob_path(sha256: str) -> str:
    """Where the bytes of a digest are.

    >>> blob_path("0a" * 32)[:12]
    'blobs/0a/0a0'
    """
    return f"blobs/{sha256[:2]}/{sha256}"


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export.

    Raises:
        SourceError: the folder is no export, or not a whole one, or of another version.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f'"{folder}" is no whole export: {MANIFEST} cannot be read '
            f"({(error.strerror or str(error)).lower()}). It is written last, when all else is "
            "there: repeat the export."
        ) from error
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f'"{path}" is not the manifest of an export ({error}).') from error
    if found.format != FORMAT or found.version != VERSION:
        raise SourceError(
            f'"{path}" is of {found.format[:40]} {found.version}; this version of Seafloor reads '
            f"{FORMAT} {VERSION}."
        )
    return found
