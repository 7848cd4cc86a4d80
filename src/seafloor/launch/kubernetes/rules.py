"""What the policy refuses. Every refusal names its rule: the path of a field of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NoReturn

from seafloor.domain.errors import Forbidden, InvalidValue, nearest
from seafloor.domain.quantities import parse_duration, parse_memory
from seafloor.domain.specs import parse_environment_reference
from seafloor.launch.kubernetes.names import CLAIM_PREFIX
from seafloor.launch.kubernetes.policy import (
    EnvironmentRule,
    KernelRule,
    NodePool,
    Policy,
    VolumeRule,
)

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}\Z")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


def refuse(rule: str, message: str, *, field: str | None = None) -> NoReturn:
    """Refuse what an administrator does not allow.

    Raises:
        Forbidden: always.
    """
    raise Forbidden(f"{message} (Rule `{rule}` of the policy.)", field=field)


def namespace(policy: Policy, asked: str | None) -> str:
    """The namespace to use; the first of the policy when none is asked for."""
    found = policy.namespaces[0] if asked is None else asked
    if not _NAMESPACE.match(found):
        raise InvalidValue(f'"{found}" is no name of a namespace.', field="--namespace")
    if not any(fnmatchcase(found, pattern) for pattern in policy.namespaces):
        known = ", ".join(policy.namespaces)
        refuse("namespaces", f'The namespace "{found}" is not allowed, but {known}.')
    return found


def image(
    policy: Policy,
    environment: str | None,
    own: dict[str, str],
    *,
    field: str,
    has_kernel: bool = False,
) -> str:
    """The image of an environment.

    Args:
        environment: As the spec names it; None: it names none.
        own: Images of environments by name or ``<name>@<version>``, from users' files or the
            server; the policy's go before.
        has_kernel: Whether the server has packages for it, which go into any image.
    """
    if environment is None:
        if policy.images.default is None:
            refuse(
                "images.default",
                "There is no image for a workload without environment: name one.",
                field=field,
            )
        return policy.images.default
    name, _ = parse_environment_reference(environment)
    rule = _environment(policy, environment)
    if rule is not None:
        _check_digest(policy, rule.image, field)
        return rule.image
    found = own.get(environment) or own.get(name)
    if found is None and has_kernel:
        # Seafloor's own has a Python, whatever else there is.
        found = policy.images.default or policy.images.seafloor
        if found is not None:
            return found
    if found is None:
        known = nearest(name, [*policy.environments, *own])
        refuse(
            "environments",
            f'No image is known for the environment "{environment}".{known} '
            "Describe it in a file of its own, given by another -f.",
            field=field,
        )
    allowed = policy.images.allowed
    if allowed and not any(found.startswith(prefix) for prefix in allowed):
        refuse(
            "images.allowed",
            f'The image "{found}" is not one of those allowed: {", ".join(allowed)}.',
            field=field,
        )
    _check_digest(policy, found, field)
    return found


def no_agent_because(policy: Policy, image: str) -> str | None:
    """Why our agent cannot be in pods of an image; None: it can."""
    if policy.images.seafloor is None:
        return "the policy names no image of Seafloor (`images.seafloor`)"
    if any(image.startswith(prefix) for prefix in policy.images.without_python):
        return "its image has no python3 (`images.without_python` of the policy)"
    return None


def stored_kernel(policy: Policy, environment: str | None, own: dict[str, str]) -> str | None:
    """The digest of the packages that the server has; None: the policy says what it is."""
    if environment is None or _environment(policy, environment) is not None:
        return None
    return own.get(environment) or own.get(parse_environment_reference(environment)[0])


def kernel(policy: Policy, environment: str | None) -> KernelRule | None:
    """What an environment adds to its image."""
    rule = None if environment is None else _environment(policy, environment)
    return None if rule is None else rule.kernel


def _environment(policy: Policy, environment: str) -> EnvironmentRule | None:
    """The policy's word on an environment: on that version of it, else on all."""
    name, _ = parse_environment_reference(environment)
    return policy.environments.get(environment) or policy.environments.get(name)


def _check_digest(policy: Policy, found: str, field: str) -> None:
    if policy.images.digest_required and not _DIGEST.search(found):
        refuse(
            "images.digest_required",
            f'The image "{found}" may be another tomorrow: name it by its digest, '
            "`…@sha256:<64 hex digits>`.",
            field=field,
        )


def pool(policy: Policy, asked: str | None, *, gpus: int, field: str) -> NodePool:
    """The nodes to use."""
    name = asked or (policy.gpus.pool if gpus else None) or policy.default_pool
    if name is None:
        return NodePool()
    if name not in policy.node_pools:
        refuse(
            "node_pools",
            f'There is no pool "{name}".{nearest(name, policy.node_pools)}',
            field=field,
        )
    return policy.node_pools[name]


def volume(
    policy: Policy, name: str, *, read_only: bool, field: str, ours: Mapping[str, str] | None = None
) -> VolumeRule:
    """The claim of a volume.

    Args:
        ours: Claims of the volumes that Seafloor made, by their names; the policy's go before.
    """
    if ours is not None and name in ours and name not in policy.volumes:
        return VolumeRule(ours[name])
    if name.startswith(f"{CLAIM_PREFIX}-") and name not in policy.volumes:
        raise InvalidValue(
            f'"{name}" is the claim of a volume: name the volume itself, as `seafloor volume list` '
            "does.",
            field=field,
        )
    if not policy.volumes:
        return VolumeRule(name)
    rule = policy.volumes.get(name)
    if rule is None:
        refuse(
            "volumes", f'There is no volume "{name}".{nearest(name, policy.volumes)}', field=field
        )
    if rule.read_only and not read_only:
        refuse(
            f"volumes.{name}.read_only",
            f'Nobody writes to the volume "{name}": give `read_only: true`.',
            field=f"{field}.read_only",
        )
    return rule


def secret(policy: Policy, name: str, *, field: str) -> None:
    """Check that users may name a Secret."""
    if policy.secrets and not any(fnmatchcase(name, pattern) for pattern in policy.secrets):
        known = ", ".join(policy.secrets)
        refuse("secrets", f'The secret "{name}" is not one of those allowed: {known}.', field=field)


def volume_name(policy: Policy, name: str) -> None:
    """Check that a volume may be made of a name."""
    if name in policy.volumes:
        claim = policy.volumes[name].claim
        refuse(
            f"volumes.{name}",
            f'The volume "{name}" is the claim {claim}, which the administrator made.',
            field="name",
        )


def volume_size(policy: Policy, size_bytes: int) -> None:
    """Check how large a volume is to be."""
    most = policy.storage.volume_maximum
    if most is not None and size_bytes > parse_memory(most, field="storage.volume_maximum"):
        refuse("storage.volume_maximum", f"A volume has at most {most}.", field="size")


def storage_class(policy: Policy, asked: str | None) -> str | None:
    """The class of a volume or a home; None: the cluster's."""
    rules = policy.storage
    if asked is None:
        return rules.default_class
    if rules.classes and asked not in rules.classes:
        refuse(
            "storage.classes",
            f'There is no storage class "{asked}".{nearest(asked, rules.classes)}',
            field="storage_class",
        )
    return asked


def timeout_s(policy: Policy, asked_s: float | None) -> float | None:
    """How long a run may take; None: as long as it likes."""
    limits = policy.limits
    found = asked_s
    if found is None and limits.timeout_default is not None:
        found = parse_duration(limits.timeout_default, field="limits.timeout_default")
    if limits.timeout_maximum is None:
        return found
    most_s = parse_duration(limits.timeout_maximum, field="limits.timeout_maximum")
    if found is None:
        return most_s
    if found > most_s:
        refuse("limits.timeout_maximum", f"A run takes at most {most_s:g} s.", field="timeout")
    return found


def count(maximum: int | None, asked: int, *, rule: str, what: Sequence[str]) -> None:
    """Check a number.

    Args:
        what: What is counted, and the field that says how many.
    """
    if maximum is not None and asked > maximum:
        refuse(rule, f"{asked} {what[0]} are more than {maximum}.", field=what[1])
