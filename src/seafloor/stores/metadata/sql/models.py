"""Logged models, and what runs used and produced, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, Row, Select, func, insert, select, update

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    LimitExceeded,
    NoSuchTag,
    NotFound,
)
from seafloor.domain.ids import WorkloadId
from seafloor.domain.models import (
    DatasetInput,
    DatasetSummary,
    LoggedModel,
    LoggedModelState,
    ModelMetric,
    ModelOutput,
    joined_params,
)
from seafloor.domain.search import Lifecycle
from seafloor.stores.metadata.protocol import WorkloadInputs
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import digest, dump, dump_sorted, load
from seafloor.stores.metadata.sql.experiments import ID_MAX, check_experiment
from seafloor.stores.metadata.sql.prepared import IDS_AT_ONCE, PreparedIn
from seafloor.stores.metadata.sql.rows import check_workload

_CONTEXT_TAG = "mlflow.data.context"

_input = tables.workload_input.c
_INPUTS = PreparedIn(
    lambda asked: (
        select(_input.workload_id, _input.kind, _input.document)
        .where(asked(_input.workload_id))
        .order_by(_input.id)
    )
)

_INPUT_SIZES = PreparedIn(
    lambda asked: select(func.sum(func.length(_input.document))).where(asked(_input.workload_id))
)


class _MetricDocument(msgspec.Struct, frozen=True):
    """A model's metric value; the float as hexadecimal text, which keeps NaN and infinities."""

    key: str
    value: str
    step: int
    time_ms: int
    run_id: str
    dataset_name: str | None
    dataset_digest: str | None


class SqlModels:
    """``LoggedModelRecords`` in SQL."""

    _database: Database

    async def model_create(self, model: LoggedModel) -> LoggedModel:
        """See ``LoggedModelRecords``."""

        def write(connection: Connection) -> LoggedModel:
            _check_id_is_free(connection, model.id)
            if check_experiment(connection, model.experiment_id) is not None:
                raise Conflict(
                    "The experiment is deleted: restore it first.", field="experiment_id"
                )
            if model.source_run_id is not None:
                check_workload(connection, model.source_run_id)
            connection.execute(
                insert(tables.logged_model).values(
                    id=model.id,
                    experiment_id=model.experiment_id,
                    name=model.name,
                    model_type=model.model_type,
                    state=str(model.state),
                    source_run_id=model.source_run_id,
                    params=dump(model.params),
                    tags=dump(model.tags),
                    created_ns=model.created_ns,
                    updated_ns=model.updated_ns,
                )
            )
            return replace(model, deleted_ns=None)

        return await self._database.write(write)

    async def model_get(self, model_id: str) -> LoggedModel:
        """See ``LoggedModelRecords``."""
        return await self._database.read(lambda connection: _get(connection, model_id))

    async def model_list(
        self, experiment_ids: Sequence[int], *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[LoggedModel, ...]:
        """See ``LoggedModelRecords``."""
        table = tables.logged_model
        ids = [one for one in experiment_ids if 0 <= one <= ID_MAX]
        wanted = _living(lifecycle).where(table.c.experiment_id.in_(ids))
        return await self._models(wanted.order_by(table.c.created_ns.desc(), table.c.id))

    async def model_page(
        self,
        experiment_id: int,
        *,
        lifecycle: Lifecycle = Lifecycle.ACTIVE,
        after: str = "",
        limit: int,
    ) -> tuple[LoggedModel, ...]:
        """See ``LoggedModelRecords``."""
        if not 0 <= experiment_id <= ID_MAX:
            return ()
        table = tables.logged_model
        wanted = _living(lifecycle).where(
            table.c.experiment_id == experiment_id, table.c.id > after
        )
        return await self._models(wanted.order_by(table.c.id).limit(limit))

    async def model_list_of_run(
        self, workload_id: WorkloadId, *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[LoggedModel, ...]:
        """See ``LoggedModelRecords``."""
        table = tables.logged_model
        wanted = _living(lifecycle).where(table.c.source_run_id == workload_id)
        return await self._models(wanted.order_by(table.c.created_ns, table.c.id))

    async def _models(self, wanted: Select[Any]) -> tuple[LoggedModel, ...]:
        return await self._database.read(
            lambda connection: tuple(_model(row) for row in connection.execute(wanted))
        )

    async def model_update(
        self,
        model_id: str,
        *,
        updated_ns: int,
        state: LoggedModelState | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
        deleted_ns: int | None = None,
    ) -> LoggedModel:
        """See ``LoggedModelRecords``."""

        def write(connection: Connection) -> LoggedModel:
            found = _get(connection, model_id)
            for key in delete_tags:
                if key not in found.tags:
                    raise NoSuchTag(
                        f"No tag with key '{key}' found for model with ID '{model_id}'.",
                        field=key,
                    )
            kept = {key: value for key, value in found.tags.items() if key not in delete_tags}
            changed = {
                "updated_ns": updated_ns,
                "state": str(state or found.state),
                "params": dump(joined_params(found, params or {})),
                "tags": dump({**kept, **(tags or {})}),
                "deleted_ns": found.deleted_ns if deleted_ns is None else deleted_ns,
            }
            connection.execute(
                update(tables.logged_model)
                .where(tables.logged_model.c.id == model_id)
                .values(**changed)
            )
            return _get(connection, model_id)

        return await self._database.write(write)

    async def model_metrics_add(self, model_id: str, metrics: Sequence[ModelMetric]) -> None:
        """See ``LoggedModelRecords``."""
        await self._database.write(
            lambda connection: add_model_metrics(connection, model_id, metrics)
        )

    async def model_metrics_get(self, model_id: str) -> tuple[ModelMetric, ...]:
        """See ``LoggedModelRecords``."""
        table = tables.model_metric
        wanted = select(table.c.document).where(table.c.model_id == model_id).order_by(table.c.id)
        return await self._database.read(
            lambda connection: tuple(
                _metric_of(text) for text in connection.execute(wanted).scalars()
            )
        )

    async def model_metrics_list(
        self, model_ids: Sequence[str]
    ) -> dict[str, tuple[ModelMetric, ...]]:
        """See ``LoggedModelRecords``."""
        table = tables.model_metric
        wanted = select(table.c.model_id, table.c.document).order_by(table.c.id)

        def read(connection: Connection) -> dict[str, tuple[ModelMetric, ...]]:
            found: dict[str, list[ModelMetric]] = {}
            for begin in range(0, len(model_ids), IDS_AT_ONCE):
                some = model_ids[begin : begin + IDS_AT_ONCE]
                for row in connection.execute(wanted.where(table.c.model_id.in_(some))):
                    found.setdefault(row.model_id, []).append(_metric_of(row.document))
            return {model_id: tuple(metrics) for model_id, metrics in found.items()}

        return await self._database.read(read)

    async def inputs_add(
        self,
        workload_id: WorkloadId,
        *,
        datasets: Sequence[DatasetInput] = (),
        outputs: Sequence[ModelOutput] = (),
        models: Sequence[str] = (),
    ) -> None:
        """See ``LoggedModelRecords``."""
        rows = {
            (row["kind"], row["digest"]): row
            for row in _input_rows(workload_id, datasets, outputs, models)
        }

        def write(connection: Connection) -> None:
            check_workload(connection, workload_id)
            table = tables.workload_input
            known = {
                (row.kind, row.digest)
                for row in connection.execute(
                    select(table.c.kind, table.c.digest).where(table.c.workload_id == workload_id)
                )
            }
            new = [row for key, row in rows.items() if key not in known]
            if new:
                connection.execute(insert(table), new)

        await self._database.write(write)

    async def inputs_get(
        self, workload_ids: Sequence[WorkloadId], *, chars_max: int | None = None
    ) -> dict[WorkloadId, WorkloadInputs]:
        """See ``LoggedModelRecords``."""

        def read(connection: Connection) -> dict[WorkloadId, WorkloadInputs]:
            if chars_max is not None:
                sizes = _INPUT_SIZES.rows(connection, {}, workload_ids)
                chars = sum(int(size or 0) for (size,) in sizes)
                if chars > chars_max:
                    raise LimitExceeded(f"There are more than {chars_max} characters.")
                if chars == 0:
                    return {}
            rows: dict[WorkloadId, list[tuple[str, str]]] = {}
            for owner, kind, document in _INPUTS.rows(connection, {}, workload_ids):
                rows.setdefault(WorkloadId(owner), []).append((kind, document))
            return {workload_id: _inputs(found) for workload_id, found in rows.items()}

        return await self._database.read(read)

    async def dataset_list(
        self, experiment_ids: Sequence[int], *, limit: int
    ) -> tuple[DatasetSummary, ...]:
        """See ``LoggedModelRecords``."""
        used, run = tables.workload_input.c, tables.workload.c
        columns = (run.experiment_id, used.name, used.dataset_digest, used.context)
        wanted = (
            select(*columns)
            .distinct()
            .select_from(tables.workload_input.join(tables.workload, run.id == used.workload_id))
            .where(used.kind == "dataset", run.experiment_id.in_(experiment_ids))
            .order_by(*columns)
            .limit(limit)
        )

        def read(connection: Connection) -> tuple[DatasetSummary, ...]:
            rows = connection.execute(wanted)
            found = [DatasetSummary(row[0], row[1], row[2], row[3] or "") for row in rows]
            return tuple(sorted(found))

        return await self._database.read(read)


def add_model_metrics(
    connection: Connection, model_id: str, metrics: Sequence[ModelMetric]
) -> None:
    """Add values of a model, each once; NotFound when it or a workload of theirs is missing."""
    documents = {digest(text): (text, of.run_id) for of in metrics for text in [_text(of)]}
    _get(connection, model_id)
    for run_id in {of.run_id for of in metrics}:
        check_workload(connection, run_id)
    table = tables.model_metric
    known = set(
        connection.execute(
            select(table.c.digest).where(
                table.c.model_id == model_id, table.c.digest.in_(documents)
            )
        ).scalars()
    )
    new = [
        {"model_id": model_id, "run_id": run_id, "document": text, "digest": key}
        for key, (text, run_id) in documents.items()
        if key not in known
    ]
    if new:
        connection.execute(insert(table), new)


def _living(lifecycle: Lifecycle) -> Select[Any]:
    """The models of a lifecycle."""
    table = tables.logged_model
    if lifecycle is Lifecycle.ACTIVE:
        return select(table).where(table.c.deleted_ns.is_(None))
    if lifecycle is Lifecycle.DELETED:
        return select(table).where(table.c.deleted_ns.is_not(None))
    return select(table)


def _check_id_is_free(connection: Connection, model_id: str) -> None:
    column = tables.logged_model.c.id
    if connection.execute(select(column).where(column == model_id)).first() is not None:
        raise AlreadyExists(f"There is a model {model_id} already.", field="model_id")


def _get(connection: Connection, model_id: str) -> LoggedModel:
    found = connection.execute(
        select(tables.logged_model).where(tables.logged_model.c.id == model_id)
    ).first()
    if found is None:
        raise NotFound(f"Logged model with ID '{model_id}' not found.", field="model_id")
    return _model(found)


def _model(row: Row[Any]) -> LoggedModel:
    return LoggedModel(
        id=row.id,
        experiment_id=row.experiment_id,
        name=row.name,
        model_type=row.model_type,
        state=LoggedModelState(row.state),
        source_run_id=None if row.source_run_id is None else WorkloadId(row.source_run_id),
        params=load(row.params, dict[str, str]),
        tags=load(row.tags, dict[str, str]),
        created_ns=row.created_ns,
        updated_ns=row.updated_ns,
        deleted_ns=row.deleted_ns,
    )


def _text(metric: ModelMetric) -> str:
    return dump(
        _MetricDocument(
            key=metric.key,
            value=metric.value.hex(),
            step=metric.step,
            time_ms=metric.time_ms,
            run_id=metric.run_id,
            dataset_name=metric.dataset_name,
            dataset_digest=metric.dataset_digest,
        )
    )


def _metric_of(text: str) -> ModelMetric:
    found = load(text, _MetricDocument)
    return ModelMetric(
        key=found.key,
        value=float.fromhex(found.value),
        step=found.step,
        time_ms=found.time_ms,
        run_id=WorkloadId(found.run_id),
        dataset_name=found.dataset_name,
        dataset_digest=found.dataset_digest,
    )


def _input_rows(
    workload_id: WorkloadId,
    datasets: Sequence[DatasetInput],
    outputs: Sequence[ModelOutput],
    models: Sequence[str],
) -> list[dict[str, Any]]:
    rows = [_input_row(workload_id, "dataset", dump_sorted(found), found) for found in datasets]
    rows += [_input_row(workload_id, "output", dump(found), None) for found in outputs]
    rows += [_input_row(workload_id, "model", dump(found), None) for found in models]
    return rows


def _input_row(
    workload_id: WorkloadId, kind: str, text: str, dataset: DatasetInput | None
) -> dict[str, Any]:
    return {
        "workload_id": workload_id,
        "kind": kind,
        "document": text,
        "digest": digest(text),
        "name": None if dataset is None else dataset.name,
        "dataset_digest": None if dataset is None else dataset.digest,
        "context": None if dataset is None else dataset.tags.get(_CONTEXT_TAG),
    }


def _inputs(documents: Sequence[tuple[str, str]]) -> WorkloadInputs:
    texts: dict[str, list[str]] = {"dataset": [], "output": [], "model": []}
    for kind, document in documents:
        texts[kind].append(document)
    return WorkloadInputs(
        datasets=tuple(load(text, DatasetInput) for text in texts["dataset"]),
        models=tuple(load(text, str) for text in texts["model"]),
        outputs=tuple(load(text, ModelOutput) for text in texts["output"]),
    )
