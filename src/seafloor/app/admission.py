"""Admission: what may be submitted here, said before anything is written."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from seafloor.app.environments import Environments
from seafloor.domain.cluster_specs import check_on_cluster
from seafloor.domain.code import CodeSource
from seafloor.domain.environments import Environment
from seafloor.domain.errors import NotFound
from seafloor.domain.specs import ExperimentSpec, check_on_machine


class ClusterRules(Protocol):
    """What a cluster's administrator allows."""

    def admit(
        self,
        spec: ExperimentSpec,
        code: CodeSource | None,
        environment: Environment | None,
        volumes: Collection[str],
    ) -> tuple[str, ...]:
        """Refuse what could not be started, with the rule's name; give warnings.

        Args:
            volumes: Names of those that are ours, and not the cluster's.
        """
        ...

    def names_environment(self, reference: str) -> bool:
        """Whether the administrator says what an environment of that name is."""
        ...


class Admission:
    """Which runs may be submitted.

    Args:
        cluster: Where they run; None: they are processes of this machine.
    """

    def __init__(self, environments: Environments, cluster: ClusterRules | None = None) -> None:
        self._environments = environments
        self._cluster = cluster

    async def environment(self, spec: ExperimentSpec) -> Environment | None:
        """The version that a new run would be in; None: it names none, or one of the cluster's.

        Raises:
            NotFound: there is none.
            NotSupported: it is only an image, which this machine cannot run.
        """
        if spec.environment is None:
            return None
        if self._cluster is None:
            return await self._environments.resolve_to_run(spec.environment, project=spec.project)
        try:
            return await self._environments.resolve(spec.environment, project=spec.project)
        except NotFound:
            if self._cluster.names_environment(spec.environment):
                return None
            raise

    def check(
        self,
        spec: ExperimentSpec,
        code: CodeSource | None,
        environment: Environment | None,
        volumes: Collection[str],
    ) -> tuple[str, ...]:
        """Refuse what could not be started here; give warnings.

        Args:
            volumes: Names of those of the spec that are ours.

        Raises:
            Forbidden: the administrator's policy does; the message names the rule.
            InvalidValue, NotSupported: it asks for what runs here cannot have.
        """
        if self._cluster is None:
            check_on_machine(spec)
            return ()
        check_on_cluster(spec)
        return self._cluster.admit(spec, code, environment, volumes)
