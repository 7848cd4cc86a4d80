"""What manifests are made of."""

from __future__ import annotations

import hashlib

import msgspec

from seafloor.domain.cluster_specs import ClusterSpec, NotebookSpec
from seafloor.domain.code import CodeSource
from seafloor.domain.specs import ExperimentSpec
from seafloor.domain.workloads import WorkloadKind
from seafloor.launch.kubernetes.identity import Identity, Start
from seafloor.launch.kubernetes.names import object_name
from seafloor.launch.kubernetes.policy import Policy

_ID_CHARS = 32


class PodRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A workload, resolved. No value of a secret is in it: specs name Secrets, never give them.

    Args:
        spec: As it was checked.
        code: The spec's code source, made immutable.
        namespace: Where it shall be.
        images: Images of environments by name or ``<name>@<version>``, as users or the server say.
        claims: Of volumes that Seafloor made, by their names in the spec.
        kernels: Digests of the packages that the server has of environments, by the same names.
        owner_uid: Uid of the anchor, once it is made.
        start: Of a run that a server starts; None: nobody knows who applies the manifests.
    """

    spec: ClusterSpec
    code: CodeSource | None
    namespace: str
    images: dict[str, str] = {}
    claims: dict[str, str] = {}
    kernels: dict[str, str] = {}
    owner_uid: str | None = None
    start: Start | None = None

    @property
    def kind(self) -> WorkloadKind:
        """Of the workload."""
        if isinstance(self.spec, ExperimentSpec):
            return WorkloadKind.RUN
        if isinstance(self.spec, NotebookSpec):
            return WorkloadKind.NOTEBOOK
        return WorkloadKind.SERVING


def identify(request: PodRequest, policy: Policy) -> Identity:
    """Name the objects of a request.

    A run's names come from all that it is made of, since a Pod cannot be changed: another command
    or another policy is another run, and the same again is the same. Notebooks and servings are
    changed in place, so theirs come from project and name. What a server starts has an id already,
    and each attempt is objects of its own.
    """
    spec, kind = request.spec, request.kind
    readable = spec.name
    if isinstance(spec, ExperimentSpec) and spec.run_name is not None:
        readable = spec.run_name
    if request.start is not None:
        key = request.start.run_id
        names = (key, str(request.start.attempt))
    else:
        key = _key(request, policy)
        names = (key,)
    return Identity(
        kind=kind,
        name=readable,
        project=spec.project,
        key=key,
        base=object_name(kind, readable, *names),
        namespace=request.namespace,
        environment=spec.environment,
        code=request.code,
        owner_uid=request.owner_uid,
        start=request.start,
    )


def _key(request: PodRequest, policy: Policy) -> str:
    spec, kind = request.spec, request.kind
    made_of: list[object] = [spec, request.code, request.images, policy]
    if request.claims:  # names that were given without any stay
        made_of.append(request.claims)
    content = [_content(part) for part in made_of]
    parts = (
        [hashlib.sha256(part).hexdigest() for part in content]
        if kind is WorkloadKind.RUN
        else [spec.project, spec.name]
    )
    return hashlib.sha256("\0".join((kind.value, *parts)).encode()).hexdigest()[:_ID_CHARS]


def _content(part: object) -> bytes:
    """What a part says; a field that a later version adds, and nobody gives, changes no name."""
    return msgspec.json.encode(_said(msgspec.to_builtins(part)), order="deterministic")


def _said(value: object) -> object:
    if not isinstance(value, dict):
        return value
    fields: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]  # builtins of a struct
    made = {name: _said(item) for name, item in fields.items()}
    return {name: item for name, item in made.items() if item not in (None, {}, [], ())}
