"""Working folders over HTTP, by digest."""

from __future__ import annotations

from pathlib import Path

from seafloor.domain.errors import NotFound
from seafloor.sdk.artifacts import fetch_file, no_progress
from seafloor.sdk.downloads import Progress
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.artifacts import SnapshotStored


class Snapshots:
    """``/api/v1/snapshots`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def exists(self, sha256: str, *, size_bytes: int | None = None) -> bool:
        """Say whether the server has a snapshot.

        Args:
            size_bytes: Of its archive: what is kept there in another size was cut, and does not
                count. None: any.
        """
        try:
            said = self._transport.send(Request("HEAD", _path(sha256)))
        except NotFound:
            return False
        return size_bytes is None or said.get("content-length") in {None, str(size_bytes)}

    def put(self, sha256: str, archive: Path) -> SnapshotStored:
        """Send a snapshot's archive; the server checks the digest. A repeat is harmless."""
        with archive.open("rb") as file:
            request = Request("PUT", _path(sha256), body=file, size_bytes=archive.stat().st_size)
            return self._transport.call(request, SnapshotStored)

    def get(self, sha256: str, target: Path, *, progress: Progress = no_progress) -> int:
        """Fetch a snapshot's archive into a file, whole or not at all; say its size.

        Raises:
            NotFound: the server does not have it.
        """
        return fetch_file(self._transport, _path(sha256), target, progress)

    def ensure(self, sha256: str, archive: Path) -> bool:
        """Send a snapshot unless the server has it; say whether it was sent."""
        if self.exists(sha256, size_bytes=archive.stat().st_size):
            return False
        self.put(sha256, archive)
        return True


def _path(sha256: str) -> str:
    return f"/api/v1/snapshots/{quote(sha256)}"
