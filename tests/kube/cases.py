"""Workloads and policies whose manifests are kept as golden files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from seafloor.domain.cluster_specs import parse_cluster_spec
from seafloor.domain.code import ArchiveCode, CodeSource, GitCode, ImageCode, SnapshotCode
from seafloor.domain.ids import GitCommit, Sha256
from seafloor.domain.specs import EnvironmentSpec
from seafloor.domain.volumes import AccessMode, Volume
from seafloor.launch.kubernetes.claims import claim_manifest
from seafloor.launch.kubernetes.names import claim_name, snapshot_name
from seafloor.launch.kubernetes.policy import Policy, read_policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.workload import Rendered, render

DIGEST = "sha256:" + "0123456789abcdef" * 4
COMMIT = GitCommit("1234567890123456789012345678901234567e12")
SUM = Sha256("fedcba9876543210" * 4)
ENVIRONMENT = "team-default-ml-env"
IMAGE = f"registry.example.com/ml/default@{DIGEST}"

HTTPS = GitCode("https://git.example.com/training-job.git", COMMIT, "training-job", "v1.2")
SSH = GitCode("git@git.example.com:team/training-job.git", COMMIT, "training-job")
ARCHIVE = ArchiveCode("s3://bucket/digits.tar.gz", "digits", sha256=SUM, strip_components=1)
SNAPSHOT = SnapshotCode(SUM, 1234, "work", "sub")

_ENVIRONMENTS = f"""
environments:
  {ENVIRONMENT}: {{image: "{IMAGE}"}}
  {ENVIRONMENT}@2: {{image: "registry.example.com/ml/second@{DIGEST}"}}
  with-kernel:
    image: "registry.example.com/ml/base@{DIGEST}"
    kernel: {{url: "https://files.example.com/kernel.tar.zst", sha256: {SUM}, strip_components: 1}}
"""
_OURS = 'images: {seafloor: "registry.example.com/seafloor:1"}\n'
_SERVER = "server: {url: 'https://seafloor.example.com', token: seafloor-token/token}\n"
_POOLS = """
node_pools:
  cpu: {node_selector: {kind: cpu}}
  a100:
    node_selector: {kind: a100}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
          - matchExpressions: [{key: zone, operator: In, values: [a, b]}]
    priority_class: research
default_pool: cpu
gpus: {pool: a100, allowed: [amd.com/gpu]}
"""
_STRICT = f"""
namespaces: [ml, ml-*]
images:
  allowed: [registry.example.com/]
  default: registry.example.com/ml/plain@{DIGEST}
  git_sync: mirror.example.com/git-sync@{DIGEST}
  seafloor: mirror.example.com/seafloor@{DIGEST}
  pull_secrets: [registry-pull]
  pull_policy: IfNotPresent
git: {{secret: git-login, sync_timeout: 90s, submodules: "off"}}
archives: {{secret: bucket-reader}}
resources:
  default: {{cpu: 500m, memory: 1Gi}}
  maximum: {{cpu: 16, memory: 128Gi, gpu: 8, shared_memory: 16Gi}}
  sizes:
    small: {{cpu: 1, memory: 2Gi}}
    large: {{cpu: 8, memory: 64Gi, gpu: 1, shared_memory: 8Gi}}
storage: {{classes: [fast, slow], default_class: slow, home_maximum: 100Gi}}
volumes:
  team-data: {{claim: team-data-2026, read_only: true}}
  scratch: {{claim: scratch}}
secrets: ["team*"]
network:
  http_proxy: http://proxy.example.com:3128
  https_proxy: http://proxy.example.com:3128
  no_proxy: .example.com,10.0.0.0/8
  ca_bundle: {{config_map: company-ca, key: bundle.pem}}
security: {{run_as_user: null, fs_group: null, read_only_root: true, service_account: runs}}
limits:
  timeout_default: 1d
  timeout_maximum: 7d
  tasks_maximum: 16
  replicas_maximum: 8
  clean_up_after: 2d
labels: {{cost-center: ml, kueue.x-k8s.io/queue-name: ml}}
annotations: {{example.com/contact: ml-team}}
"""

POLICIES: dict[str, str] = {
    "plain": _ENVIRONMENTS,
    "ours": _ENVIRONMENTS + _OURS + _SERVER + _POOLS,
    "token": _ENVIRONMENTS + "git: {secret: git-login}\n",
    "ssh": _ENVIRONMENTS + "git: {secret: git-key, auth: ssh}\n",
    "lfs": _ENVIRONMENTS + _OURS + "git: {secret: git-login, localizer: seafloor}\n",
    "strict": _ENVIRONMENTS + _POOLS + _STRICT + _SERVER,
}


@dataclass(frozen=True)
class Case:
    """A workload under a policy.

    Args:
        name: Of the golden file.
        document: The spec.
        code: Resolved.
        policy: A name of POLICIES.
        owner_uid, kernels: As in ``PodRequest``.
        volumes: Those of the spec that Seafloor made; their claims stand after the rest.
    """

    name: str
    document: dict[str, Any]
    code: CodeSource | None
    policy: str
    owner_uid: str | None = None
    volumes: tuple[Volume, ...] = ()
    kernels: dict[str, str] = field(default_factory=dict[str, str])

    def render(self) -> Rendered:
        spec = parse_cluster_spec(self.document)
        assert not isinstance(spec, EnvironmentSpec)
        policy = policy_of(self.policy)
        volumes = [replace(one, namespace=policy.namespaces[0]) for one in self.volumes]
        rendered = render(
            PodRequest(
                spec=spec,
                code=self.code,
                namespace=policy.namespaces[0],
                claims={one.name: claim_name(one.name, one.id, one.content) for one in volumes},
                kernels=self.kernels,
                owner_uid=self.owner_uid,
            ),
            policy,
        )
        claims = (_claim(one, policy) for one in volumes)
        return replace(rendered, manifests=(*rendered.manifests, *claims))


def _claim(volume: Volume, policy: Policy) -> dict[str, Any]:
    """The claim of its current content, which is of the snapshot 1 if it is not the first."""
    restored = volume.content > 1
    return claim_manifest(
        volume,
        volume.content,
        policy,
        "kubernetes-0123456789ab",
        asked_ns=volume.created_ns,
        source=snapshot_name(volume.name, volume.id, 1) if restored else None,
        least_bytes=30 << 30 if restored else 0,
    )


def policy_of(name: str) -> Policy:
    return read_policy(POLICIES[name])


_RUN: dict[str, Any] = {
    "name": "digits",
    "environment": ENVIRONMENT,
    "command": "python training-job/train.py --epochs 10",
}
_NOTEBOOK: dict[str, Any] = {"name": "explore", "environment": ENVIRONMENT}
_SERVING: dict[str, Any] = {
    "name": "digits",
    "environment": ENVIRONMENT,
    "command": ["python", "serve.py", "--label", "$(HOME) costs $5"],
}
_SECRETS = {
    "GIT_TOKEN": "team/git-token",
    "/etc/creds": "team-files",
    "/etc/one": "team-files/a.json",
}
_VOLUMES = [
    {"volume": "team-data", "path": "/data", "read_only": True},
    {"volume": "scratch", "path": "/scratch"},
    {"volume": "scratch", "path": "/again", "read_only": True},
]
_ENV = {"OMP_NUM_THREADS": "4", "WEIRD": "1e3", "SHELL_LIKE": "$(HOME)/$$x"}
_PRIVATE_URL = "https://files.example.com/training.tar.gz"
SEVERAL_SECRETS = msgspec.structs.replace(
    HTTPS,
    secret="team-git",
    secrets={"partner.example": "team-partner", "lfs.example:8443/store": "team-git"},
)
_TORCH = {"worker": {"replicas": 3, "command": "torchrun train.py", "resources": {"gpu": 2}}}
_TENSORFLOW = {
    "ps": {"replicas": 1, "command": "python ps.py", "environment": f"{ENVIRONMENT}@2"},
    "worker": {"replicas": 2, "command": ["python", "train.py"], "resources": {"memory": "8Gi"}},
    "chief": {"command": "python train.py"},
    "evaluator": {"command": "python evaluate.py"},
}
_CODES: dict[str, tuple[CodeSource | None, str]] = {
    "no-code": (None, "plain"),
    "git": (HTTPS, "plain"),
    "git-token": (HTTPS, "token"),
    "git-ssh": (SSH, "ssh"),
    "git-own-secret": (msgspec.structs.replace(SSH, secret="team-git"), "token"),
    "git-lfs-own-secret": (msgspec.structs.replace(HTTPS, secret="team-git"), "lfs"),
    "git-lfs": (HTTPS, "lfs"),
    "archive": (ARCHIVE, "ours"),
    "snapshot": (SNAPSHOT, "ours"),
    "image-code": (ImageCode("/opt/app"), "plain"),
}


def cases() -> Iterator[Case]:
    yield Case("seed", _seed(), HTTPS, "plain")
    yield from _code_cases()
    yield from _run_cases()
    yield from _service_cases()
    yield from _volume_cases()


def _seed() -> dict[str, Any]:
    return {"experiment": _RUN}


def _code_cases() -> Iterator[Case]:
    """Every kind of workload with every kind of code."""
    bodies = {"experiment": _RUN, "notebook": _NOTEBOOK, "serving": _SERVING}
    for kind, body in bodies.items():
        for name, (code, policy) in _CODES.items():
            yield Case(f"{kind}-{name}", {kind: body}, code, policy)


def _run_cases() -> Iterator[Case]:
    def run(name: str, policy: str = "ours", owner: str | None = None, **fields: Any) -> Case:
        body = {**_RUN, **fields}
        if "tasks" in fields:
            del body["command"]
        return Case(f"run-{name}", {"experiment": body}, HTTPS, policy, owner)

    gpu = {"cpu": 3, "memory": "20Gi", "gpu": 2, "shared_memory": "4Gi"}
    strict = {"secrets": _SECRETS, "volumes": _VOLUMES, "env": _ENV}
    yield run("gpu", resources=gpu)
    yield run("gpu-amd", resources={**gpu, "gpu_resource": "amd.com/gpu", "pool": "cpu"})
    yield run("secrets", secrets=_SECRETS)
    yield run("volumes", volumes=_VOLUMES, env=_ENV)
    yield run("kernel", environment="with-kernel")
    yield run("version", environment=f"{ENVIRONMENT}@2", run_name="Zweiter Versuch (ü)")
    yield run("timeout", timeout="90.5s", retries=2, command="set -e\npython a.py\npython b.py\n")
    yield run("owned", owner="0a1b2c3d-0000-4000-8000-000000000000", tasks=_TORCH)
    yield run("torch", tasks=_TORCH, resources=gpu)
    yield run("tensorflow", tasks=_TENSORFLOW)
    yield run("strict", "strict", **strict, resources={"size": "large"})
    yield run("strict-default-image", "strict", environment=None)
    yield run("strict-torch", "strict", **strict, tasks=_TORCH)
    yield run("strict-tensorflow", "strict", tasks=_TENSORFLOW, timeout="2h")
    yield run("strict-kernel", "strict", environment="with-kernel", resources={"size": "small"})
    packages = {"experiment": {**_RUN, "environment": "team-packages"}}
    for policy in ("ours", "strict"):
        name = f"run-{policy}-packages"
        yield Case(name, packages, HTTPS, policy, kernels={"team-packages": SUM})
    yield Case("run-strict-archive", {"experiment": _RUN}, ARCHIVE, "strict")
    yield Case("run-strict-snapshot", {"experiment": _RUN}, SNAPSHOT, "strict")
    yield Case("run-git-secrets", {"experiment": _RUN}, SEVERAL_SECRETS, "ours")
    yield Case("run-strict-git-secrets", {"experiment": _RUN}, SEVERAL_SECRETS, "strict")
    private = msgspec.structs.replace(ARCHIVE, url=_PRIVATE_URL, secret="team-files")
    yield Case("run-archive-secret", {"experiment": _RUN}, private, "ours")


def _service_cases() -> Iterator[Case]:
    more = {"secrets": _SECRETS, "volumes": _VOLUMES, "env": _ENV}
    size = {"size": "large", "pool": "cpu"}
    scale = {
        "replicas": 2,
        "autoscale": {"max_replicas": 5, "cpu_percent": 70},
        "health": "/health",
    }
    uid = "0a1b2c3d-0000-4000-8000-000000000000"
    home = {"home": "50Gi", "storage_class": "fast", "port": 9999}
    for kind, body in {
        "notebook": {**_NOTEBOOK, **more, "resources": size, **home},
        "serving": {**_SERVING, **more, "resources": size, **scale},
    }.items():
        yield Case(f"{kind}-strict", {kind: body}, HTTPS, "strict", uid)
    gpu = {"gpu": 1, "shared_memory": "1Gi"}
    yield Case("notebook-gpu", {"notebook": {**_NOTEBOOK, "resources": gpu}}, HTTPS, "ours")
    yield Case("serving-scaled", {"serving": {**_SERVING, **scale}}, ARCHIVE, "ours", uid)
    kernel = {"environment": "with-kernel", "command": "jupyter lab --ip 0.0.0.0"}
    yield Case("notebook-kernel", {"notebook": {**_NOTEBOOK, **kernel}}, None, "ours")


def _volume(name: str, **fields: Any) -> Volume:
    made = Volume(
        id=f"{sum(name.encode()):032x}",
        project="default",
        name=name,
        access_mode=AccessMode.RWO,
        created_ns=1_800_000_000_000_000_000,
        size_bytes=20 << 30,
    )
    return replace(made, **fields)


def _volume_cases() -> Iterator[Case]:
    """Volumes that Seafloor made, attached by runs, a notebook and a serving."""

    def case(name: str, *volumes: Volume, policy: str = "ours", **more: Any) -> Case:
        given = [
            {"volume": one.name, "path": f"/mnt/{one.name}", **more.get(one.name, {})}
            for one in volumes
        ]
        kind, body = more.get("body", ("experiment", _RUN))
        document = {kind: {**body, "volumes": [*given, *more.get("also", ())]}}
        return Case(name, document, None, policy, volumes=volumes)

    one = _volume("checkpoints", storage_class="fast")
    many = _volume("datasets", access_mode=AccessMode.RWX, size_bytes=2 << 40)
    read = {"read_only": True}
    yield case("run-volume-rwo", one)
    yield case("run-volume-rwx", many)
    yield case("run-volume-read-only", many, datasets=read)
    yield case("run-volumes-two", one, many, datasets=read)
    yield case("run-volume-restored", replace(one, content=2))
    yield case("run-volume-strict", one, policy="strict", also=[_VOLUMES[0]])
    yield case("notebook-volume", one, many, datasets=read, body=("notebook", _NOTEBOOK))
    yield case("serving-volume", many, datasets=read, body=("serving", _SERVING))
