"""Manifests in short: read off what would be applied, not off what it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from seafloor.domain.code import ArchiveCode, CodeSource, GitCode, SnapshotCode
from seafloor.launch.kubernetes.code_volume import CODE_CONTAINER, GIT_CONTAINER
from seafloor.launch.kubernetes.kernels import KERNEL_CONTAINER
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.names import PREFIX
from seafloor.launch.kubernetes.workload import Rendered
from seafloor.wire.manifests import Fetch, ImageUse, ManifestSummary, PodSummary, SecretUse

_ROLE: Final = f"{PREFIX}/role"
_CODE: Final = (GIT_CONTAINER, CODE_CONTAINER)


def summarize(rendered: Rendered, code: CodeSource | None) -> ManifestSummary:
    """Say what manifests come to.

    Args:
        code: What is fetched as code.
    """
    made = rendered.manifests
    pods = [_Pod(manifest) for manifest in made if _pod_spec(manifest)]
    return ManifestSummary(
        namespace=made[0]["metadata"]["namespace"],
        objects=tuple(f"{one['kind']}/{one['metadata']['name']}" for one in made),
        pods=_alike(pods),
        images=_images(pods),
        secrets=_secrets(pods),
        fetches=_fetches(pods, code),
        volumes=_volumes(pods),
        warnings=rendered.warnings,
    )


def _pod_spec(manifest: Manifest) -> Manifest | None:
    if manifest["kind"] == "Pod":
        return manifest["spec"]
    return manifest.get("spec", {}).get("template", {}).get("spec")


class _Pod:
    """One manifest that has pods."""

    def __init__(self, manifest: Manifest) -> None:
        spec = _pod_spec(manifest)
        assert spec is not None  # noqa: S101  # only such are passed
        self.spec = spec
        self.count: int = manifest["spec"].get("replicas", 1)
        labels = manifest["metadata"]["labels"]
        self.task: str = labels.get(_ROLE, manifest["kind"].lower())
        self.init: list[Manifest] = spec.get("initContainers", [])
        self.main: list[Manifest] = spec["containers"]

    @property
    def containers(self) -> list[Manifest]:
        """All, in the order in which they start."""
        return [*self.init, *self.main]

    @property
    def volumes(self) -> dict[str, Manifest]:
        """By name."""
        return {volume["name"]: volume for volume in self.spec.get("volumes", [])}


def _alike(pods: Sequence[_Pod]) -> tuple[PodSummary, ...]:
    found: dict[str, PodSummary] = {}
    for pod in pods:
        requests: dict[str, str] = pod.main[0]["resources"]["requests"]
        before = found[pod.task].count if pod.task in found else 0
        selector = pod.spec.get("nodeSelector", {})
        found[pod.task] = PodSummary(pod.task, before + pod.count, dict(requests), selector)
    return tuple(found.values())


def _images(pods: Sequence[_Pod]) -> tuple[ImageUse, ...]:
    found: dict[str, dict[str, None]] = {}
    for pod in pods:
        for container in pod.containers:
            found.setdefault(container["image"], {})[container["name"]] = None
    return tuple(
        ImageUse(image, "@sha256:" in image, tuple(names)) for image, names in found.items()
    )


def _secrets(pods: Sequence[_Pod]) -> tuple[SecretUse, ...]:
    keys: dict[str, dict[str, None]] = {}
    uses: dict[str, dict[str, None]] = {}
    for pod in pods:
        for name, key, use in _named(pod):
            found = keys.setdefault(name, {})
            if key is not None:
                found[key] = None
            uses.setdefault(name, {})[use] = None
    return tuple(SecretUse(name, tuple(found), tuple(uses[name])) for name, found in keys.items())


def _named(pod: _Pod) -> Iterator[tuple[str, str | None, str]]:
    """Secret, key and use, of each place that names one."""
    for reference in pod.spec.get("imagePullSecrets", []):
        yield reference["name"], None, "images"
    for container in pod.containers:
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if reference is not None:
                yield reference["name"], reference.get("key"), entry["name"]
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield source["secretRef"]["name"], None, f"variables of {container['name']}"
        for mount in container.get("volumeMounts", []):
            source = pod.volumes[mount["name"]].get("secret")
            if source is not None:
                items = source.get("items") or [{"key": None}]
                for item in items:
                    yield source["secretName"], item["key"], mount["mountPath"]


def _fetches(pods: Sequence[_Pod], code: CodeSource | None) -> tuple[Fetch, ...]:
    found: dict[tuple[str, str], Fetch] = {}
    for pod in pods:
        for container in pod.init:
            told = _told(container, code)
            if told is None:
                continue
            source, size_bytes = told
            before = found.get((container["name"], source))
            count = pod.count + (0 if before is None else before.pods)
            found[container["name"], source] = Fetch(container["name"], source, count, size_bytes)
    return tuple(found.values())


def _told(container: Manifest, code: CodeSource | None) -> tuple[str, int | None] | None:
    """What a container fetches, and its size."""
    if container["name"] == KERNEL_CONTAINER:
        return container["args"][0], None
    if container["name"] not in _CODE:
        return None
    if isinstance(code, GitCode):
        return f"commit {code.commit} of {code.url}", None
    if isinstance(code, ArchiveCode):
        return code.url, code.size_bytes
    if isinstance(code, SnapshotCode):
        return f"snapshot {code.sha256}", code.size_bytes
    return None


def _volumes(pods: Sequence[_Pod]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for pod in pods:
        for name, volume in pod.volumes.items():
            claim = volume.get("persistentVolumeClaim")
            if claim is None:
                continue
            mounts = [
                mount
                for container in pod.containers
                for mount in container.get("volumeMounts", [])
                if mount["name"] == name
            ]
            read_only = all(mount.get("readOnly") for mount in mounts)
            found[f"{claim['claimName']}{' (read-only)' if read_only else ''}"] = None
    return tuple(found)
