"""Admission: what may be submitted here, said before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
        environments: Mapping[str, Environment],
        volumes: Collection[str],
    ) -> tuple[str, ...]:
        """Refuse what could not be started, with the rule's name; give warnings.

        Args:
            environments: Those that we have, by their references in the spec.
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

    async def environments(self, spec: ExperimentSpec) -> dict[str, Environment]:
        """The versions that a new run and its roles would be in, by their references in the spec.

        Those that only the cluster's administrator has are left out, and for roles all that he has.

        Raises:
            NotFound: there is none.
            NotSupported: it is only an image, which this machine cannot run.
        """
        own, project = spec.environment, spec.project
        if self._cluster is None:
            named = dict.fromkeys((own, *spec.role_environments))
            return {
                one: await self._environments.resolve_to_run(one, project=project)
                for one in named
                if one is not None
            }
        found: dict[str, Environment] = {}
        for reference in spec.role_environments:
            if not self._cluster.names_environment(reference):
                found[reference] = await self._environments.resolve(reference, project=project)
        if own is not None and own not in found:
            try:
                found[own] = await self._environments.resolve(own, project=project)
            except NotFound:
                if not self._cluster.names_environment(own):
                    raise
        return found

    def check(
        self,
        spec: ExperimentSpec,
        code: CodeSource | None,
        environments: Mapping[str, Environment],
        volumes: Collection[str],
    ) -> tuple[str, ...]:
        """Refuse what could not be started here; give warnings.

        Args:
            environments: As ``environments`` found them.
            volumes: Names of those of the spec that are ours.

        Raises:
            Forbidden: the administrator's policy does; the message names the rule.
            InvalidValue, NotSupported: it asks for what runs here cannot have.
        """
        if self._cluster is None:
            check_on_machine(spec)
            return ()
        check_on_cluster(spec)
        return self._cluster.admit(spec, code, environments, volumes)
