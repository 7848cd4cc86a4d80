"""How much a container gets: what the spec says, else its size, else the policy's default."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from seafloor.domain.errors import InvalidValue, nearest
from seafloor.domain.quantities import parse_cpu, parse_memory
from seafloor.domain.specs import ResourcesSpec
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.policy import Amounts, Policy
from seafloor.launch.kubernetes.rules import refuse

SHARED_MEMORY_PATH: Final = "/dev/shm"  # noqa: S108  # a mount, no file
_UNITS: Final = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one task gets.

    Args:
        cpu_count: Processors.
        memory_bytes: With what lies in ``/dev/shm``.
        gpu_count: Devices.
        gpu_resource: What the cluster calls them.
        shared_memory_bytes: Of ``/dev/shm``; None: what the container runtime gives (64 MiB).
    """

    cpu_count: float
    memory_bytes: int
    gpu_count: int = 0
    gpu_resource: str = ""
    shared_memory_bytes: int | None = None

    def manifest(self) -> Manifest:
        """Requests and limits, which are the same: what is promised is what there is."""
        amounts: Manifest = {"cpu": cpu_quantity(self.cpu_count)}
        amounts["memory"] = memory_quantity(self.memory_bytes)
        if self.gpu_count:
            amounts[self.gpu_resource] = str(self.gpu_count)
        return {"requests": dict(amounts), "limits": dict(amounts)}


def resolve_resources(spec: ResourcesSpec, policy: Policy, *, field: str) -> Resources:
    """Find what a task gets.

    Raises:
        Forbidden: more than the policy allows, or what it does not know.
        InvalidValue: ``/dev/shm`` is larger than the memory it is part of.
    """
    layers = (policy.resources.default, _size(spec, policy, field), spec)
    cpu = parse_cpu(_last(layers, "cpu") or 1, field=f"{field}.cpu")
    memory = parse_memory(_last(layers, "memory") or "2Gi", field=f"{field}.memory")
    gpus: int = _last(layers, "gpu") or 0
    shared = _last(layers, "shared_memory")
    found = Resources(
        cpu_count=cpu,
        memory_bytes=memory,
        gpu_count=gpus,
        gpu_resource=_gpu_resource(spec, policy, field) if gpus else "",
        shared_memory_bytes=None
        if shared is None
        else parse_memory(shared, field=f"{field}.shared_memory"),
    )
    if (found.shared_memory_bytes or 0) > memory:
        raise InvalidValue(
            "shared_memory counts as memory and cannot be more than it.",
            field=f"{field}.shared_memory",
        )
    _check_maximum(found, policy.resources.maximum, field)
    return found


def init_resources(policy: Policy) -> Manifest:
    """Of the containers that prepare a pod."""
    amounts = policy.resources.init
    return Resources(
        cpu_count=parse_cpu(amounts.cpu or "500m", field="resources.init.cpu"),
        memory_bytes=parse_memory(amounts.memory or "512Mi", field="resources.init.memory"),
    ).manifest()


def cpu_quantity(count: float) -> str:
    """Write processors as Kubernetes does, rounded up to a thousandth.

    >>> cpu_quantity(0.5), cpu_quantity(3)
    ('500m', '3')
    """
    thousandths = -int(-count * 1000 // 1)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def memory_quantity(size_bytes: int) -> str:
    """Write memory in the largest unit that loses nothing.

    >>> memory_quantity(20 * 2**30), memory_quantity(1000)
    ('20Gi', '1000')
    """
    for unit, factor in _UNITS:
        if size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def _size(spec: ResourcesSpec, policy: Policy, field: str) -> Amounts:
    if spec.size is None:
        return Amounts()
    sizes = policy.resources.sizes
    if spec.size not in sizes:
        refuse(
            "resources.sizes",
            f'There is no size "{spec.size}".{nearest(spec.size, sizes)}',
            field=f"{field}.size",
        )
    return sizes[spec.size]


def _last(layers: tuple[Amounts | ResourcesSpec, ...], name: str) -> Any:
    said = [value for layer in layers if (value := getattr(layer, name)) is not None]
    return said[-1] if said else None


def _gpu_resource(spec: ResourcesSpec, policy: Policy, field: str) -> str:
    asked, rules = spec.gpu_resource, policy.gpus
    if asked is None or asked == rules.default:
        return rules.default
    if asked not in rules.allowed:
        known = ", ".join((rules.default, *rules.allowed))
        refuse(
            "gpus.allowed",
            f'"{asked}" is not one of the devices allowed: {known}.',
            field=f"{field}.gpu_resource",
        )
    return asked


def _check_maximum(found: Resources, maximum: Amounts, field: str) -> None:
    rule = "resources.maximum"
    if maximum.cpu is not None and found.cpu_count > parse_cpu(maximum.cpu, field=rule):
        refuse(f"{rule}.cpu", f"A task has at most {maximum.cpu} processors.", field=f"{field}.cpu")
    if maximum.memory is not None and found.memory_bytes > parse_memory(maximum.memory, field=rule):
        refuse(f"{rule}.memory", f"A task has at most {maximum.memory}.", field=f"{field}.memory")
    if maximum.gpu is not None and found.gpu_count > maximum.gpu:
        refuse(f"{rule}.gpu", f"A task has at most {maximum.gpu} GPUs.", field=f"{field}.gpu")
    if maximum.shared_memory is not None:
        most = parse_memory(maximum.shared_memory, field=rule)
        if (found.shared_memory_bytes or 0) > most:
            refuse(
                f"{rule}.shared_memory",
                f"{SHARED_MEMORY_PATH} has at most {maximum.shared_memory}.",
                field=f"{field}.shared_memory",
            )
