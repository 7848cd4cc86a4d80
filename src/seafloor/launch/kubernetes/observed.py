"""What the cluster says of its objects: the few fields that are read, of the many there are."""

from __future__ import annotations

import msgspec


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of any object. ``deletion_timestamp`` is when its grace is over."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Waiting(msgspec.Struct, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a container ended. ``message`` is its termination message, or the end of its log."""

    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    message: str = ""
    finished_at: str | None = None


class Running(msgspec.Struct, frozen=True):
    """A container that runs."""


class ContainerState(msgspec.Struct, frozen=True):
    """One of three; all None: it was not looked at yet."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Of one container."""

    name: str
    image: str = ""
    state: ContainerState = ContainerState()


class Condition(msgspec.Struct, frozen=True):
    """One of a pod's conditions."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The status of a pod, as the kubelet and the scheduler wrote it."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class ContainerResources(msgspec.Struct, frozen=True):
    """What a container may use."""

    limits: dict[str, str | int | float] = {}


class Container(msgspec.Struct, frozen=True):
    """Of a pod's spec."""

    name: str
    image: str = ""
    resources: ContainerResources = ContainerResources()


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The spec of a pod."""

    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()
    node_name: str = ""
    active_deadline_seconds: int | None = None
    node_selector: dict[str, str] = {}


class Pod(msgspec.Struct, frozen=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Anchor(msgspec.Struct, frozen=True):
    """The ConfigMap that owns what belongs to one workload."""

    metadata: Metadata


class PodEvent(msgspec.Struct, frozen=True):
    """What the cluster noted about a pod."""

    type: str = "Normal"
    reason: str = ""
    message: str = ""


class ObjectReference(msgspec.Struct, frozen=True):
    """What an event is about."""

    uid: str = ""


class ObjectEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the cluster noted about an object. ``last_timestamp`` is when it last did."""

    type: str = "Normal"
    reason: str = ""
    message: str = ""
    involved_object: ObjectReference = ObjectReference()
    last_timestamp: str | None = None


class ClaimResources(msgspec.Struct, frozen=True):
    """What a claim asks for."""

    requests: dict[str, str | int] = {}


class ClaimSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of a claim."""

    storage_class_name: str | None = None
    resources: ClaimResources = ClaimResources()


class ClaimStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of a claim. ``capacity`` is what it really has."""

    phase: str = "Pending"
    capacity: dict[str, str | int] = {}
    conditions: tuple[Condition, ...] = ()
    allocated_resource_statuses: dict[str, str] = {}


class Claim(msgspec.Struct, frozen=True):
    """A PersistentVolumeClaim."""

    metadata: Metadata
    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()


class StorageClass(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What makes the volumes of claims."""

    allow_volume_expansion: bool = False


class SnapshotError(msgspec.Struct, frozen=True):  # the cluster's name for it
    """Why a snapshot is not made yet."""

    message: str = ""


class SnapshotStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of a VolumeSnapshot."""

    ready_to_use: bool = False
    restore_size: str | int | None = None
    creation_time: str | None = None
    error: SnapshotError | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """A VolumeSnapshot. ``status`` is None until somebody takes care of it."""

    metadata: Metadata
    status: SnapshotStatus | None = None
