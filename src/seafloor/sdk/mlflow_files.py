"""Files of models and of traces, by the paths of MLflow's clients: the only ones they have."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path, PurePosixPath

import msgspec

from seafloor.domain.errors import InvalidValue
from seafloor.domain.names import check_path
from seafloor.sdk.artifacts import fetch_file, no_progress
from seafloor.sdk.downloads import Progress
from seafloor.sdk.transport import Request, Transport, quote_path

_PATH = "/api/2.0/mlflow-artifacts/artifacts"


class _Entry(msgspec.Struct, frozen=True):
    path: str
    is_dir: bool = False
    file_size: int = 0


class _Listing(msgspec.Struct, frozen=True):
    files: tuple[_Entry, ...] = ()


class MlflowFiles:
    """What has files of its own.

    Args:
        kind: The folder that all of them are in: ``models``.
    """

    def __init__(self, transport: Transport, *, kind: str) -> None:
        self._transport = transport
        self._kind = kind

    def files(self, owner: str, folder: str = "") -> Generator[tuple[str, int]]:
        """Read path and size of every file of one of them.

        Args:
            owner: Its id.
        """
        query = [("path", f"{self._root(owner)}/{folder}".rstrip("/"))]
        for entry in self._transport.call(Request("GET", _PATH, query=query), _Listing).files:
            path = str(PurePosixPath(folder, entry.path))
            if entry.is_dir:
                yield from self.files(owner, path)
            else:
                yield path, entry.file_size

    def put_file(self, owner: str, path: str, source: Path) -> None:
        """Send a file; it is visible when this returns, and only whole."""
        address = self._address(owner, path)
        try:
            with source.open("rb") as file:
                size_bytes = source.stat().st_size
                self._transport.send(Request("PUT", address, body=file, size_bytes=size_bytes))
        except OSError as error:
            raise InvalidValue(
                f'"{source}" cannot be read: {error.strerror or error}.', field="source"
            ) from error

    def get_file(
        self, owner: str, path: str, target: Path, *, progress: Progress = no_progress
    ) -> int:
        """Fetch a file; see ``Artifacts.get``."""
        return fetch_file(self._transport, self._address(owner, path), target, progress)

    def _root(self, owner: str) -> str:
        return f"0/{self._kind}/{owner}/artifacts"

    def _address(self, owner: str, path: str) -> str:
        return f"{_PATH}/{self._root(owner)}/{quote_path(check_path(path))}"
