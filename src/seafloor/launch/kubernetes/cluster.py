"""A cluster: the few verbs that a launcher needs, each of which may be repeated."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from seafloor.domain.errors import (
    AlreadyExists,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    NotFound,
    SeafloorError,
)
from seafloor.launch.kubernetes.connection import (
    APPLY,
    FIELD_MANAGER,
    JSON_PATCH,
    Change,
    Connection,
)
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.names import SNAPSHOT_API
from seafloor.launch.kubernetes.observed import ObjectEvent, PodEvent, StorageClass

_PATHS: Final = {
    "Pod": ("api/v1", "pods"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "VolumeSnapshot": (f"apis/{SNAPSHOT_API}", "volumesnapshots"),
}
_STORAGE_API: Final = "storage.k8s.io/v1"
_PAGE: Final = "500"
_CREATE_TRIES_MAX: Final = 3


class Right(msgspec.Struct, frozen=True):
    """Something that a server must be allowed to do in a namespace.

    Args:
        verb: ``create``, ``watch``, …
        resource: ``pods``, or ``pods/log``.
        group: Of its API; ``""``: the first one.
    """

    verb: str
    resource: str
    group: str = ""


NEEDED_RIGHTS: Final = (
    *(Right(verb, "pods") for verb in ("get", "list", "watch", "create", "delete")),
    *(Right(verb, "configmaps") for verb in ("list", "watch", "create", "patch", "delete")),
    Right("create", "secrets"),
    *(Right(verb, "services") for verb in ("get", "create")),
    Right("list", "events"),
    Right("get", "pods/log"),
)
"""Of the launcher, in each namespace where it has runs; the Role of ``deploy`` is these and those
of volumes."""

VOLUME_RIGHTS: Final = tuple(
    Right(verb, "persistentvolumeclaims") for verb in ("get", "list", "create", "patch", "delete")
)
"""Of whoever makes volumes there."""

SNAPSHOT_RIGHTS: Final = tuple(
    Right(verb, "volumesnapshots", "snapshot.storage.k8s.io")
    for verb in ("get", "list", "create", "delete")
)
"""Likewise, where the cluster has such snapshots."""


class Listed(msgspec.Struct, frozen=True):
    """Objects, not decoded, and the version of the cluster that they are of."""

    items: tuple[msgspec.Raw, ...]
    version: str


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = "0"
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] = []


class _Events(msgspec.Struct):
    items: list[PodEvent] = []


class _ObjectEvents(msgspec.Struct):
    items: list[ObjectEvent] = []


class Cluster:
    """One cluster.

    Args:
        connection: To its API server; closed by whoever made it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.url = connection.url

    async def version(self) -> str:
        """Version of the API server, ``v1.37.0``."""
        answer = await self._connection.request("GET", "version")
        return str(msgspec.json.decode(answer, type=dict[str, Any]).get("gitVersion", "unknown"))

    async def has_namespace(self, name: str) -> bool:
        """Whether there is one; also True where we may not look."""
        try:
            await self._connection.request("GET", f"api/v1/namespaces/{name}")
        except NotFound:
            return False
        except SeafloorError as error:
            if error.retryable:
                raise
        return True

    async def allows(self, right: Right, namespace: str) -> bool:
        """Whether these credentials have a right."""
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "namespace": namespace,
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = await self._connection.request("POST", path, body=review)
        status = msgspec.json.decode(answer, type=dict[str, Any]).get("status", {})
        return bool(status.get("allowed"))

    async def apply(self, manifest: Manifest) -> bytes:
        """Make an object be as the manifest says, in whatever state it is; give it as it is now.

        Fields that others own and we name become ours.
        """
        return await self._connection.request(
            "PATCH",
            _path(
                manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]
            ),
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=APPLY,
        )

    async def create(self, manifest: Manifest) -> bytes:
        """Create an object, or find the one of that name; give it as it is.

        For what cannot be changed: a second creation is none.
        """
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = _path(kind, metadata["namespace"])
        for _ in range(_CREATE_TRIES_MAX):
            try:
                return await self._connection.request(
                    "POST", path, params={"fieldManager": FIELD_MANAGER}, body=manifest
                )
            except AlreadyExists:
                with suppress(NotFound):  # one that was on its way out is gone by now
                    return await self._connection.request("GET", f"{path}/{metadata['name']}")
            except Forbidden:
                # A quota that is used up refuses also what is there already, which used it.
                with suppress(NotFound, Forbidden):
                    return await self._connection.request("GET", f"{path}/{metadata['name']}")
                raise
        raise ClusterUnavailable(
            f"The {kind} {metadata['name']} of before was there, and gone, again and again."
        )

    async def get(self, kind: str, namespace: str, name: str) -> bytes:
        """Read one object, or NotFound."""
        return await self._connection.request("GET", _path(kind, namespace, name))

    async def exchange(
        self, kind: str, namespace: str, name: str, field: str, *, before: object, after: object
    ) -> None:
        """Give a field another value, if it has the one that is expected.

        Args:
            field: Its path, ``/spec/replicas``.

        Raises:
            PodRejected: it has another, or the server does not take the new one.
        """
        await self._connection.request(
            "PATCH",
            _path(kind, namespace, name),
            params={"fieldManager": FIELD_MANAGER},
            body=[
                {"op": "test", "path": field, "value": before},
                {"op": "replace", "path": field, "value": after},
            ],
            content_type=JSON_PATCH,
        )

    async def storage_class(self, name: str) -> StorageClass:
        """Read a storage class, which belongs to no namespace: not everybody may."""
        answer = await self._connection.request("GET", f"apis/{_STORAGE_API}/storageclasses/{name}")
        return msgspec.json.decode(answer, type=StorageClass)

    async def has_snapshots(self) -> bool:
        """Whether the cluster knows objects of the kind ``VolumeSnapshot``."""
        try:
            await self._connection.request("GET", f"apis/{SNAPSHOT_API}")
        except NotFound:
            return False
        return True

    async def put(self, manifest: Manifest) -> None:
        """Create an object unless there is one of that name, which is neither read nor changed.

        For what is always made with the same content, and what we may not read.
        """
        path = _path(manifest["kind"], manifest["metadata"]["namespace"])
        with suppress(AlreadyExists):
            await self._connection.request(
                "POST", path, params={"fieldManager": FIELD_MANAGER}, body=manifest
            )

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Delete an object and, in the background, what it owns; pods get their grace.

        Args:
            uid: Of the one that is meant: another of that name stays. None: whichever there is.
        """
        try:
            await self._connection.request(
                "DELETE",
                _path(kind, namespace, name),
                params={"propagationPolicy": "Background"},
                body=None if uid is None else {"preconditions": {"uid": uid}},
            )
        except NotFound:
            return
        except Conflict:
            if uid is None:
                raise

    async def list(self, kind: str, namespace: str, selector: str) -> Listed:
        """All objects with certain labels, in pages of one consistent state."""
        items: list[msgspec.Raw] = []
        params = {"labelSelector": selector, "limit": _PAGE}
        while True:
            answer = await self._connection.request("GET", _path(kind, namespace), params=params)
            found = msgspec.json.decode(answer, type=_List)
            items += found.items
            if not found.metadata.continue_:
                return Listed(tuple(items), found.metadata.resource_version)
            params["continue"] = found.metadata.continue_

    def watch(
        self, kind: str, namespace: str, selector: str, *, version: str
    ) -> AsyncGenerator[Change]:
        """Changes after a version, and bookmarks; see ``Connection.watch``."""
        params = {"labelSelector": selector, "resourceVersion": version}
        return self._connection.watch(_path(kind, namespace), params)

    def log(
        self, namespace: str, pod: str, container: str, *, follow: bool, since_s: int | None
    ) -> AsyncGenerator[bytes]:
        """What a container of a pod printed, each line after its time; see ``stream``.

        Args:
            follow: Whether to go on with what it prints, until it ends.
            since_s: Only what is not older, seconds of the epoch.
        """
        params = {"container": container, "timestamps": "true", "follow": str(follow).lower()}
        if since_s is not None:
            params["sinceTime"] = datetime.fromtimestamp(since_s, UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            )
        return self._connection.stream(f"{_path('Pod', namespace, pod)}/log", params)

    async def events(self, namespace: str, pod_uid: str) -> tuple[PodEvent, ...]:
        """What was noted about a pod, in the order in which it was."""
        answer = await self._connection.request(
            "GET",
            f"api/v1/namespaces/{namespace}/events",
            params={"fieldSelector": f"involvedObject.uid={pod_uid}"},
        )
        return tuple(msgspec.json.decode(answer, type=_Events).items)

    async def events_of_kind(self, namespace: str, kind: str) -> tuple[ObjectEvent, ...]:
        """What was noted about all objects of a kind, the newest last."""
        answer = await self._connection.request(
            "GET",
            f"api/v1/namespaces/{namespace}/events",
            params={"fieldSelector": f"involvedObject.kind={kind}"},
        )
        found = msgspec.json.decode(answer, type=_ObjectEvents).items
        return tuple(sorted(found, key=lambda event: event.last_timestamp or ""))


def _path(kind: str, namespace: str, name: str | None = None) -> str:
    group, plural = _PATHS[kind]
    path = f"{group}/namespaces/{namespace}/{plural}"
    return path if name is None else f"{path}/{name}"
