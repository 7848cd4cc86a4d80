"""Volumes on a cluster, without one: whose claims are whose, and what is said of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from seafloor.domain.errors import Forbidden, InvalidValue
from seafloor.domain.volumes import AccessMode, ClaimState, Volume
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.claim_states import claim_view, needs_events, snapshot_failure
from seafloor.launch.kubernetes.claims import (
    claim_manifest,
    content_of,
    is_made_for,
    snapshot_manifest,
    snapshot_of,
)
from seafloor.launch.kubernetes.names import claim_name
from seafloor.launch.kubernetes.observed import Claim, Metadata, ObjectEvent
from seafloor.launch.kubernetes.policy import Policy, read_policy

VOLUME = Volume(
    id="0123456789abcdef" * 2,
    project="default",
    name="data",
    access_mode=AccessMode.RWO,
    created_ns=1,
    size_bytes=20 << 30,
    namespace="ml",
)


def claim(phase: str, *, deleted: bool = False, **more: Any) -> Claim:
    status = {"phase": phase, **more.pop("status", {})}
    metadata = {"name": "c", "namespace": "ml", "uid": "1"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return msgspec.convert({"metadata": metadata, "status": status, **more}, Claim)


def warning(reason: str, message: str) -> ObjectEvent:
    return ObjectEvent(type="Warning", reason=reason, message=message)


def note(reason: str, message: str = "") -> ObjectEvent:
    return ObjectEvent(reason=reason, message=message)


SLOW: dict[str, Any] = {"spec": {"storageClassName": "slow"}}
BOUND = {"capacity": {"storage": "30Gi"}}
GROWS = [{"type": "FileSystemResizePending", "status": "True", "message": "wait for a pod"}]
LARGER: dict[str, Any] = {"spec": {"resources": {"requests": {"storage": "50Gi"}}}}


def growing(*conditions: str, stage: str = "") -> Claim:
    """A claim that has 30Gi and asks for more."""
    said = [{"type": one, "status": "True", "message": "no disk"} for one in conditions]
    status = {**BOUND, "conditions": said, "allocatedResourceStatuses": {"storage": stage}}
    return claim("Bound", status=status, **LARGER)


@pytest.mark.parametrize(
    ("seen", "events", "state", "words"),
    [
        (claim("Bound", status=BOUND), [], "bound", "Bound, 30Gi."),
        (
            claim("Bound", status={**BOUND, "conditions": GROWS}),
            [],
            "bound",
            "Bound, 30Gi, and made larger when a run attaches it next.",
        ),
        (claim("Lost"), [], "lost", "lost its volume"),
        (claim("Bound", deleted=True), [], "removing", "being deleted"),
        (claim("Pending"), [], "waiting", "The cluster is making it."),
        (
            claim("Pending"),
            [note("WaitForFirstConsumer", "waiting for first consumer")],
            "waiting",
            "when the first run that attaches it has a node",
        ),
        (
            claim("Pending"),
            [note("ExternalProvisioning", 'waiting for "ebs.csi.aws.com"')],
            "waiting",
            'The cluster is making it: waiting for "ebs.csi.aws.com".',
        ),
        (
            claim("Pending", **SLOW),
            [warning("ProvisioningFailed", 'storageclass.storage.k8s.io "slow" not found')],
            "failing",
            'The cluster has no storage class "slow".',
        ),
        (
            claim("Pending", **SLOW),
            [note("WaitForFirstConsumer"), warning("ProvisioningFailed", "quota of the disk")],
            "failing",
            "The cluster cannot make it: quota of the disk.",
        ),
        (
            claim("Pending"),
            [note("FailedBinding", "no persistent volumes available")],
            "failing",
            "no default storage class",
        ),
        (
            claim("Pending", **SLOW),
            [note("FailedBinding", "no persistent volumes available")],
            "failing",
            "No volume fits",
        ),
        (claim("Pending"), [note("Provisioning", "x")], "waiting", "The cluster is making it."),
        (claim("Pending"), [warning("A", "x" * 5000)], "failing", "…"),
    ],
)
def test_claim__as_the_cluster_tells_of_it__is_in_the_users_words(
    seen: Claim, events: list[ObjectEvent], state: str, words: str
) -> None:
    view = claim_view(seen, events)
    assert view.state is ClaimState(state)
    assert words in view.words
    assert len(view.words) <= 610
    assert view.size_bytes == (30 << 30 if state == "bound" else None)
    assert needs_events(seen) == (seen.status.phase == "Pending")


@pytest.mark.parametrize(
    ("seen", "events", "resize", "words"),
    [
        (growing(), [], "under_way", "Bound, 30Gi, and being made 50Gi."),
        (growing("Resizing"), [note("Resizing")], "under_way", "and being made 50Gi."),
        (growing("FileSystemResizePending"), [], "at_attach", "50Gi when a run attaches it next"),
        (growing("ControllerResizeError"), [], "failed", "could not make it 50Gi so far: no disk."),
        (growing("NodeResizeError"), [], "failed", "so far: no disk."),
        (growing(), [warning("VolumeResizeFailed", "full")], "failed", "so far: full."),
        (
            growing("ControllerResizeError", stage="ControllerResizeInfeasible"),
            [],
            "failed",
            "cannot make it 50Gi; `seafloor volume resize` asks for less: no disk.",
        ),
        (claim("Bound", status={"capacity": {"storage": "50Gi"}}, **LARGER), [], None, "50Gi."),
        (claim("Pending", **LARGER), [], None, "The cluster is making it."),
    ],
)
def test_claim__that_is_to_grow__tells_how_far_that_is(
    seen: Claim, events: list[ObjectEvent], resize: str | None, words: str
) -> None:
    view = claim_view(seen, events)
    assert (view.resize, view.requested_bytes) == (resize, 50 << 30)
    assert words in view.words
    assert needs_events(seen) == (resize is not None or seen.status.phase == "Pending")


def test_snapshot__that_fails__says_what_is_missing() -> None:
    assert "no VolumeSnapshotClass" in snapshot_failure("cannot find default snapshot class")
    assert "does not make the snapshot: full." in snapshot_failure("full")


def metadata_of(manifest: dict[str, Any]) -> Metadata:
    return msgspec.convert(manifest["metadata"], Metadata)


def test_objects__of_volumes__are_known_by_labels_and_name_together() -> None:
    policy = Policy()
    made = claim_manifest(VOLUME, 3, policy, "here", asked_ns=5)
    found = metadata_of(made)
    assert content_of(found, "here") == (VOLUME.id, 3)
    assert snapshot_of(found, "here") is None
    assert content_of(found, "elsewhere") is None
    assert content_of(replace(found, name="a-copy"), "here") is None
    labels = {**found.labels, "seafloor/content": "4"}
    assert content_of(replace(found, labels=labels), "here") is None
    assert content_of(replace(found, annotations={}), "here") is None
    assert is_made_for(found, made)
    assert not is_made_for(found, claim_manifest(VOLUME, 3, policy, "here", asked_ns=6))
    kept = metadata_of(snapshot_manifest(VOLUME, 2, policy, "here", asked_ns=5))
    assert snapshot_of(kept, "here") == (VOLUME.id, 2)
    assert content_of(kept, "here") is None


def test_names__of_claims__are_labels_whatever_the_volume_is_called() -> None:
    for name in ("x", "x" * 63, "a-1"):
        assert len(claim_name(name, VOLUME.id, 2**31)) <= 63
    assert claim_name("a", VOLUME.id, 1) != claim_name("a", VOLUME.id, 2)
    assert claim_name("a", VOLUME.id, 1) != claim_name("a", "0" * 32, 1)


def test_rules__of_volumes__name_themselves() -> None:
    policy = read_policy(
        "storage: {volume_maximum: 10Gi, classes: [fast]}\nvolumes: {team: {claim: team-2026}}"
    )
    rules.volume_size(policy, 10 << 30)
    rules.volume_name(policy, "other")
    with pytest.raises(Forbidden, match=r"`storage\.volume_maximum`"):
        rules.volume_size(policy, (10 << 30) + 1)
    with pytest.raises(Forbidden, match=r"`volumes\.team`"):
        rules.volume_name(policy, "team")
    ours = {"mine": "seafloor-volume-mine-1", "team": "seafloor-volume-team-1"}
    for name, claimed in (("mine", "seafloor-volume-mine-1"), ("team", "team-2026")):
        found = rules.volume(policy, name, read_only=True, field="volumes[0]", ours=ours)
        assert found.claim == claimed
    with pytest.raises(Forbidden, match="`volumes`"):
        rules.volume(policy, "other", read_only=True, field="volumes[0]", ours=ours)
    with pytest.raises(InvalidValue, match="name the volume itself"):
        rules.volume(Policy(), "seafloor-volume-mine-1", read_only=True, field="v", ours={})
    with pytest.raises(InvalidValue) as refused:
        read_policy("storage: {volume_maximum: much}")
    assert refused.value.field == "storage.volume_maximum"
