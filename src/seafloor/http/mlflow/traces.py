"""``/api/3.0/mlflow/traces…``, and those of its routes that clients call under ``/api/2.0``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
from litestar import delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from seafloor.app.application import Application
from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound
from seafloor.domain.experiments import Experiment
from seafloor.domain.traces import (
    NAME_TAG,
    SPANS_ARE_HERE,
    SPANS_TAG,
    Trace,
    TraceQuery,
)
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import Int64, body_of, experiment_id_of, int64
from seafloor.http.mlflow.entities import Json, without_empty
from seafloor.http.mlflow.trace_access import check_run_of, check_trace_writes, link_to_run
from seafloor.http.mlflow.trace_json import (
    LABEL_CHARS_MAX,
    NAME_CHARS_MAX,
    LocationIn,
    TraceInfoIn,
    trace_info_json,
    trace_of,
)
from seafloor.http.mlflow.trace_words import parse_trace_filter, parse_trace_order
from seafloor.http.mlflow.workspaces import (
    check_experiment,
    experiments_of,
    own_traces,
    trace_of_id,
)
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of
from seafloor.http.streams import begun

LINKS_MAX = 100
IDS_MAX = 1_000
PAGE_MAX = 500
_VERSION = re.compile(r"[0-9]{1,18}\Z")
_FIXED_TAGS = (SPANS_TAG, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure")


class _TraceIn(msgspec.Struct):
    trace_info: TraceInfoIn | None = None


class _Start(msgspec.Struct):
    trace: _TraceIn | None = None


class _Search(msgspec.Struct):
    locations: list[LocationIn] = []
    filter: str = ""
    max_results: Int64 = 100
    order_by: list[str] = []
    page_token: str = ""


class _Ids(msgspec.Struct):
    trace_ids: list[str] | None = None
    experiment_ids: list[str] | None = None


class _Tag(msgspec.Struct):
    key: str = ""
    value: str = ""


class _Delete(msgspec.Struct):
    experiment_id: str = ""
    max_timestamp_millis: Int64 | None = None
    max_traces: Int64 | None = None
    request_ids: list[str] = []


class _Prompt(msgspec.Struct):
    name: str = ""
    version: str = ""


class _Prompts(msgspec.Struct):
    trace_id: str = ""
    prompt_versions: list[_Prompt] = []


class _Link(msgspec.Struct):
    trace_ids: list[str] | None = None
    run_id: str = ""


_Listed = tuple[Trace, Experiment]


async def _experiments(app: Application, traces: Sequence[Trace]) -> dict[int, Experiment]:
    ids = {trace.experiment_id for trace in traces}
    return {one: await app.experiments.get(one) for one in ids}


@post("/traces", status_code=200)
async def start(request: AnyRequest) -> Json:
    """Keep what a client tells of a trace; it does so when the trace is over."""
    app = application_of(request)
    body = await body_of(request, _Start)
    if body.trace is None or body.trace.trace_info is None:
        raise words.missing("trace")
    info = body.trace.trace_info
    now_ms = app.clock.now_ns() // 1_000_000
    news = trace_of(info, now_ms=now_ms)
    await check_experiment(request, news.experiment_id)
    await check_trace_writes(request, [news.id])
    await check_run_of(request, news)
    made = await app.stores.metadata.trace_tell(news)
    experiment = await app.experiments.get(made.experiment_id)
    return {"trace": {"trace_info": trace_info_json(made, experiment)}}


@get("/traces/{trace_id:str}")
async def get_info(request: AnyRequest, trace_id: FromPath[str]) -> Json:
    app = application_of(request)
    trace = await trace_of_id(request, trace_id)
    experiment = await app.experiments.get(trace.experiment_id)
    return {"trace": {"trace_info": trace_info_json(trace, experiment)}}


@get("/traces/get")
async def get_trace(
    request: AnyRequest, trace_id: FromQuery[str] = "", *, allow_partial: FromQuery[str] = ""
) -> Stream:
    app = application_of(request)
    if not trace_id:
        raise words.missing("trace_id")
    found = await app.stores.metadata.trace_list([trace_id])
    if not await own_traces(request, found):
        raise NotFound(f"Trace with ID {trace_id} is not found.", field="trace_id")
    trace = found[0]
    _check_here(trace)
    if allow_partial.lower() not in ("true", "1") and not await app.traces.wait_whole(trace):
        raise NotFound(
            f"Trace with ID {trace_id} is not fully exported yet, please try again later."
        )
    # What came meanwhile is told with its spans.
    trace = (await app.stores.metadata.trace_list([trace_id]) or found)[0]
    experiment = await app.experiments.get(trace.experiment_id)

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"trace":'
        async for piece in _whole(app, trace, experiment):
            yield piece
        yield b"}"

    return Stream(pieces(), media_type="application/json")


def _check_here(trace: Trace) -> None:
    if trace.tags.get(SPANS_TAG) != SPANS_ARE_HERE:
        raise NotFound(
            "Trace data not stored in tracking store: it is among the trace's artifacts.",
            field="trace_id",
        )


async def _whole(app: Application, trace: Trace, experiment: Experiment) -> AsyncIterator[bytes]:
    info = msgspec.json.encode(trace_info_json(trace, experiment))
    yield b'{"trace_info":' + info + b',"spans":['
    separator = b""
    async for document in app.traces.documents(trace.id):
        yield separator + document
        separator = b","
    yield b"]}"


@get("/traces/batchGet")
async def get_traces(
    request: AnyRequest,
    trace_ids: Annotated[list[str] | None, FromQuery] = None,
    experiment_ids: Annotated[list[str] | None, FromQuery] = None,
) -> Stream:
    app = application_of(request)
    found = await begun(_listed(request, trace_ids, experiment_ids))

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"traces":['
        separator = b""
        async for trace, experiment in found:
            if trace.tags.get(SPANS_TAG) == SPANS_ARE_HERE and await app.traces.is_whole(trace):
                yield separator
                async for piece in _whole(app, trace, experiment):
                    yield piece
                separator = b","
        yield b"]}"

    return Stream(pieces(), media_type="application/json")


@post("/traces/batchGetInfos", status_code=200)
async def get_infos(request: AnyRequest) -> Stream:
    body = await body_of(request, _Ids)
    found = await begun(_listed(request, body.trace_ids, body.experiment_ids))

    async def pieces() -> AsyncIterator[bytes]:
        separator = b'{"trace_infos":['
        async for trace, experiment in found:
            yield separator + msgspec.json.encode(trace_info_json(trace, experiment))
            separator = b","
        yield b"]}" if separator == b"," else b"{}"

    return Stream(pieces(), media_type="application/json")


async def _listed(
    request: AnyRequest, trace_ids: Sequence[str] | None, experiment_ids: Sequence[str] | None
) -> AsyncIterator[_Listed]:
    if trace_ids is None:
        raise words.missing("trace_ids")
    _check_count(len(trace_ids))
    of = None if experiment_ids is None else {experiment_id_of(text) for text in experiment_ids}
    app = application_of(request)
    experiments: dict[int, Experiment] = {}
    async for trace in app.traces.some(list(dict.fromkeys(trace_ids))):
        place = trace.experiment_id
        if (of is None or place in of) and await own_traces(request, [trace]):
            if place not in experiments:
                experiments[place] = await app.experiments.get(place)
            yield trace, experiments[place]


def _check_count(count: int) -> None:
    if count > IDS_MAX:
        raise LimitExceeded(f"At most {IDS_MAX} traces at once, not {count}.", field="trace_ids")


@post("/traces/search", status_code=200)
async def search(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Search)
    if not body.locations:
        raise words.missing("locations")
    limit = int64(body.max_results, field="max_results")
    if limit > PAGE_MAX:
        raise words.invalid(limit, "max_results")
    if limit < 1:
        raise InvalidValue(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive "
            "integer",
            field="max_results",
        )
    places = [one.mlflow_experiment for one in body.locations if one.mlflow_experiment]
    orders = tuple(parse_trace_order(text) for text in body.order_by)
    if len({(one.subject, one.key) for one in orders}) < len(orders):
        raise InvalidValue(
            f"`order_by` contains duplicate fields: {body.order_by}", field="order_by"
        )
    experiment_ids = await experiments_of(request, [one.experiment_id for one in places])
    query = TraceQuery(
        experiment_ids=tuple(experiment_ids),
        comparisons=parse_trace_filter(body.filter),
        order=orders,
        limit=limit,
        cursor=body.page_token or None,
    )
    with words.page_tokens():
        page = await app.stores.metadata.trace_search(query)
    experiments = await _experiments(app, page.items)
    shown = [trace_info_json(one, experiments[one.experiment_id]) for one in page.items]
    return without_empty({"traces": shown, "next_page_token": page.next})


@post("/traces/delete-traces", status_code=200)
async def delete_traces(request: AnyRequest) -> Json:
    check_administrator(request)
    app = application_of(request)
    body = await body_of(request, _Delete)
    until_ms = _given(body.max_timestamp_millis, "max_timestamp_millis")
    limit = _given(body.max_traces, "max_traces")
    ids = body.request_ids or None
    _check_deletion(until_ms, limit, ids)
    experiment_id = await check_experiment(request, experiment_id_of(body.experiment_id))
    deleted = await app.traces.delete(experiment_id, until_ms=until_ms, limit=limit, ids=ids)
    return {"traces_deleted": deleted}


def _given(value: Int64 | None, name: str) -> int | None:
    return None if value is None else int64(value, field=name)


def _check_deletion(until_ms: int | None, limit: int | None, ids: list[str] | None) -> None:
    """Refuse to guess which traces are meant, with the words of MLflow's store."""
    if until_ms is None and not ids:
        raise InvalidValue("Either `max_timestamp_millis` or `trace_ids` must be specified.")
    if until_ms is not None and ids:
        raise InvalidValue("Only one of `max_timestamp_millis` and `trace_ids` can be specified.")
    if ids and limit is not None:
        raise InvalidValue("`max_traces` can't be specified if `trace_ids` is specified.")
    if limit is not None and limit <= 0:
        raise InvalidValue(f"`max_traces` must be a positive integer, received {limit}.")
    _check_count(len(ids or ()))


@patch("/traces/{trace_id:str}/tags")
async def set_tag(request: AnyRequest, trace_id: FromPath[str]) -> Json:
    app = application_of(request)
    body = await body_of(request, _Tag)
    key = _changeable(body.key, "set")
    value = body.value[:LABEL_CHARS_MAX]
    if key == NAME_TAG and len(value) > NAME_CHARS_MAX:
        raise words.too_long("Trace name", NAME_CHARS_MAX)
    await check_trace_writes(request, [trace_id])
    await app.stores.metadata.trace_tags_change(trace_id, set_={key: value})
    return {}


@delete("/traces/{trace_id:str}/tags", status_code=200)
async def delete_tag(
    request: AnyRequest, trace_id: FromPath[str], key: FromQuery[str] = ""
) -> Json:
    app = application_of(request)
    body = await body_of(request, _Tag)
    key = _changeable(body.key or key, "deleted")
    await check_trace_writes(request, [trace_id])
    await app.stores.metadata.trace_tags_change(trace_id, set_={}, delete=[key])
    return {}


def _changeable(key: str, how: str) -> str:
    if key in _FIXED_TAGS:
        raise InvalidValue(f"Tag '{key}' is immutable and cannot be {how} on a trace.", field="key")
    return words.checked_key(key, name="key")


@post("/traces/link-to-run", status_code=200)
async def link(request: AnyRequest) -> Json:
    body = await body_of(request, _Link)
    if body.trace_ids is None:
        raise words.missing("trace_ids")
    if len(body.trace_ids) > LINKS_MAX:
        raise LimitExceeded(
            f"Cannot link more than {LINKS_MAX} traces to a run in a single request. Provided "
            f"{len(body.trace_ids)} traces.",
            field="trace_ids",
        )
    await link_to_run(request, body.trace_ids, body.run_id)
    return {}


@post("/traces/link-prompts", status_code=200)
async def link_prompts(request: AnyRequest) -> Json:
    """Say which versions of prompts a trace used; clients that cannot set a tag instead."""
    app = application_of(request)
    body = await body_of(request, _Prompts)
    for name in ("trace_id", "prompt_versions"):
        if not getattr(body, name):
            raise words.missing(name)
    if len(body.prompt_versions) > LINKS_MAX:
        raise LimitExceeded(
            f"At most {LINKS_MAX} versions of prompts in a request.", field="prompt_versions"
        )
    for one in body.prompt_versions:
        if not one.name or "/" in one.name or not _VERSION.match(one.version):
            raise InvalidValue(
                "A version of a prompt has a name without slashes and a whole number.",
                field="prompt_versions",
            )
    prompts = [f"{one.name}/{int(one.version)}" for one in body.prompt_versions]
    await check_trace_writes(request, [body.trace_id])
    await app.stores.metadata.trace_prompts_link(body.trace_id, prompts)
    return {}


ROUTES: list[HTTPRouteHandler] = [
    start,
    get_info,
    get_trace,
    get_traces,
    get_infos,
    search,
    delete_traces,
    set_tag,
    delete_tag,
]
OLD_ROUTES: list[HTTPRouteHandler] = [delete_traces, set_tag, delete_tag, link, link_prompts]
"""Which clients call under ``/api/2.0``."""
