"""``render``: a request on standard input becomes manifests on standard output. No I/O else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from seafloor.domain.cluster_specs import ClusterSpec, parse_cluster_spec
from seafloor.domain.code import CodeSource
from seafloor.domain.errors import InvalidValue, NotFound, SeafloorError
from seafloor.domain.specs import EnvironmentSpec
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.manifest import as_yaml
from seafloor.launch.kubernetes.names import CLAIM_PREFIX
from seafloor.launch.kubernetes.policy import Policy, read_policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.summary import summarize
from seafloor.launch.kubernetes.workload import Rendered, render
from seafloor.wire.manifests import KnownClaim


class RenderInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the CLI sends.

    Args:
        spec: The document, its kind as the top key.
        code: The spec's code source, made immutable; None: it has none.
        images: Of environments that users described, by name.
        claims: Of volumes in the spec, by name, as a server or the user says.
        problems: Likewise, why one that the server has is no claim to be attached.
        warnings: Likewise, what to know of one.
        unasked: Why no server was asked which volumes it has, one clause; ``""``: one was.
    """

    spec: dict[str, object]
    code: CodeSource | None
    images: dict[str, str]
    claims: dict[str, KnownClaim] = {}
    problems: dict[str, str] = {}
    warnings: dict[str, str] = {}
    unasked: str = ""


@dataclass(frozen=True)
class RenderCommand:
    """What was asked for.

    Args:
        policy: The administrator's file; None: the defaults.
        namespace: None: the policy's first.
        owner_uid: Uid of the anchor, once it is made.
        json: Whether one list is printed as JSON, which kubectl applies as well.
        summary: Whether only what they come to is printed, as JSON (``wire.manifests``).
    """

    policy: Path | None = None
    namespace: str | None = None
    owner_uid: str | None = None
    json: bool = False
    summary: bool = False


def run(command: RenderCommand, document: bytes) -> None:
    """Print the manifests; warnings go to standard error.

    Raises:
        SeafloorError: the spec, the policy, or that they do not fit.
    """
    given = msgspec.json.decode(document, type=RenderInput)
    try:
        made = _render(command, given)
    except SeafloorError as error:
        if error.field is None or error.message.startswith(error.field):
            raise
        raise type(error)(f"{error.field}: {error.message}", field=error.field) from error
    if command.summary:
        sys.stdout.write(msgspec.json.encode(summarize(made, given.code)).decode() + "\n")
        return
    for warning in made.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if command.json:
        whole = {"apiVersion": "v1", "kind": "List", "items": made.manifests}
        sys.stdout.write(msgspec.json.encode(whole).decode() + "\n")
    else:
        sys.stdout.write(as_yaml(made.manifests))


def _render(command: RenderCommand, given: RenderInput) -> Rendered:
    spec = parse_cluster_spec(given.spec)
    if isinstance(spec, EnvironmentSpec):
        raise InvalidValue("An environment alone is nothing that runs.", field="environment")
    policy = load_policy(command.policy)
    namespace = rules.namespace(policy, command.namespace)
    claims, warnings = _claims(spec, given, policy, namespace)
    made = render(
        PodRequest(
            spec=spec,
            code=given.code,
            namespace=namespace,
            images=given.images,
            claims=claims,
            owner_uid=command.owner_uid,
        ),
        policy,
    )
    return msgspec.structs.replace(made, warnings=(*made.warnings, *warnings))


def _claims(
    spec: ClusterSpec, given: RenderInput, policy: Policy, namespace: str
) -> tuple[dict[str, str], list[str]]:
    """The claims of volumes that the policy does not name, and warnings.

    Raises:
        InvalidValue: nobody says which claim one is, or none that can be attached here.
        Forbidden: the user names one that the policy does not.
    """
    claims: dict[str, str] = {}
    warnings: list[str] = []
    for number, one in enumerate(spec.volumes):
        name, known = one.volume, given.claims.get(one.volume)
        if known is not None and known.namespace is None:
            _check_given(name, known.claim, policy)
        if name in policy.volumes or name in claims:
            continue
        field = f"volumes[{number}].volume"
        if name in given.problems:
            raise InvalidValue(given.problems[name], field=field)
        if known is not None:
            if known.namespace not in (None, namespace):
                raise InvalidValue(
                    f'The volume "{name}" is a claim in the namespace {known.namespace}, and pods '
                    f"of {namespace} cannot attach it.",
                    field=field,
                )
            claims[name] = known.claim
            warnings += [given.warnings[name]] if name in given.warnings else []
        elif given.unasked:
            raise InvalidValue(
                f'Which claim the volume "{name}" is, a server knows ({given.unasked}): name the '
                f"claim with `--volume-claim {name}=CLAIM`.",
                field=field,
            )
        elif not policy.volumes:
            warnings.append(
                f'The server has no volume "{name}": it is taken for the claim of that name.'
            )
    return claims, warnings


def _check_given(name: str, claim: str, policy: Policy) -> None:
    """Refuse a claim that the user names instead of the administrator."""
    if name in policy.volumes:
        rules.refuse(
            f"volumes.{name}",
            f'The volume "{name}" is the claim {policy.volumes[name].claim}.',
            field="--volume-claim",
        )
    if policy.volumes and not claim.startswith(f"{CLAIM_PREFIX}-"):
        rules.refuse(
            "volumes",
            f'The claim "{claim}" is not of a volume that Seafloor made: name what the policy '
            "lists.",
            field="--volume-claim",
        )


def load_policy(path: Path | None) -> Policy:
    """Read the administrator's file.

    Raises:
        NotFound: there is no such file.
        InvalidValue: it cannot be read, or says what cannot be; the message names file and field.
    """
    if path is None:
        return Policy()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f'There is no file "{path}".', field="--policy") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f'"{path}" cannot be read: {error}.', field="--policy") from error
    try:
        return read_policy(text)
    except SeafloorError as error:
        where = f"{path}: {error.field}" if error.field else str(path)
        raise type(error)(f"{where}: {error.message}") from error
