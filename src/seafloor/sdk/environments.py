"""Environments over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seafloor.sdk.artifacts import fetch_file
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.environments import (
    EnvironmentCreate,
    EnvironmentDeleted,
    EnvironmentList,
    EnvironmentView,
)

_ENVIRONMENTS = "/api/v1/environments"
_LOCK_TIMEOUT_S = 900.0


class Environments:
    """``/api/v1/environments`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, spec: dict[str, Any]) -> EnvironmentView:
        """Lock an environment; the same spec gives the version that is there.

        Args:
            spec: What stands under ``environment:``.

        Raises:
            InvalidValue: the spec.
            SourceError: packages could not be had or do not fit together.
        """
        # Locking may download an index: longer than any other answer.
        request = Request(
            "POST", _ENVIRONMENTS, json=EnvironmentCreate(spec), read_s=_LOCK_TIMEOUT_S
        )
        return self._transport.call(request, EnvironmentView)

    def get(self, reference: str, *, project: str | None = None) -> EnvironmentView:
        """Read ``<name>`` (its newest version) or ``<name>@<version>``."""
        request = Request("GET", _path(reference), query=[("project", project)])
        return self._transport.call(request, EnvironmentView)

    def list(self, *, project: str | None = None) -> EnvironmentList:
        """Read every living version."""
        request = Request("GET", _ENVIRONMENTS, query=[("project", project)])
        return self._transport.call(request, EnvironmentList)

    def archive_file(self, digest: str, name: str, target: Path) -> int:
        """Fetch a file of a stored environment, whole or not at all; say its size.

        Raises:
            NotFound: the server does not have it.
        """
        path = f"/api/v1/environment-archives/{quote(digest)}/{quote(name)}"
        return fetch_file(self._transport, path, target)

    def delete(self, reference: str, *, project: str | None = None) -> EnvironmentDeleted:
        """Remove one version, or all versions of a name.

        Raises:
            NotFound: there is none.
            Conflict: a run that has not ended uses it.
        """
        request = Request("DELETE", _path(reference), query=[("project", project)])
        return self._transport.call(request, EnvironmentDeleted)


def _path(reference: str) -> str:
    return f"{_ENVIRONMENTS}/{quote(reference)}"
