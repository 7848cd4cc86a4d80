"""What mlflow finds by its entry points. Imports nothing before it is asked for a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.store.model_registry.rest_store import RestStore as RegistryStore

    from seafloor.mlflow_plugin.tracking import TrackingStore

_PREFIX = "seafloor+"


def tracking_store(store_uri: str, artifact_uri: str | None = None) -> TrackingStore:  # noqa: ARG001 - mlflow gives both
    """Make the store of runs and experiments for a ``seafloor+http`` address."""
    from seafloor.mlflow_plugin.tracking import make_store

    return make_store(plain_address(store_uri))


def registry_store(store_uri: str) -> RegistryStore:
    """Make the store of registered models: mlflow's own, over HTTP."""
    from functools import partial

    from mlflow.store.model_registry.rest_store import RestStore
    from mlflow.utils.credentials import get_default_host_creds

    return RestStore(partial(get_default_host_creds, plain_address(store_uri)))


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> MlflowArtifactsRepository:
    """Make mlflow's own repository of ``mlflow-artifacts:`` files.

    It asks for a tracking address that begins with http; any other than ours it gets as it is.
    """
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.tracking import get_tracking_uri

    return MlflowArtifactsRepository(
        artifact_uri,
        tracking_uri=plain_address(tracking_uri or get_tracking_uri()),
        registry_uri=registry_uri,
    )


def plain_address(address: str) -> str:
    """Take ``seafloor+`` away, if it is there.

    >>> plain_address("seafloor+https://example.com/")
    'https://example.com/'
    """
    return address.removeprefix(_PREFIX)
