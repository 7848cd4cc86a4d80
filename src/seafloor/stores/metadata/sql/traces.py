"""Traces, their spans and what is said of them, in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import zstandard
from msgspec.structs import replace
from sqlalchemy import Connection, Row, bindparam, case, func, insert, select, update
from sqlalchemy import delete as delete_from

from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.traces import (
    ASSESSMENTS_MAX,
    PROMPTS_TAG,
    Assessment,
    Span,
    SpanBatch,
    SpanSums,
    Trace,
    TraceQuery,
    TraceState,
    told,
    too_many_assessments,
    with_prompts,
    with_spans,
)
from seafloor.stores.metadata.protocol import TracePage
from seafloor.stores.metadata.sql import trace_search
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump, load
from seafloor.stores.metadata.sql.experiments import ID_MAX, check_experiment
from seafloor.stores.metadata.sql.rows import check_workload
from seafloor.stores.metadata.sql.tables import (
    trace,
    trace_assessment,
    trace_label,
    trace_run,
    trace_span,
)
from seafloor.stores.metadata.sql.trace_search import METADATA, TAG
from seafloor.stores.metadata.traces import (
    DOCUMENTS_BYTES_MAX,
    check_moves,
    first_documents,
    json_text,
    no_assessment,
    number_in,
)

IDS_AT_ONCE = 1_000

_BY_IDS = select(trace).where(trace.c.id.in_(bindparam("ids", expanding=True)))
_IS_THERE = select(trace.c.id).where(trace.c.id == bindparam("id"))
_LABELS_BY_IDS = select(trace_label).where(
    trace_label.c.trace_id.in_(bindparam("ids", expanding=True))
)
_ASSESSMENTS_BY_IDS = (
    select(trace_assessment.c.trace_id, trace_assessment.c.document)
    .where(trace_assessment.c.trace_id.in_(bindparam("ids", expanding=True)))
    .order_by(trace_assessment.c.created_ms, trace_assessment.c.id)
)
_RUNS_BY_IDS = (
    select(trace_run.c.trace_id, trace_run.c.workload_id)
    .where(trace_run.c.trace_id.in_(bindparam("ids", expanding=True)))
    .order_by(trace_run.c.workload_id)
)
_COUNTS_BY_IDS = (
    select(trace_span.c.trace_id, func.count().label("spans"))
    .where(trace_span.c.trace_id.in_(bindparam("ids", expanding=True)))
    .group_by(trace_span.c.trace_id)
)
_SPAN_IDS = (
    select(trace_span.c.id)
    .where(trace_span.c.trace_id == bindparam("owner"))
    .order_by(
        case((trace_span.c.parent_id.is_(None), 0), else_=1), trace_span.c.start_ns, trace_span.c.id
    )
)
_DOCUMENTS = select(trace_span.c.id, trace_span.c.document).where(
    trace_span.c.trace_id == bindparam("owner"),
    trace_span.c.id.in_(bindparam("ids", expanding=True)),
)
_DOCUMENT_SIZES = select(trace_span.c.id, func.length(trace_span.c.document).label("size")).where(
    trace_span.c.trace_id == bindparam("owner"),
    trace_span.c.id.in_(bindparam("ids", expanding=True)),
)
_SUMS = select(trace_span.c.id, trace_span.c.parent_id, trace_span.c.sums).where(
    trace_span.c.trace_id == bindparam("owner")
)


class SqlTraces:
    """``TraceRecords`` and ``TraceEndRecords`` in SQL."""

    _database: Database

    async def trace_tell(self, trace: Trace) -> Trace:
        """See ``TraceRecords``."""

        def write(connection: Connection) -> Trace:
            _check_lives(connection, trace.experiment_id)
            known = _traces(connection, [trace.id]).get(trace.id)
            made = told(known, trace)
            _put(connection, known, made)
            for assessment in trace.assessments:
                _put_assessment(connection, assessment)
            if trace.assessments and _assessments(connection, trace.id) > ASSESSMENTS_MAX:
                raise too_many_assessments()
            return _traces(connection, [trace.id])[trace.id]

        return await self._database.write(write)

    async def spans_add(self, batches: Sequence[SpanBatch]) -> None:
        """See ``TraceRecords``."""

        def write(connection: Connection) -> None:
            known = _traces(connection, [batch.trace_id for batch in batches])
            for experiment_id in {
                batch.experiment_id for batch in batches if batch.trace_id not in known
            }:
                _check_lives(connection, experiment_id)
            for batch in batches:
                before = known.get(batch.trace_id)
                made = with_spans(before, batch, _sums(connection, before, batch))
                _put(connection, before, made)
                _put_spans(connection, batch)
                known[batch.trace_id] = made

        await self._database.write(write)

    async def trace_list(self, ids: Sequence[str]) -> tuple[Trace, ...]:
        """See ``TraceRecords``."""

        def read(connection: Connection) -> tuple[Trace, ...]:
            at = 0
            while at < len(ids):
                some = ids[at : at + IDS_AT_ONCE]
                count = len(some)
                if count > 1:
                    count = trace_search.fitting_count(connection, some, step=2)
                found = _in_order(connection, some[:count])
                if found:
                    return found
                at += count
            return ()

        return await self._database.read(read)

    async def trace_put(self, trace: Trace, runs: Sequence[WorkloadId]) -> None:
        """See ``TraceRecords``."""

        def write(connection: Connection) -> None:
            _check_lives(connection, trace.experiment_id)
            known = _traces(connection, [trace.id]).get(trace.id)
            check_moves(known, trace)
            for run_id in runs:
                check_workload(connection, run_id)
            _put(connection, known, trace)
            for table in (trace_assessment, trace_run):
                connection.execute(delete_from(table).where(table.c.trace_id == trace.id))
            if trace.assessments:
                connection.execute(
                    insert(trace_assessment), [_assessment_row(one) for one in trace.assessments]
                )
            if runs:
                links = [{"trace_id": trace.id, "workload_id": one} for one in dict.fromkeys(runs)]
                connection.execute(insert(trace_run), links)

        await self._database.write(write)

    async def trace_runs(self, ids: Sequence[str]) -> dict[str, tuple[WorkloadId, ...]]:
        """See ``TraceRecords``."""

        def read(connection: Connection) -> dict[str, tuple[WorkloadId, ...]]:
            made: dict[str, tuple[WorkloadId, ...]] = {}
            for some in _in_parts(ids):
                for row in connection.execute(_RUNS_BY_IDS, {"ids": list(some)}):
                    made[row.trace_id] = (*made.get(row.trace_id, ()), WorkloadId(row.workload_id))
            return made

        return await self._database.read(read)

    async def span_counts(self, ids: Sequence[str]) -> dict[str, int]:
        """See ``TraceRecords``."""

        def read(connection: Connection) -> dict[str, int]:
            made: dict[str, int] = {}
            for some in _in_parts(ids):
                rows = connection.execute(_COUNTS_BY_IDS, {"ids": list(some)})
                made |= {row.trace_id: row.spans for row in rows}
            return made

        return await self._database.read(read)

    async def trace_search(self, query: TraceQuery) -> TracePage:
        """See ``TraceRecords``."""

        def read(connection: Connection) -> TracePage:
            ids, following = trace_search.search(connection, query)
            return TracePage(_in_order(connection, ids), following)

        return await self._database.read(read)

    async def span_ids(self, trace_id: str) -> tuple[str, ...]:
        """See ``TraceRecords``."""
        return await self._database.read(
            lambda connection: tuple(connection.execute(_SPAN_IDS, {"owner": trace_id}).scalars())
        )

    async def span_documents(self, trace_id: str, ids: Sequence[str]) -> dict[str, bytes]:
        """See ``TraceRecords``."""

        def read(connection: Connection) -> dict[str, bytes]:
            there = connection.execute(_DOCUMENT_SIZES, {"owner": trace_id, "ids": list(ids)})
            some = _first(ids, {row.id: row.size for row in there})
            rows = connection.execute(_DOCUMENTS, {"owner": trace_id, "ids": some})
            found = {row.id: row.document for row in rows}
            return dict(first_documents((one, zstandard.decompress(found[one])) for one in some))

        return await self._database.read(read)

    async def trace_tags_change(
        self, trace_id: str, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``TraceRecords``."""

        def write(connection: Connection) -> None:
            found = get(connection, trace_id)
            for key in delete:
                if key not in found.tags:
                    raise NotFound(
                        f"No trace tag with key '{key}' for trace with ID '{trace_id}'", field="key"
                    )
            kept = {key: value for key, value in found.tags.items() if key not in delete}
            _put_labels(connection, trace_id, TAG, found.tags, {**kept, **set_})

        await self._database.write(write)

    async def traces_link(self, trace_ids: Sequence[str], run_id: WorkloadId) -> None:
        """See ``TraceRecords``."""

        def write(connection: Connection) -> None:
            check_workload(connection, run_id)
            there = _existing(connection, trace_ids)
            linked = set(
                connection.execute(
                    select(trace_run.c.trace_id).where(
                        trace_run.c.workload_id == run_id, trace_run.c.trace_id.in_(there)
                    )
                ).scalars()
            )
            new = [{"trace_id": one, "workload_id": run_id} for one in there if one not in linked]
            if new:
                connection.execute(insert(trace_run), new)

        await self._database.write(write)

    async def trace_prompts_link(self, trace_id: str, prompts: Sequence[str]) -> None:
        """See ``TraceRecords``."""

        def write(connection: Connection) -> None:
            known = get(connection, trace_id).tags
            told = with_prompts(known.get(PROMPTS_TAG), prompts)
            _put_labels(connection, trace_id, TAG, known, {**known, PROMPTS_TAG: told})

        await self._database.write(write)

    async def trace_oldest(
        self,
        experiment_id: int,
        *,
        limit: int,
        until_ms: int | None = None,
        ids: Sequence[str] | None = None,
    ) -> tuple[str, ...]:
        """See ``TraceEndRecords``."""
        if not 0 <= experiment_id <= ID_MAX:
            return ()
        wanted = select(trace.c.id).where(trace.c.experiment_id == experiment_id)
        if until_ms is not None:
            wanted = wanted.where(trace.c.time_ms <= until_ms)
        if ids is not None:
            wanted = wanted.where(trace.c.id.in_(ids))
        wanted = wanted.order_by(trace.c.time_ms, trace.c.id).limit(limit)
        return await self._database.read(
            lambda connection: tuple(connection.execute(wanted).scalars())
        )

    async def traces_delete(self, ids: Sequence[str]) -> int:
        """See ``TraceEndRecords``."""

        def write(connection: Connection) -> int:
            return sum(
                connection.execute(delete_from(trace).where(trace.c.id.in_(some))).rowcount
                for some in _in_parts(ids)
            )

        return await self._database.write(write)

    async def assessment_put(self, assessment: Assessment) -> None:
        """See ``TraceEndRecords``."""

        def write(connection: Connection) -> None:
            check_trace(connection, assessment.trace_id)
            is_new = _assessment(connection, assessment.trace_id, assessment.id) is None
            if is_new and _assessments(connection, assessment.trace_id) >= ASSESSMENTS_MAX:
                raise too_many_assessments()
            overridden = assessment.overrides if is_new else None
            if overridden is not None and not _set_valid(
                connection, assessment.trace_id, overridden, valid=False
            ):
                raise NotFound(
                    f"Assessment with ID '{overridden}' not found for trace "
                    f"'{assessment.trace_id}'",
                    field="overrides",
                )
            _put_assessment(connection, assessment)

        await self._database.write(write)

    async def assessment_change(
        self, trace_id: str, assessment_id: str, change: Callable[[Assessment], Assessment]
    ) -> Assessment:
        """See ``TraceEndRecords``."""

        def write(connection: Connection) -> Assessment:
            check_trace(connection, trace_id)
            found = _assessment(connection, trace_id, assessment_id)
            if found is None:
                raise no_assessment(trace_id, assessment_id)
            made = change(found)
            _put_assessment(connection, made)
            return made

        return await self._database.write(write)

    async def assessment_delete(self, trace_id: str, assessment_id: str) -> None:
        """See ``TraceEndRecords``."""

        def write(connection: Connection) -> None:
            found = _assessment(connection, trace_id, assessment_id)
            if found is None:
                return
            if found.overrides is not None:
                _set_valid(connection, trace_id, found.overrides, valid=True)
            connection.execute(_assessment_deletion(trace_id, assessment_id))

        await self._database.write(write)


def get(connection: Connection, trace_id: str) -> Trace:
    """Get a trace, or NotFound."""
    found = _traces(connection, [trace_id]).get(trace_id)
    if found is None:
        raise _not_found(trace_id)
    return found


def check_trace(connection: Connection, trace_id: str) -> None:
    """Refuse a trace that does not exist."""
    if connection.execute(_IS_THERE, {"id": trace_id}).first() is None:
        raise _not_found(trace_id)


def _not_found(trace_id: str) -> NotFound:
    # The words that MLflow's clients know.
    return NotFound(f"Trace with ID '{trace_id}' not found.", field="trace_id")


def _check_lives(connection: Connection, experiment_id: int) -> None:
    if check_experiment(connection, experiment_id) is not None:
        raise Conflict(
            f"The experiment {experiment_id} must be in the 'active' state. Current state is "
            "deleted.",
            field="experiment_id",
        )


def _existing(connection: Connection, ids: Sequence[str]) -> list[str]:
    wanted = select(trace.c.id).where(trace.c.id.in_(ids)).order_by(trace.c.id)
    return list(connection.execute(wanted).scalars())


def _in_parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    for begin in range(0, len(ids), IDS_AT_ONCE):
        yield ids[begin : begin + IDS_AT_ONCE]


def _first(ids: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """The first of the ids that there are, at least one, as far as what is stored may be read."""
    some: list[str] = []
    left = DOCUMENTS_BYTES_MAX
    for one in ids:
        if one in sizes:
            left -= sizes[one]
            if some and left < 0:
                break
            some.append(one)
    return some


def _in_order(connection: Connection, ids: Sequence[str]) -> tuple[Trace, ...]:
    found = _traces(connection, ids)
    return tuple(found[one] for one in ids if one in found)


def _traces(connection: Connection, ids: Sequence[str]) -> dict[str, Trace]:
    made: dict[str, Trace] = {}
    for some in _in_parts(ids):
        made |= _some_traces(connection, list(some))
    return made


def _some_traces(connection: Connection, ids: list[str]) -> dict[str, Trace]:
    rows = connection.execute(_BY_IDS, {"ids": ids}).all()
    if not rows:
        return {}
    labels: dict[str, dict[str, dict[str, str]]] = {row.id: {TAG: {}, METADATA: {}} for row in rows}
    for row in connection.execute(_LABELS_BY_IDS, {"ids": ids}):
        labels[row.trace_id][row.kind][row.key] = row.value
    assessments: dict[str, list[Assessment]] = {}
    for row in connection.execute(_ASSESSMENTS_BY_IDS, {"ids": ids}):
        assessments.setdefault(row.trace_id, []).append(load(row.document, Assessment))
    return {row.id: _trace(row, labels[row.id], tuple(assessments.get(row.id, ()))) for row in rows}


def _trace(
    row: Row[Any], labels: Mapping[str, dict[str, str]], assessments: tuple[Assessment, ...]
) -> Trace:
    return Trace(
        id=row.id,
        experiment_id=row.experiment_id,
        time_ms=row.time_ms,
        duration_ms=row.duration_ms,
        state=TraceState(row.state),
        client_request_id=row.client_request_id,
        request_preview=row.request_preview,
        response_preview=row.response_preview,
        tags=labels[TAG],
        metadata=labels[METADATA],
        assessments=assessments,
    )


def _put(connection: Connection, known: Trace | None, made: Trace) -> None:
    """Write a trace without its assessments, as far as it differs from what is known."""
    row = _row(made)
    if known is None:
        connection.execute(insert(trace).values(**row))
    elif row != _row(known):
        connection.execute(update(trace).where(trace.c.id == made.id).values(**row))
    _put_labels(connection, made.id, TAG, {} if known is None else known.tags, made.tags)
    _put_labels(
        connection, made.id, METADATA, {} if known is None else known.metadata, made.metadata
    )


def _row(made: Trace) -> dict[str, Any]:
    return {
        "id": made.id,
        "experiment_id": made.experiment_id,
        "time_ms": made.time_ms,
        "duration_ms": made.duration_ms,
        "state": str(made.state),
        "client_request_id": made.client_request_id,
        "request_preview": made.request_preview,
        "response_preview": made.response_preview,
    }


def _put_labels(
    connection: Connection,
    trace_id: str,
    kind: str,
    known: Mapping[str, str],
    made: Mapping[str, str],
) -> None:
    """Make one state of a trace's tags or metadata of another."""
    changed = {key: value for key, value in made.items() if known.get(key) != value}
    gone = [key for key in known if key in changed or key not in made]
    if gone:
        connection.execute(
            delete_from(trace_label).where(
                trace_label.c.trace_id == trace_id,
                trace_label.c.kind == kind,
                trace_label.c.key.in_(gone),
            )
        )
    if changed:
        connection.execute(
            insert(trace_label),
            [
                {"trace_id": trace_id, "kind": kind, "key": key, "value": value}
                for key, value in changed.items()
            ],
        )


def _sums(connection: Connection, known: Trace | None, batch: SpanBatch) -> list[SpanSums]:
    """What the spans of a trace had to add up; nothing when those that come have nothing."""
    if known is None or not any(span.sums for span in batch.spans):
        return []
    return [
        SpanSums(
            row.id,
            row.parent_id,
            {} if row.sums is None else load(row.sums, dict[str, dict[str, float]]),
        )
        for row in connection.execute(_SUMS, {"owner": batch.trace_id})
    ]


def _put_spans(connection: Connection, batch: SpanBatch) -> None:
    compressor = zstandard.ZstdCompressor()
    for begin in range(0, len(batch.spans), IDS_AT_ONCE):
        some = batch.spans[begin : begin + IDS_AT_ONCE]
        connection.execute(
            delete_from(trace_span).where(
                trace_span.c.trace_id == batch.trace_id,
                trace_span.c.id.in_([span.id for span in some]),
            )
        )
        connection.execute(
            insert(trace_span), [_span_row(batch.trace_id, span, compressor) for span in some]
        )


def _span_row(trace_id: str, span: Span, compressor: zstandard.ZstdCompressor) -> dict[str, Any]:
    return {
        "trace_id": trace_id,
        "id": span.id,
        "parent_id": span.parent_id,
        "name": span.name,
        "type": span.type,
        "status": span.status,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "sums": dump(span.sums) if span.sums else None,
        "document": compressor.compress(span.document),
    }


def _assessment_deletion(trace_id: str, assessment_id: str) -> Any:
    return delete_from(trace_assessment).where(
        trace_assessment.c.trace_id == trace_id, trace_assessment.c.id == assessment_id
    )


def _assessment(connection: Connection, trace_id: str, assessment_id: str) -> Assessment | None:
    found = connection.execute(
        select(trace_assessment.c.document).where(
            trace_assessment.c.trace_id == trace_id, trace_assessment.c.id == assessment_id
        )
    ).first()
    return None if found is None else load(found.document, Assessment)


def _assessments(connection: Connection, trace_id: str) -> int:
    wanted = (
        select(func.count())
        .select_from(trace_assessment)
        .where(trace_assessment.c.trace_id == trace_id)
    )
    return connection.execute(wanted).scalar_one()


def _put_assessment(connection: Connection, assessment: Assessment) -> None:
    connection.execute(_assessment_deletion(assessment.trace_id, assessment.id))
    connection.execute(insert(trace_assessment).values(**_assessment_row(assessment)))


def _assessment_row(assessment: Assessment) -> dict[str, Any]:
    return {
        "trace_id": assessment.trace_id,
        "id": assessment.id,
        "kind": str(assessment.kind),
        "name": assessment.name,
        "valid": int(assessment.valid),
        "created_ms": assessment.created_ms,
        "value": json_text(assessment.value),
        "number": number_in(assessment.value),
        "document": dump(assessment),
    }


def _set_valid(connection: Connection, trace_id: str, assessment_id: str, *, valid: bool) -> bool:
    """Change whether an assessment counts; say whether there is such a one."""
    found = _assessment(connection, trace_id, assessment_id)
    if found is None:
        return False
    _put_assessment(connection, replace(found, valid=valid))
    return True
