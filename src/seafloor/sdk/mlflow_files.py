"""Files of models and of traces, by the paths of MLflow's clients: the only ones they have."""

from __future__ import annotations

from collections.abc import Generator
from functools import cached_property
from pathlib import Path, PurePosixPath

import msgspec

from seafloor.domain.errors import InvalidValue
from seafloor.domain.experiments import DEFAULT_PROJECT
from seafloor.domain.names import check_path
from seafloor.sdk.artifacts import fetch_file, no_progress
from seafloor.sdk.downloads import Progress
from seafloor.sdk.transport import Request, Transport, quote_path

_PATH = "/api/2.0/mlflow-artifacts/artifacts"
_SERVER_PATH = "/api/3.0/mlflow/server-info"


class _Entry(msgspec.Struct, frozen=True):
    path: str
    is_dir: bool = False
    file_size: int = 0


class _Listing(msgspec.Struct, frozen=True):
    files: tuple[_Entry, ...] = ()


class _Server(msgspec.Struct, frozen=True):
    workspaces_enabled: bool = False


class MlflowFiles:
    """What has files of its own.

    Each method that goes by MLflow's paths is told the ``workspace``: the project of the owner,
    without which a server with workspaces finds nothing of it.

    Args:
        kind: The folder that all of them are in: ``models``.
    """

    def __init__(self, transport: Transport, *, kind: str) -> None:
        self._transport = transport
        self._kind = kind

    def files(
        self, owner: str, folder: str = "", *, workspace: str = DEFAULT_PROJECT
    ) -> Generator[tuple[str, int]]:
        """Read path and size of every file of one of them.

        Args:
            owner: Its id.
        """
        request = Request(
            "GET",
            _PATH,
            query=[("path", f"{self._root(owner)}/{folder}".rstrip("/"))],
            headers=self._inside(workspace),
        )
        for entry in self._transport.call(request, _Listing).files:
            path = str(PurePosixPath(folder, entry.path))
            if entry.is_dir:
                yield from self.files(owner, path, workspace=workspace)
            else:
                yield path, entry.file_size

    def put_file(
        self, owner: str, path: str, source: Path, *, workspace: str = DEFAULT_PROJECT
    ) -> None:
        """Send a file; it is visible when this returns, and only whole."""
        address = self._address(owner, path)
        try:
            with source.open("rb") as file:
                request = Request(
                    "PUT",
                    address,
                    body=file,
                    size_bytes=source.stat().st_size,
                    headers=self._inside(workspace),
                )
                self._transport.send(request)
        except OSError as error:
            raise InvalidValue(
                f'"{source}" cannot be read: {error.strerror or error}.', field="source"
            ) from error

    def get_file(
        self,
        owner: str,
        path: str,
        target: Path,
        *,
        workspace: str = DEFAULT_PROJECT,
        progress: Progress = no_progress,
    ) -> int:
        """Fetch a file; see ``Artifacts.get``."""
        address, headers = self._address(owner, path), self._inside(workspace)
        return fetch_file(self._transport, address, target, progress, headers=headers)

    def _inside(self, workspace: str) -> dict[str, str]:
        """The headers that ask for what is in a workspace."""
        # A server without workspaces shows all, and refuses every name but this one.
        if workspace == DEFAULT_PROJECT or self._has_workspaces:
            return {"X-MLFLOW-WORKSPACE": workspace}
        return {}

    @cached_property
    def _has_workspaces(self) -> bool:
        return self._transport.call(Request("GET", _SERVER_PATH), _Server).workspaces_enabled

    def _root(self, owner: str) -> str:
        return f"0/{self._kind}/{owner}/artifacts"

    def _address(self, owner: str, path: str) -> str:
        return f"{_PATH}/{self._root(owner)}/{quote_path(check_path(path))}"
