"""Names of objects: DNS labels, short enough for what Kubernetes appends, and unique."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from seafloor.domain.workloads import WorkloadKind

PREFIX = "seafloor"
"""Of the labels and annotations that are ours, ``seafloor/kind``."""

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
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:_KEY_CHARS]
    readable = _readable(name)
    return "-".join(part for part in (kind.value, readable, digest) if part)


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


def _readable(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_READABLE_CHARS_MAX].strip("-")
