"""The application: every use case, made once by boot and handed to the edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from seafloor.app.artifacts import RunArtifacts
from seafloor.app.charts import Charts
from seafloor.app.clock import Clock
from seafloor.app.environments import Environments
from seafloor.app.experiments import Experiments, Projects
from seafloor.app.models import Models
from seafloor.app.plans import Plans
from seafloor.app.project_removal import ProjectRemoval
from seafloor.app.reconciler import Reconciler
from seafloor.app.runs import Runs, RunStores
from seafloor.app.sealer import Sealer
from seafloor.app.snapshots import Snapshots
from seafloor.app.tasks import Tasks
from seafloor.app.tokens import Tokens
from seafloor.app.traces import Traces
from seafloor.app.usage import Usage
from seafloor.app.volumes import Volumes
from seafloor.domain.errors import SeafloorError


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is and where.

    Args:
        url: As clients and tasks know it.
        token: That clients present; empty: no authentication.
        settings: As in effect, secrets left out, each with its origin.
        metrics_token: That reads ``/metrics`` and nothing else; empty: there is none.
        workspaces: Whether MLflow's clients work in one project, their workspace, each.
    """

    version: str
    url: str
    data_dir: str
    python: str
    token: str
    started_ns: int
    settings: Mapping[str, Any]
    workspaces: bool = False
    metrics_token: str = ""


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """Every use case."""

    identity: Identity
    clock: Clock
    stores: RunStores
    projects: Projects
    project_removal: ProjectRemoval
    experiments: Experiments
    runs: Runs
    charts: Charts
    run_artifacts: RunArtifacts
    models: Models
    tasks: Tasks
    environments: Environments
    snapshots: Snapshots
    plans: Plans
    tokens: Tokens
    traces: Traces
    usage: Usage
    volumes: Volumes
    reconciler: Reconciler
    sealer: Sealer

    async def health(self) -> dict[str, str]:
        """Check every part: ``ok``, or one sentence."""
        parts = {"metadata": "ok", "objects": "ok", "reconciler": "ok"}
        try:
            await self.stores.metadata.check()
        except SeafloorError as error:
            parts["metadata"] = error.message
        try:
            await self.snapshots.probe()
        except SeafloorError as error:
            parts["objects"] = error.message
        if self.reconciler.problem is not None:
            parts["reconciler"] = self.reconciler.problem
        parts["sealer"] = self.sealer.problem or "ok"
        return parts
