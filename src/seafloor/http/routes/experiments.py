"""Projects and experiments: ``/api/v1/projects``, ``/api/v1/experiments``."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, patch, post
from litestar.params import FromQuery, JSONBody, PathParameter

from seafloor.domain.experiments import Experiment, Project
from seafloor.domain.search import Lifecycle
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of
from seafloor.wire.experiments import (
    ExperimentCreate,
    ExperimentList,
    ExperimentUpdate,
    ProjectCreate,
    ProjectList,
)

ExperimentNumber = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]


@get("/projects", responses=documented(), summary="List projects")
async def list_projects(request: AnyRequest) -> ProjectList:
    """All projects by name."""
    return ProjectList(await application_of(request).projects.list())


@post("/projects", responses=documented(409, 413), summary="Create a project")
async def create_project(request: AnyRequest, data: JSONBody[ProjectCreate]) -> Project:
    """Create a project."""
    check_administrator(request)
    return await application_of(request).projects.create(data.name)


@get("/experiments", responses=documented(), summary="List experiments")
async def list_experiments(
    request: AnyRequest,
    project: FromQuery[str | None] = None,
    deleted: FromQuery[Lifecycle] = Lifecycle.ACTIVE,
) -> ExperimentList:
    """All experiments, newest first."""
    found = await application_of(request).experiments.list(project=project, lifecycle=deleted)
    return ExperimentList(found)


@post("/experiments", responses=documented(404, 409, 413, 501), summary="Create an experiment")
async def create_experiment(request: AnyRequest, data: JSONBody[ExperimentCreate]) -> Experiment:
    """Create an experiment; its name is unique within its project."""
    return await application_of(request).experiments.create(
        data.name,
        project=data.project,
        tags=data.tags,
        spec=data.spec,
        created_ns=data.created_ns,
    )


@get("/experiments/{experiment_id:int}", responses=documented(404), summary="Get an experiment")
async def get_experiment(request: AnyRequest, experiment_id: ExperimentNumber) -> Experiment:
    """Get an experiment, a deleted one too."""
    return await application_of(request).experiments.get(experiment_id)


@patch(
    "/experiments/{experiment_id:int}",
    responses=documented(404, 409, 413, 501),
    summary="Change an experiment",
)
async def update_experiment(
    request: AnyRequest, experiment_id: ExperimentNumber, data: JSONBody[ExperimentUpdate]
) -> Experiment:
    """Change name, tags or saved spec."""
    check_administrator(request)
    experiments = application_of(request).experiments
    await experiments.update(
        experiment_id,
        name=data.name,
        spec=data.spec,
        tags=data.tags,
        delete_tags=data.delete_tags,
    )
    return await experiments.get(experiment_id)


@delete(
    "/experiments/{experiment_id:int}",
    responses=documented(404, 409),
    status_code=200,
    summary="Delete an experiment",
)
async def delete_experiment(request: AnyRequest, experiment_id: ExperimentNumber) -> Experiment:
    """Delete an experiment with its runs; restorable."""
    check_administrator(request)
    experiments = application_of(request).experiments
    await experiments.delete(experiment_id)
    return await experiments.get(experiment_id)


@post(
    "/experiments/{experiment_id:int}/restore",
    responses=documented(404),
    status_code=200,
    summary="Undelete an experiment",
)
async def restore_experiment(request: AnyRequest, experiment_id: ExperimentNumber) -> Experiment:
    """Undo a deletion, of the runs that went with it too."""
    check_administrator(request)
    experiments = application_of(request).experiments
    await experiments.restore(experiment_id)
    return await experiments.get(experiment_id)


ROUTES = [
    list_projects,
    create_project,
    list_experiments,
    create_experiment,
    get_experiment,
    update_experiment,
    delete_experiment,
    restore_experiment,
]
