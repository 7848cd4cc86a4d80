"""Brings traces: spans, files, and last of all what is told of the whole, exactly as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from seafloor.domain.errors import NotFound
from seafloor.domain.experiments import Experiment
from seafloor.sdk.client import Client
from seafloor.sdk.imports.records import FileRecord, Source, TraceRecord, run_id_of
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.runs_here import RunsHere
from seafloor.sdk.imports.transfer import bring_files, left_out
from seafloor.wire.traces import SPANS_PER_CALL_MAX, TracePut, TraceView

UNFINISHED_KEY: Final = "seafloor.import"
"""In the metadata of a trace whose files are still coming, or did not all come."""

_BYTES_PER_CALL: Final = 16 * 1024 * 1024


class TraceImporter:
    """Brings the traces of one source to one server; see ``Importer``."""

    def __init__(
        self, client: Client, source: Source, report: Report, runs: RunsHere, *, files: bool
    ) -> None:
        self._client = client
        self._source = source
        self._report = report
        self._files = files
        self._runs = runs

    def bring(self, record: TraceRecord, experiment: Experiment) -> None:
        """Bring one; a repeat is harmless, and one that is here whole is not touched.

        Raises:
            InvalidValue, LimitExceeded, Conflict: it cannot be kept.
        """
        ordered = sorted(record.trace.assessments, key=lambda one: (one.created_ms, one.id))
        trace = replace(record.trace, experiment_id=experiment.id, assessments=tuple(ordered))
        wanted = TracePut(trace, self._linked(record))
        if self._there(trace.id) == TraceView(trace, wanted.runs, record.spans or 0):
            self._report.traces_known += 1
            return
        files = list(self._source.trace_files(record, self._report))
        if files and self._files:
            mark = replace(trace, metadata={UNFINISHED_KEY: "unfinished"}, assessments=())
            self._client.traces.put(TracePut(mark))
        for some in _in_calls(self._source.spans(record)):
            added = self._client.traces.add_spans(trace.id, some, experiment_id=experiment.id)
            self._report.spans += added
        missing = self._bring_files(trace.id, files, experiment.project)
        if missing:  # it is not here whole, and not what an import that is repeated finds
            metadata = {**trace.metadata, UNFINISHED_KEY: missing}
            wanted = TracePut(replace(trace, metadata=metadata), wanted.runs)
        self._client.traces.put(wanted)
        self._report.traces += 1
        self._report.assessments += len(trace.assessments)

    def _there(self, trace_id: str) -> TraceView | None:
        try:
            return self._client.traces.get(trace_id)
        except NotFound:
            return None

    def _linked(self, record: TraceRecord) -> tuple[str, ...]:
        """The runs to link to, as far as they are here."""
        runs = sorted({run_id_of(self._source.kind, one) for one in record.runs})
        there = [run_id for run_id in runs if run_id in self._runs]
        for _ in range(len(runs) - len(there)):
            self._report.leave_out("link of a trace to a run that is not here", record.trace.id)
        return tuple(there)

    def _bring_files(self, trace_id: str, files: Iterable[FileRecord], project: str) -> str:
        """Bring all of them, also again: the listing here tells no digests to compare with."""
        if not self._files:
            return left_out(files)

        def send(path: str, local: Path) -> int:
            self._client.traces.put_file(trace_id, path, local, workspace=project)
            return local.stat().st_size

        return bring_files(files, send, owner=f"trace {trace_id}", report=self._report)


def _in_calls(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Documents in lists that a request may have."""
    some: list[bytes] = []
    size_bytes = 0
    for document in documents:
        if some and (
            size_bytes + len(document) > _BYTES_PER_CALL or len(some) == SPANS_PER_CALL_MAX
        ):
            yield some
            some, size_bytes = [], 0
        some.append(document)
        size_bytes += len(document)
    if some:
        yield some
