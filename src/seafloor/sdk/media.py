"""Histograms, images, tables, texts and audio over HTTP."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Final

from seafloor.domain.media import BlobName, MediaKind, MediaRecord, MediaSeries
from seafloor.sdk.artifacts import fetch_file
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.media import BlobStored, MediaAppend, MediaAppended, MediaKeys, MediaList

_NAMES_MAX: Final = 10_000
"""How many blobs are remembered. What is forgotten is sent once more."""


class Media:
    """``/api/v1/runs/{run}/media`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def append(self, run_id: str, records: Iterable[MediaRecord]) -> MediaAppended:
        """Append records, all or none; a repeat is harmless.

        Args:
            run_id: Which run.
            records: At most 1,000; their blobs were put before.

        Raises:
            InvalidValue, LimitExceeded: a record cannot be accepted. None was written.
            NotFound: there is no such run.
        """
        body = MediaAppend(list(records))
        request = Request("POST", _path(run_id), json=body, repeatable=True)
        return self._transport.call(request, MediaAppended)

    def put_blob(self, run_id: str, name: BlobName, data: bytes) -> BlobStored:
        """Send the bytes of a blob; they are there whole when this returns.

        Raises:
            InvalidValue: they are not those of the name. Nothing was kept.
        """
        request = Request("PUT", f"{_path(run_id)}/blobs/{name}", body=data)
        return self._transport.call(request, BlobStored)

    def blob(self, run_id: str, name: BlobName) -> bytes:
        """Read the bytes of a blob.

        Raises:
            NotFound: there is no such blob.
        """
        return self._transport.fetch(Request("GET", f"{_path(run_id)}/blobs/{name}"))

    def get_blob(self, run_id: str, name: BlobName, target: Path) -> int:
        """Fetch a blob into a file; see ``Artifacts.get``. Its digest is the caller's to check."""
        return fetch_file(self._transport, f"{_path(run_id)}/blobs/{name}", target)

    def keys(self, run_id: str) -> Generator[MediaSeries]:
        """Read which keys and kinds there are, page by page."""
        cursor = None
        while True:
            query = [("limit", 500), ("cursor", cursor)]
            request = Request("GET", f"{_path(run_id)}/keys", query=query)
            page = self._transport.call(request, MediaKeys)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def iterate(
        self,
        run_id: str,
        key: str,
        *,
        kind: MediaKind | None = None,
        step_min: int | None = None,
        step_max: int | None = None,
    ) -> Generator[MediaRecord]:
        """Read the records of a key in order of step, page by page."""
        cursor = None
        while True:
            query = [("key", key), ("kind", kind), ("step_min", step_min), ("step_max", step_max)]
            request = Request("GET", _path(run_id), query=[*query, ("cursor", cursor)])
            page = self._transport.call(request, MediaList)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return


class SentBlobs:
    """Blobs that a run has, by what was sent: one that many records refer to is sent once.

    Args:
        media: Where they go.
        run_id: Whose they are. A run keeps its blobs as long as it is there.
    """

    def __init__(self, media: Media, run_id: str) -> None:
        self._media = media
        self._run_id = run_id
        self._names: dict[BlobName, None] = {}

    def __contains__(self, name: BlobName) -> bool:
        return name in self._names

    def put(self, name: BlobName, data: bytes) -> None:
        """Send a blob unless it was; see ``Media.put_blob``."""
        if name in self._names:
            return
        self._media.put_blob(self._run_id, name, data)
        if len(self._names) == _NAMES_MAX:
            del self._names[next(iter(self._names))]
        self._names[name] = None


def _path(run_id: str) -> str:
    return f"/api/v1/runs/{quote(run_id)}/media"
