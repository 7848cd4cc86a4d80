"""Volumes as claims of a cluster, and their snapshots: manifests, and whose they are. Pure."""

from __future__ import annotations

from typing import Final, Protocol

from seafloor.domain.volumes import AccessMode, Volume
from seafloor.launch.kubernetes.identity import ID_LABEL, PLACE_LABEL
from seafloor.launch.kubernetes.manifest import Manifest, without_empty
from seafloor.launch.kubernetes.names import (
    PREFIX,
    SNAPSHOT_API,
    claim_name,
    label_value,
    snapshot_name,
)
from seafloor.launch.kubernetes.observed import Metadata
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.resources import memory_quantity

CLAIM: Final = "PersistentVolumeClaim"
SNAPSHOT: Final = "VolumeSnapshot"

_KIND_LABEL: Final = f"{PREFIX}/kind"
_CONTENT_LABEL: Final = f"{PREFIX}/content"
_SNAPSHOT_LABEL: Final = f"{PREFIX}/snapshot"
_NAME_ANNOTATION: Final = f"{PREFIX}/name"
_ASKED_ANNOTATION: Final = f"{PREFIX}/asked-ns"
_MODES: Final = {AccessMode.RWO: "ReadWriteOnce", AccessMode.RWX: "ReadWriteMany"}


def claim_manifest(
    volume: Volume,
    content: int,
    policy: Policy,
    place: str,
    *,
    asked_ns: int,
    source: str | None = None,
    least_bytes: int = 0,
) -> Manifest:
    """The claim of one content of a volume. Nobody owns it: what people keep, people remove.

    Args:
        place: Of the installation; a label's value.
        asked_ns: When it was asked for, which tells it from one of the same name.
        source: VolumeSnapshot that it begins with; None: it begins empty.
        least_bytes: It has at least so much.
    """
    size_bytes = max(volume.size_bytes or 0, least_bytes)
    origin = {"apiGroup": SNAPSHOT_API.partition("/")[0], "kind": SNAPSHOT, "name": source}
    return {
        "apiVersion": "v1",
        "kind": CLAIM,
        "metadata": _metadata(
            volume,
            policy,
            place,
            claim_name(volume.name, volume.id, content),
            {_CONTENT_LABEL: str(content)},
            asked_ns,
        ),
        "spec": without_empty(
            {
                "accessModes": [_MODES[volume.access_mode]],
                "storageClassName": volume.storage_class,
                "resources": {"requests": {"storage": memory_quantity(size_bytes)}},
                "dataSource": None if source is None else origin,
            }
        ),
    }


def snapshot_manifest(
    volume: Volume, number: int, policy: Policy, place: str, *, asked_ns: int
) -> Manifest:
    """The snapshot of the current content of a volume."""
    claim = claim_name(volume.name, volume.id, volume.content)
    return {
        "apiVersion": SNAPSHOT_API,
        "kind": SNAPSHOT,
        "metadata": _metadata(
            volume,
            policy,
            place,
            snapshot_name(volume.name, volume.id, number),
            {_SNAPSHOT_LABEL: str(number)},
            asked_ns,
        ),
        "spec": without_empty(
            {
                "volumeSnapshotClassName": policy.storage.snapshot_class,
                "source": {"persistentVolumeClaimName": claim},
            }
        ),
    }


def _metadata(
    volume: Volume,
    policy: Policy,
    place: str,
    name: str,
    number: dict[str, str],
    asked_ns: int,
) -> Manifest:
    return {
        "name": name,
        "namespace": volume.namespace,
        "labels": {
            "app.kubernetes.io/name": "seafloor-volume",
            "app.kubernetes.io/instance": name,
            "app.kubernetes.io/managed-by": "seafloor",
            _KIND_LABEL: "volume",
            f"{PREFIX}/project": label_value(volume.project),
            ID_LABEL: volume.id,
            PLACE_LABEL: place,
            **number,
            **policy.labels,
        },
        "annotations": {
            _NAME_ANNOTATION: volume.name,
            _ASKED_ANNOTATION: str(asked_ns),
            **policy.annotations,
        },
    }


def volume_selector(place: str, volume_id: str | None = None) -> str:
    """What finds the objects of an installation's volumes, or of one of them."""
    of_one = "" if volume_id is None else f",{ID_LABEL}={volume_id}"
    return f"{_KIND_LABEL}=volume,{PLACE_LABEL}={place}{of_one}"


def is_of_volume(metadata: Metadata) -> bool:
    """Whether an object is a volume's, whichever installation it belongs to."""
    return metadata.labels.get(_KIND_LABEL) == "volume" and PLACE_LABEL in metadata.labels


def is_made_for(metadata: Metadata, manifest: Manifest) -> bool:
    """Whether an object was made from a manifest, and not for something else of that name."""
    labels, told = manifest["metadata"]["labels"], manifest["metadata"]["annotations"]
    return (
        all(metadata.labels.get(key) == labels[key] for key in (ID_LABEL, PLACE_LABEL))
        and metadata.annotations.get(_ASKED_ANNOTATION) == told[_ASKED_ANNOTATION]
    )


def content_of(metadata: Metadata, place: str) -> tuple[str, int] | None:
    """Volume and number of the content that a claim is; None: we did not make it."""
    return _numbered(metadata, place, _CONTENT_LABEL, claim_name)


def snapshot_of(metadata: Metadata, place: str) -> tuple[str, int] | None:
    """Volume and number of the snapshot that an object is; None: we did not make it."""
    return _numbered(metadata, place, _SNAPSHOT_LABEL, snapshot_name)


class _Namer(Protocol):
    def __call__(self, name: str, volume_id: str, number: int, /) -> str: ...


def _numbered(metadata: Metadata, place: str, label: str, namer: _Namer) -> tuple[str, int] | None:
    """What its labels say, if its name says the same: labels are easily copied, names are not."""
    labels = metadata.labels
    volume_id, number = labels.get(ID_LABEL, ""), labels.get(label, "")
    readable = metadata.annotations.get(_NAME_ANNOTATION, "")
    if labels.get(PLACE_LABEL) != place or not number.isdecimal():
        return None
    if metadata.name != namer(readable, volume_id, int(number)):
        return None
    return volume_id, int(number)
