"""Points as columns: ``/api/v1/runs/{run}/metrics/batches``, the framework's way and a short one.

Both run ``append``. The short one is for what the SDK sends: a batch of a length that is said, for
a run by its whole id.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec
import numpy as np
from litestar import Request, post
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send
from numpy.typing import NDArray

from seafloor.app.application import Application
from seafloor.app.tokens import Principal
from seafloor.domain.errors import InvalidValue, LimitExceeded, SeafloorError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import ATTEMPT_MAX, POINTS_PER_APPEND_MAX, BatchId
from seafloor.http.bodies import answer_json, whole_body
from seafloor.http.errors import documented, respond
from seafloor.http.requests import APPEND_BYTES_MAX, AnyRequest, body_bytes, principal_of
from seafloor.http.state import application_of
from seafloor.stores.metrics.columns import PointColumns
from seafloor.wire.metric_batches import BatchIn
from seafloor.wire.metrics import PointsAppended

_PATH = re.compile(r"/api/v1/runs/([0-9a-f]{32})/metrics/batches\Z")
_BATCH = msgspec.msgpack.Decoder(BatchIn)


@post(
    "/runs/{run_id:str}/metrics/batches",
    responses=documented(404, 409, 413, 507),
    status_code=200,
    summary="Append points as columns",
    opt={"takes_bytes": True},
)
async def append_batch(request: AnyRequest, run_id: FromPath[str]) -> PointsAppended:
    """Append a MessagePack batch (``docs/formats/metric-batch.md``); a repeat is harmless."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    return await append(app, principal_of(request), workload_id, await body_bytes(request))


async def append(
    app: Application, principal: Principal, workload_id: WorkloadId, body: bytes
) -> PointsAppended:
    """Append a batch, all or none.

    Raises:
        InvalidValue, LimitExceeded: the body is none, or says what no append takes.
        Forbidden: another's run.
        NotFound, Conflict: as ``MetricAppend.append``.
    """
    found = _decode(body)
    columns, batch = _columns(found), _batch_id(found)
    await app.tokens.check_write(principal, workload_id)
    if found.attempt is not None:
        run = await app.runs.check_active(workload_id)
        if run.origin == "launched" and found.attempt > run.attempt:
            raise InvalidValue(f"The run has had {run.attempt} attempts.", field="attempt")
        if found.attempt > ATTEMPT_MAX:
            raise InvalidValue(f"An attempt is at most {ATTEMPT_MAX}.", field="attempt")
    receipt = await app.stores.metrics.append(
        workload_id, columns, attempt=found.attempt, batch=batch
    )
    return PointsAppended(receipt.points_written, receipt.points_repeated)


def _decode(body: bytes) -> BatchIn:
    try:
        return _BATCH.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error).rstrip(".")
        raise InvalidValue(f"The body is no batch of points in MessagePack ({reason}).") from error


def _batch_id(found: BatchIn) -> BatchId | None:
    if found.writer is None and found.sequence is None:
        return None
    if found.writer is None or found.sequence is None:
        missing = "writer" if found.writer is None else "sequence"
        raise InvalidValue("Give a writer and a sequence, or neither.", field=missing)
    return BatchId(found.writer, found.sequence)


def _columns(found: BatchIn) -> PointColumns:
    columns = PointColumns(
        keys=tuple(found.keys),
        key=_column(found.key, np.int32, "key"),
        step=_column(found.step, np.int64, "step"),
        time_ms=_column(found.time_ms, np.int64, "time_ms"),
        value=_column(found.value, np.float64, "value"),
    )
    if len(columns) > POINTS_PER_APPEND_MAX:
        raise LimitExceeded(f"At most {POINTS_PER_APPEND_MAX} points at once.", field="step")
    if len(columns.keys) > len(columns):
        raise InvalidValue("There are more keys than points.", field="keys")
    return columns


def _column(raw: bytes, kind: Any, name: str) -> NDArray[Any]:
    """Bytes as numbers, without a copy; in memory they stand as on the wire."""
    column = np.dtype(kind).newbyteorder("<")
    if len(raw) % column.itemsize:
        raise InvalidValue(
            f"The column has {len(raw)} bytes, which is no multiple of {column.itemsize}.",
            field=name,
        )
    return np.frombuffer(raw, column)


class BatchPath:
    """An ASGI application that appends batches without the framework's detours.

    Args:
        inner: The framework's application, for all else.
        application: Whose metric store is appended to.
    """

    def __init__(self, inner: ASGIApp, application: Application) -> None:
        self._inner = inner
        self._app = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = _PATH.match(scope["path"]) if scope["type"] == "http" else None
        principal = scope["state"].get("principal") if found is not None else None
        if found is None or principal is None or not _is_simple(cast(dict[str, Any], scope)):
            await self._inner(scope, receive, send)
            return
        body = await whole_body(receive, [])
        if body is None:
            return
        try:
            made = await append(self._app, principal, WorkloadId(found.group(1)), body)
        except SeafloorError as error:
            request = Request[Any, Any, Any](scope)
            refusal: Any = respond(request, error)
            await refusal.to_asgi_response(None, request)(scope, receive, send)
            return
        await answer_json(send, msgspec.json.encode(made))


def _is_simple(scope: dict[str, Any]) -> bool:
    """Whether it is a body of a length that is said, within bounds."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return scope["method"] == "POST" and length.isdigit() and int(length) <= APPEND_BYTES_MAX


ROUTES = [append_batch]
