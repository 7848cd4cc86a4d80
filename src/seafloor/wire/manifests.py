"""What the manifests of a workload come to, in short."""

from __future__ import annotations

import msgspec

from seafloor.domain.volumes import AccessMode


class ImageUse(msgspec.Struct, frozen=True):
    """An image, and the containers that are made of it.

    Args:
        image: As the manifests name it.
        by_digest: Whether it can be no other tomorrow.
        containers: Their names.
    """

    image: str
    by_digest: bool
    containers: tuple[str, ...]


class SecretUse(msgspec.Struct, frozen=True):
    """A Secret that the manifests name. Nothing here knows what is in it.

    Args:
        name: Of the Secret.
        keys: Those that are used; none: all of it.
        uses: Variables, paths, or ``images`` where it is what pulls them.
    """

    name: str
    keys: tuple[str, ...]
    uses: tuple[str, ...]


class PodSummary(msgspec.Struct, frozen=True):
    """Pods that are alike.

    Args:
        task: Of a run, its role where it has several; else the object's kind.
        count: How many; of a serving, replicas.
        requests: What each asks for.
        node_selector: Labels that its node must have.
    """

    task: str
    count: int
    requests: dict[str, str]
    node_selector: dict[str, str] = {}


class Fetch(msgspec.Struct, frozen=True):
    """What each pod fetches before its command starts; nothing is shared between pods.

    Args:
        container: That does it.
        source: A commit, an archive, a snapshot.
        pods: How many fetch it.
        size_bytes: What one of them fetches; None: not known before.
        basis: Whence the size is known, when it is not the source itself that says it.
    """

    container: str
    source: str
    pods: int
    size_bytes: int | None
    basis: str = ""


class ManifestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What manifests come to.

    Args:
        namespace: Where they go.
        objects: ``<kind>/<name>``, in the order to apply them.
        volumes: Claims that are attached and, where each is mounted so, ``(read-only)``.
        warnings: For whoever wrote the spec.
    """

    namespace: str
    objects: tuple[str, ...]
    pods: tuple[PodSummary, ...]
    images: tuple[ImageUse, ...]
    secrets: tuple[SecretUse, ...]
    fetches: tuple[Fetch, ...]
    volumes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class LastRun(msgspec.Struct, frozen=True):
    """The newest run of the experiment."""

    id: str
    name: str
    state: str
    created_ns: int


class Difference(msgspec.Struct, frozen=True):
    """A field that is not what it was; None: it was not there, or is not."""

    field: str
    before: str | None
    after: str | None


class KnownClaim(msgspec.Struct, frozen=True, kw_only=True):
    """The claim that a volume of a spec is.

    Args:
        claim: Name of the PersistentVolumeClaim.
        namespace: Where a server says it is; None: the user named the claim, wherever it is.
        access_mode: As the server says; None: likewise.
    """

    claim: str
    namespace: str | None = None
    access_mode: AccessMode | None = None


class ClusterPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What ``seafloor plan --policy`` says.

    Args:
        manifests: What would be applied.
        claims: Of volumes, by their names in the spec, as the server or the user says; others are
            the policy's, or claims of that name.
        last_run: What it is compared with; None: there is none, or no server to ask.
        differences: From that run to this one.
    """

    manifests: ManifestSummary
    claims: dict[str, KnownClaim] = {}
    last_run: LastRun | None = None
    differences: tuple[Difference, ...] = ()
