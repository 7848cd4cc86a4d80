"""``X-MLFLOW-WORKSPACE``: the project that a request works in.

MLflow calls a project a workspace. With the setting ``server.workspaces`` nothing of another
project is seen or touched by MLflow's routes; without the header it is the project of the run whose
token asks, for what Seafloor launched, and ``default`` otherwise. Without the setting there are
none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from seafloor.app.application import Application
from seafloor.app.tokens import Principal, TaskPrincipal
from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidValue,
    NotFound,
    NotSupported,
)
from seafloor.domain.experiments import DEFAULT_PROJECT, Experiment, Project
from seafloor.domain.ids import WorkloadId
from seafloor.domain.models import LoggedModel
from seafloor.domain.search import Lifecycle
from seafloor.domain.traces import Trace
from seafloor.domain.workloads import Workload
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import body_of, experiment_id_of, run_id_of
from seafloor.http.mlflow.entities import Json, without_empty
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of

HEADER = "x-mlflow-workspace"
_NAME_CHARS_MIN, _NAME_CHARS_MAX = 2, 63
_NAME = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_RESERVED = frozenset({"workspaces", "api", "ajax-api", "static-files"})
_STATE = "mlflow_project"


async def in_workspace(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard that finds out which workspace a request works in.

    Raises:
        InvalidValue, NotFound: there is no such workspace. Without workspaces there is ``default``.
    """
    request = Request[Any, Any, Any](connection.scope)
    app = application_of(request)
    name = connection.headers.get(HEADER, "").strip()
    if not app.identity.workspaces:
        if name not in ("", DEFAULT_PROJECT):
            raise NotFound(
                f"Workspace '{name[:_NAME_CHARS_MAX]}' not found: MLflow's clients work in "
                f"'{DEFAULT_PROJECT}' on this server.",
                field=HEADER,
            )
        return
    if not name:
        name = await home_of(app, connection.state.get("principal"))
    elif name != DEFAULT_PROJECT:
        await _found(request, name)
    connection.state[_STATE] = name


async def home_of(app: Application, principal: Principal | None) -> str:
    """The workspace of who names none: of a task its run's project, else ``default``."""
    if isinstance(principal, TaskPrincipal):
        return await app.projects.of_run(principal.workload_id)
    return DEFAULT_PROJECT


def project_of(request: AnyRequest) -> str | None:
    """The project that a request works in; None: in all, for there are no workspaces."""
    return request.state.get(_STATE)


def _is_foreign(request: AnyRequest, project: str) -> bool:
    return project_of(request) not in (None, project)


async def check_experiment(request: AnyRequest, experiment_id: int) -> int:
    """Refuse an experiment of another workspace; NotFound. The store knows of those of none."""
    if project_of(request) is not None:
        project = await application_of(request).projects.of_experiment(
            experiment_id, hoped=project_of(request)
        )
        if _is_foreign(request, project):
            raise no_experiment(experiment_id)
    return experiment_id


def no_experiment(experiment_id: int) -> NotFound:
    """That the workspace has no such experiment."""
    return NotFound(f"No Experiment with id={experiment_id} exists", field="experiment_id")


async def own_traces(request: AnyRequest, traces: Sequence[Trace]) -> list[Trace]:
    """Those of some traces that are of the workspace."""
    if project_of(request) is None:
        return list(traces)
    projects = application_of(request).projects
    return [
        trace
        for trace in traces
        if not _is_foreign(
            request,
            await projects.of_experiment(trace.experiment_id, hoped=project_of(request)),
        )
    ]


async def check_traces(request: AnyRequest, trace_ids: Sequence[str]) -> None:
    """Refuse traces of another workspace; NotFound. Ids that nobody has are fine."""
    if project_of(request) is None:
        return
    async for trace in application_of(request).traces.some(trace_ids):
        if not await own_traces(request, [trace]):
            raise _no_trace(trace.id)


async def trace_of_id(request: AnyRequest, trace_id: str) -> Trace:
    """The trace of an id, without its spans; NotFound."""
    found = await application_of(request).traces.get(trace_id)
    if not await own_traces(request, [found]):
        raise _no_trace(trace_id)
    return found


def _no_trace(trace_id: str) -> NotFound:
    return NotFound(f"Trace with ID '{trace_id}' not found.", field="trace_id")


async def experiment_of(request: AnyRequest, text: str) -> Experiment:
    """The experiment of an id, deleted ones too.

    Raises:
        InvalidValue, NotFound: it is no id, or no experiment of the project has it.
    """
    found = await application_of(request).experiments.get(experiment_id_of(text))
    if _is_foreign(request, found.project):
        raise no_experiment(found.id)
    return found


async def active_experiment(request: AnyRequest, text: str) -> Experiment:
    """The experiment that something may be made in.

    Raises:
        InvalidValue, NotFound: as ``experiment_of``.
        Conflict: it is deleted; in MLflow's words.
    """
    found = await experiment_of(request, text)
    if found.deleted_ns is not None:
        raise Conflict(
            f"The experiment {found.id} must be in the 'active' state. Current state is deleted."
        )
    return found


async def experiments_of(request: AnyRequest, texts: Sequence[str]) -> list[int]:
    """Those of some experiments' ids that are of the project; unknown ones are left out.

    Raises:
        InvalidValue: one is no id.
    """
    asked = [experiment_id_of(text) for text in texts]
    if project_of(request) is None:
        return asked
    if len(asked) == 1:
        return [one.id for one in await _experiments(request, asked[0])]
    experiments = application_of(request).experiments
    every = await experiments.list(project=project_of(request), lifecycle=Lifecycle.ALL)
    known = {one.id for one in every}
    return [experiment_id for experiment_id in asked if experiment_id in known]


async def _experiments(request: AnyRequest, experiment_id: int) -> list[Experiment]:
    try:
        return [await experiment_of(request, str(experiment_id))]
    except NotFound:
        return []


async def run_of(request: AnyRequest, run_id: str, run_uuid: str = "") -> Workload:
    """The run of an id, deleted ones too.

    Raises:
        InvalidValue, NotFound: it is no id, or no run of the project has it.
    """
    found = await application_of(request).runs.get(run_id_of(run_id, run_uuid))
    if _is_foreign(request, found.project):
        raise _no_run(found.id)
    return found


async def check_run(request: AnyRequest, workload_id: WorkloadId) -> None:
    """Refuse a run of another project; NotFound."""
    hoped = project_of(request)
    project = await application_of(request).projects.of_run(workload_id, hoped=hoped)
    if _is_foreign(request, project):
        raise _no_run(workload_id)


def _no_run(workload_id: WorkloadId) -> NotFound:
    return NotFound(f"Run with id={workload_id} not found", field="run_id")


async def model_of(request: AnyRequest, model_id: str) -> LoggedModel:
    """The logged model of an id, deleted ones too.

    Raises:
        NotFound: no model of the project has it.
    """
    app = application_of(request)
    found = await app.stores.metadata.model_get(model_id)
    hoped = project_of(request)
    if hoped is not None and _is_foreign(
        request, await app.projects.of_experiment(found.experiment_id, hoped=hoped)
    ):
        raise NotFound(f"Logged model with ID '{model_id}' not found.", field="model_id")
    return found


class _Mode(StrEnum):
    """What becomes of what is in a workspace that is deleted."""

    SET_DEFAULT = "SET_DEFAULT"
    CASCADE = "CASCADE"
    RESTRICT = "RESTRICT"


class _Archival(msgspec.Struct):
    location: str | msgspec.UnsetType = msgspec.UNSET
    retention: str | msgspec.UnsetType = msgspec.UNSET


class _Workspace(msgspec.Struct):
    name: str = ""
    description: str | msgspec.UnsetType = msgspec.UNSET
    default_artifact_root: str | msgspec.UnsetType = msgspec.UNSET
    trace_archival_config: _Archival | None = None


async def _found(request: AnyRequest, name: str) -> Json:
    """A workspace as MLflow shows it; InvalidValue, NotFound."""
    try:
        found = await application_of(request).projects.get(name)
    except NotFound as error:
        _check_name(name)  # of a project that is there MLflow's rule on names says nothing
        raise NotFound(f"Workspace '{name}' not found", field=HEADER) from error
    return _shown(found)


def _shown(found: Project) -> Json:
    if found.description is None:
        return {"name": found.name}
    return {"name": found.name, "description": found.description}


def _check_name(name: str) -> None:
    """Refuse what no workspace of MLflow's is called, in its words; InvalidValue."""
    shown = name[: _NAME_CHARS_MAX + 1]
    if not _NAME_CHARS_MIN <= len(name) <= _NAME_CHARS_MAX:
        said = f"must be between {_NAME_CHARS_MIN} and {_NAME_CHARS_MAX} characters."
    elif not _NAME.fullmatch(name):
        said = (
            f"must match the pattern ^{_NAME.pattern}$ "
            "(lowercase alphanumeric with optional internal hyphens)."
        )
    elif name in _RESERVED:
        said = "is reserved and cannot be used."
    else:
        return
    raise InvalidValue(f"Workspace name '{shown}' {said}", field="name")


def _check_enabled(request: AnyRequest) -> None:
    """Refuse what is about workspaces where there are none; NotSupported."""
    if not application_of(request).identity.workspaces:
        raise NotSupported(
            "Workspaces are not enabled on this server: its setting `server.workspaces` does that."
        )


@get("/workspaces")
async def list_workspaces(request: AnyRequest) -> Json:
    _check_enabled(request)
    every = await application_of(request).projects.list()
    return without_empty({"workspaces": [_shown(one) for one in every]})


@post("/workspaces", status_code=201)
async def create_workspace(request: AnyRequest) -> Json:
    """Create a project."""
    check_administrator(request)
    _check_enabled(request)
    body = await body_of(request, _Workspace)
    if not body.name:
        raise words.missing("name")
    if body.name == DEFAULT_PROJECT:
        raise InvalidValue(
            f"The '{DEFAULT_PROJECT}' workspace is reserved and cannot be created", field="name"
        )
    _check_name(body.name)
    _check_kept(body)
    projects = application_of(request).projects
    said = None if body.description is msgspec.UNSET else body.description
    try:
        made = await projects.create(body.name, description=said)
    except AlreadyExists as error:
        raise AlreadyExists(f"Workspace '{body.name}' already exists.", field="name") from error
    return {"workspace": _shown(made)}


def _check_kept(body: _Workspace) -> None:
    """Refuse what says where files are to be: they are all in one place.

    Raises:
        InvalidValue, NotSupported
    """
    if (body.default_artifact_root or "").strip():
        raise InvalidValue(
            "Artifacts are kept by this server: leave default_artifact_root out.",
            field="default_artifact_root",
        )
    archival = body.trace_archival_config or _Archival()
    if (archival.location or "").strip() or (archival.retention or "").strip():
        raise NotSupported("Traces are not archived by this server: they stay searchable.")


@get("/workspaces/{name:str}")
async def get_workspace(request: AnyRequest, name: FromPath[str]) -> Json:
    _check_enabled(request)
    return {"workspace": await _found(request, name)}


@patch("/workspaces/{name:str}")
async def update_workspace(request: AnyRequest, name: FromPath[str]) -> Json:
    """Say what a workspace is for; its name stays."""
    check_administrator(request)
    _check_enabled(request)
    if name != DEFAULT_PROJECT:
        _check_name(name)
    body = await body_of(request, _Workspace)
    archival = body.trace_archival_config or _Archival()
    told = (body.description, body.default_artifact_root, archival.location, archival.retention)
    if all(one is msgspec.UNSET for one in told):
        raise InvalidValue("Workspace update must have at least one key")
    _check_kept(body)
    found = await _found(request, name)
    if body.description is msgspec.UNSET:
        return {"workspace": found}
    made = await application_of(request).projects.describe(name, body.description)
    return {"workspace": _shown(made)}


@delete("/workspaces/{name:str}", status_code=204)
async def delete_workspace(
    request: AnyRequest, name: FromPath[str], mode: FromQuery[str] = _Mode.RESTRICT
) -> None:
    """Delete a workspace: if it is empty, into the default one, or with all that is in it."""
    check_administrator(request)
    _check_enabled(request)
    if name == DEFAULT_PROJECT:
        raise InvalidValue(
            f"The '{DEFAULT_PROJECT}' workspace is reserved and cannot be deleted", field="name"
        )
    _check_name(name)
    if mode not in set(_Mode):
        raise InvalidValue(
            f"Invalid deletion mode '{mode[:_NAME_CHARS_MAX]}'. Must be one of: {', '.join(_Mode)}",
            field="mode",
        )
    await _found(request, name)
    removal = application_of(request).project_removal
    match _Mode(mode):
        case _Mode.RESTRICT:
            await removal.of_empty(name)
        case _Mode.CASCADE:
            await removal.with_all(name)
        case _Mode.SET_DEFAULT:
            await removal.into(name, DEFAULT_PROJECT)


ROUTES: list[HTTPRouteHandler] = [
    list_workspaces,
    create_workspace,
    get_workspace,
    update_workspace,
    delete_workspace,
]
