"""Which claims the volumes of a spec are, for manifests that are made without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seafloor.cli.submissions import parse_pairs
from seafloor.domain.errors import InvalidValue, NotFound, StoreUnavailable, nearest
from seafloor.domain.volumes import AccessMode, ClaimState, check_claim_name
from seafloor.sdk.discovery import find_server
from seafloor.wire.manifests import KnownClaim

if TYPE_CHECKING:
    from seafloor.cli.session import Given
    from seafloor.domain.cluster_specs import ClusterSpec
    from seafloor.domain.specs import VolumeSpec
    from seafloor.wire.volumes import VolumeView

_GONE = (ClaimState.MISSING, ClaimState.LOST, ClaimState.REMOVING)


@dataclass(frozen=True)
class VolumeClaims:
    """What is known of the volumes of a spec.

    Args:
        claims: By the names in the spec; one that is not here is none of the server's volumes.
        problems: Likewise, why a volume of the server's is no claim that a pod could attach.
        warnings: Likewise, for whoever wrote the spec.
        unasked: Why no server was asked, one clause; ``""``: one was.
    """

    claims: dict[str, KnownClaim]
    problems: dict[str, str] = field(default_factory=dict[str, str])
    warnings: dict[str, str] = field(default_factory=dict[str, str])
    unasked: str = ""


def find_claims(given: Given, spec: ClusterSpec, texts: Sequence[str]) -> VolumeClaims:
    """Find the claims of the volumes that a spec attaches, as the user names them or a server does.

    Args:
        texts: ``NAME=CLAIM``, of the user, which go before what the server says.

    Raises:
        InvalidValue: a text is not of that form, or names nothing of the spec.
    """
    wanted = {one.volume: one for one in spec.volumes}
    claims: dict[str, KnownClaim] = {}
    for name, claim in parse_pairs(texts, field="--volume-claim").items():
        if name not in wanted:
            raise InvalidValue(
                f'The spec attaches no volume "{name}".{nearest(name, wanted)}',
                field="--volume-claim",
            )
        claims[name] = KnownClaim(claim=check_claim_name(claim, field="--volume-claim"))
    asked = [one for name, one in wanted.items() if name not in claims]
    if not asked:
        return VolumeClaims(claims)
    if find_server(given.settings) is None:
        return VolumeClaims(claims, unasked="and there is none to ask")
    known = VolumeClaims(claims)
    for one in asked:
        try:
            found = given.client.volumes.get(one.volume, project=spec.project)
        except NotFound:
            continue  # the policy may have it, or the cluster
        except StoreUnavailable as error:
            return VolumeClaims(claims, unasked=error.message.rstrip("."))
        _note(known, found, one)
    return known


def _note(known: VolumeClaims, found: VolumeView, wanted: VolumeSpec) -> None:
    """Note the claim of a volume, or why no pod could attach it."""
    name, claim = wanted.volume, found.claim
    if found.away or claim is None:
        why = found.away or "It is a folder of the server, whose runs are processes."
        known.problems[name] = (
            f'The volume "{name}" is no claim that the server knows. {why} Name one with '
            f"`--volume-claim {name}=CLAIM`."
        )
        return
    if claim.state in _GONE:
        known.problems[name] = f'The volume "{name}" cannot be had: {claim.words}'
        return
    known.claims[name] = KnownClaim(
        claim=claim.name, namespace=claim.namespace, access_mode=found.access_mode
    )
    # A server would refuse a second writer; a cluster lets it wait, or come.
    writers = [holder for holder in found.holders if not holder.read_only]
    if writers and not wanted.read_only and found.access_mode is AccessMode.RWO:
        known.warnings[name] = (
            f'The volume "{name}" is attached for writing by {writers[0]}, and one alone may '
            "write to it: apply this after the end of that."
        )
