"""From a claim or a snapshot as the cluster sees it: how it fares, in the user's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from seafloor.domain.errors import InvalidValue
from seafloor.domain.quantities import parse_memory
from seafloor.domain.volumes import ClaimState, ResizeState, VolumeClaim
from seafloor.launch.kubernetes.observed import Claim, ObjectEvent
from seafloor.launch.kubernetes.resources import memory_quantity

_WORDS_MAX: Final = 600
_NO_CLASS: Final = re.compile(r'storageclass\S* "([^"]+)" not found', re.IGNORECASE)
_NO_SNAPSHOT_CLASS: Final = re.compile(r"snapshot ?class", re.IGNORECASE)
_RESIZE_FAILED: Final = (
    "ControllerResizeError",
    "NodeResizeError",
    "VolumeResizeFailed",
    "FileSystemResizeFailed",
)
"""Conditions, and reasons of events."""
CONSUMER: Final = "WaitForFirstConsumer"


def claim_view(claim: Claim, events: Sequence[ObjectEvent] = ()) -> VolumeClaim:
    """Say how a claim fares.

    Args:
        events: Those of the claim, newest last; see ``needs_events``.
    """
    state, words = _state(claim, events)
    growth = _growth(claim, events) if state is ClaimState.BOUND else None
    if growth is not None:
        words = f"{words.rstrip('.')}, {growth[1]}"
    return VolumeClaim(
        namespace=claim.metadata.namespace,
        name=claim.metadata.name,
        state=state,
        words=words,
        size_bytes=size_of(claim),
        requested_bytes=requested_by(claim),
        resize=None if growth is None else growth[0],
        storage_class=claim.spec.storage_class_name or None,
    )


def needs_events(claim: Claim) -> bool:
    """Whether its events say more than the claim itself."""
    if claim.metadata.deletion_timestamp is not None:
        return False
    return claim.status.phase == "Pending" or is_smaller(claim)


def waits_for_consumer(events: Iterable[ObjectEvent]) -> bool:
    """Whether the cluster makes it as soon as a pod wants it, and not before."""
    reasons = [event.reason for event in events]
    return bool(reasons) and reasons[-1] in (CONSUMER, "WaitForPodScheduled")


def size_of(claim: Claim) -> int | None:
    """What it really has; None: nothing yet."""
    return bytes_of(claim.status.capacity.get("storage"))


def requested_by(claim: Claim) -> int | None:
    """What it asks for; None: nobody knows."""
    return bytes_of(claim.spec.resources.requests.get("storage"))


def is_smaller(claim: Claim) -> bool:
    """Whether a bound claim has less than it asks for."""
    has, wants = size_of(claim), requested_by(claim)
    return claim.status.phase == "Bound" and None not in (has, wants) and (has or 0) < (wants or 0)


def bytes_of(quantity: str | int | None) -> int | None:
    """Read an amount of the cluster's; None for one that we cannot."""
    if quantity is None:
        return None
    try:
        return parse_memory(quantity, field="storage")
    except InvalidValue:
        return None


def snapshot_failure(message: str) -> str:
    """Say why a snapshot is not made."""
    if _NO_SNAPSHOT_CLASS.search(message):
        return _sentence("The cluster has no VolumeSnapshotClass to make it by", message)
    return _sentence("The cluster does not make the snapshot", message)


def _state(claim: Claim, events: Sequence[ObjectEvent]) -> tuple[ClaimState, str]:
    if claim.metadata.deletion_timestamp is not None:
        return ClaimState.REMOVING, "The claim is being deleted, as soon as no pod has it."
    phase = claim.status.phase
    if phase == "Lost":
        return ClaimState.LOST, "The claim lost its volume: somebody removed that in the cluster."
    if phase == "Bound":
        return ClaimState.BOUND, _bound(claim)
    for event in reversed(events):
        found = _told(claim, event)
        if found is not None:
            return found
    return ClaimState.WAITING, "The cluster is making it."


def _bound(claim: Claim) -> str:
    size_bytes = size_of(claim)
    return "Bound." if size_bytes is None else f"Bound, {memory_quantity(size_bytes)}."


def _growth(claim: Claim, events: Sequence[ObjectEvent]) -> tuple[ResizeState, str] | None:
    """How the enlarging of a bound claim fares; None: there is none."""
    conditions = {one.type: one for one in claim.status.conditions if one.status == "True"}
    if not is_smaller(claim) and not {"Resizing", "FileSystemResizePending"} & conditions.keys():
        return None
    wanted = requested_by(claim)
    size = "larger" if wanted is None else memory_quantity(wanted)
    failures = [one.message for kind, one in conditions.items() if kind in _RESIZE_FAILED]
    failures += [one.message for one in reversed(events) if one.reason in _RESIZE_FAILED]
    stage = claim.status.allocated_resource_statuses.get("storage", "")
    if stage.endswith("Infeasible"):
        words = f"and the cluster cannot make it {size}; `seafloor volume resize` asks for less"
        return ResizeState.FAILED, _sentence(words, *failures[:1])
    if "FileSystemResizePending" in conditions:
        return ResizeState.AT_ATTACH, f"and made {size} when a run attaches it next."
    if failures:
        words = f"and the cluster could not make it {size} so far"
        return ResizeState.FAILED, _sentence(words, failures[0])
    return ResizeState.UNDER_WAY, f"and being made {size}."


def _told(claim: Claim, event: ObjectEvent) -> tuple[ClaimState, str] | None:
    if event.reason in (CONSUMER, "WaitForPodScheduled"):
        return ClaimState.WAITING, "It is made when the first run that attaches it has a node."
    if event.reason == "ExternalProvisioning":
        return ClaimState.WAITING, _sentence("The cluster is making it", event.message)
    missing = _NO_CLASS.search(event.message)
    if missing:
        return ClaimState.FAILING, f'The cluster has no storage class "{missing[1]}".'
    if event.reason == "FailedBinding" and not claim.spec.storage_class_name:
        words = "The cluster has no default storage class, and no volume that would do"
        return ClaimState.FAILING, _sentence(words, event.message)
    if event.reason == "FailedBinding":
        return ClaimState.FAILING, _sentence("No volume fits", event.message)
    if event.type == "Warning":
        return ClaimState.FAILING, _sentence("The cluster cannot make it", event.message)
    return None


def _sentence(words: str, more: str = "") -> str:
    said = " ".join(more.split())
    whole = f"{words}: {said}" if said else words
    if len(whole) > _WORDS_MAX:
        whole = whole[: _WORDS_MAX - 1] + "…"
    return f"{whole.rstrip('.')}."
