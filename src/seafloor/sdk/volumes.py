"""Volumes over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from seafloor.domain.errors import Conflict
from seafloor.domain.volumes import VolumeSnapshot
from seafloor.sdk.transport import Request, Transport, quote
from seafloor.wire.volumes import (
    VolumeCreate,
    VolumeDeleted,
    VolumePage,
    VolumeResize,
    VolumeRestore,
    VolumeSnapshotList,
    VolumeUnderWay,
    VolumeUsage,
    VolumeView,
)

_VOLUMES = "/api/v1/volumes"
_LONG_S = 3600.0
_LOOK_S = 0.25

Told = Callable[[VolumeUnderWay], object]


class Volumes:
    """``/api/v1/volumes`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, new: VolumeCreate) -> VolumeView:
        """Make a volume, empty.

        Raises:
            InvalidValue: a field of it.
            AlreadyExists: its project has one of that name.
        """
        return self._transport.call(Request("POST", _VOLUMES, json=new), VolumeView)

    def get(self, name: str, *, project: str | None = None) -> VolumeView:
        """Read one, or NotFound with the nearest name."""
        request = Request("GET", _path(name), query=[("project", project)])
        return self._transport.call(request, VolumeView)

    def list(
        self, *, project: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> VolumePage:
        """Read a page of volumes, by project and name."""
        query = [("project", project), ("limit", str(limit)), ("cursor", cursor)]
        return self._transport.call(Request("GET", _VOLUMES, query=query), VolumePage)

    def iterate(self, *, project: str | None = None) -> Iterator[VolumeView]:
        """Read all volumes, page by page."""
        cursor: str | None = None
        while True:
            page = self.list(project=project, limit=1000, cursor=cursor)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def usage(self, name: str, *, project: str | None = None) -> VolumeUsage:
        """Count what it holds; the server looks at every file."""
        request = Request(
            "GET", f"{_path(name)}/usage", query=[("project", project)], read_s=_LONG_S
        )
        return self._transport.call(request, VolumeUsage)

    def snapshots(self, name: str, *, project: str | None = None) -> VolumeSnapshotList:
        """Read its snapshots, by number."""
        request = Request("GET", f"{_path(name)}/snapshots", query=[("project", project)])
        return self._transport.call(request, VolumeSnapshotList)

    def snapshot(
        self, name: str, *, project: str | None = None, told: Told | None = None
    ) -> VolumeSnapshot:
        """Keep its content as a snapshot, and wait until that is done.

        Args:
            told: Called now and then with how far it has come.

        Raises:
            Conflict: a workload writes to it, something else is under way, or it failed; the
                message says why.
        """
        request = Request("POST", f"{_path(name)}/snapshots", query=[("project", project)])
        begun = self._transport.call(request, VolumeView)
        before = begun.under_way
        ended = self._wait(begun, told)
        made = self.snapshots(name, project=project).items
        if ended.problem or not made:
            raise Conflict(ended.problem or "The snapshot was removed meanwhile.")
        if before is None:
            return made[-1]
        return next((one for one in made if one.number == before.snapshot), made[-1])

    def restore(
        self, name: str, snapshot: int, *, project: str | None = None, told: Told | None = None
    ) -> VolumeView:
        """Give it the content of a snapshot, and wait until that is done.

        Until then, and when it fails, the old content is there.

        Raises:
            NotFound: no such snapshot.
            Conflict: a workload has it, something else is under way, or it failed.
        """
        request = Request(
            "POST",
            f"{_path(name)}/restore",
            json=VolumeRestore(snapshot),
            query=[("project", project)],
        )
        ended = self._wait(self._transport.call(request, VolumeView), told)
        if ended.problem:
            raise Conflict(ended.problem)
        return ended

    def resize(self, name: str, size: str | int, *, project: str | None = None) -> VolumeView:
        """Give it another size, "50Gi" or bytes; on a cluster a larger one.

        A cluster does that later: ``claim.resize`` of the answer, and of ``get``, says how it
        fares.

        Raises:
            Forbidden: the administrator's policy or a quota of the cluster is against it.
            NotSupported: its storage class makes nothing larger.
            Conflict: it has more, or something else is under way.
        """
        request = Request(
            "POST",
            f"{_path(name)}/resize",
            json=VolumeResize(size),
            query=[("project", project)],
        )
        return self._transport.call(request, VolumeView)

    def delete(
        self, name: str, *, project: str | None = None, with_snapshots: bool = False
    ) -> VolumeDeleted:
        """Remove it and all that is in it, for good.

        Raises:
            Conflict: a workload has it, or it has snapshots.
        """
        query = [("project", project), ("with_snapshots", str(with_snapshots).lower())]
        request = Request("DELETE", _path(name), query=query, read_s=_LONG_S)
        return self._transport.call(request, VolumeDeleted)

    def _wait(self, begun: VolumeView, told: Told | None) -> VolumeView:
        seen, wait_s = begun, 0.0
        while seen.under_way is not None:
            if told is not None:
                told(seen.under_way)
            wait_s = min(1.0, wait_s + _LOOK_S / 5)
            time.sleep(wait_s)
            seen = self.get(begun.name, project=begun.project)
        return seen


def _path(name: str) -> str:
    return f"{_VOLUMES}/{quote(name)}"
