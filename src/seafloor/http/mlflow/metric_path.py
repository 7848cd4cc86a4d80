"""The short way of the calls that training makes all the time: creating a run, logging to it.

A request that is as clients send it, with nothing odd about it, is decoded and written without the
framework's detours. Everything else, and every refusal of what the caller sent, goes the ordinary
way, so that there is one place that says what is wrong. What is logged may so be tried twice,
which is harmless; a run is created by one way only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.types.asgi_types import HTTPReceiveMessage

from seafloor.app.application import Application
from seafloor.app.runs import CREATED_BY_TAG, PARAM_CHARS_MAX, TAG_CHARS_MAX
from seafloor.app.tokens import Principal
from seafloor.domain.errors import CallerError, SeafloorError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.names import is_key
from seafloor.http.bodies import answer_json, whole_body
from seafloor.http.mlflow.batch_process import ReadBatch
from seafloor.http.mlflow.batch_reader import BYTES_MIN, BatchReader
from seafloor.http.mlflow.errors import respond
from seafloor.http.mlflow.logged import UNDECODED, Label, LoggedBatch, OneLabel, OneMetric
from seafloor.http.mlflow.runs import LABELS_MAX, METRICS_MAX, NAME_TAG, Create, created
from seafloor.http.mlflow.workspaces import home_of
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.metrics.batch import Batch

BODY_BYTES_MAX = 4 * 1024 * 1024
_HEX = frozenset("0123456789abcdef")
_OWN_TAGS = frozenset({NAME_TAG, CREATED_BY_TAG})


class _Odd(Exception):
    """What the short way does not know."""


class _SimpleCreate(Create, forbid_unknown_fields=True):
    """A field that clients do not send may be one of ours by its other name."""


_CREATE = msgspec.json.Decoder(_SimpleCreate)
_METRIC = msgspec.json.Decoder(OneMetric)
_LABEL = msgspec.json.Decoder(OneLabel)
_BATCH = msgspec.json.Decoder(LoggedBatch)


class MetricPath:
    """An ASGI application that takes what is simple and passes on the rest.

    Args:
        inner: The framework's application.
        application: Whose runs are written.
        reader: Reads large batches while others wait; None: they are read here.
    """

    def __init__(
        self, inner: ASGIApp, application: Application, reader: BatchReader | None
    ) -> None:
        self._inner = inner
        self._app = application
        self._reader = reader
        self._serving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        way = WAYS.get(scope["path"]) if scope["type"] == "http" else None
        principal = scope["state"].get("principal") if way is not None else None
        if way is None or principal is None or not _is_simple(cast(dict[str, Any], scope)):
            await self._inner(scope, receive, send)
            return
        messages: list[HTTPReceiveMessage] = []
        self._serving += 1
        try:
            body = await whole_body(receive, messages)
            if body is None:
                return
            if way is _log_batch and (read := await self._read_beside(body)) is not None:
                answer = await _log_read(self._app, principal, read)
            else:
                answer = await way(self._app, principal, body)
        except (_Odd, CallerError, *UNDECODED):
            await self._inner(scope, _again(messages, receive), send)
        except SeafloorError as error:
            request = Request[Any, Any, Any](scope)
            refusal: Any = respond(request, error)
            await refusal.to_asgi_response(None, request)(scope, receive, send)
        else:
            await answer_json(send, answer)
        finally:
            self._serving -= 1

    async def _read_beside(self, body: bytes) -> ReadBatch | None:
        """Have a large batch read elsewhere when others wait for this thread."""
        if self._reader is None or self._serving < 2 or len(body) < BYTES_MIN:
            return None
        return await self._reader.read(body)


def _is_simple(scope: dict[str, Any]) -> bool:
    """Whether it is JSON of a length that is said, and meant for no other workspace."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return (
        scope["method"] == "POST"
        and headers.get(b"content-type", b"").startswith(b"application/json")
        and length.isdigit()
        and int(length) <= BODY_BYTES_MAX
        and b"x-mlflow-workspace" not in headers
    )


def _again(messages: list[HTTPReceiveMessage], receive: Receive) -> Receive:
    """Give what was read once more, and then what comes."""
    waiting = iter(messages)

    async def next_message() -> Any:
        kept = next(waiting, None)
        return await receive() if kept is None else kept

    return next_message


async def _create(app: Application, principal: Principal, body: bytes) -> bytes:
    project = await home_of(app, principal) if app.identity.workspaces else None
    made = await created(app, _CREATE.decode(body), by=principal, project=project)
    return msgspec.json.encode(made)


async def _log_metric(app: Application, principal: Principal, body: bytes) -> bytes:
    found = _METRIC.decode(body)
    return await _log(app, principal, found.run_id, Entries(points=[found]))


async def _log_param(app: Application, principal: Principal, body: bytes) -> bytes:
    found = _LABEL.decode(body)
    entries = Entries(params=_labels([found], chars_max=PARAM_CHARS_MAX))
    return await _log(app, principal, found.run_id, entries)


async def _set_tag(app: Application, principal: Principal, body: bytes) -> bytes:
    found = _LABEL.decode(body)
    entries = Entries(tags=_labels([found], chars_max=TAG_CHARS_MAX))
    return await _log(app, principal, found.run_id, entries)


async def _log_batch(app: Application, principal: Principal, body: bytes) -> bytes:
    found = _BATCH.decode(body)
    _check_counts(len(found.metrics), found.params, found.tags)
    entries = _entries(found.metrics, found.params, found.tags)
    return await _log(app, principal, found.run_id, entries)


async def _log_read(app: Application, principal: Principal, found: ReadBatch) -> bytes:
    _check_counts(found.metrics, found.params, found.tags)
    entries = _entries(found.points, found.params, found.tags)
    return await _log(app, principal, found.run_id, entries)


def _check_counts(metrics: int, params: Sequence[Label], tags: Sequence[Label]) -> None:
    count = metrics + len(params) + len(tags)
    if not 1 <= count <= METRICS_MAX or max(len(params), len(tags)) > LABELS_MAX:
        raise _Odd


def _entries(
    points: Sequence[Point] | Batch, params: Sequence[Label], tags: Sequence[Label]
) -> Entries:
    return Entries(
        points=points,
        params=_labels(params, chars_max=PARAM_CHARS_MAX),
        tags=_labels(tags, chars_max=TAG_CHARS_MAX),
    )


async def _log(app: Application, principal: Principal, run_id: str, entries: Entries) -> bytes:
    if len(run_id) != 32 or not _HEX.issuperset(run_id):
        raise _Odd
    workload_id = WorkloadId(run_id)
    await app.tokens.check_write(principal, workload_id)
    if app.identity.workspaces:
        home = await home_of(app, principal)
        if await app.projects.of_run(workload_id, hoped=home) != home:
            raise _Odd
    await app.runs.log(workload_id, entries)
    return b"{}"


WAYS: dict[str, Callable[[Application, Principal, bytes], Awaitable[bytes]]] = {
    f"/api/2.0/mlflow/runs/{name}": way
    for name, way in (
        ("create", _create),
        ("log-metric", _log_metric),
        ("log-parameter", _log_param),
        ("set-tag", _set_tag),
        ("log-batch", _log_batch),
    )
}
"""By path, what writes a request's body and gives the answer's."""


def _labels(labels: Sequence[Label], *, chars_max: int) -> dict[str, str]:
    """Labels by their keys; one that is cut, stands twice or means something else is odd."""
    made = {label.key: label.value for label in labels}
    if (
        len(made) != len(labels)
        or not _OWN_TAGS.isdisjoint(made)
        or any(len(value) > chars_max for value in made.values())
        or not all(map(is_key, made))
    ):
        raise _Odd
    return made
