"""Names of objects: DNS labels, short enough for what Kubernetes appends, and unique."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from seafloor.domain.workloads import WorkloadKind

PREFIX = "seafloor"
"""Of the labels and annotations that are ours, ``seafloor/kind``."""

CLAIM_PREFIX = f"{PREFIX}-volume"
"""What the names of volumes' claims begin with, and no other that a spec may name."""

SNAPSHOT_API = "snapshot.storage.k8s.io/v1"
"""Of VolumeSnapshots, which a cluster may not have."""

_READABLE_CHARS_MAX = 24
_KEY_CHARS = 10
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")


def object_name(kind: WorkloadKind, name: str, *key: str) -> str:
    """Name the objects of a workload: ``<kind>-<readable>-<ten hex digits of the key>``.

    Args:
        name: For people; any text.
        key: What no other workload has.

    Returns:
        A DNS label (RFC 1035) of at most 44 characters: a StatefulSet appends up to eleven to its
        name, the tasks of a run up to eighteen.

    >>> object_name(WorkloadKind.RUN, "Digits (ü)", "1")
    'run-digits-u-6b86b273ff'
    """
    return _named(kind.value, name, key)


def claim_name(name: str, volume_id: str, content: int) -> str:
    """Name the claim of a content of a volume; nobody else's claim is named so.

    >>> claim_name("team-data", "0" * 32, 1)
    'seafloor-volume-team-data-e84a81b39f'
    """
    return _named(CLAIM_PREFIX, name, (volume_id, str(content)))


def snapshot_name(name: str, volume_id: str, number: int) -> str:
    """Name the VolumeSnapshot that a snapshot of a volume is."""
    return _named(f"{PREFIX}-snapshot", name, (volume_id, str(number)))


def task_object_name(base: str, task: str) -> str:
    """Name the Pod of a task."""
    return f"{base}-{task}"


def label_value(text: str) -> str:
    """Make a label's value of a text: itself when it can be one, else a readable part and a hash.

    >>> label_value("team/ä")
    'team-a-73f73fcddb'
    """
    if _LABEL_VALUE.match(text):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARS]
    return "-".join(part for part in (_readable(text), digest) if part)


def _named(first: str, name: str, key: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:_KEY_CHARS]
    return "-".join(part for part in (first, _readable(name), digest) if part)


def _readable(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_READABLE_CHARS_MAX].strip("-")
