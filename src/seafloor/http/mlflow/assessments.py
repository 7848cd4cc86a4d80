"""``/api/3.0/mlflow/traces/<trace>/assessments…``."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec.structs import replace

from seafloor.domain.errors import InvalidValue, NotFound
from seafloor.domain.traces import Assessment, AssessmentKind
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import body_of
from seafloor.http.mlflow.entities import Json
from seafloor.http.mlflow.trace_access import check_trace_writes
from seafloor.http.mlflow.trace_json import (
    AssessmentIn,
    assessment_json,
    assessment_of,
    check_bounds,
    error_of,
    expected,
)
from seafloor.http.mlflow.workspaces import own_traces
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of


class _Body(msgspec.Struct):
    assessment: AssessmentIn | None = None
    update_mask: str = ""


async def _assessment(request: AnyRequest, trace_id: str, assessment_id: str) -> Assessment:
    found = await application_of(request).stores.metadata.trace_list([trace_id])
    if not await own_traces(request, found):
        raise NotFound(f"Trace with request_id '{trace_id}' not found", field="trace_id")
    for one in found[0].assessments:
        if one.id == assessment_id:
            return one
    raise NotFound(
        f"Assessment with ID '{assessment_id}' not found for trace '{trace_id}'",
        field="assessment_id",
    )


@post("/traces/{trace_id:str}/assessments", status_code=200)
async def create(request: AnyRequest, trace_id: FromPath[str]) -> Json:
    app = application_of(request)
    body = await body_of(request, _Body)
    if body.assessment is None:
        raise words.missing("assessment")
    made = assessment_of(body.assessment, trace_id, now_ms=app.clock.now_ns() // 1_000_000)
    await check_trace_writes(request, [trace_id])
    await app.stores.metadata.assessment_put(made)
    return {"assessment": assessment_json(made)}


@get("/traces/{trace_id:str}/assessments/{assessment_id:str}")
async def get_assessment(
    request: AnyRequest, trace_id: FromPath[str], assessment_id: FromPath[str]
) -> Json:
    found = await _assessment(request, trace_id, assessment_id)
    return {"assessment": assessment_json(found)}


@patch("/traces/{trace_id:str}/assessments/{assessment_id:str}")
async def update(
    request: AnyRequest, trace_id: FromPath[str], assessment_id: FromPath[str]
) -> Json:
    app = application_of(request)
    body = await body_of(request, _Body)
    if body.assessment is None:
        raise words.missing("assessment")
    if not body.update_mask:
        raise words.missing("update_mask")
    await check_trace_writes(request, [trace_id])
    news, paths = body.assessment, _paths(body.update_mask)
    now_ms = app.clock.now_ns() // 1_000_000

    def change(found: Assessment) -> Assessment:
        return replace(found, **_changes(found, news, paths), updated_ms=now_ms)

    made = await app.stores.metadata.assessment_change(trace_id, assessment_id, change)
    return {"assessment": assessment_json(made)}


@delete("/traces/{trace_id:str}/assessments/{assessment_id:str}", status_code=200)
async def delete_assessment(
    request: AnyRequest, trace_id: FromPath[str], assessment_id: FromPath[str]
) -> Json:
    await check_trace_writes(request, [trace_id])
    await application_of(request).stores.metadata.assessment_delete(trace_id, assessment_id)
    return {}


def _paths(mask: str) -> list[str]:
    """The fields that a mask names, as protobuf's JSON writes them or as the fields are called."""
    return [re.sub("([A-Z])", r"_\1", path).lower() for path in mask.split(",")]


def _changes(found: Assessment, news: AssessmentIn, paths: list[str]) -> dict[str, Any]:
    """What of an assessment becomes what; fields that never change are passed over.

    Raises:
        InvalidValue: a feedback is to become an expectation, or the other way round.
    """
    made: dict[str, Any] = {}
    if "expectation" in paths and "feedback" in paths:
        raise InvalidValue("Cannot specify both `expectation` and `feedback` parameters.")
    if "expectation" in paths and news.expectation is not None:
        if found.kind is not AssessmentKind.EXPECTATION:
            raise InvalidValue("Cannot update expectation value on a Feedback assessment.")
        made["value"] = expected(news.expectation)
    if "feedback" in paths and news.feedback is not None:
        if found.kind is not AssessmentKind.FEEDBACK:
            raise InvalidValue("Cannot update feedback value on an Expectation assessment.")
        made |= {"value": news.feedback.value, "error": error_of(news.feedback)}
    if "assessment_name" in paths:
        made["name"] = news.assessment_name
    if "rationale" in paths and found.kind is AssessmentKind.FEEDBACK:
        made["rationale"] = news.rationale
    if "metadata" in paths:
        made["metadata"] = {**found.metadata, **news.metadata}
    check_bounds(
        name=made.get("name", ""),
        value=made.get("value"),
        rationale=made.get("rationale", ""),
        metadata=made.get("metadata", {}),
    )
    return made


ROUTES: list[HTTPRouteHandler] = [create, get_assessment, update, delete_assessment]
